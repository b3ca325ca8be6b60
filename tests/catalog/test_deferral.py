"""A run between two workers: what it keeps, what it does not do again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.catalog.engine import loop as engine
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.report.summary import Summary
from airflow_provider_perfectlyclear.catalog.run import CatalogRun, Waiting
from airflow_provider_perfectlyclear.catalog.run_state import Kept
from airflow_provider_perfectlyclear.errors import CatalogFailed, StorageFailed
from airflow_provider_perfectlyclear.storage import Store
from tests.catalog.conftest import House
from tests.catalog.judge import judge
from tests.faults.ledgers import single
from tests.faults.table import Row

NAMES = [f"{number:02d}.jpg" for number in range(12)]


@pytest.fixture(autouse=True)
def defers_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting longer than half a second is worth a deferral here, so that no test waits for long."""
    monkeypatch.setattr(engine, "WORTH_DEFERRING", 0.5)


def run_in(house: House, key: str = "night", **options: Any) -> CatalogRun:
    options = {"deferrable": True, "poll_interval": 0.1, **options}
    destination = Store.local(house.destination)
    return CatalogRun(
        client=Client(Settings(api_key=house.emulator.key, base_url=house.emulator.base_url)),
        source=Store.local(house.source),
        destination=destination,
        state=destination.child(".perfectlyclear"),
        run_key=key,
        options=Options(correction=Correction(), **options),
        title=f"run {key!r}",
    )


def stuck(house: House) -> str:
    """No job of the service ends from now on, until the instruction's faults are cleared."""
    return house.emulator.fault(
        "status", {"patch": {"status": "PROCESSING", "correctedFile": None}}, times=None
    )


def work_through(house: House, waiting: Waiting | Summary, **options: Any) -> Summary:
    while isinstance(waiting, Waiting):
        waiting = run_in(house, **options).resume()
    return waiting


def test_a_run_waits_without_a_worker_and_goes_on_elsewhere(house: House) -> None:
    house.put(*NAMES)
    stuck(house)

    waiting = run_in(house).execute()
    assert isinstance(waiting, Waiting)
    assert len(waiting.job_ids) == len(NAMES)
    assert "12 jobs in progress. Requires a running triggerer" in waiting.message
    house.emulator.clear_faults()
    summary = work_through(house, waiting)

    assert house.outputs == NAMES
    assert summary.data["corrected"] == summary.data["paid"] == len(NAMES)
    judge(house)


def test_a_window_of_jobs_is_refilled_after_each_deferral(house: House) -> None:
    house.put(*NAMES)
    stuck(house)

    waiting = run_in(house, max_in_flight=5).execute()
    assert isinstance(waiting, Waiting)
    assert len(waiting.job_ids) == 5
    house.emulator.clear_faults()
    work_through(house, waiting, max_in_flight=5)

    assert house.outputs == NAMES
    assert house.emulator.bill()["accepted"] == len(NAMES)
    judge(house)


def test_a_resume_lists_and_plans_nothing(house: House) -> None:
    house.put(*NAMES)
    stuck(house)
    assert isinstance(run_in(house).execute(), Waiting)
    house.put("came-later.jpg")
    house.emulator.clear_faults()

    summary = work_through(house, run_in(house).resume())

    assert "came-later.jpg" not in house.outputs
    assert summary.data["listed"] == len(NAMES)


def test_failures_of_before_a_deferral_are_reported_after_it(house: House) -> None:
    house.put(*NAMES)
    (house.source / "text.jpg").write_text("no picture")
    stuck(house)
    waiting = run_in(house, max_failures=1).execute()
    house.emulator.clear_faults()

    summary = work_through(house, waiting, max_failures=1)

    assert summary.data["failed"] == 1
    assert summary.data["failures"][0]["name"] == "text.jpg"
    judge(house)


def test_a_run_that_was_deferred_before_it_planned_knows_what_other_runs_made(house: House) -> None:
    house.put(*NAMES[:3])
    work_through(house, run_in(house, "sunday").execute(), key="sunday")
    house.put(*NAMES[3:6])
    stuck(house)
    assert isinstance(run_in(house, "monday").execute(), Waiting)  # and nobody comes back for it
    waiting = run_in(house, "tuesday").execute()
    assert isinstance(waiting, Waiting)
    house.emulator.clear_faults()

    summary = work_through(house, run_in(house, "tuesday").resume())

    assert (summary.data["corrected"], summary.data["unchanged"], summary.data["paid"]) == (3, 3, 0)
    assert house.accepted == 6


@pytest.mark.fault("F62", "a copy that is sent after a deferral", "hidden")
def test_what_other_runs_have_paid_for_is_known_after_a_deferral(row: Row, house: House) -> None:
    house.put("a.jpg")
    work_through(house, run_in(house, "monday").execute(), key="monday")
    house.put("b.jpg")
    (house.source / "c.jpg").write_bytes((house.source / "a.jpg").read_bytes())
    stopped = stuck(house)
    waiting = run_in(house, "tuesday", max_in_flight=1).execute()
    assert isinstance(waiting, Waiting)
    house.emulator.clear_faults()
    summary = work_through(house, waiting, key="tuesday", max_in_flight=1).data
    assert (summary["corrected"], summary["reused"], summary["paid"], house.accepted) == (2, 1, 1, 2)
    row.consumed(f"deferred with c.jpg still to be sent ({stopped})")
    row.held(judge(house))


@pytest.mark.fault("F32", "found out after a deferral, and mended", "item INVALID_SOURCE")
def test_a_source_that_is_bad_for_one_night_is_not_paid_again(row: Row, house: House) -> None:
    house.put("z.jpg")
    good = (house.source / "z.jpg").read_bytes()
    work_through(house, run_in(house, "monday").execute(), key="monday")
    house.put("b.jpg")
    (house.source / "z.jpg").write_bytes(b"no picture")
    stopped = stuck(house)
    waiting = run_in(house, "tuesday", max_in_flight=1).execute()
    assert isinstance(waiting, Waiting)
    house.emulator.clear_faults()
    with pytest.raises(CatalogFailed, match=r"z\.jpg INVALID_SOURCE"):
        work_through(house, waiting, key="tuesday", max_in_flight=1)
    (house.source / "z.jpg").write_bytes(good)
    wednesday = run_in(house, "wednesday").execute()
    assert isinstance(wednesday, Summary)
    assert (wednesday.data["paid"], house.accepted) == (0, 2)
    row.consumed(f"deferred with z.jpg still to be read ({stopped})")
    row.held(judge(house))


@pytest.mark.fault("F69", "the picture alone, while the catalog is deferred", "hidden")
def test_a_picture_that_is_corrected_alone_meanwhile_is_not_paid_again(row: Row, house: House) -> None:
    house.put("a.jpg", "x.jpg")
    stopped = stuck(house)
    house.runs.add("night")
    waiting = run_in(house, "night", max_in_flight=1).execute()
    assert isinstance(waiting, Waiting)
    house.emulator.clear_faults()
    alone = single(house, house.source / "x.jpg")
    alone.execute()
    house.singles["single", "x.jpg"] = alone.facts()
    work_through(house, waiting, max_in_flight=1)
    assert house.accepted == 2 and house.outputs == ["a.jpg", "x.jpg"]
    row.consumed(f"deferred with x.jpg still to be sent ({stopped})")
    row.held(judge(house))


def test_another_run_that_came_while_this_one_was_deferred_is_noticed(house: House) -> None:
    house.put(*NAMES)
    stuck(house)
    assert isinstance(run_in(house, "monday").execute(), Waiting)
    house.emulator.clear_faults()

    other = work_through(house, run_in(house, "tuesday", deferrable=False).execute())
    summary = work_through(house, run_in(house, "monday").resume())

    assert other.data["corrected"] == len(NAMES)
    assert summary.data["unchanged"] == len(NAMES)
    assert house.emulator.bill()["accepted"] == len(NAMES)


def test_a_resume_of_a_run_that_could_not_be_parked_leaves_no_gap(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that runs twice: one had no room for its last segment, and the other wakes up."""
    house.put(*NAMES)
    stuck(house)
    with monkeypatch.context() as full, pytest.raises(StorageFailed, match="No space left"):
        full.setattr(Ledger, "park", lambda ledger: no_space())
        full.setattr(Ledger, "release", lambda ledger: no_space())
        run_in(house).execute()
    house.emulator.clear_faults()

    summary = work_through(house, run_in(house).resume())

    assert summary.data["corrected"] == summary.data["paid"] == len(NAMES)
    judge(house)


def no_space() -> None:
    raise StorageFailed("No space left")


def test_the_deadline_is_kept_across_a_deferral(house: House) -> None:
    house.put(*NAMES)
    stuck(house)
    began = time.time()
    waiting = run_in(house, timeout=3.0).execute()
    assert isinstance(waiting, Waiting)
    assert waiting.deadline == pytest.approx(began + 3.0, abs=0.5)

    time.sleep(max(0.0, waiting.deadline - time.time()))  # the trigger would; this is its deadline, not luck
    with pytest.raises(Exception, match="12 of 12 pictures failed") as failure:
        run_in(house, timeout=3.0).resume()

    assert "TIMEOUT" in str(failure.value)
    house.emulator.clear_faults()
    summary = work_through(house, run_in(house, "monday").execute(), key="monday")
    assert summary.data["corrected"] == len(NAMES)
    assert house.emulator.bill()["accepted"] == len(NAMES)


@pytest.mark.parametrize(("now", "left"), [(1010.0, 20.0), (1100.0, -70.0), (1000.0 - 36_000, 30.0)])
def test_a_clock_that_was_put_back_gives_a_resume_no_more_time_than_was_left(now: float, left: float) -> None:
    kept = Kept(planned=True, began=900.0, deadline=None)
    kept.keep_time(30.0, now=1000.0)
    packed = Kept.from_bytes(kept.to_bytes())
    assert packed is not None and packed.time_left(now) == left


def test_what_is_kept_holds_no_url_and_no_key(house: House) -> None:
    import gzip

    house.put(*NAMES)
    stuck(house)
    assert isinstance(run_in(house).execute(), Waiting)

    (kept,) = Path(house.destination).rglob("run.json.gz")
    text = gzip.decompress(kept.read_bytes()).decode()
    assert json.loads(text)["layout"] == 2
    assert "http" not in text
    assert house.emulator.key not in text
