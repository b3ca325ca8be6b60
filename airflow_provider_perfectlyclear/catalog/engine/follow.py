"""The jobs that are started: asked about until they are final, then landed."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_perfectlyclear.api import calls, polling
from airflow_provider_perfectlyclear.api.models import Correction, JobState, JobStatus
from airflow_provider_perfectlyclear.catalog.engine.open_jobs import OpenJobs
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.catalog.transfer.landing import Landed, Wanted
from airflow_provider_perfectlyclear.errors import (
    JobError,
    JobLost,
    JobTimeout,
    PerfectlyClearError,
    UrlGone,
)
from airflow_provider_perfectlyclear.reasons import PERMANENT

if TYPE_CHECKING:
    from airflow_provider_perfectlyclear.catalog.engine.loop import Engine

#: A status, and the URL in it, is used without asking again for this long (seconds).
FRESH = 30.0


class Follower:
    """
    :param engine: whose ledger, pools and progress it uses, in the engine's own thread.
    :param jobs: the open jobs.
    """

    def __init__(self, engine: Engine, jobs: OpenJobs) -> None:
        self._engine = engine
        self.jobs = jobs

    def ask(self, job_id: str) -> None:
        self._engine.pools.submit(
            "calls", partial(self._engine.client.send, calls.status(job_id)), self._after_ask(job_id)
        )

    def _after_ask(self, job_id: str) -> Callable[[Future[JobStatus]], None]:
        def then(future: Future[JobStatus]) -> None:
            error = future.exception()
            try:
                over = self._judge(job_id, future, error, time.monotonic())
            except PerfectlyClearError as stop:
                self._engine.stop(stop)
                return
            self._engine.progress.heard = self._engine.progress.heard or self.jobs.has_heard
            if over is None:
                return
            self._engine.moved = time.monotonic()
            others = len(self.jobs.ids) > 1 or any(
                items[0].reason == "job lost" for items in self._engine.todo
            )
            self._engine.book.service_forgets = others and not self._engine.progress.heard
            for row in self.jobs.end_all(job_id):
                self._engine.fail(row, over, close=not isinstance(over, JobTimeout))
                self._engine.start.ended(row, over)
            if isinstance(over, JobLost) and self._engine.book.service_forgets:
                self._engine.leave_the_rest(lambda item: item.reason == "job lost")

        return then

    def _judge(
        self, job_id: str, future: Future[JobStatus], error: BaseException | None, now: float
    ) -> JobError | None:
        """Why the job is over without a result, if it is."""
        if error is not None and not isinstance(error, PerfectlyClearError):
            self._engine.stop(error)
            return None
        answer = error or future.result()
        if isinstance(answer, JobStatus) and answer.state is JobState.COMPLETED:
            seconds = self.jobs.seconds(answer, now)
            if seconds is not None:
                self._engine.progress.saw_job(seconds)
        return self.jobs.report(job_id, answer, now)

    def land(self, status: JobStatus, asked: float, output: str, now: float) -> None:
        row = self.jobs.row(status.job_id, output)
        wanted = Wanted(
            Correction.parse(dict(row.query or {})), row.sha256, verify=self._engine.options.verify
        )
        work = partial(self._engine.mover.land, status, output, wanted, fresh=now - asked < FRESH)
        self._engine.pools.submit("transfers", work, self._after_land(status.job_id, output))

    def _after_land(self, job_id: str, output: str) -> Callable[[Future[Landed]], None]:
        def then(future: Future[Landed]) -> None:
            self._engine.moved = time.monotonic()
            age = self.jobs.age(job_id, self._engine.moved)
            row, error = self.jobs.end(job_id, output), future.exception()
            if error is None:
                self._engine.landed(row, future.result())
            else:
                self._not_landed(row, job_id, error, age)
            if job_id not in self.jobs:
                self._engine.start.job_ended(job_id)

        return then

    def _not_landed(self, row: Row, job_id: str, error: BaseException, age: float) -> None:
        if isinstance(error, UrlGone) and age >= polling.LOST_AFTER:
            error = JobLost(job_id, "its corrected file is gone (404)")
        self._engine.fail(
            row, error, close=isinstance(error, JobLost) or getattr(error, "code", "") in PERMANENT
        )
        self._engine.start.ended(row, error)
