"""What a response to a start means: a job, another picture's job, a refusal, or nothing."""

from __future__ import annotations

import logging
from concurrent.futures import Future

from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.engine.disputed_jobs import DisputedJobs
from airflow_provider_perfectlyclear.catalog.engine.outcomes import Outcomes
from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.engine.refusals import Refusals, is_about_the_preset
from airflow_provider_perfectlyclear.catalog.engine.sharing import Sharing
from airflow_provider_perfectlyclear.catalog.engine.start_queue import StartQueue, Unconfirmed
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.catalog.result import Failure
from airflow_provider_perfectlyclear.errors import (
    ItemFailed,
    PerfectlyClearError,
    RunStopped,
    StartRefused,
    StartUnknown,
)
from airflow_provider_perfectlyclear.reasons import Reason

log = logging.getLogger(__name__)

#: Statuses of a refused start that are about the uploaded file, not about the picture: unknown, busy, too early.
ABOUT_THE_UPLOAD = frozenset({404, 409, 410, 423, 425})


class StartAnswers:
    """
    Reads the responses to starts.

    :param recorder: the run's ledger and progress.
    :param queue: told that a start is answered.
    :param unconfirmed: takes starts without a response.
    :param sharing: gives outputs their jobs.
    :param disputed: takes jobs that are another picture's.
    :param outcomes: told of outputs that fail.
    :param refusals: counts refusals before the first accepted start.
    """

    def __init__(
        self,
        recorder: Recorder,
        queue: StartQueue,
        unconfirmed: Unconfirmed,
        sharing: Sharing,
        disputed: DisputedJobs,
        outcomes: Outcomes,
        refusals: Refusals,
    ) -> None:
        self._recorder = recorder
        self._queue = queue
        self._unconfirmed = unconfirmed
        self._sharing = sharing
        self._disputed = disputed
        self._outcomes = outcomes
        self._refusals = refusals

    def take(self, row: Row, future: Future[str], *, again: bool) -> None:
        """
        Take in what came of a start.

        :param future: the job's id, or why there is none.
        :param again: whether an earlier call may have been accepted.
        """
        self._queue.answered(row)
        now = self._recorder.made_a_step()
        error = future.exception()
        if error is None:
            self._named(row, future.result(), now, again)
        elif isinstance(error, StartUnknown):
            log.warning("%s: %s", one_line(row.output), error)
            self._unconfirmed.lost(self._recorder.rows.get(row.output, row), now)
        else:
            self._refused(row, error, again)

    def _named(self, row: Row, job_id: str, now: float, again: bool) -> None:
        if self._disputed.is_anothers(row, job_id):
            self._disputed.named_for_another(row, job_id, again)
        elif self._disputed.over(row.output):
            self._disputed.answered(row, job_id, now)
        else:
            self._sharing.accept(row, job_id, now)

    def _refused(self, row: Row, error: BaseException, again: bool) -> None:
        """Close the intent, unless an earlier call is still in doubt: this one has started nothing."""
        if again and not isinstance(error, StartRefused):
            self._outcomes.fail(row, error)
            self._outcomes.fail_followers(row, error)
            self._disputed.unanswered(row)
            return
        refusal = error if isinstance(error, StartRefused) else None
        if refusal is not None:
            error = self._meaning(row, refusal, again)
        if isinstance(error, PerfectlyClearError):
            self._recorder.note(records.failed(row, error.code, str(error)))
        if isinstance(error, RunStopped):  # the picture is named, too, not only the run
            self._recorder.book.failure(Failure(row.output, row.source, error.code, str(error)))
        self._outcomes.fail(row, error)
        self._outcomes.fail_followers(row, error, is_closed=True)
        self._disputed.unanswered(row)
        if error is refusal and not self._recorder.progress.proved:
            self._refusals.count(row, str(refusal))

    def _meaning(self, row: Row, refusal: StartRefused, again: bool) -> PerfectlyClearError:
        """Return what a refusal means for the picture, and whether another upload helps."""
        if again:  # such as: the service no longer has the uploaded file
            return ItemFailed(
                f"the answer to starting it was lost, and asking again was refused ({refusal}); a retry uploads it "
                "anew",
                code=Reason.START_LOST,
            )
        if refusal.status in ABOUT_THE_UPLOAD:
            return ItemFailed(f"{refusal}; a retry uploads it anew", code=Reason.UNAVAILABLE)
        if self._recorder.progress.proved and not is_about_the_preset(row, str(refusal)):
            return ItemFailed(str(refusal), code=Reason.PICTURE_REFUSED)
        return refusal
