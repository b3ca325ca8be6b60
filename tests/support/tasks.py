"""Operators and triggers, run as Airflow runs them."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_perfectlyclear.triggers.perfectlyclear import PerfectlyClearJobsTrigger


class TaskInstance(SimpleNamespace):
    """What operators use of theirs."""

    def __init__(self, task_id: str, run_id: str, map_index: int) -> None:
        super().__init__(dag_id="dag", run_id=run_id, task_id=task_id, map_index=map_index, xcoms={})

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def a_context(task_id: str = "task", run_id: str = "manual__1", map_index: int = -1) -> Any:
    return {"ti": TaskInstance(task_id, run_id, map_index)}


def run(operator: Any, context: Any = None) -> tuple[Any, list[TaskDeferred]]:
    """Run to the end, waiting in the trigger as often as asked to. Returns the result and the deferrals."""
    context = context or a_context(operator.task_id)
    deferrals: list[TaskDeferred] = []
    try:
        return operator.execute(context), deferrals
    except TaskDeferred as deferred:
        deferrals.append(deferred)
    while True:
        stored = json.loads(json.dumps(deferrals[-1].trigger.serialize()[1]))
        event = {"event": first_event(PerfectlyClearJobsTrigger(**stored))}
        try:
            return operator.resume_execution(deferrals[-1].method_name, event, context), deferrals
        except TaskDeferred as deferred:
            deferrals.append(deferred)


def first_event(trigger: Any) -> Any:
    async def first() -> Any:
        return [event.payload async for event in trigger.run()]

    (event,) = asyncio.run(first())
    return event


def requests_of(service: Any) -> int:
    """How many requests the service has had, at the API and at the storage."""
    return sum(origin["requests"] for origin in service.seen().values())
