"""Trigger that waits for jobs while no worker is held. It calls ``/status`` and nothing else."""

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
    Trigger that checks the status of jobs, oldest first, and fires once.

    The event only wakes the worker, which checks and records the jobs itself:
    ``{"done": 240, "open": 16, "why": "all_final", "reason": null}``. ``why`` is ``all_final``; ``enough_final`` (a
    quarter of the jobs, a minute after the first one); ``deadline``; or ``stopped``. ``stopped`` has a reason: the
    service refused the API key, or all status checks failed for ten minutes.

    :param perfectlyclear_conn_id: Airflow connection to the service. Default ``"perfectlyclear_default"``.
    :param job_ids: The service's job ids, oldest first, at most 1,000. Default: none.
    :param poll_interval: Initial seconds between status checks of a job. Grows with the job's age, up to 30. Default
        2.0.
    :param deadline: Unix seconds at which waiting ends. Default None: no deadline.
    :param timeout: Seconds after which waiting ends. The earlier of ``deadline`` and ``timeout`` applies. It is
        computed once, at the start, so that a clock change has no effect. Default None: no timeout.
    :param wake_early: Whether to fire on ``enough_final``. Default True.
    :param unknown: Arguments of another version. The trigger refuses to run with them.
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
        """Return the class path and the arguments, which contain no secret and no URL."""
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
        # Hold nothing while yielding: Airflow may never resume this generator.
        event = await self._wait()
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # Airflow gives it no hints

    async def on_kill(self) -> None:
        """Log that the jobs continue: the service has no call that cancels a job."""
        self.log.warning(
            "Stopped waiting for %s. Jobs at the service continue, because it cannot cancel them. The next run "
            "downloads the results.",
            counted(len(self.job_ids), "job"),
        )

    async def _wait(self) -> dict[str, Any]:
        if self.unknown:
            raise ConfigurationError(
                f"This triggerer does not know {', '.join(sorted(self.unknown))}, which a worker with another version "
                "of airflow-provider-perfectlyclear sent. Install the same version everywhere and restart the "
                "triggerer."
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
