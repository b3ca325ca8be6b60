"""What a run says at its end: each output in one state, whatever its attempts have come to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_provider_perfectlyclear.catalog.ledger.bills import Bill
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.plan.model import Counts, Item
from airflow_provider_perfectlyclear.catalog.report.summary import outcome_of
from airflow_provider_perfectlyclear.catalog.result import Failure
from airflow_provider_perfectlyclear.catalog.run_state import RunState

ITEM = Item("a.jpg", "a.jpg", 7, "7-1", "", "job lost")
LANDED = Row("a.jpg", State.LANDED, "a.jpg", "7-1", run="night", file_key="key", job_id="job", size=9)
LOST = replace(LANDED, state=State.FAILED, code="JOB_LOST", reason="404", size=None)


@pytest.mark.parametrize(
    ("row", "left", "counts", "failures", "state"),
    [
        pytest.param(LOST, [ITEM], Counts(), {}, "failed", id="failed in an attempt, not begun in the next"),
        pytest.param(LANDED, [], Counts(edited=["a.jpg"]), {}, "corrected", id="landed, then edited"),
        pytest.param(
            LANDED,
            [],
            Counts(gone=["a.jpg"]),
            {"a.jpg": Failure("a.jpg", "a.jpg", "TIMEOUT", "")},
            "failed",
            id="failed, gone in the plan",
        ),
        pytest.param(LOST, [ITEM, ITEM], Counts(), {}, "failed", id="left twice"),
    ],
)
def test_each_output_has_one_line(
    row: Row, left: list[Item], counts: Counts, failures: dict[str, Failure], state: str
) -> None:
    kept = RunState(planned=True, began=0.0, deadline=None, counts=counts)
    kept.progress.failures = failures
    outcome = outcome_of(kept, [row], left, "night", Bill())
    assert [(line["output"], line["state"]) for line in outcome.lines] == [("a.jpg", state)]
    counted = outcome.corrected + len(outcome.failures) + outcome.gone + outcome.not_started
    assert counted == 1
