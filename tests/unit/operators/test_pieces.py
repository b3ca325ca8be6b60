"""The steps by themselves: start, wait, download, and presets."""

from __future__ import annotations

import copy
import json
import traceback
from functools import partial
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseOperator,
)

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.catalog import presets
from airflow_provider_perfectlyclear.errors import ConfigurationError, InvalidCorrection
from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook
from airflow_provider_perfectlyclear.operators.perfectlyclear import (
    PerfectlyClearCatalogOperator,
    PerfectlyClearCorrectOperator,
    PerfectlyClearDeletePresetOperator,
    PerfectlyClearDownloadOperator,
    PerfectlyClearGetPresetOperator,
    PerfectlyClearListPresetsOperator,
    PerfectlyClearStartCorrectionOperator,
    PerfectlyClearUploadPresetOperator,
)
from airflow_provider_perfectlyclear.sensors.perfectlyclear import PerfectlyClearJobSensor
from airflow_provider_perfectlyclear.triggers import polling as asking
from tests.support.account import CONN_ID
from tests.support.tasks import a_context, requests_of, run

BOTH = pytest.mark.parametrize("deferrable", [False, True])


@pytest.fixture(autouse=True)
def no_settling(monkeypatch):
    monkeypatch.setattr(asking, "SETTLE", 0.0)


def _start(**kwargs):
    return PerfectlyClearStartCorrectionOperator(task_id="start", perfectlyclear_conn_id=CONN_ID, **kwargs)


def _sensor(job_ids, **kwargs):
    kwargs = {"perfectlyclear_conn_id": CONN_ID, "poke_interval": 0.1, "poll_interval": 0.1, **kwargs}
    return PerfectlyClearJobSensor(task_id="wait", job_ids=job_ids, **kwargs)


def _download(job_id, destination):
    return PerfectlyClearDownloadOperator(
        task_id="download", job_id=job_id, destination=destination, perfectlyclear_conn_id=CONN_ID
    )


@BOTH
def test_start_wait_and_download_chain_by_their_results(deferrable, service, photos, tmp_path):
    context = a_context("start")
    job_id, _ = run(_start(source=str(photos / "a.jpg"), correction={"output_type": "png"}), context)
    waited, _ = run(_sensor(job_id, deferrable=deferrable))
    place, _ = run(_download(waited, f"{tmp_path}/out/"))
    assert waited == job_id and Path(place).name == f"{job_id}.png"
    again, _ = run(_start(file_key=context["ti"].xcoms["file_key"], correction={"output_type": "jpg"}))
    assert again != job_id and service.bill()["billed"] == 2


def test_the_pieces_chain_in_a_dag_without_lambdas():
    with DAG("d", schedule=None):
        start = PerfectlyClearStartCorrectionOperator.partial(task_id="start").expand(
            source=["/a.jpg", "/b.jpg"]
        )
        wait = PerfectlyClearJobSensor(task_id="wait", job_ids=start.output)
        fetch = PerfectlyClearDownloadOperator.partial(task_id="get", destination="/out/").expand(
            job_id=wait.output
        )
    assert wait.upstream_task_ids == {"start"} and fetch.upstream_task_ids == {"wait"}


def test_a_start_whose_answer_is_lost_fails_for_good_with_the_file_key(service, photos):
    service.fault("pfc", {"reset": "committed"})
    context = a_context("start")
    with pytest.raises(AirflowFailException) as lost:
        run(_start(source=str(photos / "a.jpg")), context)
    assert context["ti"].xcoms["file_key"] in str(lost.value)
    assert service.bill()["billed"] == 1


def test_the_sentence_of_an_error_is_logged_whole_and_its_traceback_is_short(service, photos, caplog):
    (photos / "text.jpg").write_text("no picture")
    with pytest.raises(AirflowFailException) as failure:
        run(_start(source=str(photos / "text.jpg")))
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        str(failure.value)
    ]
    frames = traceback.extract_tb(failure.value.__traceback__)
    assert sum("airflow_provider_perfectlyclear" in frame.filename for frame in frames) <= 3
    assert failure.value.__cause__ is None and failure.value.__suppress_context__


def test_what_is_no_picture_is_not_uploaded(service, photos):
    (photos / "text.jpg").write_text("no picture")
    with pytest.raises(AirflowFailException, match="no picture or video"):
        run(_start(source=str(photos / "text.jpg")))
    with pytest.raises(AirflowFailException, match="source or file_key"):
        run(_start())
    with pytest.raises(InvalidCorrection):
        _start(source="/a.jpg", correction={"removeBG": 1})
    assert requests_of(service) == 0


def test_a_wrong_file_type_is_refused_before_it_is_paid(service, photos):
    with pytest.raises(
        AirflowFailException,
        match="file_type is 'video', but the file's first bytes are those of type 'image'",
    ):
        run(_start(source=str(photos / "a.jpg"), file_type="video"))
    with pytest.raises(AirflowFailException, match="file_type is 'image', but the correction says 'video'"):
        run(_start(source=str(photos / "a.jpg"), file_type="image", correction={"file_type": "video"}))
    assert requests_of(service) == 0


# --- the sensor: two modes, one meaning


@BOTH
def test_many_jobs_are_waited_for_and_returned_in_order(deferrable, service, photos):
    jobs = [run(_start(source=str(photos / "a.jpg"), correction={"cache": False}))[0] for _ in range(3)]
    assert run(_sensor(jobs, deferrable=deferrable))[0] == jobs
    assert run(_sensor([], deferrable=deferrable))[0] == []


@BOTH
@pytest.mark.parametrize("outcome", ["FAILED", "REJECTED", "lost"])
def test_a_job_without_a_file_fails_the_sensor_for_good(outcome, deferrable, service, photos, monkeypatch):
    monkeypatch.setattr("airflow_provider_perfectlyclear.api.polling.LOST_AFTER", 0.3)
    good, _ = run(_start(source=str(photos / "a.jpg")))
    service.fault("pfc", {"outcome": outcome})
    bad, _ = run(_start(source=str(photos / "b" / "c.jpg")))
    with pytest.raises(AirflowFailException, match=f"1 of 2 jobs .*{bad} (JOB_)?{outcome.upper()}"):
        run(_sensor([good, bad], deferrable=deferrable))
    with pytest.raises(AirflowSkipException):
        run(_sensor([good, bad], deferrable=deferrable, soft_fail=True))


@pytest.mark.parametrize("poll_interval", [None, "2", -1, True])
def test_a_poll_interval_that_is_none_is_named(poll_interval, service, photos):
    with pytest.raises(ConfigurationError, match=r"poll_interval=.* a number from 0\.05"):
        _sensor("a", poll_interval=poll_interval)
    service.fault("pfc", {"outcome": "stuck"})
    job_id, _ = run(_start(source=str(photos / "a.jpg")))
    sensor = _sensor(job_id, deferrable=True)
    sensor.poll_interval = poll_interval  # as of a mapped one
    with pytest.raises(AirflowFailException, match=r"poll_interval=.* a number from 0\.05"):
        run(sensor)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (partial(PerfectlyClearJobSensor, job_ids="a"), "poll_interval"),
        (partial(PerfectlyClearJobSensor, job_ids="a"), "deferrable"),
        (partial(PerfectlyClearUploadPresetOperator, name="a", file="/a"), "if_exists"),
        (partial(PerfectlyClearDeletePresetOperator, name="a"), "if_missing"),
    ],
)
def test_a_template_in_an_argument_that_is_not_templated_is_refused_when_the_dag_is_parsed(make, argument):
    with DAG("d", schedule=None):
        output = BaseOperator(task_id="before").output
    for value in ("{{ params.x }}", output):
        with (
            DAG("d", schedule=None),
            pytest.raises(ConfigurationError, match=f"Task 't': {argument} is not templated"),
        ):
            make(task_id="t", **{argument: value})
    with pytest.raises(ConfigurationError, match=f"Task 't': {argument}='other' "):
        make(task_id="t", **{argument: "other"})


@pytest.mark.parametrize(
    "given", [{}, {"file_key": "None"}, {"source": ""}, {"source": None, "file_key": ""}]
)
def test_a_start_of_what_an_upstream_task_did_not_return_says_so(given, service):
    with pytest.raises(
        AirflowFailException,
        match=r"either source or file_key\. Neither .*: did an upstream task return nothing",
    ):
        run(_start(**given))
    assert service.bill()["accepted"] == 0


@pytest.mark.parametrize("state", [False, True])
def test_a_start_of_a_folder_is_refused(state, service, photos, tmp_path):
    with pytest.raises(AirflowFailException, match=r"source .* is a folder: name a file"):
        run(_start(source=str(photos), state_path=str(tmp_path / "state") if state else None))
    assert service.bill()["accepted"] == 0


@BOTH
def test_many_lost_jobs_are_lost_in_the_time_of_one(deferrable, service, monkeypatch):
    monkeypatch.setattr("airflow_provider_perfectlyclear.api.polling.LOST_AFTER", 1.0)
    names, asked = [f"unknown{number}" for number in range(8)], []

    def status(job_id):
        asked.append(job_id)
        return real(job_id)

    real = calls.status
    monkeypatch.setattr(calls, "status", status)
    with pytest.raises(AirflowFailException, match="8 of 8 jobs"):
        run(_sensor(names, deferrable=deferrable))
    last_first = max(asked.index(name) for name in names)
    first_last = min(len(asked) - 1 - asked[::-1].index(name) for name in names)
    assert last_first < first_last, (
        asked
    )  # one after the other, the first is lost before the last is asked for


@BOTH
def test_a_sensor_that_is_out_of_time_says_so(deferrable, service, photos):
    service.fault("pfc", {"outcome": "stuck"})
    job_id, _ = run(_start(source=str(photos / "a.jpg")))
    with pytest.raises(AirflowSensorTimeout):
        run(_sensor(job_id, deferrable=deferrable, timeout=0.4))
    with pytest.raises(AirflowSkipException):
        run(_sensor(job_id, deferrable=deferrable, timeout=0.4, soft_fail=True))


@BOTH
@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_refused_key_fails_the_sensor_for_good(when, deferrable, service, photos):
    service.fault("pfc", {"outcome": "stuck"})
    job_id, _ = run(_start(source=str(photos / "a.jpg")))
    refused = {"answer": {"status": 401, "json": {"error": "no"}}}
    service.fault({"route": "status", "nth": 1 if when == "at once" else 3}, refused, times=None)
    with pytest.raises(AirflowFailException, match=f"Connection '{CONN_ID}'.*401"):
        run(_sensor(job_id, deferrable=deferrable, timeout=20))


@BOTH
def test_what_one_map_index_has_seen_is_not_said_of_another(deferrable, service, photos):
    """Airflow copies the operator for each of them; in ``dag.test()`` all are in one process."""
    service.fault("pfc", {"outcome": "FAILED"})
    bad, good = (run(_start(source=str(photos / name)))[0] for name in ("a.jpg", "b/c.jpg"))
    template = _sensor(bad, deferrable=deferrable)
    first, second = copy.copy(template), copy.copy(template)
    with pytest.raises(AirflowFailException, match=f"1 of 1 job .*{bad} FAILED"):
        run(first)
    second.job_ids = good
    assert run(second)[0] == good


@pytest.mark.parametrize("soft_fail", [False, True])
@pytest.mark.parametrize("answer", [{"status": 503}, {"status": 404}])
def test_what_goes_wrong_for_a_moment_when_it_wakes_up_fails_nothing(
    answer, soft_fail, service, photos, monkeypatch
):
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", service.connection_json(max_retries=0))
    job_id, _ = run(_start(source=str(photos / "a.jpg")))
    PerfectlyClearHook(CONN_ID).wait(job_id, poll_interval=0.1)
    service.fault("status", {"answer": answer}, times=3)
    sensor = _sensor(job_id, deferrable=True, soft_fail=soft_fail)
    assert sensor.execute_complete({}, {"done": 1, "open": 0, "why": "all_final", "reason": None}) == job_id
    assert service.unconsumed() == []


@pytest.mark.parametrize("job_ids", [5, None, [""], [None], b"id"])
def test_job_ids_that_are_none_are_named(job_ids, service):
    with pytest.raises(AirflowFailException, match="give a job id, or a list of them"):
        run(_sensor(job_ids))


@pytest.mark.parametrize("returned", [None, "None"])
def test_an_upstream_task_that_returned_nothing_is_named_as_the_cause(returned, service, tmp_path):
    """None, or what a template makes of it."""
    for attempt in (
        lambda: run(_sensor(returned)),
        lambda: run(_sensor(["id", returned])),
        lambda: run(_download(returned, "/out/")),
        lambda: run(_download("id", returned)),
        lambda: _preset(PerfectlyClearUploadPresetOperator, name=returned, file=str(tmp_path / "a")),
        lambda: _preset(PerfectlyClearUploadPresetOperator, name="Studio", file=returned),
        lambda: _preset(PerfectlyClearGetPresetOperator, name=returned),
        lambda: _preset(PerfectlyClearDeletePresetOperator, preset_id=returned),
    ):
        with pytest.raises(AirflowFailException, match=r"[Dd]id an upstream task return nothing"):
            attempt()
    assert requests_of(service) == 0


@BOTH
def test_a_service_that_does_not_answer_for_a_moment_is_asked_again(deferrable, service, photos):
    job_id, _ = run(_start(source=str(photos / "a.jpg")))
    service.fault("status", {"garble": "html"}, times=2)
    assert run(_sensor(job_id, deferrable=deferrable))[0] == job_id


@pytest.mark.parametrize("job_ids", [None, [1], [""]])
def test_what_is_no_job_id_fails_before_any_request(job_ids, service):
    with pytest.raises(AirflowException, match="job_ids"):
        run(_sensor(job_ids))
    assert requests_of(service) == 0


# --- presets


def _preset(kind, **kwargs):
    return run(kind(task_id="preset", perfectlyclear_conn_id=CONN_ID, **kwargs))[0]


def test_presets_as_tasks_change_nothing_the_second_time(service, tmp_path):
    file = tmp_path / "studio.preset"
    file.write_bytes(b"one")
    upload = {"name": "Studio 7", "file": str(file), "description": "for portraits"}
    made = _preset(PerfectlyClearUploadPresetOperator, **upload)
    writes = service.seen()["api"]["routes"]["preset_create"]
    assert _preset(PerfectlyClearUploadPresetOperator, **upload) == made
    assert service.seen()["api"]["routes"]["preset_create"] == writes == 1

    listed = _preset(PerfectlyClearListPresetsOperator)
    assert {"preset_id": made, "name": "Studio 7", "description": "for portraits"} in listed
    json.dumps(listed)

    got = _preset(PerfectlyClearGetPresetOperator, name="Studio 7", destination=f"{tmp_path}/got.preset")
    assert got["preset_id"] == made and Path(got["destination"]).read_bytes() == b"one"

    file.write_bytes(b"two")
    with pytest.raises(AirflowFailException, match="already exists"):
        _preset(PerfectlyClearUploadPresetOperator, **upload)
    assert _preset(PerfectlyClearUploadPresetOperator, **upload, if_exists="skip") == made
    assert _preset(PerfectlyClearUploadPresetOperator, **upload, if_exists="replace") != made
    assert _preset(PerfectlyClearDeletePresetOperator, name="Studio 7") is True
    assert _preset(PerfectlyClearDeletePresetOperator, name="Studio 7") is False


def test_a_preset_that_is_not_there_is_named_with_the_nearest(service, tmp_path):
    file = tmp_path / "a.preset"
    file.write_bytes(b"one")
    _preset(PerfectlyClearUploadPresetOperator, name="Studio 7", file=str(file))
    with pytest.raises(AirflowFailException, match=r"'studio 7' not found; did you mean 'Studio 7'\?"):
        _preset(PerfectlyClearGetPresetOperator, name="studio 7")
    with pytest.raises(AirflowFailException, match="'nope' not found"):
        _preset(PerfectlyClearDeletePresetOperator, preset_id="nope", if_missing="fail")
    with pytest.raises(AirflowFailException, match="either preset_id or name"):
        _preset(PerfectlyClearGetPresetOperator)


def test_a_preset_that_is_too_large_to_be_compared_stops_a_catalog_for_good(
    service, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(presets, "MAX_PRESET", 100)
    _preset(PerfectlyClearUploadPresetOperator, name="Huge", file=str(photos / "a.jpg"))
    catalog = PerfectlyClearCatalogOperator(
        task_id="catalog",
        source=str(photos),
        destination=str(tmp_path / "out"),
        correction={"preset": "Huge"},
        perfectlyclear_conn_id=CONN_ID,
    )
    with pytest.raises(AirflowFailException, match="Preset 'Huge' has more than 100 bytes"):
        run(catalog)
    assert service.bill()["accepted"] == 0


def test_a_single_picture_whose_result_is_not_there_yet_may_be_tried_again(service, photos, tmp_path):
    service.fault("download", {"answer": {"status": 404}}, times=None)
    with pytest.raises(AirflowException, match="HTTP 404") as failed:
        run(_correct(photos / "a.jpg", tmp_path / "a.jpg"))
    assert not isinstance(failed.value, AirflowFailException)


def test_a_single_picture_whose_start_is_unknown_says_so_once_and_what_to_do(service, photos, tmp_path):
    service.fault("pfc", {"reset": "committed"})
    with pytest.raises(AirflowFailException) as failed:
        run(_correct(photos / "a.jpg", tmp_path / "a.jpg", on_ambiguous="fail"))
    assert str(failed.value).count("Unconfirmed start") == 1
    assert 'on_ambiguous="restart"' in str(failed.value)


def _correct(source, destination, **kwargs):
    return PerfectlyClearCorrectOperator(
        task_id="correct",
        source=str(source),
        destination=str(destination),
        perfectlyclear_conn_id=CONN_ID,
        **kwargs,
    )
