"""
What Airflow remembers of a task's ledger: so the next run knows when it does not find the one that it must find.

An XCom of the last run of the task tells it; where Airflow has a store that survives retries (3.3), that too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_perfectlyclear.catalog.ledger.identity import Expected

log = logging.getLogger(__name__)

#: The XCom, and the key in the task's own store.
KEY = "perfectlyclear_ledger"


def recall(context: Mapping[str, Any]) -> Expected | None:
    """
    Read what the last run of this task, or an earlier try of this one, said of its ledger.

    It is said again at once: Airflow clears the XComs of a try that begins, and one that ends without a ledger, or is
    killed, would leave the next run without any.

    :param context: the task's.
    :returns: None when nothing is known: then nothing is expected.
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
    Keep what a run says of its ledger for the next one.

    :param said: plain data; None: the run has none.
    """
    if said is None:
        return
    context["ti"].xcom_push(key=KEY, value=dict(said))
    store = context.get("task_state_store")
    if store is not None:
        store.set(KEY, {**said, "run_id": str(context["ti"].run_id)})


def _say_again(context: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    try:
        context["ti"].xcom_push(
            key=KEY, value={name: value for name, value in said.items() if name != "run_id"}
        )
    except Exception as error:
        log.debug("The XCom cannot be written: %s", type(error).__name__)


def _of_this_run(context: Mapping[str, Any]) -> Any:
    store = context.get("task_state_store")
    if store is None:
        return None
    try:
        said = store.get(KEY)
    except Exception as error:  # a store of Airflow's own, which no run may fail for
        log.debug("The task's store cannot be read: %s", type(error).__name__)
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
    except Exception as error:  # versions of Airflow differ in what they take
        log.debug("The last run's XCom cannot be read: %s", type(error).__name__)
        return None
