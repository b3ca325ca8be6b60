"""The correcting operators, run as Airflow runs them: executed, deferred, resumed from what was stored."""

from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    BaseOperator,
    ObjectStoragePath,
)

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.errors import ConfigurationError, InvalidCorrection
from airflow_provider_perfectlyclear.operators.perfectlyclear import (
    PerfectlyClearCatalogOperator,
    PerfectlyClearCorrectOperator,
)
from airflow_provider_perfectlyclear.triggers import polling as asking
from tests.support.account import CONN_ID, KEY, picture
from tests.support.tasks import a_context, requests_of, run

WRONG_KEY = "another-canary-key"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "corrected"


def _catalog(photos, out, **kwargs):
    kwargs = {"perfectlyclear_conn_id": CONN_ID, "poll_interval": 0.1, **kwargs}
    return PerfectlyClearCatalogOperator(
        task_id="catalog", source=str(photos), destination=str(out), **kwargs
    )


def _one(source, destination, **kwargs):
    kwargs = {"perfectlyclear_conn_id": CONN_ID, "poll_interval": 0.1, **kwargs}
    return PerfectlyClearCorrectOperator(
        task_id="correct", source=str(source), destination=destination, **kwargs
    )


# --- a catalog


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_catalog_is_corrected_and_the_next_night_pays_nothing(deferrable, service, photos, out):
    operator = _catalog(photos, out, deferrable=deferrable)
    summary, _ = run(operator, a_context("catalog", "night 1"))
    assert (summary["corrected"], summary["paid"], summary["failed"]) == (3, 3, 0)
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.jpg")) == [
        "a.jpg",
        "b/c.jpg",
        "b/ü #1 %.jpg",
    ]
    again, _ = run(operator, a_context("catalog", "night 2"))
    assert (again["corrected"], again["unchanged"], again["paid"]) == (0, 3, 0)
    assert service.bill()["billed"] == 3
    assert len(json.dumps(summary)) < 2000


def test_a_long_wait_is_left_to_the_trigger_and_the_worker_goes_on_afterwards(
    service, photos, out, monkeypatch
):
    from airflow_provider_perfectlyclear.catalog.engine import waiting

    monkeypatch.setattr(waiting, "WORTH_DEFERRING", 0.0)
    monkeypatch.setattr(asking, "SETTLE", 0.0)
    summary, deferrals = run(_catalog(photos, out, deferrable=True, timeout=timedelta(minutes=5)))
    assert summary["corrected"] == 3 and service.bill()["billed"] == 3
    assert deferrals
    first = deferrals[0]
    kwargs = first.trigger.serialize()[1]
    assert first.method_name == "execute_complete"
    assert kwargs["timeout"] <= 300 and first.timeout.total_seconds() == pytest.approx(
        kwargs["timeout"] + 600
    )
    assert KEY not in json.dumps(kwargs) and "http" not in json.dumps(kwargs)


def test_what_failed_is_named_and_not_tried_again(service, photos, out):
    (photos / "text.jpg").write_text("no picture")
    with pytest.raises(AirflowFailException, match=r"1 of 4 .*text\.jpg"):
        run(_catalog(photos, out))
    assert service.bill()["billed"] == 3


def test_max_failures_lets_a_share_fail(service, photos, out):
    (photos / "text.jpg").write_text("no picture")
    summary, _ = run(_catalog(photos, out, max_failures="25%"))
    assert (summary["corrected"], summary["failed"]) == (3, 1)


def test_an_empty_source_fails_succeeds_or_skips(service, tmp_path, out):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(AirflowFailException):
        run(_catalog(empty, out))
    assert run(_catalog(empty, out, if_empty="succeed"))[0]["corrected"] == 0
    with pytest.raises(AirflowSkipException):
        run(_catalog(empty, out, if_empty="skip"))


def test_nothing_new_skips_if_asked_to(service, photos, out):
    run(_catalog(photos, out))
    with pytest.raises(AirflowSkipException):
        run(_catalog(photos, out, if_unchanged="skip"), a_context("catalog", "night 2"))


def test_a_list_of_files_below_their_root_is_corrected(service, photos, out):
    operator = PerfectlyClearCatalogOperator(
        task_id="catalog",
        source=[str(photos / "b" / "c.jpg"), "a.jpg"],
        source_root=str(photos),
        destination=ObjectStoragePath(f"file://{out}"),
        perfectlyclear_conn_id=CONN_ID,
        poll_interval=0.1,
    )
    summary, _ = run(operator)
    assert summary["corrected"] == 2 and (out / "b" / "c.jpg").exists()


def test_a_kill_before_the_run_starts_nothing(service, photos, out):
    operator = _catalog(photos, out)
    operator.on_kill()
    with pytest.raises(AirflowException):
        run(operator)
    assert service.bill()["billed"] == 0


# --- one picture


@pytest.mark.parametrize("deferrable", [False, True])
def test_one_picture_is_corrected_and_a_retry_pays_nothing(deferrable, service, photos, out):
    operator = _one(photos / "b" / "c.jpg", f"{out}/", deferrable=deferrable)
    result, _ = run(operator)
    again, _ = run(operator)
    assert result["destination"] == str(out / "c.jpg") and result["bytes"] == (out / "c.jpg").stat().st_size
    assert result["job_id"] == again["job_id"] and service.bill()["billed"] == 1
    assert result["usage"]["imageCorrectionCount"] == 1


def test_one_picture_under_another_name_and_type(service, photos, out):
    result, _ = run(_one(photos / "a.jpg", f"{out}/other.png", correction='{"output_type": "png"}'))
    assert result["destination"] == str(out / "other.png")


def test_data_alone_needs_no_destination_but_a_record(service, photos, tmp_path):
    correction = {"include_detection_data": True}
    with pytest.raises(AirflowFailException, match="state_path"):
        run(_one(photos / "a.jpg", None, correction=correction))
    without = _one(photos / "a.jpg", None, correction="{{ none }}")
    without.correction = None
    with pytest.raises(AirflowFailException, match="include_detection_data"):
        run(without)
    state = str(tmp_path / "state")
    result, _ = run(_one(photos / "a.jpg", None, correction=correction, state_path=state))
    assert result["destination"] is None and isinstance(result["detection_data"], dict)


def test_a_picture_that_the_service_rejects_fails_without_retrying(service, photos, out):
    service.fault("pfc", {"outcome": "REJECTED"})
    with pytest.raises(AirflowFailException, match="REJECTED"):
        run(_one(photos / "a.jpg", f"{out}/"))


def test_a_single_source_that_is_no_picture_is_named_and_still_the_next_time(service, photos, out):
    (photos / "text.jpg").write_text("no picture")
    says = f"^{photos}/text.jpg: its first bytes are those of no picture or video$"
    for night in ("monday", "tuesday", "wednesday"):
        with pytest.raises(AirflowFailException, match=says):
            run(_one(photos / "text.jpg", f"{out}/"), a_context("correct", night))
        if night == "tuesday":
            (photos / "text.jpg").touch()


def test_a_rejected_picture_that_was_only_touched_fails_its_task_again(service, photos, out):
    service.fault("pfc", {"outcome": {"status": "REJECTED", "statusText": "no image data"}})
    for night in ("monday", "tuesday"):
        with pytest.raises(AirflowFailException, match="REJECTED: no image data"):
            run(_one(photos / "a.jpg", f"{out}/"), a_context("correct", night))
        (photos / "a.jpg").touch()
    assert service.bill(summary=True)["accepted"] == 1


def test_a_source_that_is_a_folder_fails_one_picture_for_good(service, photos, out):
    with pytest.raises(AirflowFailException, match=f"source {photos} is a folder: name a file, or use"):
        run(_one(photos, f"{out}/"))
    assert requests_of(service) == 0 and not out.exists()


@pytest.mark.parametrize("below", ["", "/2026"])
def test_a_destination_that_is_a_file_fails_for_good_before_any_request(below, service, photos, out):
    out.write_text("a file")
    says = f"^destination {out}{below} cannot be a folder: {out} is a file. Name another destination.$"
    for operator in (_catalog(photos, f"{out}{below}"), _one(photos / "a.jpg", f"{out}{below}/")):
        with pytest.raises(AirflowFailException, match=says):
            run(operator)
    with pytest.raises(AirflowFailException, match=f"state_path {out} cannot be a folder: {out} is a file"):
        run(_catalog(photos, out.parent / "other", state_path=str(out)))
    assert requests_of(service) == 0


def test_a_job_that_is_late_fails_for_a_retry_which_goes_on_with_it(service, photos, out):
    service.fault("pfc", {"delay": {"seconds": 0, "when": "before"}})
    service.fault("status", {"patch": {"status": "PROCESSING", "correctedFile": None}}, times=12)
    operator = _one(photos / "a.jpg", f"{out}/", timeout=1)
    with pytest.raises(AirflowException) as late:
        run(operator)
    assert not isinstance(late.value, AirflowFailException)
    service.clear_faults()
    result, _ = run(_one(photos / "a.jpg", f"{out}/"))
    assert result["job_id"] and service.bill()["billed"] == 1


# --- keys and connections


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(
    "make", [_catalog, lambda photos, out, **kw: _one(photos / "a.jpg", f"{out}/", **kw)]
)
def test_a_wrong_key_costs_one_request_and_fails_for_good_naming_the_connection(
    make, deferrable, service, photos, out, monkeypatch, caplog
):
    caplog.set_level(logging.DEBUG)
    wrong = json.dumps({**json.loads(service.connection_json()), "password": WRONG_KEY})
    monkeypatch.setenv("AIRFLOW_CONN_WRONG", wrong)
    with pytest.raises(AirflowFailException, match=r"Connection 'wrong'.*401") as failed:
        run(make(photos, out, perfectlyclear_conn_id="wrong", deferrable=deferrable))
    assert requests_of(service) == 1
    assert WRONG_KEY not in f"{failed.getrepr(showlocals=False, chain=True)} {caplog.text}"


def test_no_key_fails_before_any_request(service, photos, out, monkeypatch):
    keyless = json.dumps({**json.loads(service.connection_json()), "password": ""})
    monkeypatch.setenv("AIRFLOW_CONN_KEYLESS", keyless)
    with pytest.raises(AirflowFailException, match="'keyless' has no API key: put it in the password"):
        run(_catalog(photos, out, perfectlyclear_conn_id="keyless"))
    assert requests_of(service) == 0


# --- arguments


@pytest.mark.parametrize("make", [_catalog, _one])
@pytest.mark.parametrize("correction", [{"removeBG": True}, '{"removeBG": true}', {"removeBG": "{{ x }}"}])
def test_an_unknown_correction_field_is_refused_when_the_dag_is_parsed(make, correction):
    with pytest.raises(InvalidCorrection, match=r"'removeBG' is unknown; did you mean 'remove_background'\?"):
        make("/in/a.jpg", "/out/", correction=correction)


def test_all_that_is_wrong_is_said_at_once_with_the_task_and_the_argument():
    with pytest.raises(ConfigurationError) as refused:
        _catalog(
            "/in",
            "/out",
            reprocess="all",
            transfers="4",
            renditions={"web": {"width": 7}, "print": {"presset": "Cool"}, "../up": {}},
        )
    said = str(refused.value)
    assert said.startswith("Task ")
    assert "reprocess='all' is unknown" in said
    assert "transfers='4' is text" in said
    assert "renditions['web']: Correction field 'width' must be" in said
    assert "renditions['print']: Correction field 'presset' is unknown; did you mean 'preset'?" in said
    assert "'../up' is no name of a folder below the destination" in said


@pytest.mark.parametrize("name", ["..", "a/../b", "/a", "", "a//b", "a\\b"])
def test_the_name_of_a_rendition_stays_below_the_destination(name):
    with pytest.raises(ConfigurationError, match="no name of a folder below the destination"):
        _catalog("/in", "/out", renditions={name: {"width": 700}})
    _catalog("/in", "/out", renditions={"web/large": {"width": 700}})


def test_a_wrong_value_is_refused_when_the_dag_is_parsed_unless_it_is_a_template():
    with pytest.raises(InvalidCorrection, match="width"):
        _catalog("/in", "/out", correction={"width": 7})
    with pytest.raises(InvalidCorrection, match="width"):
        _catalog("/in", "/out", renditions={"web": {"width": 7}})
    _catalog("/in", "/out", correction={"width": "{{ params.width }}"})
    _catalog("/in", "/out", correction="{{ params.correction | tojson }}")
    _catalog("/in", "/out", correction=Correction(width=1200))


def test_a_value_from_another_task_is_accepted_when_the_dag_is_parsed():
    with DAG("d", schedule=None):
        before = BaseOperator(task_id="before")
        task = _catalog("/in", "/out", correction={"width": before.output})
        late = _one("/in/a.jpg", "/out/", correction=before.output)
    assert task.upstream_task_ids == late.upstream_task_ids == {"before"}


def test_a_template_that_renders_wrong_is_refused_before_any_request(service, photos, out):
    operator = _catalog(photos, out, correction={"width": "{{ 7 }}"})
    operator.correction = {"width": "7"}
    with pytest.raises(AirflowFailException, match="width"):
        run(operator)
    assert requests_of(service) == 0


def test_a_mapped_task_with_an_unknown_field_fails_for_good_before_any_request(service, photos, out):
    with DAG("d", schedule=None):
        mapped = PerfectlyClearCorrectOperator.partial(
            task_id="correct",
            destination=f"{out}/",
            perfectlyclear_conn_id=CONN_ID,
            correction={"removeBG": 1},
        ).expand(source=[str(photos / "a.jpg")])
    operator = mapped.unmap({"source": str(photos / "a.jpg")})
    with pytest.raises(AirflowFailException, match="did you mean 'remove_background'"):
        run(operator)
    assert requests_of(service) == 0


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"max_in_flight": 1001}, "max_in_flight"),
        ({"transfers": 0}, "transfers"),
        ({"poll_interval": 0}, "poll_interval"),
        ({"timeout": "soon"}, "timeout"),
        ({"job_timeout": timedelta(0)}, "job_timeout"),
        ({"reprocess": "all"}, "reprocess"),
        ({"max_failures": "many"}, "max_failures"),
        ({"shard": "17/16"}, "shard"),
        ({"pattern": [1]}, "pattern"),
        ({"renditions": {"a": {}}, "correction": {}}, "exclude each other"),
        ({"source_root": "/"}, "source_root"),
        ({"source": "relative"}, "'relative' is a relative path"),
        ({"source": ["/a/b.jpg"]}, "source_root"),
        ({"source": ["/a/b.jpg"], "source_root": "/c"}, "does not lie in source_root"),
        ({"source": 5}, "source is 5: give a folder, or a list of files"),
        ({"destination": ""}, "destination is empty"),
        ({"destination_conn_id": "aws"}, "'aws' was given for it"),
        ({"destination": "gs://google@bucket/x"}, "install the Airflow provider for gs://"),
        ({"destination": "nosuch://bucket"}, "nosuch://"),
        ({"perfectlyclear_conn_id": "nowhere"}, "'nowhere' is not defined"),
    ],
)
def test_a_wrong_argument_fails_for_good_before_any_request_and_is_named(kwargs, says, service, photos, out):
    arguments = {"source": str(photos), "destination": str(out), "perfectlyclear_conn_id": CONN_ID, **kwargs}
    with pytest.raises(
        (AirflowFailException, ConfigurationError)
    ) as failed:  # when parsed, if it can be known then
        run(PerfectlyClearCatalogOperator(task_id="catalog", **arguments))
    assert says in str(failed.value)
    assert requests_of(service) == 0


@pytest.mark.parametrize(
    ("argument", "returned"),
    [
        ("source", None),
        ("source", "None"),
        ("source", [None]),
        ("destination", None),
        ("state_path", "None"),
        ("source_root", "None"),
    ],
)
def test_an_upstream_task_that_returned_nothing_is_named_as_the_cause(
    argument, returned, service, photos, out
):
    """What an XCom or a template has become when the task runs."""
    operator = _catalog(photos, out)
    setattr(operator, argument, returned)
    if argument == "source_root" or isinstance(returned, list):
        operator.source, operator.source_root = returned if argument == "source" else ["a.jpg"], str(photos)
        setattr(operator, argument, returned)
    with pytest.raises(
        AirflowFailException, match=f"^{argument} .*None.*: did an upstream task return nothing"
    ):
        run(operator)
    assert requests_of(service) == 0


@pytest.mark.parametrize("returned", [None, "None"])
def test_a_single_picture_from_a_task_that_returned_nothing(returned, service, photos, out):
    operator = _one(photos / "a.jpg", f"{out}/")
    operator.source = returned
    with pytest.raises(AirflowFailException, match="source is None: did an upstream task return nothing"):
        run(operator)


@pytest.mark.parametrize("make", [_catalog, _one])
@pytest.mark.parametrize("value", ["{{ params.x }}", "XComArg"])
@pytest.mark.parametrize(
    "argument",
    [
        "limit", "max_new_jobs", "max_paid_again", "max_failures", "reprocess", "job_timeout", "timeout", "min_age",
        "transfers", "plan_only", "check_source", "verify", "accept_ledger",
    ],
)  # fmt: skip
def test_a_template_in_an_argument_that_is_none_of_the_templated_is_refused_when_the_dag_is_parsed(
    argument, value, make
):
    with DAG("d", schedule=None):
        if value == "XComArg":
            value = BaseOperator(task_id="before").output
        if make is _one and argument not in ("timeout", "check_source", "verify", "accept_ledger"):
            return
        with pytest.raises(
            ConfigurationError, match=f"{argument} is not templated, so it cannot be a template"
        ):
            make("/in/a", "/out/", **{argument: value})


def test_a_subclass_may_template_more():
    class Templated(PerfectlyClearCatalogOperator):
        template_fields = (*PerfectlyClearCatalogOperator.template_fields, "limit")

    Templated(task_id="t", source="/in", destination="/out", limit="{{ params.limit }}")


@pytest.mark.parametrize(
    ("make", "kwargs", "says"),
    [
        (
            _catalog,
            {"limit": "20"},
            "limit='20' is text: give a whole number from 0 to 1,000,000,000, without",
        ),
        (_catalog, {"limit": 2.5}, "limit=2.5 must be a whole number from 0 to 1,000,000,000."),
        (_catalog, {"max_new_jobs": True}, "max_new_jobs=True must be a whole number"),
        (_catalog, {"transfers": 4.0}, "transfers=4.0 must be a whole number from 1 to 64."),
        (_catalog, {"poll_interval": 0}, "poll_interval=0 must be a number from 0.05 to 300."),
        (_catalog, {"job_timeout": [5]}, "job_timeout=[5] must be a number from 1 to 604,800."),
        (_catalog, {"shard": "17/16"}, "shard='17/16' must be such as"),
        (_catalog, {"shard": 3}, "shard=3 must be such as"),
        (_catalog, {"pattern": 5}, "pattern is 5: give a pattern such as '*.jpg'"),
        (
            _catalog,
            {"pattern": "*.{jpg,png}"},
            "pattern '*.{jpg,png}' has braces, which match only themselves: give a",
        ),
        (_catalog, {"exclude": ["a*", "{b}"]}, "exclude '{b}' has braces"),
        (_catalog, {"correction": {"preset": 5}}, "'preset' must be a preset's name in quotes, not 5"),
        (
            _catalog,
            {"renditions": {"web": {"preset": 5}}},
            "'preset' must be a preset's name in quotes, not 5",
        ),
        (_catalog, {"out": ""}, "destination is empty: name a folder"),
        (_catalog, {"out": None}, "destination is None: name a folder"),
        (_catalog, {"out": "/in/b/../"}, "source and destination are the same place, /in"),
        (_one, {"out": "/in"}, "source and destination are the same file, /in"),
        (_one, {"out": None}, "destination is None: name one, or ask for data alone"),
        (_one, {"out": ""}, "destination is empty"),
    ],
)
def test_a_plain_value_that_cannot_be_meant_is_refused_when_the_dag_is_parsed(make, kwargs, says):
    kind = {_catalog: PerfectlyClearCatalogOperator, _one: PerfectlyClearCorrectOperator}[make]
    kwargs = {"destination": kwargs.get("out", "/out/"), **kwargs}
    kwargs.pop("out", None)
    with pytest.raises(ConfigurationError) as failed:
        kind(task_id="t", source="/in", **kwargs)
    assert says in str(failed.value)


def test_a_value_that_only_a_run_knows_is_not_refused_when_the_dag_is_parsed():
    with DAG("d", schedule=None):
        late = BaseOperator(task_id="before").output
        places = {"source": "/in", "destination": "/out"}
        make = PerfectlyClearCatalogOperator
        make(task_id="d", **places, pattern=late, shard=late, exclude=["*.jpg", late])
        make(task_id="e", **places, pattern=["{{ params.p }}", "[{]*"], correction={"preset": late})
        PerfectlyClearCatalogOperator(task_id="a", source=late, destination=late)
        PerfectlyClearCatalogOperator(task_id="b", source="{{ x }}", destination="{{ x }}")
        PerfectlyClearCorrectOperator(task_id="c", source="/in/a.jpg", destination=None, correction=late)
    _one("/in/a.jpg", None, correction={"include_detection_data": True}, state_path="/state")
    _one("/in/a.jpg", "/in/", correction={"output_type": "png"})


def test_all_that_is_wrong_is_said_at_once_when_the_dag_is_parsed():
    wrong = {
        "max_failures": "two",
        "reprocess": "all",
        "transfers": "4",
        "plan_only": "false",
        "destination": "~/x",
    }
    with pytest.raises(ConfigurationError) as failed:
        PerfectlyClearCatalogOperator(task_id="nightly", source=["/a/b.jpg"], name_template="{x}", **wrong)
    said = str(failed.value)
    assert said.startswith("Task 'nightly': ")
    for name in (*wrong, "name_template", "source_root"):
        assert name in said, name
    PerfectlyClearCatalogOperator(
        task_id="t", source="/in", destination="{{ params.out }}", shard="{{ 1 }}/4"
    )


def test_a_key_is_in_no_log_message_or_template_field(service, photos, out, caplog):
    caplog.set_level(logging.DEBUG)
    (photos / "text.jpg").write_text("no picture")
    service.fault("download", {"answer": {"status": 403, "body": "expired"}})
    operator = _catalog(photos, out)
    with pytest.raises(AirflowFailException) as failed:
        run(operator)
    (photos / "text.jpg").write_bytes(picture())
    result, _ = run(operator, a_context("catalog", "night 2"))
    said = f"{caplog.text} {failed.getrepr(showlocals=False, chain=True)} {result}"
    said += str([getattr(operator, name) for name in operator.template_fields])
    said += "".join(p.read_text(errors="replace") for p in out.rglob("*.jsonl"))
    assert KEY not in said and "signature=" not in said.lower()
