"""What a task reports to Airflow beside its result, and corrections in files."""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.common.compat import sdk as compat
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    TaskDeferred,
)
from airflow.sdk import DAG, Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_perfectlyclear.catalog.engine import waiting
from airflow_provider_perfectlyclear.errors import ConfigurationError, InvalidCorrection
from airflow_provider_perfectlyclear.links.perfectlyclear import REPORT, PerfectlyClearReportLink
from airflow_provider_perfectlyclear.operators.perfectlyclear import (
    PerfectlyClearCatalogOperator,
    PerfectlyClearCorrectOperator,
    PerfectlyClearStartCorrectionOperator,
)
from airflow_provider_perfectlyclear.provider_info import get_provider_info
from tests.support.account import CONN_ID, KEY
from tests.support.tasks import a_context, requests_of, run

ASSET = Asset("corrected_pictures")


def catalog(photos, out, **kwargs):
    kwargs = {"perfectlyclear_conn_id": CONN_ID, "poll_interval": 0.1, **kwargs}
    return PerfectlyClearCatalogOperator(
        task_id="catalog", source=str(photos), destination=str(out), **kwargs
    )


def one(source, destination, **kwargs):
    kwargs = {"perfectlyclear_conn_id": CONN_ID, "poll_interval": 0.1, **kwargs}
    return PerfectlyClearCorrectOperator(
        task_id="correct", source=str(source), destination=destination, **kwargs
    )


def context_of(operator, run_id="night 1"):
    return {**a_context(operator.task_id, run_id), "outlet_events": OutletEventAccessors()}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "corrected"


# --- asset events


def test_an_asset_event_says_what_was_corrected_and_paid_and_where_the_manifest_is(service, photos, out):
    operator = catalog(photos, out, outlets=[ASSET])
    summary, _ = run(operator, context := context_of(operator))
    extra = context["outlet_events"][ASSET].extra
    assert (extra["corrected"], extra["failed"], extra["unchanged"]) == (3, 0, 0)
    assert (extra["paid"], extra["possibly_paid_twice"]) == (3, 0)
    assert extra.items() <= summary.items()
    assert len(json.dumps(extra)) < 800 and KEY not in json.dumps(extra)
    run(operator, context := context_of(operator, "night 2"))
    extra = context["outlet_events"][ASSET].extra
    assert (extra["corrected"], extra["unchanged"], extra["paid"]) == (0, 3, 0)


def test_the_event_of_a_single_picture_counts_it_once_and_names_it(service, photos, out):
    extras = []
    for run_id in ("night 1", "night 1", "night 2"):
        operator = one(photos / "a.jpg", f"{out}/", outlets=[ASSET])
        run(operator, context := context_of(operator, run_id))
        extras.append(context["outlet_events"][ASSET].extra)
    counts = [(extra["corrected"], extra["unchanged"], extra["paid"]) for extra in extras]
    assert counts == [
        (1, 0, 1),
        (1, 0, 1),
        (0, 1, 0),
    ]  # a clear tells of its own Dag run; another night paid nothing
    assert {extra["destination"] for extra in extras} == {str(out / "a.jpg")}


def test_what_the_dag_itself_says_of_an_asset_stays(service, photos, out):
    operator = catalog(photos, out, outlets=[ASSET])
    context = context_of(operator)
    context["outlet_events"][ASSET].extra = {"paid": "by the studio", "studio": 7}
    run(operator, context)
    extra = context["outlet_events"][ASSET].extra
    assert (extra["paid"], extra["studio"], extra["corrected"]) == ("by the studio", 7, 3)


def test_aliases_and_broken_events_fail_nothing_and_other_outlets_are_filled(service, photos, out, caplog):
    operator = catalog(photos, out, outlets=[AssetAlias("later"), SimpleNamespace(), ASSET])
    summary, _ = run(operator, context := context_of(operator))
    assert summary["corrected"] == 3
    assert context["outlet_events"][ASSET].extra["corrected"] == 3
    assert list(context["outlet_events"]) == [ASSET]
    assert "The extra of an asset event could not be reported to Airflow" in caplog.text
    again, _ = run(operator, a_context("catalog", "night 2"))  # a context without outlet_events
    assert again["unchanged"] == 3


# --- metrics


@dataclass
class StatsSeen:
    """In the place of Airflow's Stats."""

    sent: list[tuple[str, float, dict[str, str]]] = field(default_factory=list)

    def incr(self, name: str, count: int = 1, *, tags: Any = None) -> None:
        self.sent.append((name, count, tags))

    def timing(self, name: str, dt: Any, *, tags: Any = None) -> None:
        self.sent.append((name, dt.total_seconds(), tags))

    def total(self, name: str) -> float:
        return sum(value for sent, value, _ in self.sent if sent == f"perfectlyclear.{name}")

    def times(self, name: str) -> int:
        return sum(sent == f"perfectlyclear.{name}" for sent, _, _ in self.sent)


@pytest.fixture
def stats(monkeypatch):
    seen = StatsSeen()
    monkeypatch.setattr(compat, "Stats", seen, raising=False)
    return seen


def test_every_metric_is_sent_once_with_its_task(service, photos, out, stats):
    summary, _ = run(catalog(photos, out))
    names = [name for name, _, _ in stats.sent]
    assert sorted(names) == [
        f"perfectlyclear.{name}"
        for name in (
            *("bytes_in", "bytes_out", "corrected", "failed", "paid", "possibly_paid_twice"),
            *("seconds", "seconds_waited", "unchanged"),
        )
    ]
    assert all(tags == {"dag_id": "dag", "task_id": "catalog"} for _, _, tags in stats.sent)
    for name in ("corrected", "failed", "unchanged", "paid", "bytes_in", "bytes_out"):
        assert stats.total(name) == summary[name]
    assert stats.total("seconds") > 0 and stats.total("seconds_waited") == 0


def test_a_single_picture_is_counted_too(service, photos, out, stats):
    run(one(photos / "a.jpg", f"{out}/"))
    run(one(photos / "a.jpg", f"{out}/"), a_context("correct", "night 2"))
    assert (stats.total("corrected"), stats.total("unchanged"), stats.total("paid")) == (1, 1, 1)
    assert stats.total("bytes_out") == (out / "a.jpg").stat().st_size


def test_a_run_that_fails_over_its_pictures_is_counted(service, photos, out, stats):
    (photos / "text.jpg").write_text("no picture")
    with pytest.raises(AirflowFailException):
        run(catalog(photos, out))
    assert (stats.total("corrected"), stats.total("failed"), stats.total("paid")) == (3, 1, 3)
    assert stats.times("paid") == 1


def test_a_night_that_is_skipped_is_counted(service, photos, out, stats):
    run(catalog(photos, out))
    with pytest.raises(AirflowSkipException):
        run(catalog(photos, out, if_unchanged="skip"), a_context("catalog", "night 2"))
    assert (stats.total("unchanged"), stats.total("corrected")) == (3, 3)


def test_a_deferred_try_is_counted_once_with_the_time_it_waited(service, photos, out, stats, monkeypatch):
    from airflow_provider_perfectlyclear.catalog.engine import waiting
    from airflow_provider_perfectlyclear.triggers import polling as asking

    monkeypatch.setattr(waiting, "WORTH_DEFERRING", 0.0)
    monkeypatch.setattr(asking, "SETTLE", 0.0)
    summary, deferrals = run(catalog(photos, out, deferrable=True))
    assert deferrals and summary["paid"] == 3
    assert (stats.times("paid"), stats.total("paid"), stats.total("corrected")) == (1, 3, 3)
    assert 0 < stats.total("seconds_waited") < stats.total("seconds")


def test_tries_add_up_to_what_the_run_paid(service, photos, out, stats):
    service.fault("status", {"patch": {"status": "PROCESSING", "correctedFile": None}}, times=500)
    with pytest.raises(AirflowException):
        run(catalog(photos, out, job_timeout=1))
    assert (stats.total("corrected"), stats.total("failed"), stats.total("paid")) == (0, 3, 3)
    service.clear_faults()
    summary, _ = run(catalog(photos, out))
    assert (summary["corrected"], summary["failed"], summary["paid"]) == (3, 0, 3)
    assert (stats.total("corrected"), stats.total("paid"), stats.times("paid")) == (3, 3, 2)


def test_metrics_that_cannot_be_sent_fail_nothing(service, photos, out, stats, caplog):
    def broken(*_: Any, **__: Any) -> None:
        raise socket.gaierror("no such host")

    stats.incr = broken
    assert run(catalog(photos, out))[0]["corrected"] == 3
    assert "The metrics could not be reported to Airflow: gaierror" in caplog.text


def test_what_fails_before_it_begins_sends_no_metrics(service, photos, out, stats):
    with pytest.raises(AirflowFailException):
        run(catalog(photos, out, state_path="s3://nowhere@bucket/state"))
    assert stats.sent == []


# --- the link


KEY_OF_A_TASK = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)


def link(operator, ti_key=KEY_OF_A_TASK):
    return PerfectlyClearReportLink().get_link(operator, ti_key=ti_key)


def test_the_link_leads_to_the_manifest_when_the_run_failed_too(service, photos, out):
    (photos / "text.jpg").write_text("no picture")
    operator = catalog(photos, out)
    context = a_context("catalog")
    with pytest.raises(AirflowFailException):
        run(operator, context)
    (manifest,) = out.glob(".perfectlyclear/runs/*/manifest.jsonl")
    assert link(operator) == context["ti"].xcoms[REPORT] == manifest.as_uri()
    assert link(operator).startswith("file:///")


def test_the_link_of_a_single_picture_leads_to_it(service, photos, out):
    operator = one(photos / "b" / "ü #1 %.jpg", f"{out}/")
    run(operator)
    assert link(operator) == (out / "ü #1 %.jpg").as_uri()


def test_nothing_is_looked_up_for_the_link_of_a_task_that_is_deferred(service, photos, out, monkeypatch):
    """Airflow asks for it then, and would log an error for the XCom that is not there yet."""
    monkeypatch.setattr(waiting, "WORTH_DEFERRING", 0.3)
    monkeypatch.setattr(compat.XCom, "get_value", lambda **_: asked.append(1))
    asked = []
    service.fault("pfc", {"outcome": "stuck"}, times=None)
    operator = catalog(photos, out, deferrable=True)
    with pytest.raises(TaskDeferred):
        operator.execute(a_context())
    assert PerfectlyClearReportLink().get_link(operator, ti_key=None) == "" and not asked


def test_a_plan_and_a_run_that_never_began_have_no_link(service, photos, out):
    operator = catalog(photos, out, plan_only=True)
    context = a_context("catalog")
    run(operator, context)
    assert link(operator) == "" and REPORT not in context["ti"].xcoms


def test_a_task_whose_xcom_cannot_be_written_succeeds(service, photos, out, caplog):
    operator = catalog(photos, out)
    context = a_context("catalog")
    context["ti"].xcom_push = None
    assert run(operator, context)[0]["corrected"] == 3
    assert "could not be reported to Airflow: TypeError" in caplog.text


@pytest.mark.parametrize("stored", [None, "", 7, {"a": 1}, ["s3://x"], b"\xff", ConnectionError("gone")])
def test_the_link_never_raises_whatever_was_stored(stored, monkeypatch):
    def get_value(**_: Any) -> Any:
        if isinstance(stored, Exception):
            raise stored
        return stored

    monkeypatch.setattr(compat, "XCom", SimpleNamespace(get_value=get_value), raising=False)
    for operator in (None, object(), catalog("/in", "/out")):
        assert link(operator) == ""


@pytest.mark.parametrize("ti_key", [None, object(), "text", SimpleNamespace(dag_id=None)])
def test_the_link_never_raises_whatever_it_is_asked_about(ti_key):
    assert link(None, ti_key) == link(object(), ti_key) == ""


def test_the_link_gives_what_was_stored(monkeypatch):
    stored = "s3://media/corrected/.perfectlyclear/runs/x/manifest.jsonl"
    monkeypatch.setattr(compat, "XCom", SimpleNamespace(get_value=lambda **_: stored), raising=False)
    assert link(object()) == stored
    monkeypatch.setattr(compat, "XCom", SimpleNamespace(get_value=lambda **_: "/data/m.jsonl"), raising=False)
    assert link(object()) == "file:///data/m.jsonl"


def test_airflow_is_told_of_the_link():
    (name,) = get_provider_info()["extra-links"]
    assert name == f"{PerfectlyClearReportLink.__module__}.{PerfectlyClearReportLink.__qualname__}"
    for operator in (catalog("/in", "/out"), one("/in/a.jpg", "/out/")):
        assert [type(each) for each in operator.operator_extra_links] == [PerfectlyClearReportLink]


# --- corrections in files, and as JSON


HEAD = """
from datetime import datetime
from airflow.sdk import DAG
from airflow_provider_perfectlyclear.operators.perfectlyclear import *

with DAG("d", schedule=None, params={"look": "vivid", "width": 640}) as dag:
"""


@pytest.fixture
def dags(tmp_path):
    """A Dags folder, and how it is parsed: the Dag's tasks, or the error."""
    folder = tmp_path / "dags"
    (folder / "corrections").mkdir(parents=True)

    class Dags:
        def put(self, name, text):
            (folder / "corrections" / name).write_text(text if isinstance(text, str) else json.dumps(text))

        def parse(self, arguments, operator="PerfectlyClearCatalogOperator"):
            where = "" if "source=" in arguments else "source='/in/a.jpg', "
            line = f"{operator}(task_id='t', {where}destination='/out/', {arguments})"
            (folder / "d.py").write_text(f"{HEAD}    {line}\n")
            bag = DagBag(dag_folder=str(folder), bundle_name="test")
            if bag.import_errors:
                raise SyntaxError("\n".join(bag.import_errors.values()))
            return bag.dags["d"].get_task("t")

    return Dags()


@pytest.mark.parametrize("operator", ["PerfectlyClearCatalogOperator", "PerfectlyClearCorrectOperator"])
def test_a_correction_in_a_file_is_read_when_the_dag_is_parsed(operator, dags):
    dags.put("studio.json", {"preset": "Vivid", "width": 1200})
    task = dags.parse("correction='corrections/studio.json'", operator)
    assert json.loads(task.correction) == {"preset": "Vivid", "width": 1200}


@pytest.mark.parametrize("operator", ["PerfectlyClearCatalogOperator", "PerfectlyClearCorrectOperator"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"removeBG": true}', "did you mean 'remove_background'"),
        ('{"width": 7}', "width"),
        ("not JSON", "is not a JSON object"),
    ],
)
def test_a_wrong_correction_in_a_file_is_an_import_error(operator, text, says, dags):
    dags.put("studio.json", text)
    with pytest.raises(SyntaxError, match=says):
        dags.parse("correction='corrections/studio.json'", operator)


def test_a_file_that_is_not_there_is_an_import_error(dags):
    with pytest.raises(SyntaxError, match=r"correction 'corrections/nowhere\.json' is not there"):
        dags.parse("correction='corrections/nowhere.json'")


def test_a_file_is_rendered_when_the_task_runs(dags):
    dags.put("studio.json", '{"width": {{ params.width }}}')
    task = dags.parse("correction='corrections/studio.json'")
    task.render_template_fields({"params": {"width": 640}})
    task.read_files({})
    assert json.loads(task.correction) == {"width": 640}


def test_a_file_whose_name_only_a_run_knows_is_read_and_rendered_by_it(dags):
    dags.put("vivid.json", '{"preset": "Vivid", "width": {{ params.width }}}')
    task = dags.parse("correction='corrections/{{ params.look }}.json'")
    context = {"params": {"look": "vivid", "width": 640}}
    task.render_template_fields(context)
    task.read_files(context)
    assert json.loads(task.correction) == {"preset": "Vivid", "width": 640}
    task.correction = "corrections/../../secret.json"
    with pytest.raises(ConfigurationError, match="is not there"):
        task.read_files(context)


def test_renditions_may_be_in_a_file_or_each_in_its_own(dags):
    dags.put("looks.json", {"web": {"width": 1200}, "print": {}})
    dags.put("web.json", {"width": 1200})
    assert json.loads(dags.parse("renditions='corrections/looks.json'").renditions)["web"] == {"width": 1200}
    task = dags.parse("renditions={'web': 'corrections/web.json', 'print': {}}")
    assert task.renditions == {"web": '{"width": 1200}', "print": {}}
    dags.put("web.json", {"width": 7})
    with pytest.raises(SyntaxError, match="width"):
        dags.parse("renditions={'web': 'corrections/web.json'}")
    dags.put("looks.json", ["web"])
    with pytest.raises(SyntaxError, match="renditions must map names to corrections"):
        dags.parse("renditions='corrections/looks.json'")


def test_no_other_argument_is_taken_for_a_file_that_holds_a_template(dags):
    task = dags.parse(
        "source=['/in/a.json', '/in/b.json'], source_root='/in/x.json', state_path='/state/x.json', "
        "pattern='*.json', exclude=['*.correction.json'], name_template='{stem}.json'"
    )
    task.render_template_fields({})
    assert (task.source, task.source_root) == (["/in/a.json", "/in/b.json"], "/in/x.json")
    assert (task.state_path, task.pattern, task.exclude) == ("/state/x.json", "*.json", ["*.correction.json"])
    assert task.name_template == "{stem}.json"


def test_a_mapped_task_reads_its_file_when_it_runs(service, photos, out, tmp_path):
    (tmp_path / "small.json").write_text('{"width": {{ 8 * 8 }}}')
    with DAG("d", schedule=None, template_searchpath=str(tmp_path)):
        mapped = PerfectlyClearCorrectOperator.partial(
            task_id="correct",
            destination=f"{out}/",
            perfectlyclear_conn_id=CONN_ID,
            poll_interval=0.1,
            correction="small.json",
        ).expand(source=[str(photos / "a.jpg")])
    run(mapped.unmap({"source": str(photos / "a.jpg")}))
    assert service.bill()["billed"] == 1
    (tmp_path / "small.json").unlink()
    with pytest.raises(AirflowFailException, match=r"'small\.json' is not there"):
        run(mapped.unmap({"source": str(photos / "a.jpg")}), a_context("correct", "night 2"))


def test_a_file_without_a_dag_to_look_beside_is_refused_in_our_own_words(service, photos, out):
    with pytest.raises(AirflowFailException, match=r"'x\.json' is not there"):
        run(catalog(photos, out, correction="x.json"))
    assert requests_of(service) == 0


def test_an_operator_that_reads_no_files_refuses_their_names_when_the_dag_is_parsed():
    with pytest.raises(InvalidCorrection, match="not a JSON object"):
        PerfectlyClearStartCorrectionOperator(task_id="start", source="/in/a.jpg", correction="x.json")


def test_renditions_as_json_are_checked_when_the_dag_is_parsed_and_work(service, photos, out):
    with pytest.raises(InvalidCorrection, match="did you mean 'remove_background'"):
        catalog(photos, out, renditions='{"web": {"removeBG": 1}}')
    with pytest.raises(ConfigurationError, match="renditions must map"):
        catalog(photos, out, renditions='["web"]')
    catalog(photos, out, renditions="{{ params.renditions | tojson }}")
    summary, _ = run(catalog(photos, out, renditions='{"web": {"width": 64}, "print": {}}'))
    assert summary["corrected"] == 6 and (out / "web" / "a.jpg").exists()


def test_renditions_that_render_to_nothing_are_none(service, photos, out):
    operator = catalog(photos, out)
    operator.renditions = ""
    assert run(operator)[0]["corrected"] == 3


# --- lineage


def named(datasets):
    return [(dataset.namespace, dataset.name) for dataset in datasets]


def test_without_openlineage_there_is_no_lineage(monkeypatch):
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", None)
    monkeypatch.delitem(sys.modules, "airflow_provider_perfectlyclear.adapters.openlineage", raising=False)
    assert catalog("/in", "/out").get_openlineage_facets_on_complete(None) is None


def test_lineage_names_source_destination_and_counts(service, photos, out):
    operator = catalog(photos, out)
    run(operator)
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert named(lineage.inputs) == [("file", str(photos))]
    assert named(lineage.outputs) == [("file", str(out))]
    facet = lineage.run_facets["perfectlyclear"]
    assert (facet.facts["corrected"], facet.facts["paid"]) == (3, 3)


@pytest.mark.parametrize(
    ("place", "dataset"),
    [
        ("s3://media/originals/2026/", ("s3://media", "originals/2026")),
        ("s3://aws_default@media/originals", ("s3://media", "originals")),
        ("s3a://media", ("s3://media", "/")),
        ("gs://media/a", ("gs://media", "a")),
        ("/data/photos/", ("file", "/data/photos")),
        ("file:///data/photos", ("file", "/data/photos")),
    ],
)
def test_places_are_named_by_openlineages_rules(place, dataset):
    lineage = catalog(place, "/out").get_openlineage_facets_on_complete(None)
    assert named(lineage.inputs) == [dataset]
    assert lineage.run_facets == {}


def test_lineage_of_a_list_is_its_root_and_of_nonsense_nothing():
    operator = PerfectlyClearCatalogOperator(
        task_id="t", source=["a.jpg"], source_root="s3://media/in", destination="/out"
    )
    operator.destination = "relative"
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert named(lineage.inputs) == [("s3://media", "in")] and lineage.outputs == []
    data_only = one("/in/a.jpg", None, correction="{{ x }}").get_openlineage_facets_on_complete(None)
    assert named(data_only.inputs) == [("file", "/in/a.jpg")] and data_only.outputs == []
