"""Asking about many jobs on an event loop, until waking the worker is worth it."""

from __future__ import annotations

import asyncio
import time

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import AsyncClient
from airflow_provider_perfectlyclear.api.models import JobStatus
from airflow_provider_perfectlyclear.api.polling import Watch
from airflow_provider_perfectlyclear.errors import PerfectlyClearError

#: How many questions of one trigger may be on their way; all triggers share the bound of their client.
AT_ONCE = 4
#: Wake the worker before all jobs are final when this share of them is ...
ENOUGH = 0.25
#: ... and the first has been final for this long (seconds): landing them then overlaps with the rest.
ENOUGH_AFTER = 60.0
#: Never wake it sooner (seconds): Airflow fails a task now and then that comes back before it was seen to go.
SETTLE = 8.0


class Asking:
    """
    One wait.

    :param client: shared; not closed here.
    :param watch: decides which job to ask about next, and what the answers mean.
    :param until: monotonic seconds at which the wait ends.
    :param wake_early: whether a part of the jobs is worth waking the worker.
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
        Ask until there is a reason to wake the worker: its word.

        :raises PerfectlyClearError: no answer can come any more: the key, payment, permission, TLS; or ten minutes
            brought nothing but failures.
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
        if not self.watch.open and done_of(
            self.watch
        ):  # with no job at all it is only the time that is waited for
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
        """Sleep until an answer comes, a job is due, or there may be a reason to wake the worker."""
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
    """How many jobs will not change any more."""
    return len(watch.final) + len(watch.lost)
