"""The promise in a whole Airflow: while the service works, the task is deferred and no worker is held."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from tests.airflow.harness import Airflow, until

JOB_SECONDS = 20
NAMES = [f"{number}.jpg" for number in range(5)]
CANARY = "canary-key-4f1b9c"


@pytest.fixture(scope="module")
def service(airflow: Airflow) -> Iterator[Emulator]:
    with running_emulator(job_seconds=JOB_SECONDS, key=CANARY) as emulator:
        host = emulator.base_url
        airflow.add_connection("slow_service", conn_type="perfectlyclear", host=host, password=CANARY)
        yield emulator


@dataclass
class Night:
    """A catalog's run: where it is, and how things stood while its task was deferred."""

    dag_id: str
    run_id: str
    destination: Path
    billed: int
    corrected: list[str]


def begin(airflow: Airflow, service: Emulator, dag_id: str, folder: Path) -> Night:
    """Start a catalog's run, and return when its task is deferred and its worker is idle."""
    source, destination = folder / "source", folder / "corrected"
    source.mkdir()
    for size, name in enumerate(NAMES, start=64):
        Image.radial_gradient("L").resize((size, 64)).convert("RGB").save(source / name)
    airflow.put_dag(dag_id, catalog_dag(dag_id, source, destination))
    billed_before = service.bill()["billed"]
    run_id = airflow.trigger(dag_id)
    airflow.wait_for_state(dag_id, run_id, "correct", "deferred")
    until("no task process", lambda: not airflow.task_processes(), within=5)
    assert airflow.task(dag_id, run_id, "correct")["state"] == "deferred"
    billed = service.bill()["billed"] - billed_before
    return Night(dag_id, run_id, destination, billed, corrected(destination))


def catalog_dag(dag_id: str, source: Path, destination: Path) -> str:
    return f"""
        from airflow.sdk import DAG
        from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearCatalogOperator

        with DAG({dag_id!r}, schedule=None):
            PerfectlyClearCatalogOperator(
                task_id="correct",
                source={str(source)!r},
                destination={str(destination)!r},
                correction={{"output_type": "jpg"}},
                perfectlyclear_conn_id="slow_service",
                deferrable=True,
            )
    """


def corrected(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.jpg"))


def end(airflow: Airflow, night: Night) -> dict[str, Any]:
    assert airflow.wait_for_run(night.dag_id, night.run_id) == "success"
    assert corrected(night.destination) == NAMES
    return dict(airflow.xcom(night.dag_id, night.run_id, "correct"))


def test_the_catalog_task_is_deferred_while_the_service_works_and_leaves_no_secret_behind(
    airflow: Airflow, service: Emulator, tmp_path: Path
) -> None:
    night = begin(airflow, service, "slow_catalog", tmp_path)
    assert (night.billed, night.corrected) == (
        len(NAMES),
        [],
    )  # all paid for and none done: they are being waited for

    summary = end(airflow, night)
    states = [
        state for state in airflow.history("slow_catalog", night.run_id, "correct") if state != "scheduled"
    ]
    assert states == ["queued", "running", "deferred", "queued", "running", "success"]
    assert (summary["corrected"], summary["paid"], summary["failed"]) == (len(NAMES), len(NAMES), 0)
    assert len(json.dumps(summary)) < 2000
    assert [row for row in airflow.triggers() if "perfectlyclear" in row["classpath"]]
    for kept in (airflow.everything_kept(), *state_files(night.destination)):
        assert CANARY.encode() not in kept
        assert b"signature=" not in kept.lower()


def state_files(destination: Path) -> list[bytes]:
    return [path.read_bytes() for path in (destination / ".perfectlyclear").rglob("*") if path.is_file()]


def test_a_triggerer_killed_while_it_waits_costs_nothing(
    airflow: Airflow, service: Emulator, tmp_path: Path
) -> None:
    night = begin(airflow, service, "killed_triggerer", tmp_path)
    airflow.kill("triggerer")
    airflow.start("triggerer")
    summary = end(airflow, night)
    assert (night.billed, summary["paid"], summary["possibly_paid_twice"]) == (len(NAMES), len(NAMES), 0)
