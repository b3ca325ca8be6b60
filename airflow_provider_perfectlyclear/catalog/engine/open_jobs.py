"""
The jobs that are started and not landed: which to ask next, which to land, which have had their time. Pure.

Several outputs may share a job. It is asked about once, and each of its outputs is landed, and ends, by itself.
"""

from __future__ import annotations

import heapq
import logging
from collections import deque
from dataclasses import dataclass, field

from airflow_provider_perfectlyclear.api import polling
from airflow_provider_perfectlyclear.api.models import JobState, JobStatus
from airflow_provider_perfectlyclear.api.polling import Watch
from airflow_provider_perfectlyclear.catalog.engine.board import Board, Stage
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
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


@dataclass
class _Job:
    """
    :param since: monotonic seconds of its start.
    :param outputs: output -> what it is made from.
    :param completed: its final status and when it was asked for; None while it is open.
    :param found_open: it was seen to be open by this process, which can so tell how long it took.
    """

    since: float
    outputs: dict[str, Row] = field(default_factory=dict)
    completed: tuple[JobStatus, float] | None = None
    found_open: bool = False


class OpenJobs:
    """
    Every method is told the time (monotonic seconds).

    :param poll_interval: initial seconds between two status checks of a job.
    :param job_timeout: seconds that one job may take, from its start.
    :param deadline: when the whole task has had its time, or None.
    :param board: told of each output's stage.
    """

    def __init__(
        self, *, poll_interval: float, job_timeout: float, deadline: float | None, now: float, board: Board
    ) -> None:
        self._board = board
        self._watch = Watch({}, poll_interval=poll_interval, now=now, wants_witness=True)
        self._job_timeout = job_timeout
        self._deadline = deadline
        self._jobs: dict[str, _Job] = {}
        self._by_age: list[tuple[float, str]] = []  # a heap; entries of jobs that have ended, too
        self._asking: set[str] = set()
        self._landable: deque[tuple[JobStatus, float, str]] = deque()
        self._next_look = 0.0

    def __len__(self) -> int:
        """How many outputs wait for their job or for their landing."""
        return self._board.count(Stage.RUNNING, Stage.LANDING)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs

    @property
    def ids(self) -> list[str]:
        """Oldest first."""
        return sorted(self._jobs, key=lambda job_id: self._jobs[job_id].since)

    @property
    def to_land(self) -> bool:
        """Whether an output of a COMPLETED job waits for a transfer."""
        return bool(self._landable)

    def is_losing(self, now: float) -> bool:
        """Whether the service knows no more of a job: that is sure only after a while, in one attempt."""
        return self._watch.is_losing(now)

    @property
    def has_heard(self) -> bool:
        """Whether the service has known any job yet."""
        return self._watch.has_heard

    def row(self, job_id: str, output: str) -> Row:
        """What an output of the job is made from."""
        return self._jobs[job_id].outputs[output]

    def age(self, job_id: str, now: float) -> float:
        """Seconds since its start."""
        return now - self._jobs[job_id].since

    def oldest_age(self, now: float) -> float:
        """Seconds since the start of the oldest; there must be one."""
        while self._by_age[0][1] not in self._jobs:
            heapq.heappop(self._by_age)
        return now - self._by_age[0][0]

    def youngest_age(self, now: float) -> float:
        """Seconds since the start of the youngest; there must be one."""
        return now - max(job.since for job in self._jobs.values())

    def is_open(self, job_id: str) -> bool:
        """Whether the job is watched, and has not ended as far as is known."""
        return job_id in self._jobs and self._jobs[job_id].completed is None

    def is_landing(self, job_id: str) -> bool:
        """Return whether the job is COMPLETED, and some of its outputs have not landed yet."""
        return job_id in self._jobs and self._jobs[job_id].completed is not None

    def follow(self, row: Row, job_id: str, since: float) -> None:
        """
        Watch a job from now on for an output.

        :param since: when the job was started.
        """
        job = self._jobs.get(job_id)
        if job is None:
            job = self._jobs[job_id] = _Job(since)
            heapq.heappush(self._by_age, (since, job_id))
            self._watch.add(job_id, now=since)
        job.outputs[row.output] = row
        self._board.move(row.output, Stage.RUNNING if job.completed is None else Stage.LANDING)
        if job.completed is not None:  # it ended before this output joined
            self._landable.append((*job.completed, row.output))

    def end(self, job_id: str, output: str) -> Row:
        """An output is done with, well or not; with its last output the job is over for this run."""
        job = self._jobs[job_id]
        row = job.outputs.pop(output)
        self._board.move(output, None)
        if not job.outputs:
            self._watch.forget(job_id)
            del self._jobs[job_id]
        return row

    def end_all(self, job_id: str) -> list[Row]:
        """The job is over without a result, for all of its outputs."""
        return [self.end(job_id, output) for output in list(self._jobs[job_id].outputs)]

    # ---- time

    def has_expired(self, job_id: str, now: float) -> bool:
        """Whether the job, or the whole task, has had its time."""
        ends = self._jobs[job_id].since + self._job_timeout
        return now >= (ends if self._deadline is None else min(ends, self._deadline))

    def next_deadline(self, now: float) -> float:
        """Seconds until the task or the oldest job has had its time; there must be a job."""
        ends = now - self.oldest_age(now) + self._job_timeout
        return (ends if self._deadline is None else min(ends, self._deadline)) - now

    def next_due(self, now: float) -> float | None:
        """Seconds until a job is to be asked about, or None."""
        if not self._jobs:
            return None
        due = self._watch.next_due(now)
        look = max(self.next_deadline(now), self._next_look - now, 0.0)
        return look if due is None else min(due, look)

    # ---- asking

    def due(self, now: float, most: int) -> list[str]:
        """
        Which jobs to ask about now, at most so many. Report on each with :meth:`report`.

        Those that have had their time are asked once more before they are called TIMEOUT.
        """
        chosen = self._watch.due(now, most)
        if now >= self._next_look:
            self._next_look = now + LOOK
            late = (job_id for job_id in self._jobs if self.has_expired(job_id, now))
            chosen += [job_id for job_id in late if job_id not in chosen]
        chosen = [job_id for job_id in chosen if job_id not in self._asking and not self.is_landing(job_id)]
        self._asking.update(chosen[:most])
        return chosen[:most]

    def report(self, job_id: str, answer: JobStatus | PerfectlyClearError, now: float) -> JobError | None:
        """
        Take in what came of a question; a COMPLETED job waits to be landed.

        :returns: why the job is over without a result, if it is.
        :raises PerfectlyClearError: no question can be answered any more, or none was for ten minutes.
        """
        self._asking.discard(job_id)
        if job_id not in self._jobs:  # it was given up while it was asked about
            return None
        is_final = self._watch.report(job_id, answer, now=now)
        if isinstance(answer, NotFound):
            return self._missing(job_id, is_final, now)
        if not isinstance(answer, JobStatus):
            self._watch.give_up(now)
            return self._late(job_id, f"not answered for ({answer})", now)
        job = self._jobs[job_id]
        if (word := self._watch.newly_unknown.pop(job_id, None)) is not None:
            log.warning("Job %s: the service's status %r is unknown and taken as still open", job_id, word)
        if not is_final:
            job.found_open = True
            return self._late(job_id, f"still {answer.raw_status}", now)
        if answer.state is JobState.COMPLETED:
            job.completed = (answer, now)
            for output in job.outputs:
                self._board.move(output, Stage.LANDING)
                self._landable.append((answer, now, output))
            return None
        kind = JobRejected if answer.state is JobState.REJECTED else JobFailed
        return kind(job_id, answer.status_text)

    def seconds(self, status: JobStatus, now: float) -> float | None:
        """
        How long a job has taken: as the service says; else as it was seen here, if it was seen to be open.

        A job that is COMPLETED when a try first asks about it says nothing: it may have waited for the try.
        """
        said = status.seconds
        if said is not None:
            return said
        job = self._jobs.get(status.job_id)
        return now - job.since if job is not None and job.found_open else None

    def _missing(self, job_id: str, is_lost: bool, now: float) -> JobError | None:
        """
        Why a job that was answered with 404 is over, if it is.

        A job that has had its time is asked about only once in a try, so that once is enough: who called it late
        would do so in every later try, and nobody would ever start it again.
        """
        is_old = self.age(job_id, now) >= max(self._job_timeout, polling.LOST_AFTER)
        if is_lost or is_old:
            return JobLost(job_id, "the service no longer knows the job (404)")
        return self._late(job_id, "unknown to the service (404)", now)

    def _late(self, job_id: str, what: str, now: float) -> JobError | None:
        if not self.has_expired(job_id, now):
            return None
        return JobTimeout(
            job_id, f"{what} when its time was up; it stays in the ledger, and asking again is free"
        )

    def next_landing(self) -> tuple[JobStatus, float, str]:
        """The output that has waited longest for its landing: its job's status, when that was asked for, its name."""
        return self._landable.popleft()
