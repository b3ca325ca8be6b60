"""
Which jobs are open, which to ask about next, and what became of the rest. Pure: the caller passes the clock.

Jobs finish roughly in the order they were started. So only a few of the oldest are asked about; each of them that
is final lets the next ones be asked at once, each that is still open makes the few fewer, down to one. However
long the queue and whatever the service's speed, that finds finished jobs soon for about 1.5 questions a job.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

from airflow_provider_perfectlyclear.api.models import JobState, JobStatus
from airflow_provider_perfectlyclear.errors import (
    ConfigurationError,
    NotFound,
    PerfectlyClearError,
    RunStopped,
    TooManyRequests,
    Unavailable,
)

#: Seconds of 404 without interruption after which a job is lost: a service may know a job a little later.
LOST_AFTER = 60.0

#: Seconds of nothing but failed questions, over all jobs, after which waiting is pointless.
GIVE_UP_AFTER = 600.0

_LONGEST_INTERVAL = 30.0
_JITTER = 0.2
_MORE = 0.4  # a final answer lets so many more jobs be asked about
_MOST_PROBES = 64.0
_RECENT = 8  # final answers from which the pace of the service is told
_FINALS_BETWEEN = 3.0  # a job found open is asked again when about so many others should have become final
_STANDSTILL = (
    20.0  # after so many seconds without a final answer the few are doubled: the oldest may be stuck
)
_STRAGGLES = 3  # so often found open, a job no longer stands in the way of the younger ones
_UNANSWERED = 300.0  # seconds after which a question that nobody reported on is asked again


@dataclass
class _Job:
    started: float
    due: float
    asked: bool = False
    in_flight: bool = False
    found_open: int = 0
    missing_since: float | None = None

    @property
    def is_probed(self) -> bool:
        return self.asked and self.found_open < _STRAGGLES


class Watch:
    """
    A set of jobs, each asked about until it is final.

    :param jobs: job ids, each with its age in seconds at ``now``.
    :param poll_interval: seconds between two questions about a young job. Default 2. It grows to a tenth of the
        job's age, up to 30.
    :param now: monotonic seconds.
    :param wants_witness: whether one of several jobs is lost only while the service knows another one: what is lost
        is paid for again.
    :param dice: a random number from 0 to 1, for jitter.

    ``final`` holds the first final status of each job, ``lost`` the jobs that the service no longer knows, and
    ``newly_unknown`` the words of the service that no reference lists, each with a job that had it: to be warned
    about once.
    """

    def __init__(
        self,
        jobs: Mapping[str, float],
        *,
        poll_interval: float = 2.0,
        now: float,
        wants_witness: bool = False,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.final: dict[str, JobStatus] = {}
        self.lost: set[str] = set()
        self.newly_unknown: dict[str, str] = {}
        self._known_words: set[str] = set()
        self._open: dict[str, _Job] = {}
        self._fresh: dict[str, _Job] = {}  # of the open ones, those without a status check yet, oldest first
        self._queue: list[
            tuple[float, str]
        ] = []  # a heap of the others: when each is due; outdated entries, too
        self._probed = 0  # how many of the others still stand in the way of the fresh ones
        self._shortest = poll_interval
        self._dice = dice
        self._probes = 1.0
        self._finals: deque[float] = deque([now], maxlen=_RECENT)
        self._failing_since: float | None = None
        self._last_failure: PerfectlyClearError | None = None
        self._heard: float | None = None
        self._wants_witness = wants_witness
        for job_id, age in sorted(jobs.items(), key=lambda one: -one[1]):
            self._open[job_id] = _Job(started=now - age, due=now + max(0.0, self._shortest - age))
        self._fresh = dict(self._open)

    @property
    def open(self) -> list[str]:
        """The jobs that are neither final nor lost, oldest first."""
        return list(self._open)

    def add(self, job_id: str, *, now: float) -> None:
        """
        Watch a job that was just started.

        :param job_id: the service's job id.
        :param now: monotonic seconds.
        """
        if job_id not in self._open and job_id not in self.final and job_id not in self.lost:
            self._open[job_id] = self._fresh[job_id] = _Job(started=now, due=now + self._shortest)

    def due(self, now: float, most: int) -> list[str]:
        """
        Return the jobs to ask about now, and mark them as asked: first those that were asked before, longest due first,
        then the next few others, oldest first. What this costs does not grow with the number of open jobs.

        Report on each of them with ``report``.

        :param now: monotonic seconds.
        :param most: how many at most.
        """
        chosen: list[str] = []
        while len(chosen) < most and (job_id := self._next_asked()) is not None:
            if self._open[job_id].due > now:
                break
            heapq.heappop(self._queue)
            chosen.append(job_id)
        next_few = islice(self._fresh.items(), self._room(now))
        chosen += [job_id for job_id, job in next_few if job.due <= now][: most - len(chosen)]
        for job_id in chosen:
            self._ask(job_id, now)
        return chosen

    def next_due(self, now: float) -> float | None:
        """
        Return the seconds until something is due; None when nothing is open.

        :param now: monotonic seconds.
        """
        if not self._open:
            return None
        waiting = [job.due for job in islice(self._fresh.values(), self._room(now))]
        job_id = self._next_asked()
        # A job that is being asked about is due again in minutes, so no other is due before it.
        if job_id is not None and not self._open[job_id].in_flight:
            waiting.append(self._open[job_id].due)
        return max(0.0, min(waiting) - now) if waiting else self._shortest

    def report(self, job_id: str, answer: JobStatus | PerfectlyClearError, *, now: float) -> bool:
        """
        Take in what came of a question. This is the one place that says what an answer means for the wait.

        A status counts; a 404 counts once it has lasted; whatever else fails says nothing about the job, too many
        requests included: asking goes on, more slowly, for as long as :meth:`given_up` allows.

        :param job_id: the job.
        :param answer: what the service said, or why it said nothing.
        :param now: monotonic seconds.
        :returns: whether the job will not change any more.
        :raises PerfectlyClearError: ``answer``, when no question can be answered any more: the key is refused, payment
            or permission is missing, the certificate or the connection is wrong.
        """
        if isinstance(answer, JobStatus):
            return self._answered(job_id, answer, now)
        if isinstance(answer, NotFound):
            return self._unknown(job_id, now)
        if isinstance(answer, ConfigurationError | RunStopped) and not isinstance(answer, TooManyRequests):
            raise answer
        self._failed(job_id, answer, now)
        return False

    def give_up(self, now: float) -> None:
        """
        End a wait that is pointless.

        :param now: monotonic seconds.
        :raises TooManyRequests: nothing but failures for ten minutes, of which that was the last.
        :raises Unavailable: another was the last.
        """
        if self.given_up(now):
            said = f"Nothing but failures for {GIVE_UP_AFTER / 60:g} minutes: {self._last_failure}"
            raise (TooManyRequests if isinstance(self._last_failure, TooManyRequests) else Unavailable)(said)

    def _answered(self, job_id: str, status: JobStatus, now: float) -> bool:
        """The first final answer counts, whatever the service says later."""
        self._failing_since = None
        self._heard = now
        job = self._open.get(job_id)
        if job is None:
            return False
        if status.state.is_final:
            self.final[job_id] = status
            self._close(job_id)
            self._probes = min(self._probes + _MORE, _MOST_PROBES)
            self._finals.append(now)
            return True
        if status.state is JobState.UNKNOWN and status.raw_status not in self._known_words:
            self._known_words.add(status.raw_status)
            self.newly_unknown[job_id] = status.raw_status
        job.missing_since = None
        if job.is_probed:
            self._probes = max(self._probes - 1.0, 1.0)
        self._again(job_id, job, now)
        return False

    def _unknown(self, job_id: str, now: float) -> bool:
        """
        A 404: the service does not know the job, maybe not yet. Nothing but 404 for 60 seconds, and it is lost.

        A service that knows none of several jobs has forgotten everybody for a while: with ``wants_witness`` none of
        them is lost then.
        """
        self._failing_since = None
        job = self._open.get(job_id)
        if job is None:
            return False
        if job.missing_since is None:
            job.missing_since = now
        if now - job.missing_since >= LOST_AFTER and self._knows_others(job.missing_since):
            self.lost.add(job_id)
            self._close(job_id)
            return True
        self._again(job_id, job, now)
        return False

    def _knows_others(self, since: float) -> bool:
        heard = self._heard is not None and self._heard >= since
        return heard or not self._wants_witness or len(self._open) == 1

    @property
    def is_failing(self) -> bool:
        """Whether the last question got no answer."""
        return self._failing_since is not None

    @property
    def missing(self) -> list[str]:
        """The open jobs that the service does not know, maybe not yet, oldest first."""
        return [job_id for job_id, job in self._open.items() if job.missing_since is not None]

    def is_losing(self, now: float) -> bool:
        """
        Return whether a job may soon be lost: its 404 lasts, and not much longer than a lost job's does.

        :param now: monotonic seconds.
        """
        longest = LOST_AFTER + _LONGEST_INTERVAL * (1.0 + _JITTER)
        missing = (job.missing_since for job in self._open.values() if job.missing_since is not None)
        return any(now - since <= longest for since in missing)

    @property
    def has_heard(self) -> bool:
        """Whether the service has known any of the jobs yet."""
        return self._heard is not None

    def _failed(self, job_id: str, error: PerfectlyClearError, now: float) -> None:
        """A question that got no answer says nothing about the job."""
        self._last_failure = error
        if self._failing_since is None:
            self._failing_since = now
        if job := self._open.get(job_id):
            self._again(job_id, job, now)

    def given_up(self, now: float) -> bool:
        """
        Say whether there was nothing but failure for 10 minutes, over all jobs.

        :param now: monotonic seconds.
        """
        return self._failing_since is not None and now - self._failing_since >= GIVE_UP_AFTER

    def forget(self, job_id: str) -> None:
        """
        Drop a job, whatever its state.

        :param job_id: the job.
        """
        self._close(job_id)
        self.final.pop(job_id, None)
        self.lost.discard(job_id)
        self.newly_unknown.pop(job_id, None)

    def _next_asked(self) -> str | None:
        """Return the job that is due next, of those that were asked before."""
        while self._queue:
            due, job_id = self._queue[0]
            job = self._open.get(job_id)
            if job is not None and job.due == due:
                return job_id
            heapq.heappop(self._queue)
        return None

    def _room(self, now: float) -> int:
        """Return how many jobs may be asked about for the first time."""
        standstill = min((now - self._finals[-1]) / _STANDSTILL, 10.0)
        return max(0, max(int(self._probes), int(2.0**standstill)) - self._probed)

    def _ask(self, job_id: str, now: float) -> None:
        job = self._open[job_id]
        if self._fresh.pop(job_id, None) is not None:
            job.asked = True
            self._probed += job.is_probed
        job.in_flight = True
        self._is_due(job_id, job, now + _UNANSWERED)

    def _is_due(self, job_id: str, job: _Job, due: float) -> None:
        job.due = due
        heapq.heappush(self._queue, (due, job_id))

    def _close(self, job_id: str) -> None:
        """Drop a job from the open ones."""
        job = self._open.pop(job_id, None)
        if job is not None and self._fresh.pop(job_id, None) is None:
            self._probed -= job.is_probed

    def _again(self, job_id: str, job: _Job, now: float) -> None:
        job.in_flight = False
        was_probed = job.is_probed
        job.found_open += 1
        self._probed -= was_probed and not job.is_probed
        interval = (now - job.started) / 10.0
        if job.is_probed:
            interval = min(interval, _FINALS_BETWEEN * (now - self._finals[0]) / len(self._finals))
        interval = max(min(interval, _LONGEST_INTERVAL), self._shortest)
        due = now + interval * (1.0 + _JITTER * self._dice())
        if job_id in self._fresh:
            job.due = due
        else:
            self._is_due(job_id, job, due)
