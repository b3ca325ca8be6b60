"""A catalog and a task for one of its pictures: what one takes over, the other leaves alone. No lock spans both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.ledger import identity, owners
from airflow_provider_perfectlyclear.catalog.ledger.claim import Claim
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.other_lanes import CatalogLanes, SingleLanes, single_lane
from airflow_provider_perfectlyclear.catalog.ledger.records import intent, landed, started
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.ledger.segments import read_lane, segment_name
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan
from airflow_provider_perfectlyclear.catalog.plan.notes import failures_of_locked, of_seen
from airflow_provider_perfectlyclear.catalog.run_state import RunState
from airflow_provider_perfectlyclear.errors import LaneLost, LedgerNotFound
from airflow_provider_perfectlyclear.storage import LocalStore

OUTPUT = "a.jpg"
MADE = Row(
    OUTPUT, State.INTENT, OUTPUT, "1-a", "a" * 64, "d" * 32, {"width": "100"}, file_key="k", root="file:///in"
)


def no_wait(seconds: float) -> None:
    raise AssertionError("nothing is to be waited for")


class Both:
    """A state folder with a catalog's lane and the lane of one picture."""

    def __init__(self, folder: Path) -> None:
        self.state = LocalStore(folder)
        self.catalog = Ledger(self.state, "all", run="night", title="the catalog")
        self.catalog_lanes = CatalogLanes(self.catalog, None)
        self.single = Ledger(self.state.child("one"), single_lane(OUTPUT), run="single", title="the single")
        self.single_lanes = SingleLanes(self.single, self.state, OUTPUT)

    def start_in_catalog(self) -> None:
        self.catalog_lanes.load(no_wait)
        assert self.catalog.take()
        self.catalog.append([intent(MADE), started(OUTPUT, "job")])

    def begin_single(self, sleep: Callable[[float], None] = no_wait) -> None:
        self.single_lanes.load(sleep)
        assert self.single.take() and self.single_lanes.settle()


@pytest.fixture
def both(tmp_path: Path) -> Both:
    return Both(tmp_path)


def test_a_job_of_the_catalog_that_a_single_task_has_landed_is_known_when_that_task_dies(both: Both) -> None:
    """Its lane said only that the output has landed: the next run took it for another picture, and paid again."""
    both.start_in_catalog()
    both.catalog.park()
    both.begin_single()
    both.single.append([landed(OUTPUT, size=1, usage=None)])

    row = read_lane(both.single.store, both.single.lane).rows[OUTPUT]

    assert (row.state, row.job_id) == (State.LANDED, "job")
    assert (row.source, row.root, row.sha256, row.digest) == (
        MADE.source,
        MADE.root,
        MADE.sha256,
        MADE.digest,
    )


def test_a_deferred_catalog_plans_again_when_a_single_task_has_taken_over_its_job(both: Both) -> None:
    """It landed its job over what the single task had made since, and wrote a newer row."""
    both.start_in_catalog()
    both.catalog.park()
    rows, head = dict(both.catalog.rows), both.catalog.head
    both.begin_single()

    resumed = Ledger(both.state, "all", run="night", title="the catalog")

    assert not (resumed.continue_from(rows, head, 0) and resumed.take())


def test_a_catalog_that_was_taken_for_dead_is_fenced_by_a_single_task(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "ABANDONED", 0.0)
    both.start_in_catalog()
    both.begin_single()

    with pytest.raises(LaneLost):
        both.catalog.append([landed(OUTPUT, size=1, usage=None)])


def test_an_owner_that_found_an_empty_lane_and_slept_until_its_first_numbers_were_gone_is_fenced(
    both: Both,
) -> None:
    """Number 1 has none before it that must exist: it was free again, and the owner paid for what had been paid for."""
    sleeper = Ledger(both.state, "all", run="last night", title="asleep")
    sleeper.load()
    both.start_in_catalog()
    both.state.delete(segment_name("all", 1))

    assert not sleeper.take()


def test_a_catalog_leaves_a_picture_to_the_single_task_that_works_on_it(both: Both) -> None:
    """Its ledger may still have a job of before: landing it would replace what the single task makes now."""
    both.start_in_catalog()
    both.catalog.park()
    both.begin_single()
    later = Ledger(both.state, "all", run="next night", title="the catalog")
    lanes = CatalogLanes(later, None)

    lanes.load(lambda seconds: both.single.append([]))

    assert later.rows[OUTPUT].state is State.STARTED and lanes.leaves(OUTPUT) and not lanes.leaves("b.jpg")
    made = Plan(todo=[Item(name, name, 1, "1-a", "", "new") for name in ("b.jpg", "c.jpg")], own=[OUTPUT])
    failures = failures_of_locked(made, later.rows, lambda output: output in (OUTPUT, "b.jpg"))
    assert {output: failure.code for output, failure in failures.items()} == {
        "b.jpg": "LOCKED",
        OUTPUT: "LOCKED",
    }
    assert [item.output for item in made.todo] == ["c.jpg"]
    touched = [Item(name, name, 1, "2-a", "", "source changed") for name in (OUTPUT, "c.jpg")]
    kept = RunState(planned=True, began=0.0, deadline=None)
    kept.keep_rows(later, later.run, lanes.leaves)
    assert kept.rows == []  # a resume would land its job
    assert [record["output"] for record in of_seen(touched, [], lanes.leaves)] == ["c.jpg"]


def test_a_catalog_sees_that_a_single_task_has_begun_when_its_first_segments_are_gone(both: Both) -> None:
    """A process that slept until they were cleaned up looked for the next number only, and paid."""
    both.catalog_lanes.load(no_wait)
    both.begin_single()
    both.single.append([])
    both.single.store.delete(segment_name(both.single.lane, 1))

    assert both.catalog_lanes.is_contested(OUTPUT)
    assert not both.catalog_lanes.is_contested("b.jpg")


def test_a_run_whose_ledger_vanishes_while_it_begins_stops(tmp_path: Path) -> None:
    """It begins again when another run is faster. Then it found an empty folder, and began a ledger of its own."""
    home = LocalStore(tmp_path / "state")
    home.prepare()
    known = identity.create(home, "..", "https://api")
    ledger = Ledger(home, "all", run="night", title="night")
    claim = Claim(
        home,
        ledger,
        CatalogLanes(ledger, None),
        root="file:///in",
        destination="..",
        service="https://api",
        options=Options(correction=Correction()),
        expects=None,
    )
    claim.load(no_wait, resumed=False)
    (tmp_path / "state").rename(tmp_path / "elsewhere")

    with pytest.raises(LedgerNotFound, match=known.ledger):
        claim.load(no_wait, resumed=False)
