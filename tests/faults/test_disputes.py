"""What is known of a run only while it lasts: disputes over a job, a mount that comes late, lost jobs in deferrals."""

from __future__ import annotations

import hashlib
import shutil
import time
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api import polling
from airflow_provider_perfectlyclear.catalog.engine import loop
from airflow_provider_perfectlyclear.catalog.result import Waiting
from airflow_provider_perfectlyclear.errors import CatalogFailed
from tests.catalog.conftest import House, jpeg
from tests.catalog.judge import judge
from tests.faults.ledgers import catalog
from tests.faults.nights import night, night_held, told
from tests.faults.table import Row

SOON = {"catalog.engine.start_queue.LEAST": 1.5, "catalog.engine.start_queue.UNKNOWN": 1.5}


def declared(house: House, output: str) -> int:
    """How many intents of an output are in the ledger."""
    lane = house.destination / ".perfectlyclear/lanes/all"
    segments = [path.read_text(errors="replace") for path in lane.glob("*.jsonl")]
    return sum(text.count(f'"r":"intent","output":"{output}"') for text in segments)


@pytest.mark.parametrize("hours", [0, 72])
@pytest.mark.fault("F68", "a worker is killed in a dispute over a job", "hidden")
def test_a_dispute_over_a_job_outlives_its_worker(row: Row, house: House, hours: float) -> None:
    house.options.update(transfers=1, max_in_flight=1)
    pictures = {"a.jpg": jpeg(1), "b.jpg": jpeg(2, (128, 96))}
    for name, picture in pictures.items():
        (house.source / name).write_bytes(picture)
    first, second = (hashlib.sha256(picture).hexdigest() for picture in pictures.values())
    house.emulator.behave(cache="free")
    house.emulator.fault({"route": "pfc", "sha256": second}, {"another": True})
    worker = house.start(**told(house, None, {"constants": SOON}))
    ends = time.monotonic() + 60
    while declared(house, "a.jpg") < 2:  # once to be started, once as in doubt
        assert time.monotonic() < ends, "no dispute"
        time.sleep(0.02)
    worker.kill()
    house.end(worker)
    house.emulator.fault({"route": "pfc", "sha256": first}, {"reset": "committed"})
    house.emulator.fault({"route": "pfc", "sha256": second}, {"another": True})

    night(house, constants=SOON)
    assert house.emulator.unconsumed() == []
    house.emulator.clear_faults()
    if hours:
        house.emulator.let_pass(hours)
    for number in range(3):
        night(house, run=None if number == 0 else f"later {number}", constants=SOON)

    assert len(house.outputs) == 2
    row.consumed("its job was named for both pictures, before and after the kill")
    row.held(judge(house))


@pytest.mark.parametrize("options", [{}, {"reprocess": "missing"}])
@pytest.mark.fault(
    "F63", "the ledger's mount comes while the run begins, its first segments are cleaned", "hidden"
)
def test_a_ledger_that_can_be_seen_late_is_read(row: Row, house: House, options: dict[str, Any]) -> None:
    house.emulator.make_presets(1)
    house.options.update(correction={"preset": "Preset 00001"})
    state, elsewhere = house.destination / ".perfectlyclear", house.source.parent / "unmounted"
    given: dict[str, Any] = {"constants": {"catalog.ledger.lane.KEEP": -1.0}}
    for number in range(4):  # each with something to do, so that the first segments are cleaned
        house.put(f"{number}.jpg")
        assert night(house, run=f"night {number}", **given)["summary"]["paid"] == 1
    assert not (state / "lanes/all/00000001.jsonl").exists()
    house.put("new.jpg")
    state.rename(elsewhere)

    def comes() -> None:
        shutil.rmtree(state, ignore_errors=True)
        elsewhere.rename(state)

    late = night_held(
        house, {"route": "presets"}, {"when": "before"}, comes, run="late", options=options, **given
    )
    after = night(house, run="after", **given)

    assert (late["summary"]["paid"], after["summary"]["paid"], house.accepted) == (1, 0, 5)
    row.consumed("the folder was empty when it was read first")
    row.held(judge(house))


@pytest.mark.fault("F19", "a lost job of a task that is deferred", "item JOB_LOST")
def test_a_lost_job_is_lost_after_a_minute_also_when_the_task_is_deferred(
    row: Row, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wake-up begins to watch anew: so no task is deferred while a 404 lasts."""
    monkeypatch.setattr(loop, "WORTH_DEFERRING", 0.3)
    monkeypatch.setattr(polling, "LOST_AFTER", 1.0)
    house.put("a.jpg")
    house.emulator.fault("pfc", {"outcome": "lost"})
    outcome: Any = catalog(house, deferrable=True).execute
    deferrals = 0
    with pytest.raises(CatalogFailed, match="JOB_LOST"):
        while isinstance(outcome(), Waiting):
            deferrals += 1
            assert deferrals < 5
            time.sleep(0.2)
            outcome = catalog(house, deferrable=True).resume
    row.consumed(f"deferred {deferrals} times")
    row.held(judge(house))


def test_a_time_that_is_up_while_equal_pictures_are_sorted_ends_in_a_summary(house: House) -> None:
    """Their leader was not started any more when they came to wait for it."""
    picture, png = jpeg(500, (80, 60)), {"output_type": "png"}
    (house.source / "x_a.jpg").write_bytes(picture)
    night(house, run="first", options={"renditions": {"p": png}})
    job = house.emulator.bill()["entries"][0]["job_id"]
    (house.destination / "p/x_a.png").unlink()
    (house.source / "x_b.jpg").write_bytes(picture)
    for number in range(17):
        (house.source / f"f{number:02}.jpg").write_bytes(jpeg(number))
    house.emulator.fault({"route": "pfc", "nth": 2}, {"delay": 5}, times=None)
    house.emulator.fault({"route": "status", "job_id": job}, {"delay": 4}, times=1)

    given = {"renditions": {"w": {}, "p": png}, "timeout": 2.5, "transfers": 4}
    said = night(house, run="second", options=given, within=100)

    assert "summary" in said or said["error"] == "CatalogFailed", said
    judge(house)
