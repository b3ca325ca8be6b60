"""
When to ask about the open jobs, and what an answer means for their outputs. Pure.

Every method is told the time (monotonic seconds).
"""

from __future__ import annotations

import logging

from airflow_provider_perfectlyclear.api import polling
from airflow_provider_perfectlyclear.api.models import JobState, JobStatus
from airflow_provider_perfectlyclear.api.polling import Watch
from airflow_provider_perfectlyclear.catalog.engine.open_jobs import OpenJobs
from airflow_provider_perfectlyclear.errors import (
    JobError,
    JobFailed,
    JobLost,
    JobRejected,
    JobTimeout,
    NotFound,
    PerfectlyClearError,
)

log = logging.getLogger(__name__)

#: How often it is looked for jobs whose time is up (seconds).
LOOK = 0.5


class StatusChecks:
    """
    Status checks of the open jobs.

    :param jobs: the open jobs.
    :param watch: says which to ask about next, and what an answer means for the wait.
    :param job_timeout: seconds that one job may take, from its start.
    :param deadline: when the whole task has had its time, or None.
    """

    def __init__(self, jobs: OpenJobs, watch: Watch, *, job_timeout: float, deadline: float | None) -> None:
        self.jobs = jobs
        self._watch = watch
        self._job_timeout = job_timeout
        self._deadline = deadline
        self._asking: set[str] = set()
        self._next_look = 0.0

    @property
    def has_heard(self) -> bool:
        """Whether the service has known any job yet."""
        return self._watch.has_heard

    def is_losing(self, now: float) -> bool:
        """Return whether the service knows no more of a job: that is sure only after a while, in one attempt."""
        return self._watch.is_losing(now)

    # ---- when to ask

    def due(self, now: float, most: int) -> list[str]:
        """
        Return which jobs to ask about now, at most so many. Report on each with :meth:`report`.

        Those that have had their time are asked once more before they are called TIMEOUT.
        """
        chosen = self._watch.due(now, most)
        if now >= self._next_look:
            self._next_look = now + LOOK
            late = (job_id for job_id in self.jobs if self._has_expired(job_id, now))
            chosen += [job_id for job_id in late if job_id not in chosen]
        chosen = [
            job_id for job_id in chosen if job_id not in self._asking and not self.jobs.is_landing(job_id)
        ]
        self._asking.update(chosen[:most])
        return chosen[:most]

    def next_due(self, now: float) -> float | None:
        """Return the seconds until a job is to be asked about, or None."""
        if not self.jobs:
            return None
        due = self._watch.next_due(now)
        look = max(self.next_deadline(now), self._next_look - now, 0.0)
        return look if due is None else min(due, look)

    def next_deadline(self, now: float) -> float:
        """Return the seconds until the task or the oldest job has had its time; there must be a job."""
        ends = now - self.jobs.oldest_age(now) + self._job_timeout
        return (ends if self._deadline is None else min(ends, self._deadline)) - now

    def _has_expired(self, job_id: str, now: float) -> bool:
        """Return whether the job, or the whole task, has had its time."""
        ends = self.jobs[job_id].since + self._job_timeout
        return now >= (ends if self._deadline is None else min(ends, self._deadline))

    # ---- what an answer means

    def report(self, job_id: str, answer: JobStatus | PerfectlyClearError, now: float) -> JobError | None:
        """
        Take in what came of a question; a COMPLETED job waits to be landed.

        :returns: why the job is over without a result, if it is.
        :raises PerfectlyClearError: no question can be answered any more, or none was for ten minutes.
        """
        self._asking.discard(job_id)
        if job_id not in self.jobs:  # it was given up while it was asked about
            return None
        is_final = self._watch.report(job_id, answer, now=now)
        if isinstance(answer, NotFound):
            return self._missing(job_id, is_final, now)
        if not isinstance(answer, JobStatus):
            self._watch.give_up(now)
            return self._late(job_id, f"not answered for ({answer})", now)
        if (word := self._watch.newly_unknown.pop(job_id, None)) is not None:
            log.warning("Job %s: the service's status %r is unknown and taken as still open", job_id, word)
        if not is_final:
            self.jobs[job_id].found_open = True
            return self._late(job_id, f"still {answer.raw_status}", now)
        if answer.state is JobState.COMPLETED:
            self.jobs.complete(answer, now)
            return None
        kind = JobRejected if answer.state is JobState.REJECTED else JobFailed
        return kind(job_id, answer.status_text)

    def seconds(self, status: JobStatus, now: float) -> float | None:
        """
        Return how long a job has taken: as the service says; else as it was seen here, if it was seen to be open.

        A job that is COMPLETED when an attempt first asks about it says nothing: it may have waited for the attempt.
        """
        said = status.seconds
        if said is not None:
            return said
        job = self.jobs.get(status.job_id)
        return now - job.since if job is not None and job.found_open else None

    def _missing(self, job_id: str, is_lost: bool, now: float) -> JobError | None:
        """
        Return why a job that was answered with 404 is over, if it is.

        A job that has had its time is asked about only once in an attempt, so that once is enough: were it called late
        here, it would be in every later attempt, and would never be started again.
        """
        is_old = self.jobs.age(job_id, now) >= max(self._job_timeout, polling.LOST_AFTER)
        if is_lost or is_old:
            return JobLost(job_id, "the service no longer knows the job (404)")
        return self._late(job_id, "unknown to the service (404)", now)

    def _late(self, job_id: str, what: str, now: float) -> JobError | None:
        if not self._has_expired(job_id, now):
            return None
        return JobTimeout(
            job_id, f"{what} when its time was up; it stays in the ledger, and asking again is free"
        )
