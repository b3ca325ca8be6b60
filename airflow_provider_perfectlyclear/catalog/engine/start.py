"""From an upload to a job: declared in the ledger first, then started. Here is the one call that is paid."""

from __future__ import annotations

from functools import partial

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.engine.backlog import Backlog
from airflow_provider_perfectlyclear.catalog.engine.disputed_jobs import DisputedJobs
from airflow_provider_perfectlyclear.catalog.engine.known_jobs import KnownJobs
from airflow_provider_perfectlyclear.catalog.engine.pools import Pools
from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.engine.start_answers import StartAnswers
from airflow_provider_perfectlyclear.catalog.engine.start_queue import StartQueue
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.errors import (
    Unavailable,
)


class StartStep:
    """
    Starts what is uploaded. Nothing is paid that was not written down first.

    :param client: the service.
    :param pools: make the calls.
    :param recorder: the run's ledger and progress.
    :param backlog: told what the ledger knows of from now on.
    :param queue: what is uploaded.
    :param known: says which starts are second paid calls.
    :param disputed: says which starts are asked about because of a dispute.
    :param answers: reads the responses.
    """

    def __init__(
        self,
        client: Client,
        pools: Pools,
        recorder: Recorder,
        backlog: Backlog,
        queue: StartQueue,
        known: KnownJobs,
        disputed: DisputedJobs,
        answers: StartAnswers,
    ) -> None:
        self._client = client
        self._pools = pools
        self._recorder = recorder
        self._backlog = backlog
        self._queue = queue
        self._known = known
        self._disputed = disputed
        self._answers = answers

    def begin(self, now: float) -> None:
        """Start what is ready, as much as may stand in the ledger without a response."""
        self.declare(self._queue.batch(now))

    def declare(self, rows: list[Row], *, again: bool = False) -> None:
        """
        Write the intents; then, and only then, call ``/pfc``.

        :param again: whether an earlier call may have been accepted.
        """
        intents = [
            records.intent(
                row,
                again=again or self._known.was_given_up(row),
                after_loss=self._known.was_lost(row),
                doubt=self._disputed.over(row.output) or "",
            )
            for row in rows
        ]
        if not rows or not self._recorder.append(*intents):
            return
        for row in rows:
            self._backlog.declared(row.output)
            self._queue.sent(row)
            answered = partial(self._answers.take, row, again=again)
            self._pools.submit("calls", partial(self._start, row), answered)

    def _start(self, row: Row) -> str:
        """Make the one call that is paid, in a calling thread."""
        call = calls.start(str(row.file_key), Correction.parse(dict(row.query or {})))
        return self._client.send(call, before=partial(self._check_still_ours, row))

    def _check_still_ours(self, row: Row) -> None:
        """Check right before a start goes out, after it waited for its place in the queue, or a pause after 429."""
        if self._recorder.stopped is not None:
            raise Unavailable("the run was stopped before it was started")
        if self._recorder.stood_still:
            raise Unavailable(
                "this process stood still for too long after it had declared the start; not sent"
            )
        self._recorder.refuse_contested(row.output)
