"""Landings: results of finished jobs are brought to their places by transfer threads."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial

from airflow_provider_perfectlyclear.api import polling
from airflow_provider_perfectlyclear.api.models import Correction, JobStatus
from airflow_provider_perfectlyclear.catalog.engine.disputed_jobs import DisputedJobs
from airflow_provider_perfectlyclear.catalog.engine.open_jobs import OpenJobs
from airflow_provider_perfectlyclear.catalog.engine.outcomes import Outcomes
from airflow_provider_perfectlyclear.catalog.engine.pools import Pools
from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.engine.sharing import Sharing
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.catalog.transfer.landing import Landed, Lander
from airflow_provider_perfectlyclear.catalog.transfer.verify import Wanted
from airflow_provider_perfectlyclear.catalog.types import Verify
from airflow_provider_perfectlyclear.errors import JobLost, UrlGone
from airflow_provider_perfectlyclear.reasons import PERMANENT

#: A status, and the URL in it, is used without asking again for this long (seconds).
FRESH = 30.0


class LandStep:
    """
    Lands outputs.

    :param pools: move the bytes.
    :param recorder: the run's ledger and progress.
    :param jobs: the open jobs.
    :param sharing: writes down which output shares a job, before that is landed.
    :param disputed: told when a job's landings are over.
    :param outcomes: told of what has landed, and of what has not.
    :param lander: fetches results and publishes them.
    :param verify: what a result of another type or size than asked for means.
    """

    def __init__(
        self,
        pools: Pools,
        recorder: Recorder,
        jobs: OpenJobs,
        sharing: Sharing,
        disputed: DisputedJobs,
        outcomes: Outcomes,
        lander: Lander,
        verify: Verify,
    ) -> None:
        self._pools = pools
        self._recorder = recorder
        self._jobs = jobs
        self._sharing = sharing
        self._disputed = disputed
        self._outcomes = outcomes
        self._lander = lander
        self._verify = verify

    def begin(self, now: float) -> bool:
        """
        Hand results to the transfer threads that are free.

        :returns: False: the ledger cannot be written, and nothing may be transferred.
        """
        while self._jobs.to_land and self._pools.free("transfers"):
            status, asked, output = self._jobs.next_landing()
            if not self._sharing.record_before_landing(output):
                return False
            row = self._jobs[status.job_id].outputs[output]
            wanted = Wanted(Correction.parse(dict(row.query or {})), row.sha256, verify=self._verify)
            before = self._sharing.before_publishing(output)
            work = partial(
                self._lander.land, status, output, wanted, fresh=now - asked < FRESH, before=before
            )
            self._pools.submit("transfers", work, partial(self._ended, status, output))
        return True

    def _ended(self, status: JobStatus, output: str, future: Future[Landed]) -> None:
        now, job_id = self._recorder.made_a_step(), status.job_id
        age = self._jobs.age(job_id, now)
        row, error = self._jobs.end(job_id, output), future.exception()
        if error is None:
            self._outcomes.landed(row, future.result())
        else:
            self._failed(row, job_id, error, age)
        if job_id not in self._jobs:
            self._disputed.job_ended(job_id)

    def _failed(self, row: Row, job_id: str, error: BaseException, age: float) -> None:
        if isinstance(error, UrlGone) and age >= polling.LOST_AFTER:
            error = JobLost(job_id, "its corrected file is gone (404)")
        is_final = isinstance(error, JobLost) or getattr(error, "code", "") in PERMANENT
        self._outcomes.fail(row, error, close=is_final)
        self._outcomes.fail_followers(row, error)
