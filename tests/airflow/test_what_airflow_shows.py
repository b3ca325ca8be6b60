"""What a running Airflow shows of a corrected catalog: the link, the asset's event, and metrics on the wire."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from tests.airflow.harness import Airflow, AirflowHome

NAME = "Perfectly Clear report"
CONN_ID = "shown"


@pytest.fixture(scope="module")
def service() -> Iterator[Emulator]:
    with running_emulator(job_seconds=0.2) as emulator:
        yield emulator


def put_pictures(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for size, name in enumerate(names, start=64):
        Image.radial_gradient("L").resize((size, 64)).convert("RGB").save(folder / name)
    return folder


def catalog_dag(dag_id: str, source: Path, more: str = "") -> str:
    return f"""
        from airflow.sdk import DAG, Asset
        from airflow_provider_perfectlyclear.operators.perfectlyclear import *

        with DAG({dag_id!r}, schedule=None):
            PerfectlyClearCatalogOperator(
                task_id="correct",
                source={str(source)!r},
                destination={str(source.parent / "corrected")!r},
                perfectlyclear_conn_id={CONN_ID!r},
                poll_interval=0.1,
                outlets=[Asset({dag_id + "_pictures"!r})],
            )
            {more}
    """


def links(
    airflow: Airflow, dag_id: str, run_id: str, task_id: str, map_index: int = -1
) -> dict[str, str | None]:
    path = f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/links"
    return airflow.call("GET", path, params={"map_index": map_index})["extra_links"]


def test_the_link_and_the_assets_event_say_what_became_of_the_pictures(
    airflow: Airflow, service: Emulator, tmp_path: Path
) -> None:
    airflow.add_connection(CONN_ID, conn_type="perfectlyclear", host=service.base_url, password=service.key)
    source = put_pictures(tmp_path / "in", "a.jpg", "b.jpg")
    singles = f"""
            PerfectlyClearCorrectOperator.partial(
                task_id="singles",
                destination={f"{tmp_path}/singles/"!r},
                perfectlyclear_conn_id={CONN_ID!r},
                poll_interval=0.1,
            ).expand(source={[str(source / "a.jpg"), str(source / "nowhere.jpg")]!r})
    """.strip()
    airflow.put_dag("shown", catalog_dag("shown", source, singles))
    run = airflow.trigger("shown")
    assert airflow.wait_for_run("shown", run) == "failed"  # one of the singles is not there

    summary = airflow.xcom("shown", run, "correct")
    assert links(airflow, "shown", run, "correct") == {NAME: Path(summary["manifest"]).as_uri()}
    singles_of_run = [links(airflow, "shown", run, "singles", index) for index in range(2)]
    assert singles_of_run == [{NAME: (tmp_path / "singles" / "a.jpg").as_uri()}, {NAME: None}]

    events = airflow.call("GET", "/assets/events", params={"source_dag_id": "shown"})["asset_events"]
    (extra,) = [event["extra"] for event in events]
    assert (extra["corrected"], extra["paid"], extra["manifest"]) == (2, 2, summary["manifest"])


@contextmanager
def statsd() -> Iterator[tuple[dict[str, str], socket.socket]]:
    """A StatsD server, and what leads Airflow to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        env = {"STATSD_ON": "True", "STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(listener.getsockname()[1])}
        influx = {"STATSD_INFLUXDB_ENABLED": "True"}  # tags as dogstatsd and Telegraf read them
        yield {f"AIRFLOW__METRICS__{name}": value for name, value in {**env, **influx}.items()}, listener


def packets(listener: socket.socket) -> dict[str, list[str]]:
    """What has come of ours: metric -> values, tags cut off and checked."""
    found: dict[str, list[str]] = {}
    while True:
        try:
            packet = listener.recv(65536).decode()
        except BlockingIOError:
            return found
        for line in packet.splitlines():
            if line.startswith("airflow.perfectlyclear."):
                name, _, value = line.rpartition(":")
                name, *tags = name.split(",")
                assert sorted(tags) == ["dag_id=measured", "task_id=correct"]
                found.setdefault(name.removeprefix("airflow.perfectlyclear."), []).append(value)


def test_metrics_arrive_at_a_statsd_server_once_also_when_the_task_fails(
    airflow_home: AirflowHome, service: Emulator, tmp_path: Path
) -> None:
    service.reset()
    source = put_pictures(tmp_path / "in", "a.jpg", "b.jpg")
    (source / "text.jpg").write_text("no picture")
    connection = {f"AIRFLOW_CONN_{CONN_ID.upper()}": service.connection_json()}
    with statsd() as (metrics, listener):
        run, done = airflow_home.dags_test(
            "measured", catalog_dag("measured", source), env={**connection, **metrics}
        )
        seen = packets(listener)
    assert airflow_home.task("measured", run, "correct")["state"] == "failed", done.stdout[-4000:]
    outputs = [path.stat().st_size for path in (tmp_path / "corrected").glob("*.jpg")]
    timings = {name: seen.pop(name) for name in ("seconds", "seconds_waited")}
    assert seen == {
        "corrected": ["2|c"],
        "failed": ["1|c"],
        "unchanged": ["0|c"],
        "paid": ["2|c"],
        "possibly_paid_twice": ["0|c"],
        "bytes_in": [f"{sum(path.stat().st_size for path in source.glob('[ab].jpg'))}|c"],
        "bytes_out": [f"{sum(outputs)}|c"],
    }
    (seconds,), (waited,) = timings.values()
    assert seconds.endswith("|ms") and float(seconds[:-3]) >= 200
    assert float(waited.removesuffix("|ms")) == 0


def test_openlineage_is_told_from_where_to_where_and_how_much(
    airflow_home: AirflowHome, service: Emulator, tmp_path: Path
) -> None:
    service.reset()
    source = put_pictures(tmp_path / "in", "a.jpg", "b.jpg")
    told = tmp_path / "told"
    env = {
        f"AIRFLOW_CONN_{CONN_ID.upper()}": service.connection_json(),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "studio",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": str(told), "append": True}
        ),
    }
    run, done = airflow_home.dags_test("told", catalog_dag("told", source), env=env)
    assert airflow_home.run_state("told", run) == "success", done.stdout[-4000:]
    events = [json.loads(line) for line in told.read_text().splitlines()]
    (completed,) = (
        event
        for event in events
        if (event["eventType"], event["job"]["name"]) == ("COMPLETE", "told.correct")
    )
    places = [
        [(each["namespace"], each["name"]) for each in completed[side]] for side in ("inputs", "outputs")
    ]
    assert places == [[("file", str(source))], [("file", str(tmp_path / "corrected"))]]
    facts = completed["run"]["facets"]["perfectlyclear"]["facts"]
    assert (facts["corrected"], facts["paid"]) == (2, 2)
    assert service.key not in told.read_text() and "Signature" not in told.read_text()
