"""
Identity of a task's ledger, stored in Airflow, so that a run notices when the ledger is missing.

It is stored as an XCom for the next run and, from Airflow 3.3, in the task state store for retries.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_perfectlyclear.adapters.events import harmless

if TYPE_CHECKING:
    from airflow_provider_perfectlyclear.catalog.ledger.identity import Expected

log = logging.getLogger(__name__)

#: Key of the XCom, and in the task state store.
KEY = "perfectlyclear_ledger"


def recall(context: Mapping[str, Any]) -> Expected | None:
    """
    Return the identity of the ledger of an earlier attempt of this run, or of the task's last run.

    It is stored again at once: Airflow clears the XComs of a new attempt, and an attempt that is killed or ends without
    a ledger would leave the next run without one.

    :param context: The task's context.
    :returns: None: no ledger is known, so none is expected.
    """
    from airflow_provider_perfectlyclear.catalog.ledger.identity import Expected

    for said, same_run in ((_of_this_run(context), True), (_of_the_last_run(context), False)):
        if isinstance(said, Mapping) and isinstance(said.get("ledger"), str):
            _say_again(context, said)
            return Expected(
                said["ledger"],
                str(said.get("place", "")),
                int(said.get("outputs", 0)),
                int(said.get("seq", 0)),
                same_run,
            )
    return None


def remember(context: Mapping[str, Any], said: Mapping[str, Any] | None) -> None:
    """
    Store the identity of a run's ledger for the next attempt and the next run. A failure is logged, never raised.

    :param context: The task's context.
    :param said: The identity, as plain data. None: the run has no ledger.
    """
    if said is None:
        return
    with harmless("The place of the ledger"):
        context["ti"].xcom_push(key=KEY, value=dict(said))
        store = context.get("task_state_store")
        if store is not None:
            store.set(KEY, {**said, "run_id": str(context["ti"].run_id)})


def _say_again(context: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    try:
        context["ti"].xcom_push(
            key=KEY, value={name: value for name, value in said.items() if name != "run_id"}
        )
    except Exception as error:  # noqa: BLE001  # only the next run needs it, so this run must not fail
        log.debug("The XCom cannot be written: %s", type(error).__name__)


def _of_this_run(context: Mapping[str, Any]) -> Any:
    store = context.get("task_state_store")
    if store is None:
        return None
    try:
        said = store.get(KEY)
    except Exception as error:  # noqa: BLE001  # a new part of Airflow; a run must not fail because of it
        log.debug("The task state store cannot be read: %s", type(error).__name__)
        return None
    is_ours = isinstance(said, Mapping) and said.get("run_id") == str(context["ti"].run_id)
    return said if is_ours else None


def _of_the_last_run(context: Mapping[str, Any]) -> Any:
    ti = context["ti"]
    pull = getattr(ti, "xcom_pull", None)
    if pull is None:
        return None
    try:
        return pull(
            task_ids=ti.task_id, key=KEY, map_indexes=getattr(ti, "map_index", -1), include_prior_dates=True
        )
    except Exception as error:  # noqa: BLE001  # versions of Airflow accept different arguments
        log.debug("The last run's XCom cannot be read: %s", type(error).__name__)
        return None
