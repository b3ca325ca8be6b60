"""What takes the place of time, threads and files in the product's own modules."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from time import localtime, strftime
from types import SimpleNamespace
from typing import Any

import pytest
from greenlet import getcurrent

from airflow_provider_perfectlyclear.api.models import JobStatus
from airflow_provider_perfectlyclear.catalog import run as run_module
from airflow_provider_perfectlyclear.catalog import workspace
from airflow_provider_perfectlyclear.catalog.engine import (
    assembly,
    copies,
    disputed_jobs,
    lines,
    loop,
    poll,
    recorder,
    repeat,
    sharing,
    uploader,
    waiting,
)
from airflow_provider_perfectlyclear.catalog.ledger import journal, lane, other_lanes, owners
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.catalog.plan import comparison, planner, survey
from airflow_provider_perfectlyclear.catalog.plan import waiting as plan_waiting
from airflow_provider_perfectlyclear.catalog.plan.model import Plan
from airflow_provider_perfectlyclear.catalog.result import Finished
from airflow_provider_perfectlyclear.catalog.run_state import RunState
from airflow_provider_perfectlyclear.catalog.transfer import reuse, set_aside
from airflow_provider_perfectlyclear.catalog.transfer.landing import BeforePublish, Landed, Lander
from airflow_provider_perfectlyclear.catalog.transfer.verify import Wanted
from airflow_provider_perfectlyclear.errors import InvalidSource
from airflow_provider_perfectlyclear.media import JPEG
from tests.support.histories.clock import EPOCH, Clock, Thread
from tests.support.histories.store import ModelStore, bytes_of

#: Short enough for a history of an hour: checkpoints, and segments that are cleaned up under a sleeping owner.
CHECKPOINT_EVERY, KEEP, LOOK = 12, 900.0, 5.0


class Time:
    """The module ``time``, for the history that is being played."""

    clock: Clock

    def monotonic(self) -> float:
        return self.clock.now

    def time(self) -> float:
        return EPOCH + self.clock.now

    strftime = staticmethod(strftime)
    localtime = staticmethod(localtime)


TIME = Time()


class AtOnce:
    """An executor that does everything at once."""

    def __init__(self, *given: object) -> None: ...

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *given: object) -> None: ...

    def submit(self, work: Callable[..., Any], *given: Any) -> Any:
        done = work(*given)
        return SimpleNamespace(result=lambda: done, cancel=lambda: None)

    def map(self, work: Callable[..., Any], given: Iterable[Any]) -> Iterator[Any]:
        return map(work, given)


class Pools:
    """As the engine's, with threads of the simulated process."""

    def __init__(self, *, transfers: int, calls: int) -> None:
        thread = getcurrent()
        assert isinstance(thread, Thread)
        self._main, self._process = thread, thread.process
        self._threads = {"transfers": transfers, "calls": calls}
        self._busy = {"transfers": 0, "calls": 0}
        self._running = {"transfers": 0, "calls": 0}
        self._queue: dict[str, list[Callable[[], None]]] = {"transfers": [], "calls": []}
        self._results: list[Callable[[], None]] = []

    def __enter__(self) -> Pools:
        return self

    def __exit__(self, *given: object) -> None:
        while not self._process.is_dead and any(self._running.values()):
            self._process.clock.wait(1.0)

    def busy(self, name: str) -> int:
        return self._busy[name]

    def free(self, name: str) -> int:
        return max(0, self._threads[name] - self._busy[name])

    def submit(self, name: str, work: Callable[[], Any], then: Callable[[Future[Any]], None]) -> None:
        self._busy[name] += 1
        future = Future[Any]()

        def after() -> None:
            self._busy[name] -= 1
            then(future)

        def body() -> None:
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001  # as a real executor does
                future.set_exception(error)
            self._results.append(after)
            self._running[name] -= 1
            if self._queue[name]:
                self._begin(name, self._queue[name].pop(0))
            self._process.clock.wake(self._main)

        if self._running[name] < self._threads[name]:
            self._begin(name, body)
        else:
            self._queue[name].append(body)

    def _begin(self, name: str, body: Callable[[], None]) -> None:
        self._running[name] += 1
        self._process.spawn(body)

    def post(self, act: Callable[[], None]) -> None:
        self._results.append(act)
        self.wake()

    def wake(self) -> None:
        self._process.clock.wake(self._main)

    def handle(self, patience: float) -> None:
        if not self._results and patience > 0:
            self._process.clock.wait(patience)
        while self._results:
            self._results.pop(0)()


class Event:
    """As ``threading.Event``, for the thread of the simulated process that makes it."""

    def __init__(self) -> None:
        thread = getcurrent()
        assert isinstance(thread, Thread)
        self._thread, self._is_set = thread, False

    def set(self) -> None:
        self._is_set = True
        self._thread.process.clock.wake(self._thread)

    def wait(self, seconds: float) -> bool:
        if not self._is_set:
            self._thread.process.clock.wait(seconds)
        return self._is_set


class Reporter:
    """Says nothing, but whether the run is green."""

    data = place = None

    def facts(self, tally: object) -> dict[str, Any]:
        return {}

    def progress(self, state: RunState, line: str) -> None: ...

    def planned(self, state: RunState, made: Plan) -> Finished:
        raise NotImplementedError

    def stopped(self, state: RunState, left: object) -> None: ...

    def sum_up(self, state: RunState) -> Finished:
        return Finished({})

    def finish(self, state: RunState, finished: Finished) -> Any:
        return SimpleNamespace(failures=state.progress.failures, gone=state.progress.gone)


@contextmanager
def staged(
    source: ModelStore, name: str, size: int, fingerprint: str, spool: object, *, check: bool = True
) -> Iterator[Any]:
    """A source, read and hashed."""

    def unchanged() -> None:
        entry = source.stat(name)
        if entry is None or entry.fingerprint != fingerprint:
            raise InvalidSource("changed", code="SOURCE_CHANGED")

    data = source.open(name).read()
    digest = sha256(data).hexdigest()
    yield SimpleNamespace(
        open=lambda: source.open(name), size=len(data), sha256=digest, kind=JPEG, unchanged=unchanged
    )


def result_of(content: str, digest: str) -> bytes:
    """The bytes of a corrected picture."""
    return f"{content} {digest}".encode()


def land(
    self: Any,
    status: JobStatus,
    output: str,
    wanted: Wanted,
    *,
    fresh: bool = True,
    before: BeforePublish = lambda: None,
) -> Landed:
    """A job's result, published."""
    job = self.client.job(status.job_id)
    data = result_of(job.content, job.digest)
    before()
    self.destination.write(output, data)
    return Landed(len(data), status, sha256=sha256(data).hexdigest())


def copy_file(
    source: tuple[ModelStore, str],
    target: tuple[ModelStore, str],
    held: Row,
    spool: object,
    before: BeforePublish = lambda: None,
) -> Landed | None:
    """A copy of an output, if it exists as the ledger has it."""
    data = source[0].read(source[1])
    if data is None or not sha256(data).hexdigest().startswith(held.output_sha256):
        return None
    before()
    target[0].write(target[1], data)
    return Landed(len(data), None, sha256=sha256(data).hexdigest())


def exists_as_made(destination: ModelStore, output: str, content: str, digest: str) -> bool:
    """Return whether an output exists as its job made it, without waiting."""
    return bytes_of(destination, output) == result_of(content, digest)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the product's own modules live in a history."""
    engine = (assembly, disputed_jobs, lines, loop, poll, recorder, repeat, sharing, waiting)
    for module in (run_module, lane, owners, journal, planner, *engine):
        monkeypatch.setattr(module, "time", TIME)
    assert lane.Ledger.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(lane.Ledger.__init__.__kwdefaults__, "clock", TIME.time)
    monkeypatch.setattr(owners, "LOOK", LOOK)
    for name, value in (("CHECKPOINT_EVERY", CHECKPOINT_EVERY), ("KEEP", KEEP)):
        monkeypatch.setattr(lane, name, value)
    for module in (other_lanes, survey, comparison):
        monkeypatch.setattr(module, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(plan_waiting, "wait", lambda futures, timeout: SimpleNamespace(not_done=()))
    monkeypatch.setattr(loop, "Pools", Pools)
    monkeypatch.setattr(run_module, "Spool", nullcontext)
    monkeypatch.setattr(uploader, "staged", staged)
    monkeypatch.setattr(Lander, "land", land)
    monkeypatch.setattr(workspace, "sweep_spools", lambda: None)
    monkeypatch.setattr(run_module, "CatalogReporter", lambda *given: Reporter())
    monkeypatch.setattr(copies, "threading", SimpleNamespace(Event=Event))
    for module in (reuse, set_aside):
        monkeypatch.setattr(module, "copy_file", copy_file)
    before, state = logging.root.manager.disable, random.getstate()
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(before)
    random.setstate(state)
