"""The wall clock of a worker jumps by hours: nothing ends at once because of it, and nothing waits for hours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.nights import failed, night, told
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox
from tests.unit.catalog.ledger.test_owners import no_job_ends, records, until

NAMES = [f"{number:02d}.jpg" for number in range(6)]
HOURS = 10
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
pytestmark = pytest.mark.skipif(not LIBRARIES, reason="needs libfaketime (the package faketime)")

#: libfaketime 0.9 makes ``time.sleep`` fail when the monotonic clock is left alone; waiting for an event is as good.
_MAIN = """
import runpy, threading, time
time.sleep = lambda seconds: threading.Event().wait(seconds)
runpy.run_module("tests.support.worker", run_name="__main__")
"""


class Clock:
    """A wall clock that is set while processes look at it. What counts seconds is left alone."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)

    def set(self, hours: int) -> None:
        """So many hours from the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{hours * 3600:+d}\n")
        new.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


class ClockedWorker:
    """A worker, as :class:`tests.support.workers.Worker`, that lives by that clock."""

    def __init__(self, sandbox: Sandbox, clock: Clock, **more: Any) -> None:
        config = sandbox.config(**told(sandbox, None, more))
        sandbox.runs.add(config["run"])
        sandbox.temporary.mkdir(exist_ok=True)
        sandbox.workers.append(self)  # type: ignore[arg-type]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sandbox.log.open("a"),
            cwd=Path(__file__).parents[2],
            env={**os.environ, **clock.environment, "TMPDIR": str(sandbox.temporary)},
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(config))
        self._process.stdin.close()
        self._process.stdin = None

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()

    def end(self, seconds: float = 60.0) -> dict[str, Any] | None:
        """What it said at its end; None if it was killed."""
        said, _ = self._process.communicate(timeout=seconds)
        if self._process.returncode == -signal.SIGKILL:
            return None
        assert self._process.returncode == 0, said
        return dict(json.loads(said.splitlines()[-1]))


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def clocked(sandbox: Sandbox, worker: ClockedWorker, seconds: float = 60.0) -> dict[str, Any]:
    """What a worker said when it ended by itself."""
    said = sandbox.end(worker, seconds)  # type: ignore[arg-type]
    assert said is not None, "killed"
    return said


def jump(hours: int, way: str, outcome: str = "hidden") -> Any:
    return pytest.param(hours, marks=pytest.mark.fault("F42", way, outcome), id=way.replace(" ", "-"))


# ---- while jobs are open


@pytest.mark.parametrize("hours", [jump(HOURS, "forwards, jobs open"), jump(-HOURS, "backwards, jobs open")])
def test_a_jump_while_jobs_are_open_is_not_noticed(
    row: Row, sandbox: Sandbox, clock: Clock, hours: int
) -> None:
    sandbox.put(*NAMES)
    with no_job_ends(sandbox):
        worker = ClockedWorker(sandbox, clock, options={"timeout": 120.0, "job_timeout": 60.0})
        until(lambda: records(sandbox, "started") == len(NAMES))
        clock.set(hours)
        time.sleep(1.5)  # who looks at that clock has looked
    said = clocked(sandbox, worker)

    row.consumed(f"{jumps(sandbox, hours)} lines of the log have that time")
    assert said.get("summary", {}).get("corrected") == len(NAMES), said
    the_night_after_pays_nothing(sandbox, row)


@pytest.mark.parametrize(
    "hours",
    [
        jump(HOURS, "forwards, jobs stuck", "items TIMEOUT"),
        jump(-HOURS, "backwards, jobs stuck", "items TIMEOUT"),
    ],
)
@pytest.mark.parametrize("limit", ["timeout", "job_timeout"])
def test_a_jump_neither_hastens_nor_delays_a_deadline(
    row: Row, sandbox: Sandbox, clock: Clock, hours: int, limit: str
) -> None:
    sandbox.put(*NAMES)
    with no_job_ends(sandbox):
        worker = ClockedWorker(sandbox, clock, options={limit: 5.0})
        until(lambda: records(sandbox, "started") == len(NAMES))
        started = time.monotonic()
        clock.set(hours)
        said = clocked(sandbox, worker, 120)
        took = time.monotonic() - started

    row.consumed(f"{jumps(sandbox, hours)} lines of the log have that time")
    assert said.get("error") == "CatalogFailed", said
    assert [line["code"] for line in failed(sandbox)] == ["TIMEOUT"] * len(NAMES)
    assert 1.0 < took < 120
    the_night_after_pays_nothing(sandbox, row)


@pytest.mark.parametrize(
    "hours",
    [jump(HOURS, "forwards, before the plan"), jump(-HOURS, "backwards, before the plan")],
)
def test_a_jump_before_the_plan_is_made_is_not_noticed(
    row: Row, sandbox: Sandbox, clock: Clock, hours: int
) -> None:
    """Jobs of an earlier try are landed first; what comes then has the time that is left."""
    sandbox.put(*NAMES)
    with no_job_ends(sandbox):
        first = ClockedWorker(sandbox, clock, options={"max_in_flight": 2, "timeout": 120.0})
        until(lambda: records(sandbox, "started") >= 2)
        first.kill()
        second = ClockedWorker(sandbox, clock, options={"max_in_flight": 2, "timeout": 120.0})
        until(lambda: records(sandbox, "owner") == 2)
        clock.set(hours)
        time.sleep(1.0)
    said = clocked(sandbox, second)

    row.consumed(f"{jumps(sandbox, hours)} lines of the log have that time")
    assert said.get("summary", {}).get("corrected") == len(NAMES), said
    the_night_after_pays_nothing(sandbox, row)


# ---- between tries


@pytest.mark.parametrize(
    "hours",
    [jump(HOURS, "forwards, between tries"), jump(-HOURS, "backwards, between tries")],
)
def test_a_job_of_another_clock_is_watched_for_as_long_as_any(
    row: Row, sandbox: Sandbox, clock: Clock, hours: int
) -> None:
    """What a try that was killed has started is, by its record, ten hours old, or not started yet."""
    sandbox.put(*NAMES)
    with no_job_ends(sandbox):
        first = ClockedWorker(sandbox, clock)
        until(lambda: records(sandbox, "started") == len(NAMES))
        first.kill()
        clock.set(hours)
        watched = {"api.polling.LOST_AFTER": 12.0}
        options = {"job_timeout": 20.0, "timeout": 120.0}
        second = ClockedWorker(sandbox, clock, constants=watched, options=options)
        until(lambda: records(sandbox, "owner") == 2)
        time.sleep(1.5)  # not long by any clock but that one
    said = clocked(sandbox, second)

    row.consumed(f"{jumps(sandbox, hours)} lines of the log have that time")
    assert said.get("summary", {}).get("corrected") == len(NAMES), said
    the_night_after_pays_nothing(sandbox, row)


@pytest.mark.fault("F42", "forwards, between tries, and the jobs are 404 for a moment", "hidden")
def test_a_job_of_another_clock_is_not_lost_at_its_first_404(
    row: Row, sandbox: Sandbox, clock: Clock
) -> None:
    """Else it would be started, and paid, again."""
    sandbox.put(*NAMES)
    with no_job_ends(sandbox):
        first = ClockedWorker(sandbox, clock)
        until(lambda: records(sandbox, "started") == len(NAMES))
        first.kill()
    gone = {"answer": {"status": 404, "body": '{"error": "unknown job"}'}}
    sandbox.emulator.fault("status", gone, times=4)
    clock.set(HOURS)
    longer = {"constants": {"api.polling.LOST_AFTER": 30.0}}
    soon = {"job_timeout": 31.0}  # an old job is asked about seldom
    said = clocked(sandbox, ClockedWorker(sandbox, clock, **longer, options=soon))

    row.consumed(sandbox.emulator)
    assert said.get("summary", {}).get("corrected") == len(NAMES), said
    the_night_after_pays_nothing(sandbox, row)


def jumps(sandbox: Sandbox, hours: int) -> int:
    """How many lines were logged at the wrong time."""
    there = time.strftime("%Y-%m-%d %H:", time.localtime(time.time() + hours * 3600))
    before = time.strftime("%Y-%m-%d %H:", time.localtime(time.time() + hours * 3600 - 600))
    lines = sandbox.log.read_text(errors="replace").splitlines()
    found = sum(line.startswith((there, before)) for line in lines)
    assert found, "the clock did not jump"
    return found


def the_night_after_pays_nothing(sandbox: Sandbox, row: Row) -> None:
    """By the true clock again."""
    after = night(sandbox, run="the night after")
    assert "summary" in after, after
    assert sandbox.outputs == NAMES
    assert sandbox.accepted == len(NAMES)
    row.held(check_invariants(sandbox))
