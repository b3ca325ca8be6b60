"""A run as a task instance of Airflow: what it is called, and how its failures are told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow_provider_perfectlyclear import errors

log = logging.getLogger(__name__)


def run_key(ti: Any) -> str:
    """
    Name the task instance over all its tries: what it started, its next try takes up.

    The run id comes last: it alone may hold any character.

    :param ti: Airflow's task instance.
    """
    return f"{ti.dag_id}/{ti.task_id}/{ti.map_index}/{ti.run_id}"


def task_key(ti: Any) -> str:
    """
    Name the task of a Dag run, all its mapped instances together.

    :param ti: Airflow's task instance.
    """
    return f"{ti.dag_id}/{ti.task_id}/{ti.run_id}"


def run_title(ti: Any) -> str:
    """Name the run for people who read of it in another run's log."""
    index = getattr(ti, "map_index", -1)
    mapped = f" [{index}]" if isinstance(index, int) and index >= 0 else ""
    return f"dag {ti.dag_id!r} run {ti.run_id!r} task {ti.task_id!r}{mapped}"


@contextmanager
def told_to_airflow() -> Iterator[None]:
    """
    Turn this package's errors into Airflow's own; everything else flies as it is.

    The sentence is logged first, whole and by itself, before Airflow logs it at the end of a traceback. The chain is
    cut: what lies below may quote a signed URL, and the message says all there is to know.
    """
    from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

    try:
        yield
    except errors.PerfectlyClearError as error:
        log.error("%s", error)
        kind = AirflowException if error.retry_helps else AirflowFailException
        raise kind(str(error)) from None
