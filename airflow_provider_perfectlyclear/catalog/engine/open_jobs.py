"""
The jobs that are started and not landed, and their outputs. Pure: the caller passes the clock (monotonic seconds).

Several outputs may share a job. It is asked about once, and each of its outputs is landed, and ends, by itself.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from airflow_provider_perfectlyclear.api.models import JobStatus
from airflow_provider_perfectlyclear.api.polling import Watch
from airflow_provider_perfectlyclear.catalog.engine.board import Board, Stage
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row


@dataclass
class OpenJob:
    """
    A job and its outputs.

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
    Jobs by id.

    :param board: told of each output's stage.
    :param watch: told which jobs are to be asked about.
    """

    def __init__(self, board: Board, watch: Watch) -> None:
        self._board = board
        self._watch = watch
        self._jobs: dict[str, OpenJob] = {}
        self._by_age: list[tuple[float, str]] = []  # a heap; entries of jobs that have ended, too
        self._landable: deque[tuple[JobStatus, float, str]] = deque()

    def __len__(self) -> int:
        """Return how many outputs wait for their job or for their landing."""
        return self._board.count(Stage.RUNNING, Stage.LANDING)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def __getitem__(self, job_id: str) -> OpenJob:
        return self._jobs[job_id]

    def get(self, job_id: str) -> OpenJob | None:
        """Return a job, None if it is not open any more."""
        return self._jobs.get(job_id)

    @property
    def ids(self) -> list[str]:
        """Oldest first."""
        return sorted(self._jobs, key=lambda job_id: self._jobs[job_id].since)

    @property
    def to_land(self) -> bool:
        """Whether an output of a COMPLETED job waits for a transfer."""
        return bool(self._landable)

    def age(self, job_id: str, now: float) -> float:
        """Return the seconds since a job's start."""
        return now - self._jobs[job_id].since

    def oldest_age(self, now: float) -> float:
        """Return the seconds since the start of the oldest; there must be one."""
        while self._by_age[0][1] not in self._jobs:
            heapq.heappop(self._by_age)
        return now - self._by_age[0][0]

    def youngest_age(self, now: float) -> float:
        """Return the seconds since the start of the youngest; there must be one."""
        return now - max(job.since for job in self._jobs.values())

    def is_open(self, job_id: str) -> bool:
        """Return whether the job is watched, and has not ended as far as is known."""
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
            job = self._jobs[job_id] = OpenJob(since)
            heapq.heappush(self._by_age, (since, job_id))
            self._watch.add(job_id, now=since)
        job.outputs[row.output] = row
        self._board.move(row.output, Stage.RUNNING if job.completed is None else Stage.LANDING)
        if job.completed is not None:  # it ended before this output joined
            self._landable.append((*job.completed, row.output))

    def complete(self, status: JobStatus, now: float) -> None:
        """Note that a job is COMPLETED: its outputs wait to be landed."""
        job = self._jobs[status.job_id]
        job.completed = (status, now)
        for output in job.outputs:
            self._board.move(output, Stage.LANDING)
            self._landable.append((status, now, output))

    def next_landing(self) -> tuple[JobStatus, float, str]:
        """Take the output that has waited longest: its job's status, when that was asked for, and its name."""
        return self._landable.popleft()

    def end(self, job_id: str, output: str) -> Row:
        """Drop an output, well or not; with its last output the job is over for this run."""
        job = self._jobs[job_id]
        row = job.outputs.pop(output)
        self._board.move(output, None)
        if not job.outputs:
            self._watch.forget(job_id)
            del self._jobs[job_id]
        return row

    def end_all(self, job_id: str) -> list[Row]:
        """Drop all outputs of a job that is over without a result."""
        return [self.end(job_id, output) for output in list(self._jobs[job_id].outputs)]
