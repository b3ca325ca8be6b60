"""The jobs that are started and not landed: which to ask next, which to land, which have had their time. Pure."""

from __future__ import annotations

import logging
from collections import deque

from airflow_provider_perfectlyclear.api.models import JobState, JobStatus
from airflow_provider_perfectlyclear.api.polling import LOST_AFTER, Watch
from airflow_provider_perfectlyclear.catalog.ledger.records import Row
from airflow_provider_perfectlyclear.errors import JobError, JobFailed, JobLost, JobRejected, JobTimeout

log = logging.getLogger(__name__)

#: How often it is looked for jobs whose time is up (seconds).
LOOK = 0.5


class OpenJobs:
    """
    Every method is told the time (monotonic seconds).

    :param poll_interval: seconds between two questions about a young job.
    :param job_timeout: seconds that one job may take, from its start.
    :param deadline: when the whole task has had its time, or None.
    """

    def __init__(
        self, *, poll_interval: float, job_timeout: float, deadline: float | None, now: float
    ) -> None:
        self._watch = Watch({}, poll_interval=poll_interval, now=now)
        self._job_timeout = job_timeout
        self._deadline = deadline
        self._rows: dict[str, Row] = {}
        self._since: dict[str, float] = {}
        self._asking: set[str] = set()
        self._completed: set[str] = set()
        self._landable: deque[tuple[JobStatus, float]] = deque()
        self._next_look = 0.0

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._rows

    @property
    def ids(self) -> list[str]:
        """Oldest first."""
        return sorted(self._rows, key=lambda job_id: self._since[job_id])

    @property
    def to_land(self) -> int:
        """How many are COMPLETED and wait for a transfer."""
        return len(self._landable)

    def row(self, job_id: str) -> Row:
        """What the job is for."""
        return self._rows[job_id]

    def age(self, job_id: str, now: float) -> float:
        """Seconds since its start."""
        return now - self._since[job_id]

    def oldest_age(self, now: float) -> float:
        """Seconds since the start of the oldest; there must be one."""
        return now - min(self._since.values())

    def youngest_age(self, now: float) -> float:
        """Seconds since the start of the youngest; there must be one."""
        return now - max(self._since.values())

    def follow(self, row: Row, job_id: str, since: float) -> None:
        """Watch a job from now on. ``since`` is when it was started."""
        self._rows[job_id] = row
        self._since[job_id] = since
        self._watch.add(job_id, now=since)

    def end(self, job_id: str) -> Row:
        """The job is over for this run."""
        self._watch.forget(job_id)
        self._since.pop(job_id, None)
        self._completed.discard(job_id)
        return self._rows.pop(job_id)

    # ---- time

    def has_expired(self, job_id: str, now: float) -> bool:
        """Whether the job, or the whole task, has had its time."""
        ends = self._since[job_id] + self._job_timeout
        return now >= (ends if self._deadline is None else min(ends, self._deadline))

    def next_deadline(self, now: float) -> float:
        """Seconds until the task or the oldest job has had its time; there must be a job."""
        ends = min(self._since.values()) + self._job_timeout
        return (ends if self._deadline is None else min(ends, self._deadline)) - now

    def next_due(self, now: float) -> float | None:
        """Seconds until a job is to be asked about, or None."""
        if not self._rows:
            return None
        due = self._watch.next_due(now)
        look = max(self.next_deadline(now), self._next_look - now, 0.0)
        return look if due is None else min(due, look)

    # ---- asking

    def due(self, now: float, most: int) -> list[str]:
        """
        Which jobs to ask about now, at most so many. Report on each with ``answered``, ``missing`` or ``failed``.

        Those that have had their time are asked once more before they are called TIMEOUT.
        """
        chosen = self._watch.due(now, most)
        if now >= self._next_look:
            self._next_look = now + LOOK
            late = (job_id for job_id in self._rows if self.has_expired(job_id, now))
            chosen += [job_id for job_id in late if job_id not in chosen]
        chosen = [job_id for job_id in chosen if job_id not in self._asking and job_id not in self._completed]
        self._asking.update(chosen[:most])
        return chosen[:most]

    def answered(self, status: JobStatus, now: float) -> JobError | None:
        """Take in an answer; a COMPLETED job waits to be landed. Returns why the job is over without a result."""
        job_id = status.job_id
        self._asking.discard(job_id)
        is_final = self._watch.answered(job_id, status, now=now)
        if (word := self._watch.newly_unknown.pop(job_id, None)) is not None:
            log.warning("Job %s: the service's status %r is unknown and taken as still open", job_id, word)
        if not is_final:
            return self._late(job_id, f"still {status.raw_status}", now)
        if status.state is JobState.COMPLETED:
            self._completed.add(job_id)
            self._landable.append((status, now))
            return None
        kind = JobRejected if status.state is JobState.REJECTED else JobFailed
        return kind(job_id, status.status_text)

    def missing(self, job_id: str, now: float) -> JobError | None:
        """
        Take in a 404. Returns why the job is over, if it is.

        A job that has had its time is asked about only once in a try, so that once is enough: who called it late
        would do so in every later try, and nobody would ever start it again.
        """
        self._asking.discard(job_id)
        is_old = self.age(job_id, now) >= max(self._job_timeout, LOST_AFTER)
        if self._watch.missing(job_id, now=now) or is_old:
            return JobLost(job_id, "the service no longer knows the job (404)")
        return self._late(job_id, "unknown to the service (404)", now)

    def failed(self, job_id: str, error: Exception, now: float) -> JobError | None:
        """Take in a question without an answer. Returns why the job is over, if it is."""
        self._asking.discard(job_id)
        self._watch.failed(job_id, error, now=now)
        return self._late(job_id, f"not answered for ({error})", now)

    def given_up(self, now: float) -> bool:
        """Whether nothing but failure came for so long that waiting is pointless."""
        return self._watch.given_up(now)

    def _late(self, job_id: str, what: str, now: float) -> JobError | None:
        if not self.has_expired(job_id, now):
            return None
        return JobTimeout(
            job_id, f"{what} when its time was up; it stays in the ledger, and asking again is free"
        )

    def next_landing(self) -> tuple[JobStatus, float]:
        """The COMPLETED job that has waited longest, and when it was asked about."""
        return self._landable.popleft()
