"""
Several owners of one destination: each picture is paid once, also if owners come, die, sleep or are told to stop.

Workers are processes of their own. They are held in the middle by the service, so that nothing depends on luck.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from PIL import Image

from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.errors import LaneHeld
from tests.faults.table import Row
from tests.support.invariants import (
    check_invariants,
)
from tests.support.sandbox import Sandbox, jpeg
from tests.support.workers import Worker

NAMES = [f"{number:02d}.jpg" for number in range(12)]
#: Another run waits for three seconds instead of ninety; the rest in proportion.
SOON = {
    "catalog.ledger.owners.ABANDONED": 6.0,
    "catalog.ledger.lane.HEARTBEAT": 0.5,
    "catalog.engine.recorder.STALE": 3.0,
    "catalog.engine.start_queue.LEAST": 1.0,
    "catalog.engine.start_queue.UNKNOWN": 1.0,
    "catalog.engine.start_queue.FACTOR": 0.2,
}
OPTIONS = {"poll_interval": 0.2, "max_in_flight": 4}


@pytest.fixture
def sandbox(sandbox: Sandbox) -> Sandbox:
    sandbox.put(*NAMES)
    sandbox.options = dict(OPTIONS)
    return sandbox


def start(sandbox: Sandbox, run: str, **more: Any) -> Worker:
    return sandbox.start(run=run, **{"constants": SOON, **more})


def work(sandbox: Sandbox, run: str, **more: Any) -> dict[str, Any]:
    said = sandbox.work(run=run, **{"constants": SOON, **more})
    assert said is not None
    return said


def end(sandbox: Sandbox, worker: Worker, seconds: float = 60.0) -> dict[str, Any]:
    """What a worker said when it ended by itself."""
    said = sandbox.end(worker, seconds)
    assert said is not None
    return said


def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.02)


@contextmanager
def no_job_ends(sandbox: Sandbox) -> Iterator[None]:
    """Stop the workers in the middle of their work."""
    still = {"patch": {"status": "PROCESSING", "correctedFile": None}}
    sandbox.emulator.fault("status", still, times=None)
    try:
        yield
    finally:
        sandbox.emulator.clear_faults()


def records(sandbox: Sandbox, kind: str, lane: str = "all") -> int:
    """How many records of a kind the ledger's segments hold."""
    folder = sandbox.destination / ".perfectlyclear" / "lanes" / lane
    texts = (path.read_bytes() for path in folder.glob("*.jsonl"))
    return sum(text.count(b'{"r":"%s"' % kind.encode()) for text in texts)


def stop_at(sandbox: Sandbox, match: dict[str, Any], when: str, *more: dict[str, Any]) -> None:
    """SIGSTOP the process that sends that request."""
    sandbox.emulator.fault(match, [*more, {"kill": {"pid": "peer", "when": when, "signal": "SIGSTOP"}}])


def row_of(fault: str, way: str, outcome: str, *what: Any) -> Any:
    """A row of the table."""
    return pytest.param(*what, marks=pytest.mark.fault(fault, way, outcome), id=way.replace(" ", "-"))


def wake(worker: Worker) -> None:
    worker.send_signal(signal.SIGCONT)


# ---- two at once


@pytest.mark.fault("F41", "one comes while another works", "run LANE_HELD")
def test_a_second_run_is_told_who_holds_the_destination_and_its_retry_finishes(
    row: Row, sandbox: Sandbox
) -> None:
    with no_job_ends(sandbox):
        first = start(sandbox, "monday")
        until(lambda: sandbox.accepted == 4)
        refused = work(sandbox, "tuesday")
        assert sandbox.accepted == 4
    done = end(sandbox, first)
    retried = work(sandbox, "tuesday")

    assert refused["error"] == "LaneHeld"
    assert (
        "is locked by run 'monday', which is still running. Set retries to try again later."
        in refused["message"]
    )
    assert done["summary"]["corrected"] == done["summary"]["paid"] == len(NAMES)
    assert (retried["summary"]["unchanged"], retried["summary"]["paid"]) == (len(NAMES), 0)
    assert sandbox.outputs == NAMES
    row.consumed("the second was refused")
    row.held(check_invariants(sandbox))


def test_what_a_run_has_paid_stays_its_bill_when_another_run_lands_it(sandbox: Sandbox) -> None:
    sandbox.emulator.fault({"route": "pfc", "nth": 2}, {"garble": "html"})  # accepted; its answer is lost
    stop = {"kill": {"pid": "peer", "when": "committed", "signal": "SIGTERM"}}
    sandbox.emulator.fault({"route": "pfc", "nth": 6}, stop)
    stopped = work(sandbox, "monday")
    landed = work(sandbox, "tuesday")["summary"]
    retried = work(sandbox, "monday")["summary"]

    assert stopped["error"] == "Cancelled"
    assert sandbox.outputs == NAMES
    assert retried["paid"] > 0 and landed["corrected"] > landed["paid"]
    assert retried["paid"] + landed["paid"] == len(NAMES)
    assert retried["possibly_paid_twice"] + landed["possibly_paid_twice"] == 1
    check_invariants(sandbox)


@pytest.mark.fault("F41", "three begin at the same moment", "run LANE_HELD")
def test_runs_that_begin_at_the_same_moment_pay_for_each_picture_once(row: Row, sandbox: Sandbox) -> None:
    runs = ["mars", "venus", "pluto"]

    said = [end(sandbox, worker) for worker in [start(sandbox, run) for run in runs]]
    refused = [one for one in said if "error" in one]
    retried = [work(sandbox, run)["summary"] for run in runs]

    assert len(refused) < len(runs)
    assert {one["error"] for one in refused} <= {"LaneHeld"}
    assert sandbox.outputs == NAMES
    assert sandbox.emulator.bill()["accepted"] == len(NAMES)
    assert sorted(one["paid"] for one in retried) == [0, 0, len(NAMES)]  # counted over all tries of a run
    row.consumed("three workers were started before the first ended")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F41", "a task is cleared while it runs", "run LANE_LOST")
def test_a_task_cleared_while_it_runs_starts_nothing_more(row: Row, sandbox: Sandbox) -> None:
    with no_job_ends(sandbox):
        first = start(sandbox, "night")
        until(lambda: records(sandbox, "started") == 4)
        second = start(sandbox, "night")
        until(lambda: records(sandbox, "owner") == 2)
        lost = end(sandbox, first, 10)  # at its next heartbeat
        assert records(sandbox, "owner") == 2
        assert sandbox.accepted == 4
    done = end(sandbox, second)["summary"]

    assert lost["error"] == "LaneLost"
    assert "Another run took the lock on" in lost["message"] and "starts no more jobs" in lost["message"]
    assert sandbox.outputs == NAMES
    assert (done["corrected"], done["paid"], done["possibly_paid_twice"]) == (len(NAMES), len(NAMES), 0)
    row.consumed("the first lost its lane")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F41", "a task is cleared twice in a moment", "hidden")
def test_a_task_cleared_twice_in_a_moment_declares_what_it_may_pay_twice(row: Row, sandbox: Sandbox) -> None:
    workers = [start(sandbox, "night") for _ in range(3)]
    for worker in workers:
        end(sandbox, worker)
    done = work(sandbox, "night")["summary"]

    assert sandbox.outputs == NAMES
    assert sandbox.emulator.bill()["billed"] <= len(NAMES) + done["possibly_paid_twice"]
    row.consumed("three workers were started before the first ended")
    row.held(check_invariants(sandbox))


# ---- two layouts of shards at once


@pytest.mark.parametrize(
    ("shard", "other"),
    [
        row_of("F41", "thirds come while halves work", "run LANE_HELD", "1/2", "1/3"),
        row_of("F41", "halves come while the whole works", "run LANE_HELD", None, "1/2"),
    ],
)
def test_a_run_of_another_layout_is_refused_while_one_works(
    row: Row, sandbox: Sandbox, shard: str | None, other: str | None
) -> None:
    with no_job_ends(sandbox):
        first = start(sandbox, "halves", options={**OPTIONS, "shard": shard})
        until(lambda: sandbox.accepted > 0 and records(sandbox, "started", lane_of(shard)))
        refused = work(sandbox, "thirds", options={**OPTIONS, "shard": other})
    assert "summary" in end(sandbox, first)
    retried = work(sandbox, "thirds", options={**OPTIONS, "shard": other})
    work(sandbox, "rest")

    assert refused["error"] == "LaneHeld" and "by run 'halves'" in refused["message"]
    assert "summary" in retried
    assert sandbox.outputs == NAMES
    assert sandbox.emulator.bill()["accepted"] == len(NAMES)
    row.consumed("the second was refused")
    row.held(check_invariants(sandbox))


def lane_of(shard: str | None) -> str:
    return "all" if shard is None else "{:02d}of{:02d}".format(*map(int, shard.split("/")))


@pytest.mark.parametrize(
    ("shard", "other"),
    [
        row_of("F41", "halves and thirds have both planned", "run LANE_HELD", "1/2", "1/3"),
        row_of("F41", "the whole and halves have both planned", "run LANE_HELD", None, "1/2"),
    ],
)
def test_two_layouts_that_have_both_planned_before_either_begins_pay_nothing_twice(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, shard: str | None, other: str | None
) -> None:
    both_planned, take = threading.Barrier(2), Ledger.take

    def take_together(ledger: Ledger) -> bool:
        with suppress(threading.BrokenBarrierError):
            both_planned.wait(10)
        return take(ledger)

    said: list[str] = []

    def correct(key: str, shard: str | None) -> None:
        try:
            sandbox.correct(key, shard=shard)
        except LaneHeld as refused:
            said.append(str(refused))

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "take", take_together)
        threads = [threading.Thread(target=correct, args=case) for case in (("one", shard), ("other", other))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    assert said and all("in another layout of shards" in text for text in said)
    sandbox.correct("one", shard=shard)
    sandbox.correct("other", shard=other)
    sandbox.correct("rest")
    assert sandbox.outputs == NAMES
    assert sandbox.emulator.bill()["accepted"] == len(NAMES)
    row.consumed("at least one was refused")
    row.held(check_invariants(sandbox))


# ---- pictures one by one


@pytest.mark.fault("F41", "200 single pictures into one folder", "hidden")
def test_two_hundred_single_pictures_go_into_one_folder_at_once(row: Row, sandbox: Sandbox) -> None:
    names = [f"single-{number:03d}.jpg" for number in range(200)]
    sandbox.put(*names)

    workers = [
        start(sandbox, f"map-{part}", constants={}, pictures=names[part::4], threads=50) for part in range(4)
    ]
    said = [end(sandbox, worker, 120) for worker in workers]

    assert [one["refused"] for one in said] == [[]] * 4
    assert sandbox.outputs == names
    bill = sandbox.emulator.bill(summary=True)
    assert bill["accepted"] == bill["billed"] == len(names)
    row.consumed("four workers with fifty threads each")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F41", "two tasks for each picture", "run LANE_HELD")
def test_a_picture_that_two_tasks_correct_at_once_is_paid_once(row: Row, sandbox: Sandbox) -> None:
    workers = [start(sandbox, f"task-{number}", pictures=NAMES, threads=12) for number in range(2)]
    said = [end(sandbox, worker) for worker in workers]
    again = [work(sandbox, f"task-{number}", pictures=NAMES) for number in range(2)]

    refused = [text for one in said for text in one["refused"]]
    assert all("is locked by run 'task-" in text for text in refused), refused
    assert [one["corrected"] for one in again] == [len(NAMES)] * 2
    assert sandbox.outputs == NAMES
    assert sandbox.emulator.bill()["accepted"] == len(NAMES)
    row.consumed("two workers with a thread for each picture")
    row.held(check_invariants(sandbox))


# ---- owners that die


@pytest.mark.fault("F37", "its retry starts at once", "1 ambiguous")
def test_a_killed_owners_retry_starts_at_once(row: Row, sandbox: Sandbox) -> None:
    patient = {**SOON, "catalog.ledger.owners.ABANDONED": 90.0}
    sandbox.emulator.fault({"route": "pfc", "nth": 3}, {"kill": {"pid": "peer", "when": "answered"}})
    assert sandbox.work(run="night", constants=patient) is None

    began = time.monotonic()
    work(sandbox, "night", constants=patient)

    assert time.monotonic() - began < patient["catalog.ledger.owners.ABANDONED"]
    assert sandbox.outputs == NAMES
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F37", "another run takes its place", "hidden")
def test_another_run_takes_a_killed_owners_place_after_watching_it_for_long_enough(
    row: Row, sandbox: Sandbox
) -> None:
    sandbox.emulator.fault({"route": "status", "nth": 3}, {"kill": {"pid": "peer", "when": "before"}})
    assert sandbox.work(run="monday", constants=SOON) is None
    paid = sandbox.accepted

    began = time.monotonic()
    done = work(sandbox, "tuesday")["summary"]

    assert time.monotonic() - began >= SOON["catalog.ledger.owners.ABANDONED"]
    assert sandbox.outputs == NAMES
    assert paid <= sandbox.accepted <= len(NAMES) + done["possibly_paid_twice"]
    assert sandbox.emulator.bill()["billed"] == len(NAMES)
    # Its own retry removes the segment that it may have been killed over.
    assert sandbox.work(run="monday", constants=SOON) is not None
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


# ---- owners that sleep


BUSY = [{"answer": {"status": 429, "headers": {"Retry-After": "1"}}}]


@pytest.mark.parametrize(
    ("match", "when", "more"),
    [
        row_of("F59", "in an upload", "run LANE_LOST", {"route": "put", "nth": 4}, "committed", []),
        row_of("F59", "when it has sent /pfc", "run LANE_LOST", {"route": "pfc", "nth": 2}, "before", []),
        row_of("F59", "when /pfc was answered", "run LANE_LOST", {"route": "pfc", "nth": 2}, "answered", []),
        row_of(
            "F59", "in a pause before /pfc", "run LANE_LOST", {"route": "pfc", "nth": 2}, "answered", BUSY
        ),
        row_of("F59", "while it waits", "run LANE_LOST", {"route": "status", "nth": 3}, "answered", []),
        row_of("F59", "in a download", "run LANE_LOST", {"route": "download", "nth": 2}, "committed", []),
    ],
)
def test_an_owner_that_wakes_when_another_has_finished_starts_nothing_more(
    row: Row, sandbox: Sandbox, match: dict[str, Any], when: str, more: list[dict[str, Any]]
) -> None:
    options = {**OPTIONS, "max_in_flight": 8}
    stop_at(sandbox, match, when, *more)
    first = start(sandbox, "monday", options=options)
    until(lambda: first.is_stopped)

    done = work(sandbox, "tuesday", options=options)["summary"]
    before = sandbox.emulator.bill(summary=True)
    wake(first)
    lost = end(sandbox, first)

    row.consumed(sandbox.emulator)
    after = sandbox.emulator.bill(summary=True)
    assert lost["error"] == "LaneLost" and "starts no more jobs" in lost["message"], lost
    assert after["billed"] == before["billed"] == len(NAMES)
    # It may have been stopped right before a declared start was sent: that one the other has counted.
    assert after["accepted"] <= len(NAMES) + done["possibly_paid_twice"]
    assert sandbox.outputs == NAMES
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F59", "in a download of what was replaced", "run LANE_LOST")
def test_an_owner_that_wakes_publishes_nothing_over_a_newer_output(row: Row, sandbox: Sandbox) -> None:
    options = {**OPTIONS, "transfers": 1, "max_in_flight": 1}
    stop_at(sandbox, {"route": "download", "nth": 1}, "committed")
    first = start(sandbox, "monday", options=options)
    until(lambda: first.is_stopped)
    (sandbox.source / NAMES[0]).write_bytes(jpeg(77, (96, 80)))

    work(sandbox, "tuesday", options=options)
    wake(first)
    lost = end(sandbox, first)

    row.consumed(sandbox.emulator)
    assert lost["error"] == "LaneLost", lost
    assert Image.open(sandbox.destination / NAMES[0]).size == (96, 80)
    after = work(sandbox, "wednesday", options=options)["summary"]
    assert (after["unchanged"], after["edited_at_destination"], after["paid"]) == (len(NAMES), 0, 0)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F59", "it wakes while the other works", "run LANE_LOST")
def test_an_owner_that_wakes_while_another_works_starts_nothing_more(row: Row, sandbox: Sandbox) -> None:
    stop_at(sandbox, {"route": "put", "nth": 2}, "committed")
    first = start(
        sandbox, "monday", options={**OPTIONS, "transfers": 1}
    )  # so that nothing else is on the wire
    until(lambda: first.is_stopped)
    with no_job_ends(sandbox):
        second = start(sandbox, "tuesday")
        until(lambda: records(sandbox, "owner") == 2)
        wake(first)
        lost = end(sandbox, first)
    done = end(sandbox, second)["summary"]

    assert lost["error"] == "LaneLost"
    assert sandbox.outputs == NAMES
    assert done["possibly_paid_twice"] == 0
    assert sandbox.emulator.bill()["accepted"] == len(NAMES)
    row.consumed("the first was stopped by SIGSTOP, and lost its lane")
    row.held(check_invariants(sandbox))


def test_a_long_pause_that_the_service_asks_for_is_no_sleep(sandbox: Sandbox) -> None:
    busy = {"answer": {"status": 429, "headers": {"Retry-After": "4"}}}
    sandbox.emulator.fault({"route": "pfc", "nth": 2}, busy)  # longer than a sleeper may have slept

    done = work(sandbox, "night", options={**OPTIONS, "max_in_flight": 16})["summary"]

    assert sandbox.emulator.unconsumed() == []
    assert (done["corrected"], done["paid"], done["possibly_paid_twice"]) == (len(NAMES), len(NAMES), 0)
    check_invariants(sandbox)


# ---- owners that are told to stop


@pytest.mark.fault("F38", "SIGTERM while jobs are open", "run CANCELLED")
def test_a_run_that_is_told_to_stop_ends_soon_and_the_next_one_collects(row: Row, sandbox: Sandbox) -> None:
    with no_job_ends(sandbox):
        first = start(sandbox, "monday")
        until(lambda: records(sandbox, "started") == 4)
        first.send_signal(signal.SIGTERM)
        said = end(sandbox, first, 10)
        assert sandbox.accepted == 4
    done = work(sandbox, "tuesday", constants={})["summary"]

    assert said["error"] == "Cancelled" and "what it started is in the ledger" in said["message"]
    assert sandbox.outputs == NAMES
    assert sandbox.emulator.bill()["accepted"] == len(NAMES)
    assert done["possibly_paid_twice"] == 0
    row.consumed("it was told to stop, and ended")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F38", "SIGTERM while /pfc is on the wire", "run CANCELLED")
def test_the_answer_of_a_paid_call_is_waited_for_when_a_run_is_told_to_stop(
    row: Row, sandbox: Sandbox
) -> None:
    sandbox.emulator.fault({"route": "pfc", "nth": 3}, {"delay": {"seconds": 2, "when": "committed"}})
    first = start(sandbox, "monday")
    until(lambda: sandbox.emulator.unconsumed() == [])  # it is on the wire
    first.send_signal(signal.SIGTERM)
    said = end(sandbox, first, 8)
    paid = sandbox.accepted
    done = work(sandbox, "tuesday", constants={})["summary"]

    assert said["error"] == "Cancelled"
    assert 3 <= paid < len(NAMES)
    assert done["possibly_paid_twice"] == 0
    assert sandbox.outputs == NAMES
    assert sandbox.emulator.bill()["accepted"] == len(NAMES)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.parametrize(
    ("match", "do"),
    [
        row_of(
            "F38", "SIGTERM in an upload", "run CANCELLED", {"route": "put", "nth": 3}, {"silence": "reading"}
        ),
        row_of(
            "F38",
            "SIGTERM in a download",
            "run CANCELLED",
            {"route": "download", "nth": 2},
            {"silence": {"when": "answering"}},
        ),
        row_of(
            "F38",
            "SIGTERM while an answer about a job is waited for",
            "run CANCELLED",
            {"route": "status", "nth": 3},
            {"silence": "before"},
        ),
        row_of(
            "F38",
            "SIGTERM in a pause that the service asked for",
            "run CANCELLED",
            {"route": "pfc", "nth": 3},
            {"answer": {"status": 429, "headers": {"Retry-After": "60"}}},
        ),
    ],
)
def test_a_run_that_is_told_to_stop_waits_no_longer_than_for_one_request(
    row: Row, sandbox: Sandbox, match: dict[str, Any], do: dict[str, Any]
) -> None:
    sandbox.emulator.fault(match, do)
    first = start(sandbox, "monday", settings={"timeout": 2.0, "call_deadline": 2.0, "max_retries": 50})
    until(lambda: sandbox.emulator.unconsumed() == [])
    first.send_signal(signal.SIGTERM)
    said = end(sandbox, first, 10)
    paid = sandbox.accepted
    done = work(sandbox, "tuesday", constants={})["summary"]

    assert said["error"] == "Cancelled"
    assert paid < len(NAMES)
    assert done["possibly_paid_twice"] == 0
    assert sandbox.outputs == NAMES
    assert sandbox.emulator.bill()["accepted"] == len(NAMES)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F38", "SIGTERM while it waits for another run", "run CANCELLED")
def test_a_run_that_waits_for_another_stops_waiting_when_told_to(row: Row, sandbox: Sandbox) -> None:
    with no_job_ends(sandbox):
        first = start(sandbox, "monday", constants={})  # which says nothing for long
        until(lambda: records(sandbox, "started") == 4)
        second = start(sandbox, "tuesday", constants={})
        second.wait_until_ready()
        time.sleep(1)
        second.send_signal(signal.SIGTERM)
        said = end(sandbox, second, 10)
    assert said["error"] == "Cancelled"
    assert end(sandbox, first)["summary"]["corrected"] == len(NAMES)
    row.consumed("it was told to stop, and ended")
    row.held(check_invariants(sandbox))


# ---- ledgers that cannot be written


@pytest.mark.fault("F40", "its folder became a file", "run STORAGE_FAILED")
def test_nothing_more_is_paid_when_the_ledger_cannot_be_written(row: Row, sandbox: Sandbox) -> None:
    stop_at(sandbox, {"route": "put", "nth": 4}, "committed")
    first = start(sandbox, "monday", constants={})
    until(lambda: first.is_stopped)
    declared = records(sandbox, "intent")
    lane = sandbox.destination / ".perfectlyclear" / "lanes" / "all"
    lane.rename(lane.with_name("away"))
    lane.write_text("a file where the folder was")
    wake(first)
    said = end(sandbox, first, 10)

    # It may have been stopped while it wrote a segment, and then finds that its last one is gone.
    assert said["error"] in ("StorageFailed", "LaneLost") and ".perfectlyclear" in said["message"]
    assert sandbox.accepted <= declared < len(NAMES)
    lane.unlink()
    lane.with_name("away").rename(lane)
    done = work(sandbox, "monday")["summary"]
    assert sandbox.outputs == NAMES
    assert done["paid"] == len(NAMES) == sandbox.emulator.bill()["billed"]
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


def unwritable(way: str, event: str, part: str, number: str, paid: int) -> Any:
    return row_of("F40", way, "run STORAGE_FAILED", event, part, number, paid)


@pytest.mark.parametrize(
    ("event", "part", "number", "paid"),
    [
        unwritable("full before the owner", "os.link", "lanes/all/00000001.jsonl", "ENOSPC", 0),
        unwritable("read-only before the first intent", "os.link", "lanes/all/00000002.jsonl", "EROFS", 0),
        unwritable("failing before the first answer", "os.link", "lanes/all/00000003.jsonl", "EIO", 1),
        unwritable("full before later intents", "os.link", "lanes/all/00000004.jsonl", "ENOSPC", 1),
        unwritable("no temporary file", "open", "lanes/all/.pfc-", "EACCES", 0),
    ],
)
def test_nothing_is_paid_that_cannot_be_written_down(
    row: Row, sandbox: Sandbox, event: str, part: str, number: str, paid: int
) -> None:
    said = work(sandbox, "monday", fail_at=[event, part, number])
    accepted = sandbox.accepted
    done = work(sandbox, "monday")["summary"]

    assert said["code"] == "STORAGE_FAILED" and said["retry_helps"], said
    assert "lanes/" in said["message"]
    assert accepted == paid
    assert sandbox.outputs == NAMES
    assert sandbox.emulator.bill()["billed"] <= len(NAMES) + done["possibly_paid_twice"]
    row.consumed(f"{sandbox.log.read_text().count('injected: ')} calls failed")
    row.held(check_invariants(sandbox))
