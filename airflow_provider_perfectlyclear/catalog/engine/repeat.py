"""Starts without a response: asked about once more when a cache at the service can answer, or given up."""

from __future__ import annotations

import logging
import time

from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.catalog.engine.board import Board, Stage
from airflow_provider_perfectlyclear.catalog.engine.disputed_jobs import DisputedJobs
from airflow_provider_perfectlyclear.catalog.engine.outcomes import Outcomes
from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.engine.start import StartStep
from airflow_provider_perfectlyclear.catalog.engine.start_queue import Unconfirmed
from airflow_provider_perfectlyclear.catalog.engine.twins import Twins
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.catalog.result import Failure
from airflow_provider_perfectlyclear.errors import ItemFailed

log = logging.getLogger(__name__)


class RepeatStep:
    """
    Repeats starts. The client never repeats a ``/pfc``; this is the one place that does.

    :param recorder: the run's ledger and progress.
    :param board: says when only unconfirmed starts are left.
    :param unconfirmed: the starts without a response.
    :param twins: which output leads for which content.
    :param start: declares them again.
    :param disputed: told of those that stay without a second response.
    :param outcomes: told of those that fail.
    :param deadline: when the whole task has had its time (monotonic seconds), or None.
    """

    def __init__(
        self,
        recorder: Recorder,
        board: Board,
        unconfirmed: Unconfirmed,
        twins: Twins,
        start: StartStep,
        disputed: DisputedJobs,
        outcomes: Outcomes,
        deadline: float | None,
    ) -> None:
        self._recorder = recorder
        self._board = board
        self._unconfirmed = unconfirmed
        self._twins = twins
        self._start = start
        self._disputed = disputed
        self._outcomes = outcomes
        self._deadline = deadline
        self._said_until = 0.0

    def adopt(self, row: Row, since: float) -> None:
        """
        Take in a start that an earlier attempt left without a response.

        :param since: when it was declared (monotonic seconds).
        """
        self._unconfirmed.adopt(row.output)
        if self._twins.is_in_doubt(row):
            self._twins.wait(row)
        elif row.doubt and not row.file_key:
            # It shared the job of an output that is closed: there is nothing to ask for.
            self._disputed.give_up(row)
        else:
            self._twins.adopt(row)
            self._unconfirmed.lost(row, since)

    def begin(self, now: float) -> None:
        """Ask again about what has waited long enough, once nothing else is left to do."""
        if not self._board.is_nearly_done or not self._board.count(Stage.UNCONFIRMED):
            return
        if self._deadline is not None and now >= self._deadline:
            again, over = list[Row](), self._unconfirmed.give_up()
        else:
            again, over = self._unconfirmed.settle(now, self._recorder.progress.longest_job)
        for row, code, reason in over:
            self._recorder.book.failure(Failure(row.output, row.source, code, reason))
            self._outcomes.fail_followers(row, ItemFailed(reason, code=code))
            self._disputed.unanswered(row)
        self._start.declare(again, again=True)
        self._say_how_long(now)

    def next_settling(self, now: float) -> float | None:
        """Return the seconds until a start can be asked about again, or None."""
        return self._unconfirmed.next_settling(now, self._recorder.progress.longest_job)

    def next_deadline(self, now: float) -> float:
        """Return the seconds until a start can be asked about again, or the whole task has had its time."""
        wait = self.next_settling(now) or 0.0
        return wait if self._deadline is None else min(wait, self._deadline - now)

    def _say_how_long(self, now: float) -> None:
        wait = self.next_settling(now)
        if wait is None or wait <= 0 or now < self._said_until:
            return
        self._said_until = now + wait
        ends = time.strftime("%H:%M:%S", time.localtime(time.time() + wait))
        count = self._board.count(Stage.UNCONFIRMED)
        log.info("%s: waiting until %s before asking again", counted(count, "unconfirmed start"), ends)
