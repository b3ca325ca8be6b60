"""What the documentation says about names and messages is what the code has."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.owners import wait_for_owner
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan import brakes
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan
from airflow_provider_perfectlyclear.catalog.report.summary import Outcome, summary_of
from airflow_provider_perfectlyclear.catalog.run_state import RunState
from airflow_provider_perfectlyclear.errors import LaneHeld, PlanRefused
from airflow_provider_perfectlyclear.operators import perfectlyclear as operators
from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearCatalogOperator
from airflow_provider_perfectlyclear.sensors.perfectlyclear import PerfectlyClearJobSensor
from airflow_provider_perfectlyclear.storage import LocalStore
from tests.support.documents import DOCUMENTS, ROOT, rows, spans, text_of

CATALOG = text_of("docs/catalog.md")
FLAT = " ".join(CATALOG.split())
OF_AIRFLOW = {"retries", "max_active_runs", "catchup", "task_id", "trigger_rule"}
OF_A_CORRECTION = {"cache", "preset"}
OF_CORRECTED_OUTPUTS = {"unchanged"}


def items(reason: str, count: int, *, paid_before: bool = False, free_only: bool = False) -> list[Item]:
    return [
        Item(f"{n}.jpg", f"{n}.jpg", 1, "", "", reason, paid_before=paid_before, free_only=free_only)
        for n in range(count)
    ]


def test_every_argument_that_the_document_names_exists():
    named = set(re.findall(r"\b([a-z_]+)=", CATALOG))
    own = set(inspect.signature(PerfectlyClearCatalogOperator.__init__).parameters)
    assert named <= own | OF_AIRFLOW | OF_A_CORRECTION | OF_CORRECTED_OUTPUTS


def test_every_field_of_the_summary_is_explained_and_no_other():
    table = CATALOG.split("| field | meaning |")[1].split("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    kept = RunState(planned=True, began=0.0, deadline=None)
    assert explained == summary_of(kept, Outcome(), seconds=0.0, manifest_uri="x").keys()


def test_every_field_of_a_correction_is_in_the_table_and_no_other():
    table = [row for row in rows("docs/catalog.md") if row.columns == ("field", "value")]
    assert {name for row in table for name in spans(row.cell("field"))} == Correction.model_fields.keys()


def test_the_templated_arguments_are_those_of_the_operators():
    known = vars(operators) | {"PerfectlyClearJobSensor": PerfectlyClearJobSensor}
    table = [row for row in rows("docs/catalog.md") if row.columns == ("operator", "Airflow renders")]
    assert len(table) == 5
    for row in table:
        (name,) = spans(row.cell("operator"))
        assert tuple(spans(row.cell("Airflow renders"))) == tuple(known[name].template_fields), name


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)]+)\)", text_of(document)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (ROOT / document).parent.joinpath(path).resolve() if path else ROOT / document
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), target


def _anchors(document: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = (
        line.lstrip("#").strip() for line in document.read_text().splitlines() if line.startswith("#")
    )
    return {re.sub(r"[^\w -]", "", heading).strip(" ").replace(" ", "-").lower() for heading in headings}


def test_every_page_is_linked_from_the_first_one():
    linked = set(re.findall(r"\]\((docs/\w+\.md)", text_of("README.md")))
    assert linked == set(DOCUMENTS) - {"README.md"}


def test_the_plan_line_is_quoted_as_it_is():
    made = Plan(standing=[""] * 99_588, ignored=17)
    made.todo = [*items("new", 380), *items("source changed", 30, paid_before=True)]
    made.todo += items("output missing", 2, free_only=True)
    made.known_bad = [Row("x", State.FAILED)] * 3
    assert f"all: {made.line()}" in FLAT


def test_the_brakes_are_quoted_as_they_are():
    made = Plan(paid_or_there=412, listed=412)
    made.todo = items("not in the ledger", 412, paid_before=True)
    with pytest.raises(PlanRefused) as guard:
        brakes.brake(made, Options(correction=Correction()), where="s3://media/corrected", knows_nothing=True)
    assert str(guard.value) in FLAT

    made = Plan(listed=1412, todo=items("new", 1412))
    options = Options(correction=Correction(), max_new_jobs=1000)
    with pytest.raises(PlanRefused) as brake:
        brakes.brake(made, options, where="s3://media/corrected", knows_nothing=True)
    assert str(brake.value) in FLAT


def test_who_holds_a_destination_is_quoted_as_it_is(tmp_path):
    owner = Ledger(LocalStore(tmp_path), "all", run="one", title="dag 'nightly' run 'scheduled__...'")
    owner.take()
    other = Ledger(owner.store, "all", run="two", title="another")
    other.load()
    owner.append([])
    with pytest.raises(LaneHeld) as held:
        wait_for_owner(other, lambda seconds: None)
    assert str(held.value).replace(str(tmp_path), "s3://media/corrected/.perfectlyclear") in FLAT


def test_what_is_said_while_a_run_works_is_quoted_as_it_is():
    package = ROOT / "airflow_provider_perfectlyclear"
    code = "\n".join(path.read_text() for path in package.rglob("*.py"))
    for words in (
        " in progress from earlier attempts or runs: downloading the results first, free",
        "triggerer; without one, set deferrable=False.",
        "the answer to starting it was lost (file key ",
        'on_ambiguous="restart" starts it again, which may pay twice',
        "failures in a row (",
        "): nothing more is started",
        "run starts no more jobs; the jobs it started are in the ledger.",
        "the service asks for payment (HTTP 402)",
    ):
        assert words in FLAT, words
        assert words in code, words
