"""The harness itself, with operators of Airflow's own: this tells whether Airflow or we are the reason."""

from __future__ import annotations

import pytest

from tests.airflow.harness import Airflow, AirflowHome, NotSeen, until

WAITING = """
    from datetime import timedelta
    from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
    from airflow.sdk import DAG, task

    with DAG("waiting", schedule=None) as dag:
        wait = TimeDeltaSensor(task_id="wait", delta=timedelta(seconds=10), deferrable=True)

        @task
        def answer(dag_run=None):
            return {"conf": dag_run.conf, "n": 42}

        wait >> answer()
"""


def test_a_deferred_task_is_seen_deferred_and_holds_no_worker(airflow: Airflow) -> None:
    airflow.put_dag("waiting", WAITING)
    run = airflow.trigger("waiting", conf={"a": [1]})
    airflow.wait_for_state("waiting", run, "wait", "deferred")
    until("no task process", lambda: not airflow.task_processes(), within=5)
    assert airflow.task("waiting", run, "wait")["state"] == "deferred"
    assert airflow.wait_for_run("waiting", run) == "success"
    states = airflow.history("waiting", run, "wait")
    assert [state for state in states if state in ("deferred", "success")] == ["deferred", "success"]
    assert airflow.xcom("waiting", run, "answer") == {"conf": {"a": [1]}, "n": 42}
    assert "DateTimeTrigger" in airflow.triggers()[-1]["classpath"]
    assert "moment" in airflow.triggers()[-1]["kwargs"]
    assert airflow.log_files("waiting", run)


def test_a_killed_triggerer_started_again_takes_the_wait_up(airflow: Airflow) -> None:
    airflow.put_dag("waiting", WAITING)
    run = airflow.trigger("waiting")
    airflow.wait_for_state("waiting", run, "wait", "deferred")
    airflow.kill("triggerer")
    airflow.start("triggerer")
    assert airflow.wait_for_run("waiting", run) == "success"


def test_a_cleared_task_runs_again(airflow: Airflow) -> None:
    source = """
        from airflow.sdk import DAG, task

        with DAG("cleared", schedule=None) as dag:
            @task
            def count(ti=None):
                return ti.try_number

            count()
    """
    airflow.put_dag("cleared", source)
    run = airflow.trigger("cleared")
    airflow.wait_for_run("cleared", run)
    airflow.clear("cleared", run, "count")
    until("two successes", lambda: airflow.history("cleared", run, "count").count("success") == 2, within=60)
    assert airflow.xcom("cleared", run, "count") == 2


def test_an_import_error_is_raised_with_its_traceback(airflow: Airflow) -> None:
    with pytest.raises(NotSeen, match="nowhere_to_be_found"):
        airflow.put_dag("broken", "import nowhere_to_be_found\n# airflow DAG\n")
    (airflow.dags / "broken.py").unlink()


def test_dags_test_runs_a_dag_without_a_scheduler(airflow_home: AirflowHome) -> None:
    run, done = airflow_home.dags_test("waiting", WAITING, conf={"b": 2})
    assert done.returncode == 0, done.stdout
    assert airflow_home.run_state("waiting", run) == "success"
    assert airflow_home.xcom("waiting", run, "answer") == {"conf": {"b": 2}, "n": 42}
