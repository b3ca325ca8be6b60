"""What a run tells Airflow beside its result: extras of asset events, and metrics. None of it can fail a task."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

log = logging.getLogger(__name__)

COUNTERS = (
    "corrected",
    "failed",
    "unchanged",
    "paid",
    "possibly_paid_twice",
    "bytes_in",
    "bytes_out",
)
TIMINGS = ("seconds", "seconds_waited")


@contextmanager
def harmless(what: str) -> Iterator[None]:
    """Log whatever goes wrong, and go on: the pictures are corrected, and paid for."""
    try:
        yield
    except Exception as error:
        log.warning("%s could not be told to Airflow: %s", what, type(error).__name__, exc_info=True)


def count(tally: Mapping[str, float], *, dag_id: str, task_id: str) -> None:
    """
    Send a try's numbers as metrics ``perfectlyclear.*``.

    :param tally: what the try did; empty sends nothing.
    """
    if not tally:
        return
    with harmless("The metrics"):
        from airflow.providers.common.compat.sdk import Stats

        tags = {"dag_id": dag_id, "task_id": task_id}
        for name in COUNTERS:
            Stats.incr(f"perfectlyclear.{name}", int(tally[name]), tags=tags)
        for name in TIMINGS:
            Stats.timing(f"perfectlyclear.{name}", timedelta(seconds=tally[name]), tags=tags)


def fill_events(context: Any, outlets: Iterable[Any], facts: Mapping[str, Any]) -> None:
    """
    Put a run's numbers into the extra of the event of each outlet. What a Dag has put there itself, stays.

    :param context: the task's, for its ``outlet_events``.
    :param outlets: the task's outlets. An alias has no event of its own.
    """
    for outlet in outlets:
        with harmless("The extra of an asset event"):
            from airflow.providers.common.compat.sdk import AssetAlias

            if not isinstance(outlet, AssetAlias):
                event = context["outlet_events"][outlet]
                event.extra = {**facts, **event.extra}
