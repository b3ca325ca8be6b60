"""Keys and titles of a task instance, and this package's errors as Airflow's exceptions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow_provider_perfectlyclear import errors

log = logging.getLogger(__name__)


def run_key(ti: Any) -> str:
    """
    Return the key of a task instance, the same for all its attempts. An attempt continues the jobs of earlier ones.

    The run id is last, because it may contain any character.

    :param ti: Airflow's task instance.
    """
    return f"{ti.dag_id}/{ti.task_id}/{ti.map_index}/{ti.run_id}"


def task_key(ti: Any) -> str:
    """
    Return the key of a task in one Dag run, the same for all its mapped instances.

    :param ti: Airflow's task instance.
    """
    return f"{ti.dag_id}/{ti.task_id}/{ti.run_id}"


def run_title(ti: Any) -> str:
    """Return the run's name for messages in other runs' logs."""
    index = getattr(ti, "map_index", -1)
    mapped = f" [{index}]" if isinstance(index, int) and index >= 0 else ""
    return f"dag {ti.dag_id!r} run {ti.run_id!r} task {ti.task_id!r}{mapped}"


@contextmanager
def told_to_airflow() -> Iterator[None]:
    """
    Convert this package's errors to Airflow's exceptions. Other exceptions pass unchanged.

    The message is logged alone first, before Airflow logs it at the end of a traceback. The cause is dropped, because
    causes may quote a signed URL and the message is complete.
    """
    from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

    try:
        yield
    except errors.PerfectlyClearError as error:
        log.error("%s", error)
        kind = AirflowException if error.retry_helps else AirflowFailException
        raise kind(str(error)) from None
