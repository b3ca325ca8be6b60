"""
The example Dags, unchanged: they parse, and they run.

Those that need a scheduler are in ``test_example_dags_running.py``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image

from airflow_provider_perfectlyclear.emulator.testing import Emulator
from tests.airflow.harness import AirflowHome

EXAMPLES = Path(__file__).parents[2] / "example_dags"
ALL = {
    *("nightly_catalog", "publish_catalog", "correct_one", "custom_operator", "sharded_catalog", "tenants"),
    *("ingest_arrivals", "correct_arrivals", "preset_rollout", "in_steps"),
}


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.radial_gradient("L").convert("RGB").save(path)
    return path


def test_all_examples_parse(airflow_home: AirflowHome) -> None:
    folder = {"AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES)}
    errors = airflow_home.cli("dags", "list-import-errors", "--local", env=folder)
    assert "No data found" in errors.stdout, errors.stdout
    listed = airflow_home.cli("dags", "list", "--local", "--output", "plain", env=folder)
    found = {
        line.split()[0] for line in listed.stdout.splitlines() if "example_dags" in line or ".py" in line
    }
    assert found >= ALL, listed.stdout


def test_correct_one_corrects_the_picture_it_is_given(
    airflow_home: AirflowHome, perfectlyclear_emulator: Emulator, tmp_path: Path
) -> None:
    source = picture(tmp_path / "in" / "a picture.jpg")
    conf = {"source": str(source), "destination": f"{tmp_path}/out/"}
    run, done = dags_test(airflow_home, perfectlyclear_emulator, "correct_one", conf)
    assert airflow_home.run_state("correct_one", run) == "success", done
    assert (tmp_path / "out" / "a picture.jpg").stat().st_size
    assert perfectlyclear_emulator.bill()["billed"] == 1


def test_custom_operator_makes_one_picture_of_each_preset(
    airflow_home: AirflowHome, perfectlyclear_emulator: Emulator, tmp_path: Path
) -> None:
    source = picture(tmp_path / "face.jpg")
    conf = {"source": str(source), "presets": ["Vivid", "Details"], "folder": str(tmp_path / "looks")}
    run, done = dags_test(airflow_home, perfectlyclear_emulator, "custom_operator", conf)
    assert airflow_home.run_state("custom_operator", run) == "success", done
    looks = {
        "Vivid": tmp_path / "looks" / "face-Vivid.jpg",
        "Details": tmp_path / "looks" / "face-Details.jpg",
    }
    assert all(path.stat().st_size for path in looks.values())
    assert airflow_home.xcom("custom_operator", run, "try_presets").keys() == looks.keys()
    assert perfectlyclear_emulator.bill()["billed"] == 2


def test_nightly_catalog_pays_once_for_what_arrives_and_nothing_the_next_night(
    airflow_home: AirflowHome, perfectlyclear_emulator: Emulator, tmp_path: Path
) -> None:
    places = {
        "PHOTOS_INBOX": str(tmp_path / "inbox"),
        "PHOTOS_CATALOG": str(tmp_path / "catalog"),
        "PHOTOS_CORRECTED": str(tmp_path / "corrected"),
    }
    (tmp_path / "catalog").mkdir()
    picture(tmp_path / "inbox" / "first.jpg")
    shutil.copy(tmp_path / "inbox" / "first.jpg", tmp_path / "inbox" / "second.jpg")

    first, done = dags_test(airflow_home, perfectlyclear_emulator, "nightly_catalog", {}, env=places)
    assert airflow_home.run_state("nightly_catalog", first) == "success", done
    assert airflow_home.xcom("nightly_catalog", first, "correct")["corrected"] == 2
    assert not list((tmp_path / "inbox").iterdir())
    assert sorted(path.name for path in (tmp_path / "corrected").glob("*.jpg")) == ["first.jpg", "second.jpg"]

    second, done = dags_test(airflow_home, perfectlyclear_emulator, "nightly_catalog", {}, env=places)
    summary = airflow_home.xcom("nightly_catalog", second, "correct")
    assert (summary["unchanged"], summary["paid"]) == (2, 0)
    assert perfectlyclear_emulator.bill()["billed"] == 1  # the same picture under two names


def test_each_tenant_gets_its_own_correction_and_pays_alone(
    airflow_home: AirflowHome, perfectlyclear_emulator: Emulator, tmp_path: Path
) -> None:
    picture(tmp_path / "ann" / "originals" / "one.jpg")
    picture(tmp_path / "bob" / "originals" / "two.jpg")
    (tmp_path / "bob" / "correction.json").write_text('{"output_type": "png"}')
    (tmp_path / "new" / "originals").mkdir(parents=True)

    run, done = dags_test(
        airflow_home, perfectlyclear_emulator, "tenants", {}, env={"PHOTOS_TENANTS": str(tmp_path)}
    )
    assert airflow_home.run_state("tenants", run) == "success", done
    paid = [airflow_home.xcom("tenants", run, "correct", map_index=tenant)["paid"] for tenant in range(3)]
    assert paid == [1, 1, 0]
    assert (tmp_path / "ann" / "corrected" / "one.jpg").stat().st_size
    assert (tmp_path / "bob" / "corrected" / "two.png").stat().st_size
    assert (
        airflow_home.task("tenants", run, "correct", 1)["rendered_map_index"] == f"{tmp_path}/bob/originals"
    )
    assert perfectlyclear_emulator.bill()["billed"] == 2


def dags_test(
    airflow_home: AirflowHome,
    emulator: Emulator,
    dag_id: str,
    conf: dict[str, object],
    env: dict[str, str] | None = None,
) -> tuple[str, str]:
    connection = {"AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT": emulator.connection_json()}
    run, done = airflow_home.dags_test(
        dag_id, EXAMPLES / f"{dag_id}.py", conf=conf, env={**connection, **(env or {})}
    )
    return run, done.stdout[-6000:]
