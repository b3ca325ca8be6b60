"""What is known of a run only while it lasts: disputes over a job, a mount that comes late, lost jobs in deferrals."""

from __future__ import annotations

import hashlib
import shutil
import time
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api import polling
from airflow_provider_perfectlyclear.catalog.engine import waiting
from airflow_provider_perfectlyclear.catalog.result import Parked
from airflow_provider_perfectlyclear.errors import CatalogFailed
from tests.faults.ledgers import catalog
from tests.faults.nights import night, night_held, told
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg

SOON = {"catalog.engine.start_queue.LEAST": 1.5, "catalog.engine.start_queue.UNKNOWN": 1.5}


def declared(sandbox: Sandbox, output: str) -> int:
    """How many intents of an output are in the ledger."""
    lane = sandbox.destination / ".perfectlyclear/lanes/all"
    segments = [path.read_text(errors="replace") for path in lane.glob("*.jsonl")]
    return sum(text.count(f'"r":"intent","output":"{output}"') for text in segments)


@pytest.mark.parametrize("hours", [0, 72])
@pytest.mark.fault("F68", "a worker is killed in a dispute over a job", "hidden")
def test_a_dispute_over_a_job_outlives_its_worker(row: Row, sandbox: Sandbox, hours: float) -> None:
    sandbox.options.update(transfers=1, max_in_flight=1)
    pictures = {"a.jpg": jpeg(1), "b.jpg": jpeg(2, (128, 96))}
    for name, picture in pictures.items():
        (sandbox.source / name).write_bytes(picture)
    first, second = (hashlib.sha256(picture).hexdigest() for picture in pictures.values())
    sandbox.emulator.behave(cache="free")
    sandbox.emulator.fault({"route": "pfc", "sha256": second}, {"another": True})
    worker = sandbox.start(**told(sandbox, None, {"constants": SOON}))
    ends = time.monotonic() + 60
    while declared(sandbox, "a.jpg") < 2:  # once to be started, once as in doubt
        assert time.monotonic() < ends, "no dispute"
        time.sleep(0.02)
    worker.kill()
    sandbox.end(worker)
    sandbox.emulator.fault({"route": "pfc", "sha256": first}, {"reset": "committed"})
    sandbox.emulator.fault({"route": "pfc", "sha256": second}, {"another": True})

    night(sandbox, constants=SOON)
    assert sandbox.emulator.unconsumed() == []
    sandbox.emulator.clear_faults()
    if hours:
        sandbox.emulator.let_pass(hours)
    for number in range(3):
        night(sandbox, run=None if number == 0 else f"later {number}", constants=SOON)

    assert len(sandbox.outputs) == 2
    row.consumed("its job was named for both pictures, before and after the kill")
    row.held(check_invariants(sandbox))


@pytest.mark.parametrize("options", [{}, {"reprocess": "missing"}])
@pytest.mark.fault(
    "F63", "the ledger's mount comes while the run begins, its first segments are cleaned", "hidden"
)
def test_a_ledger_that_can_be_seen_late_is_read(row: Row, sandbox: Sandbox, options: dict[str, Any]) -> None:
    sandbox.emulator.make_presets(1)
    sandbox.options.update(correction={"preset": "Preset 00001"})
    state, elsewhere = sandbox.destination / ".perfectlyclear", sandbox.source.parent / "unmounted"
    given: dict[str, Any] = {"constants": {"catalog.ledger.lane.KEEP": -1.0}}
    for number in range(4):  # each with something to do, so that the first segments are cleaned
        sandbox.put(f"{number}.jpg")
        assert night(sandbox, run=f"night {number}", **given)["summary"]["paid"] == 1
    assert not (state / "lanes/all/00000001.jsonl").exists()
    sandbox.put("new.jpg")
    state.rename(elsewhere)

    def comes() -> None:
        shutil.rmtree(state, ignore_errors=True)
        elsewhere.rename(state)

    late = night_held(
        sandbox, {"route": "presets"}, {"when": "before"}, comes, run="late", options=options, **given
    )
    after = night(sandbox, run="after", **given)

    assert (late["summary"]["paid"], after["summary"]["paid"], sandbox.accepted) == (1, 0, 5)
    row.consumed("the folder was empty when it was read first")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F19", "a lost job of a task that is deferred", "item JOB_LOST")
def test_a_lost_job_is_lost_after_a_minute_also_when_the_task_is_deferred(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wake-up begins to watch anew: so no task is deferred while a 404 lasts."""
    monkeypatch.setattr(waiting, "WORTH_DEFERRING", 0.3)
    monkeypatch.setattr(polling, "LOST_AFTER", 1.0)
    sandbox.put("a.jpg")
    sandbox.emulator.fault("pfc", {"outcome": "lost"})
    outcome: Any = catalog(sandbox, deferrable=True).execute
    deferrals = 0
    with pytest.raises(CatalogFailed, match="JOB_LOST"):
        while isinstance(outcome(), Parked):
            deferrals += 1
            assert deferrals < 5
            time.sleep(0.2)
            outcome = catalog(sandbox, deferrable=True).resume
    row.consumed(f"deferred {deferrals} times")
    row.held(check_invariants(sandbox))


def test_a_time_that_is_up_while_equal_pictures_are_sorted_ends_in_a_summary(sandbox: Sandbox) -> None:
    """Their leader was not started any more when they came to wait for it."""
    picture, png = jpeg(500, (80, 60)), {"output_type": "png"}
    (sandbox.source / "x_a.jpg").write_bytes(picture)
    night(sandbox, run="first", options={"renditions": {"p": png}})
    job = sandbox.emulator.bill()["entries"][0]["job_id"]
    (sandbox.destination / "p/x_a.png").unlink()
    (sandbox.source / "x_b.jpg").write_bytes(picture)
    for number in range(17):
        (sandbox.source / f"f{number:02}.jpg").write_bytes(jpeg(number))
    sandbox.emulator.fault({"route": "pfc", "nth": 2}, {"delay": 5}, times=None)
    sandbox.emulator.fault({"route": "status", "job_id": job}, {"delay": 4}, times=1)

    given = {"renditions": {"w": {}, "p": png}, "timeout": 2.5, "transfers": 4}
    said = night(sandbox, run="second", options=given, within=100)

    assert "summary" in said or said["error"] == "CatalogFailed", said
    check_invariants(sandbox)
