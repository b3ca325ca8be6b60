"""Status checks of many jobs on an event loop, until the worker should wake up."""

from __future__ import annotations

import asyncio
import time

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import AsyncClient
from airflow_provider_perfectlyclear.api.models import JobStatus
from airflow_provider_perfectlyclear.api.polling import Watch
from airflow_provider_perfectlyclear.errors import PerfectlyClearError

#: Maximum number of concurrent status checks of one trigger. The limit of the shared client applies in addition.
AT_ONCE = 4
#: Wake the worker before all jobs are final if this share of them is final ...
ENOUGH = 0.25
#: ... and the first one has been for this long (seconds). Its downloads then overlap with the other jobs.
ENOUGH_AFTER = 60.0
#: Never wake it sooner (seconds): Airflow may fail a task that resumes before its executor knows of the deferral.
SETTLE = 8.0


class Asking:
    """
    One wait for jobs.

    :param client: Client of the connection, shared with other triggers. Stays open.
    :param watch: Chooses the next job to check and interprets the responses.
    :param until: Monotonic seconds at which the wait ends.
    :param wake_early: Whether to wake the worker when a part of the jobs is final. Default True.
    """

    def __init__(self, client: AsyncClient, watch: Watch, until: float, *, wake_early: bool = True) -> None:
        self.client = client
        self.watch = watch
        self.until = until
        self.wake_early = wake_early
        self._earliest = time.monotonic() + SETTLE
        self._first_final: float | None = None
        self._asked: dict[str, asyncio.Task[None]] = {}

    async def until_worth_waking(self) -> str:
        """
        Check jobs until there is a reason to wake the worker.

        :returns: The reason: ``deadline``, ``all_final`` or ``enough_final``.
        :raises PerfectlyClearError: The service refuses further status checks (API key, payment, permission, TLS), or
            all of them failed for ten minutes.
        """
        try:
            while (why := self._why(time.monotonic())) is None:
                self._ask_those_due(time.monotonic())
                await self._pause()
                self._collect()
            return why
        finally:
            await self._drop()

    def _why(self, now: float) -> str | None:
        if now >= self.until:
            return "deadline"
        if now < self._earliest:
            return None
        if not self.watch.open and done_of(self.watch):  # without any job, only the deadline ends the wait
            return "all_final"
        self.watch.give_up(now)
        return "enough_final" if self._enough(now) else None

    def _enough(self, now: float) -> bool:
        if not self.wake_early or self._first_final is None or now - self._first_final < ENOUGH_AFTER:
            return False
        done = done_of(self.watch)
        return done >= ENOUGH * (done + len(self.watch.open))

    def _ask_those_due(self, now: float) -> None:
        free = AT_ONCE - len(self._asked)
        for job_id in self.watch.due(now, free) if free else ():
            self._asked[job_id] = asyncio.create_task(self._ask(job_id))

    async def _ask(self, job_id: str) -> None:
        answer: JobStatus | PerfectlyClearError
        try:
            answer = await self.client.send(calls.status(job_id))
        except PerfectlyClearError as error:
            answer = error
        final = self.watch.report(job_id, answer, now=time.monotonic())
        if final and self._first_final is None:
            self._first_final = time.monotonic()

    async def _pause(self) -> None:
        """Sleep until a response arrives, a job is due, or there may be a reason to wake the worker."""
        now = time.monotonic()
        seconds = max(0.0, min(self._next_moment(now), self.until - now))
        if self._asked:
            await asyncio.wait(self._asked.values(), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(seconds)

    def _next_moment(self, now: float) -> float:
        waits = [60.0]
        if len(self._asked) < AT_ONCE and (due := self.watch.next_due(now)) is not None:
            waits.append(due)
        if now < self._earliest:
            waits.append(self._earliest - now)
        if self._first_final is not None and now - self._first_final < ENOUGH_AFTER:
            waits.append(self._first_final + ENOUGH_AFTER - now)
        return min(waits)

    def _collect(self) -> None:
        for job_id, task in list(self._asked.items()):
            if task.done():
                del self._asked[job_id]
                task.result()

    async def _drop(self) -> None:
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)


def done_of(watch: Watch) -> int:
    """Return the number of jobs whose status will not change: final and lost ones."""
    return len(watch.final) + len(watch.lost)
