"""The start operator with a place for its record: over all tries of a task, one paid call."""

from __future__ import annotations

import subprocess
import sys

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_perfectlyclear.catalog.engine import start_queue as starts
from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearStartCorrectionOperator
from tests.provider.parts import CONN_ID, KEY, a_context, picture, run

SCRIPT = """
import sys
from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearStartCorrectionOperator
from tests.provider.parts import CONN_ID, a_context, run

source, state = sys.argv[1:]
operator = PerfectlyClearStartCorrectionOperator(
    task_id="start", source=source, state_path=state, perfectlyclear_conn_id=CONN_ID
)
run(operator, a_context("start"))
"""


@pytest.fixture(autouse=True)
def asks_again_soon(monkeypatch):
    monkeypatch.setattr(starts, "UNKNOWN", 0.5)


@pytest.fixture
def start(photos, tmp_path):
    def started(run_id="manual__1", map_index=-1, **kwargs):
        kwargs = {"source": str(photos / "a.jpg"), **kwargs}
        context = a_context("start", run_id, map_index)
        operator = PerfectlyClearStartCorrectionOperator(
            task_id="start", state_path=str(tmp_path / "state"), perfectlyclear_conn_id=CONN_ID, **kwargs
        )
        return run(operator, context)[0], context["ti"].xcoms

    return started


def test_a_retry_returns_the_job_and_its_file_key_and_pays_nothing(service, start):
    first, xcoms = start()
    again, xcoms_again = start()

    assert again == first and xcoms_again == xcoms
    assert service.bill()["accepted"] == 1
    assert service.seen()["storage"]["routes"]["put"] == 1


def test_another_source_correction_or_run_is_another_start_and_is_said_to_be(service, start, photos, caplog):
    start()
    start(correction={"output_type": "png"})
    assert "another start, paid" not in caplog.text
    (photos / "a.jpg").write_bytes(picture("red"))
    start(correction={"output_type": "png"})
    assert "another start, paid" in caplog.text
    start("manual__2")
    assert service.bill()["accepted"] == 4


def test_a_mapped_start_is_known_by_its_source_as_indexes_move_when_a_run_is_cleared(service, start, photos):
    a, _ = start(map_index=0)
    c, _ = start(map_index=1, source=str(photos / "b" / "c.jpg"))
    assert start(map_index=0, source=str(photos / "b" / "c.jpg"))[0] == c  # the list is shorter now
    png, _ = start(map_index=0, correction={"output_type": "png"})  # mapped over corrections
    faces, _ = start(
        map_index=1, correction={"include_detection_data": True}
    )  # the same picture, another answer
    assert len({a, c, png, faces}) == 4
    assert service.bill()["accepted"] == 4


def test_a_file_key_that_is_given_is_started_once(service, start):
    _, xcoms = start()
    job, _ = start("manual__2", source=None, file_key=xcoms["file_key"], correction={"output_type": "png"})
    again, _ = start("manual__2", source=None, file_key=xcoms["file_key"], correction={"output_type": "png"})
    assert job == again
    assert service.bill()["accepted"] == 2


@pytest.mark.parametrize(
    ("route", "when", "accepted"),
    [("put", "committed", 1), ("pfc", "before", 1), ("pfc", "committed", 1), ("pfc", "answered", 1)],
)
def test_a_killed_try_is_not_paid_again(service, start, photos, tmp_path, caplog, route, when, accepted):
    service.fault(route, {"kill": {"pid": "peer", "when": when}})
    killed = subprocess.run([sys.executable, "-c", SCRIPT, str(photos / "a.jpg"), str(tmp_path / "state")])

    job, _ = start()

    assert killed.returncode == -9
    assert service.unconsumed() == []
    assert job
    assert service.bill()["billed"] == accepted
    assert ("may pay twice" in caplog.text) == (route == "pfc")


def test_a_lost_answer_is_asked_for_once_more_by_the_next_try(service, start):
    service.fault("pfc", {"reset": "committed"})
    with pytest.raises(AirflowException, match="The next try asks once more") as lost:
        start()
    assert not isinstance(lost.value, AirflowFailException)

    job, _ = start()

    assert job
    assert service.bill()["billed"] == 1


def test_a_lost_answer_fails_for_good_where_asking_again_would_pay_again(service, start):
    service.fault("pfc", {"reset": "committed"})
    for _ in range(2):
        with pytest.raises(AirflowFailException, match="it was not sent again"):
            start(correction={"cache": False})
    assert service.bill()["accepted"] == 1


def test_a_start_that_was_refused_is_no_doubt(service, start):
    service.fault("pfc", {"answer": {"status": 422, "json": {"error": "not this one"}}})
    with pytest.raises(AirflowFailException, match="not this one"):
        start()
    began = start()
    assert began[0]
    assert service.bill()["accepted"] == 1


def test_the_record_holds_no_secret(service, start, tmp_path):
    start()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert b'"r":"started"' in kept
    assert KEY.encode() not in kept and b"ignature" not in kept
