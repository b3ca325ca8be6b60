"""
Which open job to ask about next. Pure: the caller passes the clock.

Jobs finish roughly in the order they were started. So only a few of the oldest are asked about; each of them that
is final lets the next ones be asked at once, each that is still open makes the few fewer, down to one. However
long the queue and whatever the service's speed, that finds finished jobs soon for about 1.5 questions a job.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

#: No job is asked about less often than this (seconds), but for the jitter.
LONGEST_INTERVAL = 30.0
#: An interval grows by up to this share of itself, so that many tasks do not ask at the same moment.
JITTER = 0.2

_MORE = 0.4  # a final answer lets so many more jobs be asked about
_MOST_PROBES = 64.0
_RECENT = 8  # final answers from which the pace of the service is told
_FINALS_BETWEEN = 3.0  # a job found open is asked again when about so many others should have become final
# After so many seconds without a final answer the few are doubled: the oldest may be stuck.
_STANDSTILL = 20.0
_STRAGGLES = 3  # so often found open, a job no longer stands in the way of the younger ones
_UNANSWERED = 300.0  # seconds after which a question without a report is asked again


@dataclass
class _Job:
    started: float
    due: float
    asked: bool = False
    in_flight: bool = False
    found_open: int = 0

    @property
    def is_probed(self) -> bool:
        return self.asked and self.found_open < _STRAGGLES


class Schedule:
    """
    The open jobs, and when each is asked about. Times are monotonic seconds.

    :param poll_interval: seconds between two questions about a young job. It grows to a tenth of the job's age, up
        to 30.
    :param now: when the wait begins.
    :param dice: a random number from 0 to 1, for jitter.
    """

    def __init__(self, poll_interval: float, now: float, dice: Callable[[], float]) -> None:
        self._shortest = poll_interval
        self._dice = dice
        self._open: dict[str, _Job] = {}
        self._fresh: dict[str, _Job] = {}  # of the open ones, those without a status check yet, oldest first
        # A heap of the others: when each is due; outdated entries, too.
        self._queue: list[tuple[float, str]] = []
        self._probed = 0  # how many of the others still stand in the way of the fresh ones
        self._probes = 1.0
        self._finals: deque[float] = deque([now], maxlen=_RECENT)

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._open

    def add(self, job_id: str, *, started: float, due: float) -> None:
        """Open a job; those that are added later are taken for younger."""
        self._open[job_id] = self._fresh[job_id] = _Job(started, due)

    def due(self, now: float, most: int) -> list[str]:
        """
        Return the jobs to ask about now, and mark them as asked.

        First those that were asked before, longest due first, then the next few others, oldest first. What this costs
        does not grow with the number of open jobs.

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
        """Return the seconds until something is due; None when nothing is open."""
        if not self._open:
            return None
        waiting = [job.due for job in islice(self._fresh.values(), self._room(now))]
        job_id = self._next_asked()
        # A job that is being asked about is due again in minutes, so no other is due before it.
        if job_id is not None and not self._open[job_id].in_flight:
            waiting.append(self._open[job_id].due)
        return max(0.0, min(waiting) - now) if waiting else self._shortest

    def found_open(self, job_id: str, now: float) -> None:
        """Ask again later about a job that is still open; it makes the few fewer."""
        if self._open[job_id].is_probed:
            self._probes = max(self._probes - 1.0, 1.0)
        self.again(job_id, now)

    def found_final(self, job_id: str, now: float) -> None:
        """Drop a job that is final; it lets the next ones be asked about."""
        self.close(job_id)
        self._probes = min(self._probes + _MORE, _MOST_PROBES)
        self._finals.append(now)

    def again(self, job_id: str, now: float) -> None:
        """Ask again later about a job, whatever it is."""
        job = self._open[job_id]
        job.in_flight = False
        was_probed = job.is_probed
        job.found_open += 1
        self._probed -= was_probed and not job.is_probed
        interval = (now - job.started) / 10.0
        if job.is_probed:
            interval = min(interval, _FINALS_BETWEEN * (now - self._finals[0]) / len(self._finals))
        interval = max(min(interval, LONGEST_INTERVAL), self._shortest)
        due = now + interval * (1.0 + JITTER * self._dice())
        if job_id in self._fresh:
            job.due = due
        else:
            self._is_due(job_id, job, due)

    def close(self, job_id: str) -> None:
        """Drop a job from the open ones."""
        job = self._open.pop(job_id, None)
        if job is not None and self._fresh.pop(job_id, None) is None:
            self._probed -= job.is_probed

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
