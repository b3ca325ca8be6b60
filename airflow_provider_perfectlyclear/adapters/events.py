"""Extras of asset events, and metrics. Their failures never fail a task."""

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
    """Log any error and continue: the pictures are already corrected and paid for."""
    try:
        yield
    except Exception as error:  # Airflow and its plug-ins raise anything
        log.warning("%s could not be reported to Airflow: %s", what, type(error).__name__, exc_info=True)


def count(tally: Mapping[str, float], *, dag_id: str, task_id: str) -> None:
    """
    Send an attempt's counts as metrics ``perfectlyclear.*``.

    :param tally: Counts and seconds of the attempt. Empty: no metrics.
    :param dag_id: Tag of the metrics.
    :param task_id: Tag of the metrics.
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
    Add a run's counts to the extra of each outlet's asset event. Keys that the Dag has set itself stay.

    :param context: The task's context, for its ``outlet_events``.
    :param outlets: The task's outlets. Aliases are skipped, because they have no event of their own.
    :param facts: The counts.
    """
    for outlet in outlets:
        with harmless("The extra of an asset event"):
            from airflow.providers.common.compat.sdk import AssetAlias

            if not isinstance(outlet, AssetAlias):
                event = context["outlet_events"][outlet]
                event.extra = {**facts, **event.extra}
