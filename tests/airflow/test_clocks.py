"""
The wall clock jumps by hours under a trigger that waits.

libfaketime cannot do that to a whole triggerer: with the monotonic clock left alone, ``time.sleep`` fails in the
processes that it is loaded into, and Airflow sleeps. So the trigger runs alone, between two workers that are real.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from tests.airflow.harness import until
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox

NAMES = ["a.jpg", "b.jpg", "c.jpg"]
KEY = "canary-key-c10c4"
HOUR = 3600
SHORT = 12.0
DEFERS_SOON = {
    "constants": {"catalog.engine.waiting.WORTH_DEFERRING": 0.5},
    "options": {"deferrable": True, "poll_interval": 0.1},
}


class Clock:
    """The wall clock of processes, by libfaketime; what counts seconds is left alone."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._offset = folder / "offset"
        self.env = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.jump(0)

    def jump(self, hours: int) -> None:
        """So far from the true time."""
        unfinished = self._offset.with_suffix(".new")
        unfinished.write_text(f"{hours * HOUR:+d}\n")
        unfinished.replace(self._offset)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    libraries = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        pytest.skip("needs libfaketime")
    return Clock(libraries[0], tmp_path)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    (tmp_path / "in").mkdir()
    with running_emulator(job_seconds=0.2, key=KEY, storage_host="127.0.0.2") as service:
        sandbox = Sandbox(tmp_path, service)
        yield sandbox
        sandbox.close()


@pytest.fixture
def triggers(sandbox: Sandbox, clock: Clock, tmp_path: Path) -> Iterator[list[Trigger]]:
    """All triggers of a test; none of them outlives it."""
    started: list[Trigger] = []
    yield started
    for trigger in started:
        trigger.process.kill()
        trigger.process.wait()


class Trigger:
    """A trigger that waits for jobs, in a process of its own."""

    def __init__(self, sandbox: Sandbox, clock: Clock, job_ids: list[str], seconds: float) -> None:
        kwargs = {"job_ids": job_ids, "poll_interval": 0.3, "timeout": seconds}
        env = {
            **os.environ,
            **clock.env,
            "AIRFLOW_HOME": str(sandbox.root / "airflow"),
            "AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT": sandbox.emulator.connection_json(),
        }
        with sandbox.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.airflow.lone_trigger"],
                env=env,
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(kwargs))
        self.process.stdin.close()

    @property
    def waits(self) -> bool:
        return self.process.poll() is None

    def event(self, within: float = 120) -> dict[str, Any]:
        """Its one event."""
        self.process.wait(within)
        assert self.process.stdout is not None
        said = self.process.stdout.read().splitlines()  # Airflow has its say there too
        (line,) = (line for line in said if line.startswith("{"))
        return dict(json.loads(line))


def is_asked_again(service: Emulator) -> None:
    def asked() -> int:
        return int(service.seen()["api"]["routes"].get("status", 0))

    before = asked()
    until("more questions", lambda: asked() >= before + 3, within=60)


@pytest.mark.fault("F42", "the triggerer's clock goes 5 h back, then 10 h on", "hidden")
def test_a_trigger_whose_clock_jumps_waits_neither_shorter_nor_longer(
    row: Row, sandbox: Sandbox, clock: Clock, triggers: list[Trigger]
) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault("status", {"patch": {"status": "PROCESSING", "correctedFile": None}}, times=None)
    said = sandbox.work(**DEFERS_SOON)
    assert said is not None and len(said["waiting"]) == len(NAMES), said
    patient, short = (Trigger(sandbox, clock, said["waiting"], seconds) for seconds in (HOUR, SHORT))
    triggers += [patient, short]

    is_asked_again(sandbox.emulator)
    clock.jump(-5)
    late = short.event()
    assert late["why"] == "deadline" and SHORT - 1 < late["seconds"] < SHORT + 60
    assert late["time"] - time.time() == pytest.approx(-5 * HOUR, abs=60)
    row.consumed("libfaketime")

    clock.jump(5)
    is_asked_again(sandbox.emulator)
    assert patient.waits
    sandbox.emulator.clear_faults()
    assert patient.event()["why"] == "all_final"
    done = sandbox.work(resume=True, **DEFERS_SOON)
    assert done is not None and done["summary"]["corrected"] == done["summary"]["paid"] == len(NAMES)
    row.held(check_invariants(sandbox))
