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
from airflow_provider_perfectlyclear.catalog.engine import waiting
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.result import Finished, Parked
from airflow_provider_perfectlyclear.catalog.run import CatalogRun, catalog_run
from airflow_provider_perfectlyclear.catalog.run_state import RunState
from airflow_provider_perfectlyclear.errors import CatalogFailed, StorageFailed
from airflow_provider_perfectlyclear.storage import LocalStore
from tests.faults.ledgers import single
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox

NAMES = [f"{number:02d}.jpg" for number in range(12)]


@pytest.fixture(autouse=True)
def defers_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting longer than half a second is worth a deferral here, so that no test waits for long."""
    monkeypatch.setattr(waiting, "WORTH_DEFERRING", 0.5)


def run_in(sandbox: Sandbox, key: str = "night", **options: Any) -> CatalogRun:
    options = {"deferrable": True, "poll_interval": 0.1, **options}
    destination = LocalStore(sandbox.destination)
    return catalog_run(
        Client(Settings(api_key=sandbox.emulator.key, base_url=sandbox.emulator.base_url)),
        Places(LocalStore(sandbox.source), destination, destination.child(".perfectlyclear")),
        Options(correction=Correction(), **options),
        key,
        title=f"run {key!r}",
    )


def stuck(sandbox: Sandbox) -> str:
    """No job of the service ends from now on, until the instruction's faults are cleared."""
    return sandbox.emulator.fault(
        "status", {"patch": {"status": "PROCESSING", "correctedFile": None}}, times=None
    )


def work_through(sandbox: Sandbox, waiting: Parked | Finished, **options: Any) -> Finished:
    while isinstance(waiting, Parked):
        waiting = run_in(sandbox, **options).resume()
    return waiting


def test_a_run_waits_without_a_worker_and_goes_on_elsewhere(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    stuck(sandbox)

    waiting = run_in(sandbox).execute()
    assert isinstance(waiting, Parked)
    assert len(waiting.job_ids) == len(NAMES)
    assert "12 jobs in progress. Requires a running triggerer" in waiting.message
    sandbox.emulator.clear_faults()
    summary = work_through(sandbox, waiting)

    assert sandbox.outputs == NAMES
    assert summary.data["corrected"] == summary.data["paid"] == len(NAMES)
    check_invariants(sandbox)


def test_a_window_of_jobs_is_refilled_after_each_deferral(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    stuck(sandbox)

    waiting = run_in(sandbox, max_in_flight=5).execute()
    assert isinstance(waiting, Parked)
    assert len(waiting.job_ids) == 5
    sandbox.emulator.clear_faults()
    work_through(sandbox, waiting, max_in_flight=5)

    assert sandbox.outputs == NAMES
    assert sandbox.emulator.bill()["accepted"] == len(NAMES)
    check_invariants(sandbox)


def test_a_resume_lists_and_plans_nothing(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    stuck(sandbox)
    assert isinstance(run_in(sandbox).execute(), Parked)
    sandbox.put("came-later.jpg")
    sandbox.emulator.clear_faults()

    summary = work_through(sandbox, run_in(sandbox).resume())

    assert "came-later.jpg" not in sandbox.outputs
    assert summary.data["listed"] == len(NAMES)


def test_failures_of_before_a_deferral_are_reported_after_it(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    (sandbox.source / "text.jpg").write_text("no picture")
    stuck(sandbox)
    waiting = run_in(sandbox, max_failures=1).execute()
    sandbox.emulator.clear_faults()

    summary = work_through(sandbox, waiting, max_failures=1)

    assert summary.data["failed"] == 1
    assert summary.data["failures"][0]["name"] == "text.jpg"
    check_invariants(sandbox)


def test_a_run_that_was_deferred_before_it_planned_knows_what_other_runs_made(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES[:3])
    work_through(sandbox, run_in(sandbox, "sunday").execute(), key="sunday")
    sandbox.put(*NAMES[3:6])
    stuck(sandbox)
    assert isinstance(run_in(sandbox, "monday").execute(), Parked)  # and no worker resumes it
    waiting = run_in(sandbox, "tuesday").execute()
    assert isinstance(waiting, Parked)
    sandbox.emulator.clear_faults()

    summary = work_through(sandbox, run_in(sandbox, "tuesday").resume())

    assert (summary.data["corrected"], summary.data["unchanged"], summary.data["paid"]) == (3, 3, 0)
    assert sandbox.accepted == 6


@pytest.mark.fault("F62", "a copy that is sent after a deferral", "hidden")
def test_what_other_runs_have_paid_for_is_known_after_a_deferral(row: Row, sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")
    work_through(sandbox, run_in(sandbox, "monday").execute(), key="monday")
    sandbox.put("b.jpg")
    (sandbox.source / "c.jpg").write_bytes((sandbox.source / "a.jpg").read_bytes())
    stopped = stuck(sandbox)
    waiting = run_in(sandbox, "tuesday", max_in_flight=1).execute()
    assert isinstance(waiting, Parked)
    sandbox.emulator.clear_faults()
    summary = work_through(sandbox, waiting, key="tuesday", max_in_flight=1).data
    assert (summary["corrected"], summary["reused"], summary["paid"], sandbox.accepted) == (2, 1, 1, 2)
    row.consumed(f"deferred with c.jpg still to be sent ({stopped})")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F32", "found out after a deferral, and mended", "item INVALID_SOURCE")
def test_a_source_that_is_bad_for_one_night_is_not_paid_again(row: Row, sandbox: Sandbox) -> None:
    sandbox.put("z.jpg")
    good = (sandbox.source / "z.jpg").read_bytes()
    work_through(sandbox, run_in(sandbox, "monday").execute(), key="monday")
    sandbox.put("b.jpg")
    (sandbox.source / "z.jpg").write_bytes(b"no picture")
    stopped = stuck(sandbox)
    waiting = run_in(sandbox, "tuesday", max_in_flight=1).execute()
    assert isinstance(waiting, Parked)
    sandbox.emulator.clear_faults()
    with pytest.raises(CatalogFailed, match=r"z\.jpg INVALID_SOURCE"):
        work_through(sandbox, waiting, key="tuesday", max_in_flight=1)
    (sandbox.source / "z.jpg").write_bytes(good)
    wednesday = run_in(sandbox, "wednesday").execute()
    assert isinstance(wednesday, Finished)
    assert (wednesday.data["paid"], sandbox.accepted) == (0, 2)
    row.consumed(f"deferred with z.jpg still to be read ({stopped})")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F69", "the picture alone, while the catalog is deferred", "hidden")
def test_a_picture_that_is_corrected_alone_meanwhile_is_not_paid_again(row: Row, sandbox: Sandbox) -> None:
    sandbox.put("a.jpg", "x.jpg")
    stopped = stuck(sandbox)
    sandbox.runs.add("night")
    waiting = run_in(sandbox, "night", max_in_flight=1).execute()
    assert isinstance(waiting, Parked)
    sandbox.emulator.clear_faults()
    alone = single(sandbox, sandbox.source / "x.jpg")
    alone.execute()
    sandbox.singles["single", "x.jpg"] = alone.facts()
    work_through(sandbox, waiting, max_in_flight=1)
    assert sandbox.accepted == 2 and sandbox.outputs == ["a.jpg", "x.jpg"]
    row.consumed(f"deferred with x.jpg still to be sent ({stopped})")
    row.held(check_invariants(sandbox))


def test_another_run_that_came_while_this_one_was_deferred_is_noticed(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    stuck(sandbox)
    assert isinstance(run_in(sandbox, "monday").execute(), Parked)
    sandbox.emulator.clear_faults()

    other = work_through(sandbox, run_in(sandbox, "tuesday", deferrable=False).execute())
    summary = work_through(sandbox, run_in(sandbox, "monday").resume())

    assert other.data["corrected"] == len(NAMES)
    assert summary.data["unchanged"] == len(NAMES)
    assert sandbox.emulator.bill()["accepted"] == len(NAMES)


def test_a_resume_of_a_run_that_could_not_be_parked_leaves_no_gap(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that runs twice: one had no room for its last segment, and the other wakes up."""
    sandbox.put(*NAMES)
    stuck(sandbox)
    with monkeypatch.context() as full, pytest.raises(StorageFailed, match="No space left"):
        full.setattr(Ledger, "park", lambda ledger: no_space())
        full.setattr(Ledger, "release", lambda ledger: no_space())
        run_in(sandbox).execute()
    sandbox.emulator.clear_faults()

    summary = work_through(sandbox, run_in(sandbox).resume())

    assert summary.data["corrected"] == summary.data["paid"] == len(NAMES)
    check_invariants(sandbox)


def no_space() -> None:
    raise StorageFailed("No space left")


def test_the_deadline_is_kept_across_a_deferral(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    stuck(sandbox)
    began = time.time()
    waiting = run_in(sandbox, timeout=3.0).execute()
    assert isinstance(waiting, Parked)
    assert waiting.deadline == pytest.approx(began + 3.0, abs=0.5)

    time.sleep(max(0.0, waiting.deadline - time.time()))  # the trigger would; this is its deadline, not luck
    with pytest.raises(Exception, match="12 of 12 pictures failed") as failure:
        run_in(sandbox, timeout=3.0).resume()

    assert "TIMEOUT" in str(failure.value)
    sandbox.emulator.clear_faults()
    summary = work_through(sandbox, run_in(sandbox, "monday").execute(), key="monday")
    assert summary.data["corrected"] == len(NAMES)
    assert sandbox.emulator.bill()["accepted"] == len(NAMES)


@pytest.mark.parametrize(("now", "left"), [(1010.0, 20.0), (1100.0, -70.0), (1000.0 - 36_000, 30.0)])
def test_a_clock_that_was_put_back_gives_a_resume_no_more_time_than_was_left(now: float, left: float) -> None:
    kept = RunState(planned=True, began=900.0, deadline=None)
    kept.keep_time(30.0, now=1000.0)
    packed = RunState.from_bytes(kept.to_bytes())
    assert packed is not None and packed.time_left(now) == left


def test_what_is_kept_holds_no_url_and_no_key(sandbox: Sandbox) -> None:
    import gzip

    sandbox.put(*NAMES)
    stuck(sandbox)
    assert isinstance(run_in(sandbox).execute(), Parked)

    (kept,) = Path(sandbox.destination).rglob("run.json.gz")
    text = gzip.decompress(kept.read_bytes()).decode()
    assert json.loads(text)["layout"] == 2
    assert "http" not in text
    assert sandbox.emulator.key not in text
