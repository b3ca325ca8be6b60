"""
Which jobs are open, and what became of the rest: what an answer means. Pure: the caller passes the clock.

When to ask about which job is in ``schedule.py``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from airflow_provider_perfectlyclear.api.models import JobState, JobStatus
from airflow_provider_perfectlyclear.api.schedule import JITTER, LONGEST_INTERVAL, Schedule
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
        self._missing: dict[str, float] = {}  # since when the service does not know an open job
        self._failing_since: float | None = None
        self._last_failure: PerfectlyClearError | None = None
        self._heard: float | None = None
        self._wants_witness = wants_witness
        self._schedule = Schedule(poll_interval, now, dice)
        self._shortest = poll_interval
        for job_id, age in sorted(jobs.items(), key=lambda one: -one[1]):
            due = now + max(0.0, poll_interval - age)
            self._schedule.add(job_id, started=now - age, due=due)

    @property
    def open(self) -> list[str]:
        """The jobs that are neither final nor lost, oldest first."""
        return list(self._schedule)

    def add(self, job_id: str, *, now: float) -> None:
        """
        Watch a job that was just started.

        :param job_id: the service's job id.
        :param now: monotonic seconds.
        """
        if job_id not in self._schedule and job_id not in self.final and job_id not in self.lost:
            self._schedule.add(job_id, started=now, due=now + self._shortest)

    def due(self, now: float, most: int) -> list[str]:
        """
        Return the jobs to ask about now, and mark them as asked: first those that were asked before, longest due first.

        Then come the next few others, oldest first. Report on each of them with :meth:`report`.

        :param now: monotonic seconds.
        :param most: how many at most.
        """
        return self._schedule.due(now, most)

    def next_due(self, now: float) -> float | None:
        """
        Return the seconds until something is due; None when nothing is open.

        :param now: monotonic seconds.
        """
        return self._schedule.next_due(now)

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
        """Take in a status. The first final one counts, whatever the service says later."""
        self._failing_since = None
        self._heard = now
        if job_id not in self._schedule:
            return False
        self._missing.pop(job_id, None)
        if status.state.is_final:
            self.final[job_id] = status
            self._schedule.found_final(job_id, now)
            return True
        if status.state is JobState.UNKNOWN and status.raw_status not in self._known_words:
            self._known_words.add(status.raw_status)
            self.newly_unknown[job_id] = status.raw_status
        self._schedule.found_open(job_id, now)
        return False

    def _unknown(self, job_id: str, now: float) -> bool:
        """
        Take in a 404: the service does not know the job, maybe not yet. Nothing but 404 for 60 seconds, and it is lost.

        A service that knows none of several jobs has forgotten all of them for a while: with ``wants_witness`` none of
        them is lost then.
        """
        self._failing_since = None
        if job_id not in self._schedule:
            return False
        since = self._missing.setdefault(job_id, now)
        if now - since >= LOST_AFTER and self._knows_others(since):
            self.lost.add(job_id)
            self._close(job_id)
            return True
        self._schedule.again(job_id, now)
        return False

    def _knows_others(self, since: float) -> bool:
        heard = self._heard is not None and self._heard >= since
        return heard or not self._wants_witness or len(self._schedule) == 1

    @property
    def is_failing(self) -> bool:
        """Whether the last question got no answer."""
        return self._failing_since is not None

    @property
    def missing(self) -> list[str]:
        """The open jobs that the service does not know, maybe not yet, oldest first."""
        return [job_id for job_id in self._schedule if job_id in self._missing]

    def is_losing(self, now: float) -> bool:
        """
        Return whether a job may soon be lost: its 404 lasts, and not much longer than a lost job's does.

        :param now: monotonic seconds.
        """
        longest = LOST_AFTER + LONGEST_INTERVAL * (1.0 + JITTER)
        return any(now - since <= longest for since in self._missing.values())

    @property
    def has_heard(self) -> bool:
        """Whether the service has known any of the jobs yet."""
        return self._heard is not None

    def _failed(self, job_id: str, error: PerfectlyClearError, now: float) -> None:
        """Note a question that got no answer, which says nothing about the job."""
        self._last_failure = error
        if self._failing_since is None:
            self._failing_since = now
        if job_id in self._schedule:
            self._schedule.again(job_id, now)

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

    def _close(self, job_id: str) -> None:
        """Drop a job from the open ones."""
        self._schedule.close(job_id)
        self._missing.pop(job_id, None)
