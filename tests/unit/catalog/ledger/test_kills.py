"""SIGKILL at every point of a picture's life: the next try finishes, and the bill is exact."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox

NAMES = ["a.jpg", "b/c.jpg", "d.jpg", "e.jpg"]
#: With one job at a time it is known which of them a kill leaves ambiguous.
ONE_BY_ONE = {"max_in_flight": 1, "transfers": 1, "poll_interval": 0.1}
#: No job is asked about before its start is in the ledger. What was lost is asked about again soon.
AT_ONCE = {
    "catalog.ledger.journal.FLUSH": 0.05,
    "catalog.engine.waiting.FLUSH": 0.05,
    "catalog.engine.start_queue.LEAST": 0.5,
    "catalog.engine.start_queue.UNKNOWN": 0.5,
    "catalog.engine.start_queue.FACTOR": 0.5,
}
#: Nothing gets into the ledger but what must be there before a start is sent.
LATER = {**AT_ONCE, "catalog.ledger.journal.FLUSH": 30.0, "catalog.engine.waiting.FLUSH": 30.0}


def killed(moment: str, ambiguous: int, *what: Any, where: str = "") -> Any:
    """A row of the table: how the worker is killed, and how many starts that leaves ambiguous at the most."""
    outcome = f"{ambiguous} ambiguous" if ambiguous else "hidden"
    mark = pytest.mark.fault("F37", f"{moment}{where}", outcome)
    return pytest.param(*what, ambiguous, marks=mark, id=moment.replace(" ", "-"))


def the_next_try_finishes(sandbox: Sandbox, outputs: list[str], ambiguous: set[int], row: Row) -> None:
    """All is there, the bill is exact but for what is declared, and the night after has nothing to pay."""
    all_jobs_end(sandbox)  # asking again is free once they have
    said = sandbox.work(constants=AT_ONCE)
    assert said is not None and "summary" in said, said
    assert sandbox.outputs == outputs
    assert said["summary"]["corrected"] == len(outputs)
    assert said["summary"]["possibly_paid_twice"] in ambiguous
    assert sandbox.emulator.bill()["billed"] == len(outputs)
    after = sandbox.work(run="the night after", constants=AT_ONCE)
    assert after is not None and after["summary"]["unchanged"] == len(outputs), after
    assert sandbox.emulator.bill()["billed"] == len(outputs)
    row.held(check_invariants(sandbox))


def all_jobs_end(sandbox: Sandbox) -> None:
    """What the service was asked to do is done."""
    ends = time.monotonic() + 30
    while {entry["state"] for entry in sandbox.emulator.bill()["entries"]} - {"COMPLETED"}:
        assert time.monotonic() < ends, sandbox.emulator.bill()
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("route", "when", "ambiguous"),
    [
        killed("before /pfc", 0, "put", "committed"),
        killed("while /pfc is sent", 1, "pfc", "before"),
        killed("after /pfc was accepted", 1, "pfc", "committed"),
        killed("after its answer", 1, "pfc", "answered"),
        killed("after the record", 0, "status", "before"),
        killed("in a download", 0, "download", "answering"),
    ],
)
def test_a_worker_killed_by_the_service_pays_nothing_twice_in_silence(
    row: Row, sandbox: Sandbox, route: str, when: str, ambiguous: int
) -> None:
    sandbox.put(*NAMES)
    sandbox.options = ONE_BY_ONE
    sandbox.emulator.fault({"route": route, "nth": 3}, {"kill": {"pid": "peer", "when": when}})

    assert sandbox.work(constants=LATER if route == "pfc" else AT_ONCE) is None

    row.consumed(sandbox.emulator)
    the_next_try_finishes(sandbox, NAMES, {ambiguous}, row)


@pytest.mark.parametrize(
    ("event", "part", "ambiguous"),
    [
        killed("between temporary name and publishing", 0, "os.rename", "out/b/c.jpg"),
        killed("before the manifest", 0, "os.rename", "manifest.jsonl"),
        killed("before the owner is there", 0, "os.link", "lanes/all/00000001.jsonl"),
        killed("before the intent is there", 0, "os.link", "lanes/all/00000002.jsonl"),
        killed("before started is there", 1, "os.link", "lanes/all/00000003.jsonl"),
    ],
)
def test_a_worker_killed_at_a_file_pays_nothing_twice(
    row: Row, sandbox: Sandbox, event: str, part: str, ambiguous: int
) -> None:
    sandbox.put(*NAMES)
    sandbox.options = ONE_BY_ONE

    assert sandbox.work(die_at=[event, part], constants=AT_ONCE) is None

    row.consumed("the worker ended by SIGKILL")
    the_next_try_finishes(sandbox, NAMES, {ambiguous}, row)


def test_the_next_night_pays_nothing(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    first = sandbox.work()
    second = sandbox.work(run="nightly/2026-11-23/correct/-1")

    assert first is not None and first["summary"]["paid"] == len(NAMES)
    assert second is not None and second["summary"]["paid"] == 0
    assert second["summary"]["unchanged"] == len(NAMES)
    assert sandbox.emulator.bill()["accepted"] == len(NAMES)
