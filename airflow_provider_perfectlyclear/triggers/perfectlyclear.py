"""Waiting for jobs without holding a worker: the trigger asks ``/status`` and does nothing else."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_perfectlyclear.adapters.connection import DEFAULT_CONN_ID
from airflow_provider_perfectlyclear.api.polling import Watch
from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.errors import ConfigurationError, PerfectlyClearError
from airflow_provider_perfectlyclear.triggers.polling import Asking, done_of
from airflow_provider_perfectlyclear.triggers.shared_client import shared_client


class PerfectlyClearJobsTrigger(BaseTrigger):
    """
    Watch jobs, oldest first, and fire once.

    The event is ``{"done": 240, "open": 16, "why": "all_final", "reason": null}``: a wake-up only. ``why`` is
    ``all_final``; ``enough_final`` (a quarter, a minute after the first); ``deadline``; or ``stopped``, with
    the reason: the key was refused, or ten minutes brought nothing but failures. What became of the jobs is
    asked and recorded by the worker.

    :param perfectlyclear_conn_id: Airflow's connection to the service.
    :param job_ids: the service's job ids, oldest first, at most 1,000.
    :param poll_interval: seconds between two questions about a young job; older jobs are asked less often.
    :param deadline: Unix seconds at which waiting ends. None: no such end.
    :param timeout: seconds after which waiting ends. The sooner of both counts, measured once at the start,
        so that a jump of the clock neither ends the wait nor prolongs it.
    :param wake_early: whether ``enough_final`` is a reason to fire.
    """

    def __init__(
        self,
        perfectlyclear_conn_id: str = DEFAULT_CONN_ID,
        job_ids: Sequence[str] = (),
        poll_interval: float = 2.0,
        deadline: float | None = None,
        timeout: float | None = None,
        wake_early: bool = True,
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow gives it no hints
        self.perfectlyclear_conn_id = perfectlyclear_conn_id
        self.job_ids = list(job_ids)
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.timeout = timeout
        self.wake_early = wake_early
        self.unknown = unknown

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Say how to make this trigger again; no secret and no URL is part of it."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "perfectlyclear_conn_id": self.perfectlyclear_conn_id,
                "job_ids": self.job_ids,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "timeout": self.timeout,
                "wake_early": self.wake_early,
                **self.unknown,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire once."""
        # Nothing is held while yielding: whoever runs the trigger may never come back for more.
        event = await self._wait()
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # likewise

    async def on_kill(self) -> None:
        """Say what goes on: the service has no call that cancels a job."""
        self.log.warning(
            "Stopped waiting for %s. What runs at the service goes on, as it has no way to cancel a job; the next run "
            "collects the results.",
            counted(len(self.job_ids), "job"),
        )

    async def _wait(self) -> dict[str, Any]:
        if self.unknown:
            raise ConfigurationError(
                f"This triggerer does not know {', '.join(sorted(self.unknown))}, which a worker with another "
                "version of airflow-provider-perfectlyclear sent: install the same version everywhere and restart it."
            )
        left = self._seconds_left()
        until = time.monotonic() + left
        jobs = dict.fromkeys(self.job_ids, 0.0)
        watch = Watch(jobs, poll_interval=self.poll_interval, now=time.monotonic())
        self.log.info("Waiting for %s, for %.1f s at most", counted(len(jobs), "job"), left)
        try:
            async with shared_client(self.perfectlyclear_conn_id) as client:
                why = await Asking(client, watch, until, wake_early=self.wake_early).until_worth_waking()
        except PerfectlyClearError as stop:
            return _event(watch, "stopped", str(stop))
        return _event(watch, why)

    def _seconds_left(self) -> float:
        by_deadline = float("inf") if self.deadline is None else self.deadline - time.time()
        return max(0.0, min(by_deadline, float("inf") if self.timeout is None else self.timeout))


def _event(watch: Watch, why: str, reason: str | None = None) -> dict[str, Any]:
    return {
        "done": done_of(watch),
        "open": len(watch.open),
        "why": why,
        "reason": reason[:300] if reason else None,
    }
