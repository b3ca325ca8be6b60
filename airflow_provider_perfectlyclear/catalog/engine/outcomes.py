"""The end of an output: it has landed, it has failed, or it is left for a later run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from airflow_provider_perfectlyclear.catalog.engine.backlog import Backlog
from airflow_provider_perfectlyclear.catalog.engine.copies import Copies
from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.engine.start_queue import StartQueue
from airflow_provider_perfectlyclear.catalog.engine.twins import Twins
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.index import ContentIndex
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.plan.model import Item
from airflow_provider_perfectlyclear.catalog.transfer.landing import Landed
from airflow_provider_perfectlyclear.errors import PerfectlyClearError, RunStopped, Unavailable

log = logging.getLogger(__name__)

#: This many failures in a row for the same reason stop new starts.
MAX_STREAK = 25
#: For so many pictures the service may be out of reach before it has taken any; then it is, for all of them.
OUT_OF_REACH = 3


class Outcomes:
    """
    What becomes of outputs.

    :param recorder: the run's ledger and progress.
    :param backlog: what is still to be made.
    :param queue: what is uploaded and not started.
    :param twins: which output leads for which content.
    :param index: what the ledger has paid for.
    :param copies: told of what has landed.
    """

    def __init__(
        self,
        recorder: Recorder,
        backlog: Backlog,
        queue: StartQueue,
        twins: Twins,
        index: ContentIndex,
        copies: Copies,
    ) -> None:
        self._recorder = recorder
        self._backlog = backlog
        self._queue = queue
        self._twins = twins
        self._index = index
        self._copies = copies

    def landed(self, row: Row, landed: Landed) -> None:
        """Note that an output stands: from now on it is what equal ones are copied from."""
        self._recorder.book.landed(row.output, landed)
        self._copies.landed(row)
        if row.sha256:
            made = replace(row, state=State.LANDED, size=landed.size, output_sha256=landed.sha256)
            self._index.add(replace(made, paid_by=self._recorder.ledger.run))
        self._twins.landed(row)

    def recall(self, row: Row) -> None:
        """Forget that an output has landed: the job that made it may be another picture's."""
        self._index.discard(row)
        if row.state is State.LANDED and row.run == self._recorder.ledger.run:
            self._recorder.progress.landed -= 1

    def fail(self, row: Row, error: BaseException, *, close: bool = False) -> None:
        """
        Note that one output failed, or that the whole run did.

        :param close: the ledger is told that the output's job is over.
        """
        recorder = self._recorder
        if isinstance(error, RunStopped) or not isinstance(error, PerfectlyClearError):
            recorder.stop(error)
            return
        self._backlog.settle(row.output)
        recorder.book.failed(row, error, close=close)
        streak = recorder.book.streak
        if isinstance(error, Unavailable) and not recorder.progress.proved and streak >= OUT_OF_REACH:
            recorder.stop(error)
        if streak >= MAX_STREAK and not self._backlog.is_empty:  # no accident of a picture
            log.error("%d failures in a row (%s): nothing more is started", MAX_STREAK, error.code)
            self.leave_the_rest()

    def fail_followers(self, row: Row, error: BaseException, *, is_closed: bool = False) -> None:
        """
        Let the outputs that wait for one fail alike, for good or for this attempt.

        :param is_closed: whether the leader's intent is closed: those of earlier attempts that wait are, too.
        """
        for twin in self._twins.failed(row, error):
            before = self._recorder.row(twin.output)
            is_intent = before is not None and before.state is State.INTENT
            if is_closed and is_intent and isinstance(error, PerfectlyClearError):
                self._recorder.note(records.failed(twin, error.code, str(error)))
            self.fail(twin, error)

    def leave_the_rest(self, which: Callable[[Item], bool] = lambda item: True) -> None:
        """Begin nothing more of what is to be done, or of a part of it."""
        self._backlog.leave_queued(which)
        for row in self._queue.ready:
            if which(self._backlog.item(row.output)):
                self._queue.drop(row)
                for dropped in (row, *self._twins.drop(row)):
                    self._backlog.leave(dropped.output)
