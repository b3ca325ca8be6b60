"""The job sensor ends alike however it waits: poking, rescheduled, deferred. Every row is a task that really runs."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from tests.airflow.harness import AirflowHome
from tests.support.sandbox import jpeg

MODES = {
    "poke": {},
    "reschedule": {"mode": "reschedule"},
    "deferred": {"deferrable": True},
}

DONE, FAILED, RETRIED, SKIPPED = ("success", 1), ("failed", 1), ("failed", 2), ("skipped", 1)


@dataclass(frozen=True)
class Answers:
    """
    What questions about a job are answered instead of how it does.

    :param later: from the second on, not from the first.
    :param once: one question only, after it was open for longer than it takes to call a job lost.
    """

    status: int
    later: bool = False
    once: bool = False


@dataclass(frozen=True)
class Row:
    """
    What becomes of a task, as its state and its number of tries.

    :param jobs: how each of its jobs ends: an outcome of the emulator's, or answers that say nothing.
    :param arguments: of the sensor, beside the usual.
    :param but: where Airflow's modes differ: mode -> what becomes of it there.
    """

    ends: tuple[str, int]
    jobs: tuple[Any, ...] = ("COMPLETED",)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    but: Mapping[str, tuple[str, int]] = field(default_factory=dict)


SOFT, NEVER, SHORT = {"soft_fail": True}, {"never_fail": True}, {"timeout": 1}
WRONG_KEY, KEY_REVOKED, OUT_OF_ORDER = Answers(401), Answers(401, later=True), Answers(503)
UNKNOWN_ONCE = Answers(404, once=True)

ROWS = {
    "one": Row(DONE),
    "several": Row(DONE, ("COMPLETED",) * 3),
    "failed": Row(FAILED, ("FAILED",)),
    "one_of_several": Row(FAILED, ("COMPLETED", "REJECTED", "COMPLETED")),
    "lost": Row(FAILED, ("COMPLETED", "lost")),
    "unknown_once": Row(DONE, (UNKNOWN_ONCE,)),
    "out_of_time": Row(FAILED, ("stuck",), SHORT),
    "wrong_key": Row(FAILED, (WRONG_KEY,)),
    "key_revoked": Row(FAILED, (KEY_REVOKED,)),
    "no_connection": Row(FAILED, arguments={"perfectlyclear_conn_id": "not_there"}),
    "out_of_order": Row(RETRIED, (OUT_OF_ORDER,), {"timeout": 4}, {"reschedule": FAILED}),
    "refused": Row(RETRIED, (Answers(400),), {"timeout": 4}, {"reschedule": FAILED}),
    "refused_later": Row(RETRIED, (Answers(400, later=True),), {"timeout": 4}, {"reschedule": FAILED}),
    "soft_failed": Row(SKIPPED, ("COMPLETED", "FAILED"), SOFT),
    "soft_lost": Row(SKIPPED, ("lost",), SOFT),
    "soft_out_of_time": Row(SKIPPED, ("stuck",), {**SOFT, **SHORT}),
    "soft_wrong_key": Row(SKIPPED, (WRONG_KEY,), SOFT),
    "soft_key_revoked": Row(SKIPPED, (KEY_REVOKED,), SOFT),
    "soft_out_of_order": Row(SKIPPED, (OUT_OF_ORDER,), {**SOFT, "timeout": 4}),
    "never_failed": Row(SKIPPED, ("FAILED",), NEVER),
    "never_out_of_time": Row(SKIPPED, ("stuck",), {**NEVER, **SHORT}),
    "never_key_revoked": Row(SKIPPED, (KEY_REVOKED,), NEVER),
    "never_out_of_order": Row(SKIPPED, (OUT_OF_ORDER,), {**NEVER, "timeout": 4}),
}

#: Refused at the first look, which comes before any deferral.
AT_ONCE = {"wrong_key", "soft_wrong_key", "no_connection"}

DAG = """
    from datetime import timedelta

    from airflow_provider_perfectlyclear.api import polling as watch
    from airflow_provider_perfectlyclear.sensors import perfectlyclear as sensors
    from airflow_provider_perfectlyclear.triggers import polling as asking
    from airflow.providers.common.compat.sdk import DAG

    # No test waits for as long as a user's sensor may.
    watch.LOST_AFTER = 0.7
    watch.GIVE_UP_AFTER, asking.SETTLE = 1.0, 0.0

    with DAG("sensor_modes", schedule=None):
        for task_id, arguments in {tasks!r}.items():
            sensors.PerfectlyClearJobSensor(
                task_id=task_id,
                **{{
                    "perfectlyclear_conn_id": "pc",
                    "poke_interval": 0.3,
                    "poll_interval": 0.3,
                    "timeout": 600,
                    "retries": 1,
                    "retry_delay": timedelta(0),
                    **arguments,
                }},
            )
"""


@dataclass(frozen=True)
class Ran:
    """All tasks of the table."""

    home: AirflowHome
    run_id: str
    jobs: Mapping[str, Any]


@pytest.fixture(scope="module")
def service() -> Iterator[Emulator]:
    with running_emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def ran(airflow_home: AirflowHome, service: Emulator) -> Ran:
    tasks: dict[str, dict[str, Any]] = {}
    with Client(Settings(api_key=service.key, base_url=service.base_url)) as client:
        for (name, row), (mode, arguments) in itertools.product(ROWS.items(), MODES.items()):
            ids = [begin(client, service, end) for end in row.jobs]
            job_ids = ids if len(ids) > 1 else ids[0]
            tasks[f"{name}.{mode}"] = {"job_ids": job_ids, **arguments, **row.arguments}
    env = {"AIRFLOW_CONN_PC": service.connection_json(max_retries=0)}
    run_id, _ = airflow_home.dags_test("sensor_modes", DAG.format(tasks=tasks), env=env)
    return Ran(airflow_home, run_id, {task_id: task["job_ids"] for task_id, task in tasks.items()})


def begin(client: Client, service: Emulator, end: Any) -> str:
    """Start a job that is still open when it is asked about for the first time. Returns its id."""
    if isinstance(end, str) and end != "COMPLETED":
        service.fault("pfc", {"outcome": end})
    picture = jpeg(1)
    file_key = client.upload(lambda: io.BytesIO(picture), size=len(picture))
    job_id = client.send(calls.start(file_key, Correction(cache=False)))
    about = {"route": "status", "job_id": job_id}
    if isinstance(end, str) or end.later or end.once:
        service.fault(about, {"patch": {"status": "PROCESSING", "correctedFile": None}})
    if isinstance(end, Answers) and end.once:
        service.fault(about, {"patch": {"status": "PROCESSING", "correctedFile": None}}, times=4)
        service.fault({**about, "nth": 6}, {"answer": {"status": end.status}})
    elif isinstance(end, Answers):
        service.fault({**about, "nth": 1 + end.later}, {"answer": {"status": end.status}}, times=None)
    return job_id


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ROWS)
def test_a_sensor_ends_alike_however_it_waits(name: str, mode: str, ran: Ran) -> None:
    of_task = "sensor_modes", ran.run_id, f"{name}.{mode}"
    task, row = ran.home.task(*of_task), ROWS[name]
    assert (task["state"], task["try_number"]) == row.but.get(mode, row.ends)
    if task["state"] == "success":
        assert ran.home.xcom(*of_task) == ran.jobs[of_task[-1]]
    waited = {"poke": None, "reschedule": "up_for_reschedule", "deferred": "deferred"}[mode]
    seen = {"up_for_reschedule", "deferred"} & set(ran.home.history(*of_task))
    assert seen == ({waited} if waited and name not in AT_ONCE else set())
