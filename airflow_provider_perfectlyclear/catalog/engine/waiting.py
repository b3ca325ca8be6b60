"""When a run is done, when only waiting is left, and how long to wait for the next result."""

from __future__ import annotations

import time

from airflow_provider_perfectlyclear.catalog.engine.backlog import Backlog
from airflow_provider_perfectlyclear.catalog.engine.board import MOVING, Board, Stage
from airflow_provider_perfectlyclear.catalog.engine.pools import Pools
from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.engine.repeat import RepeatStep
from airflow_provider_perfectlyclear.catalog.engine.start_queue import StartQueue
from airflow_provider_perfectlyclear.catalog.engine.status_checks import StatusChecks
from airflow_provider_perfectlyclear.catalog.ledger.journal import FLUSH

#: Waiting longer than this (seconds) is left to the triggerer.
WORTH_DEFERRING = 10.0
#: The longest wait for a result before the loop looks round, and the shortest (seconds).
LONGEST, SHORTEST = 15.0, 0.005


class Waiting:
    """
    Looks at all parts of a run, and changes none.

    :param board: how many outputs are in which stage.
    :param pools: how much is being done.
    :param recorder: the run's ledger and progress.
    :param backlog: what is still to be made.
    :param queue: what is uploaded.
    :param repeat: starts without a response.
    :param checks: the open jobs, and when they are asked about.
    :param deferrable: whether a trigger can wait instead.
    """

    def __init__(
        self,
        board: Board,
        pools: Pools,
        recorder: Recorder,
        backlog: Backlog,
        queue: StartQueue,
        repeat: RepeatStep,
        checks: StatusChecks,
        deferrable: bool,
    ) -> None:
        self._board = board
        self._pools = pools
        self._recorder = recorder
        self._backlog = backlog
        self._queue = queue
        self._repeat = repeat
        self._checks = checks
        self._jobs = checks.jobs
        self._deferrable = deferrable

    def is_over(self) -> bool:
        """Return whether nothing is left to do, or nothing more may be done."""
        if self._pools.busy("transfers") or self._pools.busy("calls"):
            return False
        is_done = self._board.is_nearly_done and not self._board.count(Stage.UNCONFIRMED)
        return self._recorder.stopped is not None or is_done

    def should_defer(self) -> bool:
        """Return whether only waiting is left that a trigger does better."""
        if not self._deferrable or self._recorder.stopped is not None or not self._is_idle():
            return False
        if self._pools.busy("calls"):
            return False
        now, typical = time.monotonic(), self._recorder.progress.typical_job
        if not self._jobs:  # unconfirmed starts are asked about again after a while: no slot is held for that
            return self.next_deadline() > WORTH_DEFERRING
        is_far_off = typical is not None and typical - self._jobs.oldest_age(now) > WORTH_DEFERRING
        has_waited = now - self._recorder.moved > WORTH_DEFERRING
        return (is_far_off or has_waited) and not self._checks.is_losing(now)

    def patience(self) -> float:
        """Return how long to wait for a result before there is something else to do (seconds)."""
        now, recorder = time.monotonic(), self._recorder
        waits: list[float | None] = [LONGEST, FLUSH if recorder.book.is_behind else None]
        if recorder.stopped is None:
            waits += (self._queue.next_batch(now), recorder.ledger.next_beat)
            if self._pools.free("calls"):
                waits.append(self._checks.next_due(now))
            if self._board.is_nearly_done:
                waits.append(self._repeat.next_settling(now))
            if self._deferrable and self._is_idle():
                waits.append(max(recorder.moved + WORTH_DEFERRING - now, 0.05))
        return max(SHORTEST, min(wait for wait in waits if wait is not None))

    def next_deadline(self) -> float:
        """Return the seconds until there is something to do again at the latest, whatever the jobs do."""
        now = time.monotonic()
        return self._checks.next_deadline(now) if self._jobs else self._repeat.next_deadline(now)

    def until_about(self) -> float | None:
        """Return the seconds until the jobs are probably done, None if no job tells."""
        typical = self._recorder.progress.typical_job
        if not self._jobs:
            return self.next_deadline()
        return None if typical is None else typical - self._jobs.youngest_age(time.monotonic())

    def _is_idle(self) -> bool:
        """Return whether no byte can move and nothing can be started: only waiting is left."""
        busy = self._pools.busy("transfers") or self._jobs.to_land or self._board.count(*MOVING)
        unconfirmed = self._board.is_nearly_done and self._board.count(Stage.UNCONFIRMED) > 0
        return not busy and (bool(self._jobs) or unconfirmed) and not self._backlog.may_begin
