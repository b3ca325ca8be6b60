"""What a ledger is about, whether it is there, and what it has paid for: each fault over the real emulator."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.catalog.engine import waiting
from airflow_provider_perfectlyclear.catalog.ledger import lane, owners, segments
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.records import failed, intent, started
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row as LedgerRow
from airflow_provider_perfectlyclear.catalog.ledger.rows import State
from airflow_provider_perfectlyclear.catalog.ledger.segments import read_lane
from airflow_provider_perfectlyclear.catalog.result import Finished, Parked
from airflow_provider_perfectlyclear.emulator.testing import running_emulator
from airflow_provider_perfectlyclear.errors import (
    CatalogFailed,
    InvalidSource,
    LaneHeld,
    LaneLost,
    LedgerMismatch,
    LedgerNotFound,
    PlanRefused,
)
from airflow_provider_perfectlyclear.storage import LocalStore
from tests.faults.ledgers import DATA_ONLY, catalog, done, memory, single
from tests.faults.nights import NAMES
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg
from tests.unit.catalog.test_run_state import stuck

TEN = [f"{number:02d}.jpg" for number in range(10)]


@pytest.fixture
def defers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "WORTH_DEFERRING", 0.3)


def refused(error: type[Exception], run: Callable[[], Any], match: str = "") -> str:
    with pytest.raises(error, match=match) as caught:
        run()
    return str(caught.value)


# ---- a ledger that is not there


@pytest.mark.fault("F63", "a resume on another machine's disk", "run LEDGER_NOT_FOUND")
def test_a_resume_that_does_not_see_what_was_parked_stops(
    row: Row, sandbox: Sandbox, tmp_path: Path, defers: None
) -> None:
    sandbox.put(*NAMES)
    stuck(sandbox)
    pods = [tmp_path / "pod1", tmp_path / "pod2"]
    given: dict[str, Any] = {"deferrable": True, "timeout": 600}
    assert isinstance(catalog(sandbox, state=pods[0], **given).execute(), Parked)

    for _ in range(2):
        said = refused(LedgerNotFound, catalog(sandbox, state=pods[1], **given).resume)
        assert "Every worker must see the ledger" in said and str(pods[1]) in said
    sandbox.emulator.clear_faults()
    outcome: Parked | Finished = catalog(sandbox, state=pods[0], **given).resume()
    while isinstance(outcome, Parked):
        outcome = catalog(sandbox, state=pods[0], **given).resume()
    summary = outcome.data

    assert (summary["corrected"], sandbox.accepted) == (len(NAMES), len(NAMES))
    row.consumed("refused twice")
    shutil.copytree(pods[0], sandbox.destination / ".perfectlyclear")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F63", "a retry on another machine's disk", "run LEDGER_NOT_FOUND")
def test_a_retry_that_does_not_see_its_first_try_stops(row: Row, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.put(*NAMES)
    first = catalog(sandbox, state=tmp_path / "state")
    done(first.execute())
    said = memory(first, same_run=True)
    shutil.move(tmp_path / "state", tmp_path / "the other machine")

    refused(LedgerNotFound, catalog(sandbox, state=tmp_path / "state", expects=said).execute, said.ledger)

    assert sandbox.accepted == len(NAMES)
    row.consumed("refused")
    shutil.move(tmp_path / "the other machine", sandbox.destination / ".perfectlyclear")
    row.held(check_invariants(sandbox))


def not_mounted(sandbox: Sandbox, aside: Path) -> None:
    shutil.move(sandbox.destination, aside)
    sandbox.destination.mkdir()


def another_ledger(sandbox: Sandbox, aside: Path) -> None:
    shutil.move(sandbox.destination, aside)
    done(catalog(sandbox, "another run").execute())


def older_copy(sandbox: Sandbox, aside: Path) -> None:
    shutil.copytree(sandbox.destination, aside)
    state = sandbox.destination / ".perfectlyclear" / "lanes" / "all"
    newest = max(state.iterdir())
    newest.unlink()
    for number in range(int(newest.name[:8]) - 1, 0, -1):  # back to before it had landed anything
        segment = state / f"{number:08}.jsonl"
        if b'"landed"' in segment.read_bytes():
            segment.unlink()


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(lose, marks=pytest.mark.fault("F64", way, "run LEDGER_NOT_FOUND"), id=lose.__name__)
        for lose, way in (
            (not_mounted, "an empty mount point"),
            (another_ledger, "another ledger stands there"),
            (older_copy, "an older copy was restored"),
        )
    ],
)
def test_a_night_that_does_not_find_the_ledger_of_the_last_one_stops(
    row: Row,
    sandbox: Sandbox,
    tmp_path: Path,
    lose: Callable[[Sandbox, Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owners, "ABANDONED", 0.1)  # the older copy ends in the middle of a run
    sandbox.put(*NAMES)
    first = catalog(sandbox, "monday")
    done(first.execute())
    said, aside = memory(first), tmp_path / "aside"
    lose(sandbox, aside)
    paid = sandbox.accepted

    for key in ("tuesday", "tuesday again"):
        message = refused(LedgerNotFound, catalog(sandbox, key, expects=said).execute)
        assert f"accept_ledger={said.ledger!r}" in message
    assert sandbox.accepted == paid

    shutil.rmtree(sandbox.destination)
    shutil.move(aside, sandbox.destination)
    assert done(catalog(sandbox, "wednesday", expects=said).execute())["unchanged"] == len(NAMES)
    row.consumed("refused twice")
    row.held(check_invariants(sandbox, again=paid - len(NAMES)))


def test_a_lost_ledger_can_be_given_up(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.put(*NAMES)
    first = catalog(sandbox, "monday")
    done(first.execute())
    said = memory(first)
    not_mounted(sandbox, tmp_path / "aside")
    run = catalog(sandbox, "tuesday", expects=said, accept_ledger=said.ledger)
    assert done(run.execute())["paid"] == len(NAMES)
    later = catalog(sandbox, "wednesday", expects=memory(run), accept_ledger=said.ledger)
    assert done(later.execute())["unchanged"] == len(NAMES)


def test_an_empty_mount_point_is_left_as_it_is(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.put(*NAMES)
    first = catalog(sandbox, "monday")
    done(first.execute())
    shutil.move(sandbox.destination, tmp_path / "aside")
    refused(LedgerNotFound, catalog(sandbox, "tuesday", expects=memory(first)).execute)
    assert not sandbox.destination.exists()


@pytest.mark.fault("F65", "1,001 pictures and no ledger", "run PLAN_REFUSED")
def test_a_first_night_of_more_than_a_thousand_jobs_wants_to_be_confirmed(row: Row, sandbox: Sandbox) -> None:
    for number in range(1001):
        (sandbox.source / f"{number:04}.jpg").write_bytes(jpeg(number, (16, 80)))

    said = refused(PlanRefused, catalog(sandbox).execute)

    assert "1,001 jobs would be paid" in said and "max_new_jobs=1001" in said
    assert sandbox.accepted == 0
    few = done(catalog(sandbox, limit=3).execute())
    assert (few["paid"], few["not_started"]) == (3, 998)
    row.consumed("refused")
    row.held(check_invariants(sandbox))


# ---- a ledger that is about something else


@pytest.mark.fault("F85", "a stand-in first, then the real service", "run LEDGER_MISMATCH")
def test_outputs_of_another_service_are_not_taken_for_this_ones(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    done(catalog(sandbox, "trial").execute())
    with running_emulator(job_seconds=0.1) as real:
        run = catalog(sandbox, "monday", base_url=real.base_url)
        said = refused(LedgerMismatch, run.execute, "service")
        assert real.base_url in said and sandbox.emulator.base_url in said
        assert real.bill()["accepted"] == 0
    ledger = memory(catalog_of_before(sandbox)).ledger
    assert f"accept_ledger={ledger!r}" in said
    moved = catalog(sandbox, "tuesday", base_url=sandbox.emulator.base_url.replace("127.0.0.1", "localhost"))
    refused(LedgerMismatch, moved.execute)
    accepted = catalog(sandbox, "wednesday", accept_ledger=ledger)
    assert done(accepted.execute())["unchanged"] == len(NAMES)
    row.consumed("refused")
    row.held(check_invariants(sandbox))


def catalog_of_before(sandbox: Sandbox) -> Any:
    """A run that has only looked: what it knows of the ledger."""
    run = catalog(sandbox, "trial")
    run.execute()
    return run


def test_an_address_that_has_changed_is_accepted_once(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")
    first = catalog(sandbox, "monday")
    done(first.execute())
    there = sandbox.emulator.base_url.replace("127.0.0.1", "localhost")
    ledger = memory(first).ledger
    assert done(catalog(sandbox, "tuesday", base_url=there, accept_ledger=ledger).execute())["paid"] == 0
    assert done(catalog(sandbox, "wednesday", base_url=there).execute())["paid"] == 0
    refused(LedgerMismatch, catalog(sandbox, "thursday").execute, "service")


@pytest.mark.fault("F70", "one state_path for two destinations", "run LEDGER_MISMATCH")
def test_one_ledger_is_not_used_for_two_destinations(row: Row, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.put(*NAMES)
    state = sandbox.destination / ".perfectlyclear"
    done(catalog(sandbox, "anna", state=state, destination=sandbox.destination / "anna").execute())

    other = catalog(sandbox, "bert", state=state, destination=sandbox.destination / "bert")
    said = refused(LedgerMismatch, other.execute, "destination")

    assert str(sandbox.destination / "anna") in said and "state_path" in said
    assert sandbox.accepted == len(NAMES)
    row.consumed("refused")
    row.held(check_invariants(sandbox))


# ---- one folder, many tasks


def two_people(sandbox: Sandbox) -> list[Path]:
    found = [sandbox.source / who / "portrait.jpg" for who in ("anna", "bert")]
    for number, path in enumerate(found):
        path.parent.mkdir(parents=True)
        path.write_bytes(jpeg(number))
    return found


@pytest.mark.fault("F70", "two mapped singles of one name", "item NAME_COLLISION")
def test_two_singles_of_one_name_do_not_overwrite_each_other(row: Row, sandbox: Sandbox) -> None:
    anna, bert = two_people(sandbox)
    for night in range(3):
        done(single(sandbox, anna, f"anna {night}").execute())
        said = refused(InvalidSource, single(sandbox, bert, f"bert {night}").execute, "portrait.jpg")
        assert str(anna) in said and str(bert) in said
    assert sandbox.accepted == 1
    row.consumed("refused three times")
    row.held(check_without_catalogs(sandbox))


@pytest.mark.fault("F70", "two catalogs of one name", "item NAME_COLLISION")
def test_two_catalogs_of_one_name_do_not_overwrite_each_other(row: Row, sandbox: Sandbox) -> None:
    anna, bert = two_people(sandbox)
    done(catalog(sandbox, "anna", source=anna.parent).execute())
    before = (sandbox.destination / "portrait.jpg").read_bytes()
    summary = done(catalog(sandbox, "bert", source=bert.parent, max_failures=1).execute())

    assert (summary["failed"], summary["paid"]) == (1, 0)
    assert summary["failures"][0]["reason"].startswith("NAME_COLLISION")
    assert (sandbox.destination / "portrait.jpg").read_bytes() == before and sandbox.accepted == 1
    row.consumed("both are named")
    row.held(check_invariants(sandbox))


def test_a_source_that_has_moved_is_the_same_picture(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    done(catalog(sandbox, "monday").execute())
    sandbox.source.rename(sandbox.root / "moved")
    there = sandbox.root / "moved"
    for key in ("tuesday", "wednesday"):
        summary = done(catalog(sandbox, key, source=there).execute())
        assert (summary["unchanged"], summary["paid"]) == (len(NAMES), 0)
    (there / "a.jpg").write_bytes(jpeg(99))
    assert done(catalog(sandbox, "thursday", source=there).execute())["paid"] == 1


@pytest.mark.fault("F71", "data of equal names", "hidden")
def test_data_is_known_by_its_source(row: Row, sandbox: Sandbox, tmp_path: Path) -> None:
    people, state = two_people(sandbox), sandbox.destination / ".perfectlyclear"
    said = dict[Path, set[str]]()
    for night in range(3):
        for path in people:
            run = single(sandbox, path, f"{path} {night}", DATA_ONLY, state=state)
            said.setdefault(path, set()).add(str(done(run.execute())["job_id"]))
    assert all(len(jobs) == 1 for jobs in said.values()) and len(set.union(*said.values())) == 2
    assert sandbox.accepted == 2
    row.consumed("six answers about two pictures")
    row.held(check_without_catalogs(sandbox))


def check_without_catalogs(sandbox: Sandbox) -> str:
    """The invariants, where single pictures alone have run: a catalog that finds all of them says what it sees."""
    done(
        catalog(sandbox, "the check's", max_failures="100%", if_empty="succeed", pattern=("none*",)).execute()
    )
    return check_invariants(sandbox)


@pytest.mark.fault("F69", "singles, then the catalog", "hidden")
def test_a_catalog_knows_what_single_pictures_have_made(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*TEN)
    for name in TEN[:5]:
        done(single(sandbox, sandbox.source / name, f"single {name}").execute())
    first = done(catalog(sandbox, "monday").execute())
    again = done(catalog(sandbox, "tuesday").execute())
    assert (first["unchanged"], first["corrected"], first["paid"]) == (5, 5, 5)
    assert (again["unchanged"], again["paid"], sandbox.accepted) == (10, 0, 10)
    row.consumed("five of ten were there")
    row.held(check_invariants(sandbox, again=5))


@pytest.mark.fault("F69", "the catalog, then singles", "hidden")
def test_a_single_picture_knows_what_the_catalog_has_made(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*TEN)
    done(catalog(sandbox, "monday").execute())
    for name in TEN:
        said = done(single(sandbox, sandbox.source / name, f"single {name}").execute())
        assert said["destination"] == str(sandbox.destination / name) and said["job_id"]
    assert sandbox.accepted == 10
    row.consumed("ten were there")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F69", "a single that begins while the catalog works", "hidden")
def test_of_a_single_and_a_catalog_that_begin_together_one_steps_back(row: Row, sandbox: Sandbox) -> None:
    """The single has claimed its lane when the catalog is about to pay for the same picture."""
    sandbox.put(*NAMES)
    run = catalog(sandbox, "night", max_failures=1)
    picked = single(sandbox, sandbox.source / "d.jpg", "meanwhile")

    def claim() -> None:
        picked._claim.load(picked._workspace.sleep, resumed=False)
        assert picked.ledger.take()

    taken = run._claim.take
    run._claim.take = lambda: taken() and (claim() or True)  # type: ignore[method-assign,func-returns-value]
    summary = done(run.execute())

    assert (summary["corrected"], summary["failed"], sandbox.accepted) == (3, 1, 3)
    assert summary["failures"][0]["reason"].startswith("LOCKED")
    picked.ledger.release()
    assert done(single(sandbox, sandbox.source / "d.jpg", "later").execute())["job_id"]
    assert sandbox.accepted == 4
    row.consumed("the catalog stepped back")
    row.held(check_invariants(sandbox, again=1))


def test_a_single_picture_waits_for_the_catalog_that_works_on_it(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.put(*NAMES)
    run = catalog(sandbox, "night")
    stuck(sandbox)

    def during(_: float) -> None:
        raise LookupError

    ledger = run.ledger
    LocalStore(sandbox.destination / ".perfectlyclear").prepare()
    ledger.load()
    assert run._claim.take()
    source = LocalStore(sandbox.source)
    entry = source.stat("d.jpg")
    assert entry is not None
    row = LedgerRow("d.jpg", State.INTENT, "d.jpg", entry.fingerprint, root=source.place, query={})
    ledger.append([intent(row)])
    monkeypatch.setattr(owners, "LOOK", 0.01)
    picked = single(sandbox, sandbox.source / "d.jpg")
    monkeypatch.setattr(picked._workspace, "sleep", lambda seconds: ledger.append([]))
    refused(LaneHeld, picked.execute, "run 'night'")
    sandbox.emulator.clear_faults()
    assert sandbox.accepted == 0


# ---- what was paid for is not paid for again


@pytest.mark.fault("F76", "moved on, results gone", "hidden")
@pytest.mark.parametrize("nights", [2])
def test_outputs_that_the_next_task_has_moved_on_are_not_paid_again(
    row: Row, sandbox: Sandbox, nights: int
) -> None:
    sandbox.put(*NAMES)
    done(catalog(sandbox, "monday").execute())
    for name in NAMES:
        (sandbox.destination / name).unlink()
    sandbox.emulator.fault("status", {"answer": {"status": 404}}, times=len(NAMES))
    for night in range(nights):
        summary = done(catalog(sandbox, f"night {night}").execute())
        assert (summary["gone_from_destination"], summary["paid"]) == (len(NAMES), 0)
    assert sandbox.emulator.unconsumed() == []  # asked about once: the second night knew
    sandbox.emulator.fault("status", {"answer": {"status": 404}}, times=len(NAMES))
    paid = done(catalog(sandbox, "by name", reprocess="missing").execute())
    assert (paid["paid"], paid["paid_again"], paid["reasons"]) == (4, 4, {"output missing": 4})
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox, again=4))


@pytest.mark.parametrize(
    "goes_on",
    [
        pytest.param(
            "resume", marks=pytest.mark.fault("F77", "always, another run lands its jobs, resumed", "hidden")
        ),
        pytest.param(
            "execute", marks=pytest.mark.fault("F77", "always, another run lands its jobs, retried", "hidden")
        ),
    ],
)
def test_always_pays_once_in_a_run_though_another_run_lands_its_jobs(
    row: Row, sandbox: Sandbox, defers: None, goes_on: str
) -> None:
    sandbox.put(*NAMES)
    done(catalog(sandbox, "monday").execute())
    stuck(sandbox)
    given: dict[str, Any] = {"reprocess": "always", "deferrable": True}
    assert isinstance(catalog(sandbox, "manual", **given).execute(), Parked)
    sandbox.emulator.clear_faults()
    done(catalog(sandbox, "nightly").execute())

    summary = done(getattr(catalog(sandbox, "manual", **given), goes_on)())

    assert (summary["paid"], sandbox.accepted) == (len(NAMES), 2 * len(NAMES))
    row.consumed("the nightly run has landed them")
    row.held(check_invariants(sandbox, again=len(NAMES)))


@pytest.mark.fault("F77", "always with limit gets through", "hidden")
def test_always_with_a_limit_takes_what_was_made_longest_ago_first(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*TEN)
    for night in range(6):
        assert done(catalog(sandbox, f"night {night}", reprocess="always", limit=4).execute())["paid"] == 4
    paid = [entry["sha256"] for entry in sandbox.emulator.bill()["entries"]]
    assert sorted(map(paid.count, set(paid))) == [2] * 6 + [3] * 4
    row.consumed("each two or three times in six nights")
    row.held(check_invariants(sandbox, again=14))


@pytest.mark.fault("F73", "another correction when it is woken up", "hidden")
def test_what_was_planned_is_what_is_sent(row: Row, sandbox: Sandbox, defers: None) -> None:
    sandbox.put(*NAMES)
    stuck(sandbox)
    given: dict[str, Any] = {"deferrable": True, "max_in_flight": 2}
    waiting: Parked | Finished = catalog(sandbox, "night", {"width": 40}, **given).execute()
    assert isinstance(waiting, Parked)
    sandbox.emulator.clear_faults()
    while isinstance(waiting, Parked):
        waiting = catalog(sandbox, "night", {"width": 50}, **given).resume()
    assert waiting.data["paid"] == len(NAMES)
    assert {entry["settings"]["width"] for entry in sandbox.emulator.bill()["entries"]} == {40}

    tomorrow = done(catalog(sandbox, "tomorrow", {"width": 50}).execute())
    assert tomorrow["reasons"] == {"correction changed": len(NAMES)}
    row.consumed("the second correction was there from the first resume on")
    row.held(check_invariants(sandbox, again=len(NAMES)))


@pytest.mark.fault("F84", "edited, then its source replaced", "hidden")
def test_a_single_output_that_was_edited_is_left_alone_and_said(
    row: Row, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.put("a.jpg")
    picture = sandbox.source / "a.jpg"
    done(single(sandbox, picture, "monday").execute())
    edited = jpeg(77, (80, 60))
    (sandbox.destination / "a.jpg").write_bytes(edited)
    picture.write_bytes(jpeg(78))

    said = done(single(sandbox, picture, "tuesday").execute())

    assert said["edited_at_destination"] is True and sandbox.accepted == 1
    assert "was changed at the destination" in caplog.text
    assert (sandbox.destination / "a.jpg").read_bytes() == edited
    row.consumed("the edited output stands")
    (sandbox.destination / "a.jpg").unlink()
    row.held(check_without_catalogs(sandbox))


# ---- order without clocks, fences, checkpoints


@pytest.mark.fault("F79", "a clock days ahead on one night", "hidden")
def test_rows_are_ordered_by_sequence_and_not_by_any_clock(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.put(*TEN)
    monkeypatch.setitem(Ledger.__init__.__kwdefaults__, "clock", lambda: NOW() + 40 * 86_400)
    for which in (1, 2):
        done(catalog(sandbox, f"monday {which}", shard=f"{which}/2").execute())
    monkeypatch.undo()
    rows = read_lane(LocalStore(sandbox.destination / ".perfectlyclear"), "01of2").rows
    assert all(row.at > NOW() + 39 * 86_400 for row in rows.values())
    (sandbox.source / "03.jpg").write_bytes(jpeg(300))
    assert (
        done(catalog(sandbox, "tuesday").execute())["paid"] == 1
    )  # the whole catalog knows it in its newest form
    shards = [
        done(catalog(sandbox, f"wednesday {which}", shard=f"{which}/3").execute()) for which in (1, 2, 3)
    ]
    assert sum(each["unchanged"] for each in shards) == len(TEN)  # it is not taken for one edited in place
    assert all(each["paid"] == 0 for each in shards)
    row.consumed("forty days ahead")
    row.held(check_invariants(sandbox))


NOW = time.time


@pytest.mark.fault("F80", "an owner asleep until its numbers were cleaned", "run LANE_LOST")
def test_an_owner_whose_own_last_segment_is_gone_starts_nothing(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    state = LocalStore(sandbox.destination / ".perfectlyclear")
    state.prepare()
    sleeper = Ledger(state, "all", run="sleeper", title="the sleeper")
    sleeper.load()
    assert sleeper.take()
    sleeper.park()  # as if its process stood still right after
    sleeper.owned = True
    done(catalog(sandbox, "others").execute())
    folder = sandbox.destination / ".perfectlyclear" / "lanes" / "all"
    newest = max(folder.iterdir())
    for segment in folder.iterdir():
        if segment != newest:
            segment.unlink()

    refused(LaneLost, lambda: sleeper.append([]))

    assert not sleeper.owned
    after = done(catalog(sandbox, "after").execute())
    assert (after["unchanged"], sandbox.accepted) == (len(NAMES), len(NAMES))
    row.consumed("its number was free again")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F98", "300 dead lanes of another layout", "hidden")
def test_dead_lanes_are_watched_all_together(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sandbox.put(*NAMES)
    state = LocalStore(sandbox.destination / ".perfectlyclear")
    state.prepare()
    for which in range(1, 301):
        dead = Ledger(state, f"{which:03}of300", run=f"dead {which}", title=f"the dead {which}")
        dead.load()
        assert dead.take()
    passed = FakeTime(monkeypatch)
    run = catalog(sandbox)
    monkeypatch.setattr(run._workspace, "sleep", passed.sleep)

    done(run.execute())

    assert passed.slept < owners.ABANDONED + 3 * owners.LOOK  # all of them in the time of one
    assert "Waiting up to 90 s for 300 locks whose owners may have died" in caplog.text
    row.consumed("300 locks were watched")
    row.held(check_invariants(sandbox))


class FakeTime:
    """Time that passes only where it is slept, for those who watch lanes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slept = 0.0
        real = time.monotonic
        monkeypatch.setattr(lane.time, "monotonic", lambda: real() + self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


@pytest.mark.fault("F107", "a checkpoint of many parts, names of 460 characters", "hidden")
def test_a_checkpoint_is_written_in_parts_that_are_read(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.put(*NAMES)
    deep = "/".join(["n" * 200, "m" * 200, "k" * 50 + ".jpg"])
    sandbox.put(deep)
    wanted = [*NAMES, deep]
    monkeypatch.setattr(lane, "PART", 2000)
    monkeypatch.setattr(segments, "MAX_SEGMENT", 8000)
    done(catalog(sandbox, "monday").execute())
    state = LocalStore(sandbox.destination / ".perfectlyclear")
    view = read_lane(state, "all")
    assert view.head > view.checkpoint and view.rows.keys() == set(wanted)

    for number in range(40):  # many more rows than one segment would take
        ledger = Ledger(state, "all", run=f"others {number}", title="others")
        ledger.load()
        assert ledger.take()
        made = LedgerRow(f"{'x' * 100}{number}.jpg", State.FAILED)
        ledger.append([failed(made, "REJECTED", "r" * 300)])
        ledger.checkpoint(release=True)
    assert done(catalog(sandbox, "tuesday").execute())["unchanged"] == len(wanted)
    assert len(read_lane(state, "all").rows) == len(wanted) + 40
    row.consumed("each part is below what is read")
    row.held(check_invariants(sandbox))


def test_a_checkpoint_that_was_cut_short_changes_nothing(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.put(*TEN)
    done(catalog(sandbox, "monday").execute())
    state = LocalStore(sandbox.destination / ".perfectlyclear")
    before = read_lane(state, "all").rows
    monkeypatch.setattr(lane, "PART", 500)
    ledger = Ledger(state, "all", run="killed", title="killed")
    ledger.load()
    assert ledger.take()
    writes = iter([True, True])
    create = state.create

    def dies(name: str, data: bytes) -> bool:
        if not next(writes, False):
            raise KeyboardInterrupt
        return create(name, data)

    monkeypatch.setattr(ledger.store, "create", dies)
    with pytest.raises(KeyboardInterrupt):
        ledger.checkpoint()
    monkeypatch.undo()
    view = read_lane(state, "all")
    assert view.rows == before and view.head > view.checkpoint
    again = Ledger(state, "all", run="killed", title="killed")
    again.load()
    again.append([started("00.jpg", "x")])
    assert again.rows["00.jpg"].job_id == "x"


@pytest.mark.fault("F93", "a.jpg and a.jpg/200.jpg", "items NAME_COLLISION")
def test_a_name_cannot_be_a_file_and_a_folder(row: Row, sandbox: Sandbox) -> None:
    """A source that is a store of objects can have both; a folder cannot."""
    from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

    from airflow_provider_perfectlyclear.storage import open_store

    source = open_store(MemoryFileSystem(), "/f93")
    for number, name in enumerate(("a.jpg", "a.jpg/200.jpg", "b.jpg")):
        MemoryFileSystem.store[f"/f93/{name}"] = MemoryFile(source.fs, f"/f93/{name}", jpeg(number))
    run = catalog(sandbox, "night", max_failures=2, source=source)
    summary = done(run.execute())
    MemoryFileSystem.store.clear()

    assert (summary["corrected"], summary["failed"], sandbox.accepted) == (1, 2, 1)
    assert all(one["reason"].startswith("NAME_COLLISION") for one in summary["failures"])
    row.consumed("both are named")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F77", "always, equal pictures one after the other", "hidden")
def test_always_pays_for_equal_pictures_once_in_a_run(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    (sandbox.source / "z.jpg").write_bytes((sandbox.source / "a.jpg").read_bytes())
    assert done(catalog(sandbox, "monday").execute())["paid"] == len(NAMES)

    tuesday = done(catalog(sandbox, "tuesday", reprocess="always", max_in_flight=1).execute())

    assert (tuesday["corrected"], tuesday["paid"], tuesday["paid_again"]) == (5, len(NAMES), len(NAMES))
    row.consumed("the first has landed when the other comes")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F76", "a source that turns bad, and good again", "items INVALID_SOURCE")
def test_a_source_that_turns_bad_does_not_hide_what_was_paid(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    done(catalog(sandbox, "monday").execute())
    good = (sandbox.source / "a.jpg").read_bytes()
    (sandbox.source / "a.jpg").write_bytes(b"")
    with pytest.raises(CatalogFailed, match="INVALID_SOURCE: the file is empty"):
        catalog(sandbox, "tuesday").execute()
    wednesday = done(catalog(sandbox, "wednesday").execute())
    assert (wednesday["known_bad"], wednesday["unchanged"]) == (1, len(NAMES) - 1)
    (sandbox.source / "a.jpg").write_bytes(good)

    thursday = done(catalog(sandbox, "thursday").execute())

    assert (thursday["unchanged"], thursday["paid"], sandbox.accepted) == (len(NAMES), 0, len(NAMES))
    row.consumed("an empty file stood in its place")
    row.held(check_invariants(sandbox))
