"""The example Dags that need a scheduler or a triggerer: mapped tasks, assets, a person who approves, a trigger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from tests.airflow.harness import Airflow, until
from tests.support.documents import blocks
from tests.support.sandbox import jpeg

EXAMPLES = Path(__file__).parents[2] / "example_dags"
SHARDS = range(4)
OWN_TRIGGER = """
    from airflow.sdk import DAG, BaseOperator
    from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook
    from my_triggers import JobTrigger

    class CorrectOperator(BaseOperator):
        def execute(self, context):
            with PerfectlyClearHook() as hook:
                job_id = hook.start(hook.upload(bytes.fromhex("{picture}"), name="a.jpg"))
            self.defer(trigger=JobTrigger(job_id), method_name="execute_complete")

        def execute_complete(self, context, event=None):
            return event

    with DAG("own_trigger", schedule=None):
        CorrectOperator(task_id="correct")
"""


@pytest.fixture(scope="module")
def service(airflow: Airflow) -> Iterator[Emulator]:
    with running_emulator() as emulator:
        airflow.add_connection(
            "perfectlyclear_default",
            conn_type="perfectlyclear",
            host=emulator.base_url,
            password=emulator.key,
        )
        yield emulator


@pytest.fixture(autouse=True)
def _nothing_billed_yet(service: Emulator) -> None:
    service.reset()


def put_pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        number = (
            int.from_bytes(name.encode()[-7:], "big") % 9973
        )  # no two alike: equal pictures are paid once
        size = (64 + number % 97, 48 + number // 97)
        Image.radial_gradient("L").resize(size).convert("RGB").save(folder / name)


def put_example(airflow: Airflow, name: str, *, dag_id: str | None = None, **places: Path | str) -> None:
    """The unchanged example, in an environment of its own. ``dag_id``: one in it, if not its file's name."""
    environment = {variable: str(place) for variable, place in places.items()}
    text = (EXAMPLES / f"{name}.py").read_text()
    assert text.count("\nimport os\n") == 1
    source = text.replace("\nimport os\n", f"\nimport os\n\nos.environ.update({environment!r})\n")
    airflow.put_dag(dag_id or name, source)


def manifest(summary: dict[str, Any]) -> set[str]:
    """The outputs that a run corrected."""
    lines = [json.loads(line) for line in Path(summary["manifest"]).read_text().splitlines()]
    return {line["output"] for line in lines[1:] if line["state"] == "corrected"}


def night_of_shards(airflow: Airflow) -> list[dict[str, Any]]:
    run = airflow.trigger("sharded_catalog")
    assert airflow.wait_for_run("sharded_catalog", run) == "success", airflow.log_text("sharded_catalog", run)
    parts = [airflow.xcom("sharded_catalog", run, "correct", map_index=index) for index in SHARDS]
    bill = airflow.xcom("sharded_catalog", run, "add_up")
    assert bill == {name: sum(part[name] for part in parts) for name in bill}
    return parts


def test_mapped_shards_are_disjoint_and_complete_and_stay_when_files_are_added(
    airflow: Airflow, service: Emulator, tmp_path: Path
) -> None:
    names = [f"{number:02d}.jpg" for number in range(40)]
    put_pictures(tmp_path / "in", *names)
    put_example(
        airflow,
        "sharded_catalog",
        PHOTOS_CATALOG=tmp_path / "in",
        PHOTOS_CORRECTED=tmp_path / "out",
        PHOTOS_SCHEDULE="",
    )

    first = night_of_shards(airflow)
    made = [manifest(part) for part in first]
    assert all(made)
    assert sorted(name for part in made for name in part) == names
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == names
    assert service.bill()["billed"] == len(names)

    added = [f"added-{number}.jpg" for number in range(12)]
    put_pictures(tmp_path / "in", *added)
    second = night_of_shards(airflow)
    assert [part["unchanged"] for part in second] == [len(part) for part in made]
    assert sorted(name for part in second for name in manifest(part)) == sorted(added)
    assert service.bill()["billed"] == len(names) + len(added)


def test_arrivals_are_corrected_by_the_list_that_the_ingestion_names(
    airflow: Airflow, service: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "catalog").mkdir()
    put_pictures(tmp_path / "catalog", "old.jpg")
    put_pictures(tmp_path / "inbox", "b.jpg", "a.jpg")
    places = {"PHOTOS_INBOX": "inbox", "PHOTOS_CATALOG": "catalog", "PHOTOS_CORRECTED": "corrected"}
    put_example(
        airflow,
        "arrivals",
        dag_id="ingest_arrivals",
        **{name: tmp_path / folder for name, folder in places.items()},
        PHOTOS_INGEST="",
    )
    until("both Dags", lambda: airflow.api.get("/dags/correct_arrivals").is_success, within=30)

    run = airflow.trigger("ingest_arrivals")
    assert airflow.wait_for_run("ingest_arrivals", run) == "success"
    (started,) = until("a run of the asset", lambda: runs_of(airflow, "correct_arrivals"), within=60)
    assert airflow.wait_for_run("correct_arrivals", started) == "success"
    summary = airflow.xcom("correct_arrivals", started, "correct")
    assert (summary["listed"], summary["corrected"], summary["paid"]) == (2, 2, 2)
    assert sorted(path.name for path in (tmp_path / "corrected").glob("*.jpg")) == ["a.jpg", "b.jpg"]
    assert service.bill()["billed"] == 2

    empty = airflow.trigger("ingest_arrivals")
    assert airflow.wait_for_run("ingest_arrivals", empty) == "success"
    assert airflow.task("ingest_arrivals", empty, "ingest")["state"] == "skipped"
    assert runs_of(airflow, "correct_arrivals") == [started]


def runs_of(airflow: Airflow, dag_id: str) -> list[str]:
    rows = airflow.query("SELECT run_id FROM dag_run WHERE dag_id = ? ORDER BY id", dag_id)
    return [row["run_id"] for row in rows]


def test_twenty_pictures_in_steps_wait_in_the_triggerer_and_a_cleared_start_pays_nothing(
    airflow: Airflow, service: Emulator, tmp_path: Path
) -> None:
    names = [f"{number:02d}.jpg" for number in range(20)]
    put_pictures(tmp_path / "in", *names)
    put_example(airflow, "in_steps", PHOTOS_CATALOG=tmp_path / "in", PHOTOS_CORRECTED=tmp_path / "out")
    service.fault("pfc", {"outcome": "REJECTED"}, times=1)
    service.fault("status", {"patch": {"status": "PROCESSING", "correctedFile": None}}, times=None)

    run = airflow.trigger("in_steps")
    until("all deferred", lambda: states_of(airflow, run, "correct.wait") == ["deferred"] * 20, within=200)
    until("no worker held", lambda: not airflow.task_processes(), within=30)
    service.clear_faults()
    assert airflow.wait_for_run("in_steps", run, within=300) == "failed"
    states = {step: states_of(airflow, run, f"correct.{step}") for step in ("start", "wait", "fetch")}
    assert states["start"] == ["success"] * 20
    rejected = states["wait"].index("failed")
    for index in range(20):
        alone = index == rejected
        assert states["wait"][index] == ("failed" if alone else "success")
        assert states["fetch"][index] == ("upstream_failed" if alone else "success")
    landed = [name for name in names if name != names[rejected]]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == landed
    assert service.bill(summary=True)["accepted"] == 20

    jobs = [airflow.xcom("in_steps", run, "correct.start", map_index=index) for index in range(20)]
    airflow.clear("in_steps", run, "correct.start")
    assert airflow.wait_for_run("in_steps", run, within=300) == "failed"
    assert states_of(airflow, run, "correct.start") == ["success"] * 20
    assert jobs == [airflow.xcom("in_steps", run, "correct.start", map_index=index) for index in range(20)]
    assert service.bill(summary=True)["accepted"] == 20

    again = airflow.trigger("in_steps")
    assert airflow.wait_for_run("in_steps", again, within=120) == "success"
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == names
    assert service.bill(summary=True)["accepted"] == 21


def test_the_trigger_of_the_readme_waits_in_the_triggerer(airflow: Airflow, service: Emulator) -> None:
    (trigger,) = (block.text for block in blocks("python") if "class JobTrigger" in block.text)
    assert len(trigger.splitlines()) < 40
    (airflow.plugins / "my_triggers.py").write_text(trigger)
    airflow.put_dag("own_trigger", OWN_TRIGGER.format(picture=jpeg(1).hex()))
    service.fault("status", {"patch": {"status": "PROCESSING", "correctedFile": None}}, times=5)

    run = airflow.trigger("own_trigger")
    assert airflow.wait_for_run("own_trigger", run) == "success", airflow.log_text("own_trigger", run)
    assert airflow.xcom("own_trigger", run, "correct")["state"] == "COMPLETED"
    assert "deferred" in airflow.history("own_trigger", run, "correct")
    assert service.seen()["api"]["routes"]["status"] > 5
    assert service.key.encode() not in airflow.everything_kept()


def states_of(airflow: Airflow, run: str, task_id: str) -> list[str]:
    rows = airflow.query(
        "SELECT state FROM task_instance WHERE run_id = ? AND task_id = ? ORDER BY map_index", run, task_id
    )
    return [row["state"] for row in rows]


def test_a_preset_is_rolled_out_when_its_canary_is_approved(
    airflow: Airflow, service: Emulator, tmp_path: Path
) -> None:
    put_pictures(tmp_path / "in", *(f"{number:02d}.jpg" for number in range(30)))
    put_example(airflow, "preset_rollout", PHOTOS_CATALOG=tmp_path / "in", PHOTOS_CORRECTED=tmp_path / "out")

    begin = answer(airflow, {"preset": "Universal"}, "Approve")
    assert roll_out_of(airflow, begin)["paid"] == 10
    assert service.bill()["billed"] == 30

    rejected = answer(airflow, {"preset": "Vivid"}, "Reject")
    assert airflow.task("preset_rollout", rejected, "roll_out")["state"] == "skipped"
    assert service.bill()["billed"] == 50

    approved = answer(airflow, {"preset": "Vivid"}, "Approve")  # 10 were left, and the canary takes 20
    assert airflow.xcom("preset_rollout", approved, "canary")["reasons"] == {"correction changed": 10}
    assert roll_out_of(airflow, approved)["paid"] == 0
    assert service.bill()["billed"] == 60


def answer(airflow: Airflow, correction: dict[str, Any], word: str) -> str:
    """Run the Dag, and say the word when it asks for it."""
    run = airflow.trigger("preset_rollout", conf={"correction": correction})
    airflow.wait_for_state("preset_rollout", run, "approval", "awaiting_input", "deferred")
    detail = f"/dags/preset_rollout/dagRuns/{run}/taskInstances/approval/-1/hitlDetails"
    assert "pictures were corrected" in airflow.call("GET", detail)["body"]
    # No person is as fast as this test: Airflow fails a task that is queued again before its executor has reported.
    until("its worker reported", lambda: reported(airflow, run, "approval"), within=30)
    airflow.call("PATCH", detail, json={"chosen_options": [word]})
    assert airflow.wait_for_run("preset_rollout", run) == "success", airflow.log_text("preset_rollout", run)
    return run


def reported(airflow: Airflow, run: str, task_id: str) -> bool:
    lines = airflow.component_log("scheduler").read_text(errors="replace").splitlines()
    events = (line for line in lines if "Received executor event with state success" in line)
    return any(run in line and f"task_id='{task_id}'" in line for line in events)


def roll_out_of(airflow: Airflow, run: str) -> dict[str, Any]:
    return dict(airflow.xcom("preset_rollout", run, "roll_out"))
