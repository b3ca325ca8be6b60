"""Status checks: the open jobs are asked about until they are final."""

from __future__ import annotations

import time
from concurrent.futures import Future
from functools import partial

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import JobState, JobStatus
from airflow_provider_perfectlyclear.catalog.engine.backlog import Backlog
from airflow_provider_perfectlyclear.catalog.engine.outcomes import Outcomes
from airflow_provider_perfectlyclear.catalog.engine.pools import Pools
from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.engine.status_checks import StatusChecks
from airflow_provider_perfectlyclear.errors import JobError, JobLost, JobTimeout, PerfectlyClearError


class PollStep:
    """
    Asks about jobs.

    :param client: the service.
    :param pools: make the calls.
    :param recorder: the run's ledger and progress.
    :param backlog: says whether lost jobs are still to be replaced.
    :param checks: the open jobs: which to ask about, and what an answer means.
    :param outcomes: told of outputs that fail.
    """

    def __init__(
        self,
        client: Client,
        pools: Pools,
        recorder: Recorder,
        backlog: Backlog,
        checks: StatusChecks,
        outcomes: Outcomes,
    ) -> None:
        self._client = client
        self._pools = pools
        self._recorder = recorder
        self._backlog = backlog
        self._checks = checks
        self._jobs = checks.jobs
        self._outcomes = outcomes

    def begin(self, now: float) -> None:
        """Ask about the jobs that are due."""
        for job_id in self._checks.due(now, self._pools.free("calls")):
            ask = partial(self._client.send, calls.status(job_id))
            self._pools.submit("calls", ask, partial(self._answered, job_id))

    def _answered(self, job_id: str, future: Future[JobStatus]) -> None:
        error = future.exception()
        now = time.monotonic()
        try:
            over = self._read(job_id, future, error, now)
        except PerfectlyClearError as stop:
            self._recorder.stop(stop)
            return
        progress = self._recorder.progress
        progress.heard = progress.heard or self._checks.has_heard
        if over is not None:
            self._end(job_id, over)

    def _read(
        self, job_id: str, future: Future[JobStatus], error: BaseException | None, now: float
    ) -> JobError | None:
        """Return why the job is over without a result, if it is."""
        if error is not None and not isinstance(error, PerfectlyClearError):
            self._recorder.stop(error)
            return None
        answer = error or future.result()
        if isinstance(answer, JobStatus) and answer.state is JobState.COMPLETED:
            seconds = self._checks.seconds(answer, now)
            if seconds is not None:
                self._recorder.progress.saw_job(seconds)
        return self._checks.report(job_id, answer, now)

    def _end(self, job_id: str, over: JobError) -> None:
        """End a job without a result. That the service knows none of several jobs proves nothing about one of them."""
        self._recorder.made_a_step()
        others = len(self._jobs.ids) > 1 or self._backlog.has_lost_jobs
        self._recorder.book.service_forgets = others and not self._recorder.progress.heard
        for row in self._jobs.end_all(job_id):
            self._outcomes.fail(row, over, close=not isinstance(over, JobTimeout))
            self._outcomes.fail_followers(row, over)
        if isinstance(over, JobLost) and self._recorder.book.service_forgets:
            self._outcomes.leave_the_rest(lambda item: item.reason == "job lost")
