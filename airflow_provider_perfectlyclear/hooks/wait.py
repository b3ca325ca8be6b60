"""The hook's ``wait`` and ``wait_all``: status checks in the worker, as in the trigger."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.errors import (
    ConfigurationError,
    JobLost,
    JobTimeout,
    PerfectlyClearError,
)

if TYPE_CHECKING:
    from airflow_provider_perfectlyclear.api.client import Client
    from airflow_provider_perfectlyclear.api.models import JobStatus
    from airflow_provider_perfectlyclear.api.polling import Watch


def wait_for(
    client: Client, job_ids: Sequence[str], *, timeout: float, poll_interval: float
) -> dict[str, JobStatus]:
    """Check the status of jobs until all are final. Parameters and errors as of the hook's ``wait_all``."""
    from airflow_provider_perfectlyclear.api.polling import Watch

    if isinstance(job_ids, str):
        raise ConfigurationError("job_ids is one text: give a list of job ids.")
    for name, value in (("timeout", timeout), ("poll_interval", poll_interval)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigurationError(f"{name} is {value!r}: give a number of seconds.")
    now = time.monotonic()
    # Registered as old jobs, so that the first check follows at once: they may be final already.
    watch = Watch(dict.fromkeys(job_ids, poll_interval), poll_interval=poll_interval, now=now)
    _ask_until(client, watch, now + timeout)
    if watch.open:
        raise _late(watch, timeout, len(job_ids))
    if watch.lost:
        lost = min(watch.lost)
        which = f"{len(watch.lost)} of {len(job_ids)} jobs" if len(job_ids) > 1 else "the job"
        raise JobLost(lost, f"the service does not know {which}")
    return {job_id: watch.final[job_id] for job_id in job_ids}


def _ask_until(client: Client, watch: Watch, until: float) -> None:
    while watch.open:
        for job_id in watch.due(time.monotonic(), 1):
            _ask(client, watch, job_id)
        now = time.monotonic()
        if now >= until:
            _ask_all(client, watch)
            return
        time.sleep(max(0.0, min(watch.next_due(now) or 0.0, until - now)))


def _ask_all(client: Client, watch: Watch) -> None:
    """Check all jobs once more before the timeout error, as long as the service responds."""
    for job_id in watch.open:
        if not _ask(client, watch, job_id):
            return


def _ask(client: Client, watch: Watch, job_id: str) -> bool:
    """Check one job, and return whether the service responded."""
    answer: JobStatus | PerfectlyClearError
    try:
        answer = client.send(calls.status(job_id))
    except PerfectlyClearError as error:
        answer = error
    watch.report(job_id, answer, now=time.monotonic())
    watch.give_up(time.monotonic())
    return not watch.is_failing


def _late(watch: Watch, timeout: float, of: int) -> JobTimeout:
    """Return the error for jobs that are in progress or unknown to the service at the timeout."""
    missing = watch.missing
    known = [job_id for job_id in watch.open if job_id not in missing]
    others = f", as {len(known or missing)} of {of} jobs" if of > 1 else ""
    if known:
        beside = f"; {len(missing)} unknown to the service (404)" if missing else ""
        return JobTimeout(
            known[0], f"still in progress after {timeout:g} s{others}{beside}; later status checks are free"
        )
    return JobTimeout(
        missing[0],
        f"the service does not know the job (404) after {timeout:g} s{others}. Check the job id, or wait for longer",
    )
