"""The start operator with a place for its record: over all tries of a task, one paid call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_perfectlyclear.api import limiter, retry
from airflow_provider_perfectlyclear.catalog.engine import start_queue as starts
from airflow_provider_perfectlyclear.catalog.ledger import owners
from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearStartCorrectionOperator
from tests.support.account import CONN_ID, KEY, picture
from tests.support.tasks import a_context, run

SCRIPT = """
import sys
from airflow_provider_perfectlyclear.catalog.engine import start_queue as starts
from airflow_provider_perfectlyclear.catalog.ledger import lane, owners
from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearStartCorrectionOperator
from tests.support.account import CONN_ID
from tests.support.tasks import a_context, run

source, state, map_index, owners.ABANDONED, lane.HEARTBEAT = [*sys.argv[1:3], *map(float, sys.argv[3:])]
starts.UNKNOWN = 0.5
operator = PerfectlyClearStartCorrectionOperator(
    task_id="start", source=source, state_path=state, perfectlyclear_conn_id=CONN_ID
)
print("JOB", run(operator, a_context("start", map_index=int(map_index)))[0])
"""


def in_a_process(photos, tmp_path, *, map_index=-1, abandoned=90.0, heartbeat=25.0):
    """A try in a process of its own."""
    told = [photos / "a.jpg", tmp_path / "state", map_index, abandoned, heartbeat]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, told)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(what, seconds=60.0):
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.02)


def starts_sent(service):
    return service.seen()["api"]["routes"].get("pfc", 0)


def file_keys(service):
    return {entry["file_key"] for entry in service.bill()["entries"]}


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
    killed = in_a_process(photos, tmp_path)
    assert killed.wait(60) == -9

    job, _ = start()

    assert service.unconsumed() == []
    assert job
    assert service.bill()["billed"] == accepted
    recorded = "was started by an earlier try" in caplog.text
    assert not recorded or when == "answered"  # the answer and the kill are a race, which either may win
    assert ("may pay twice" in caplog.text) == (route == "pfc" and not recorded)


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
        with pytest.raises(AirflowFailException, match="the call was not sent again"):
            start(correction={"cache": False})
    assert service.bill()["accepted"] == 1


def test_a_start_that_was_refused_is_no_doubt(service, start):
    service.fault("pfc", {"answer": {"status": 422, "json": {"error": "not this one"}}})
    with pytest.raises(AirflowFailException, match="not this one"):
        start()
    began = start()
    assert began[0]
    assert service.bill()["accepted"] == 1


def refused(status, **headers):
    return {"answer": {"status": status, "headers": headers, "json": {"error": "no"}}}


@pytest.fixture
def impatient(monkeypatch):
    """Another pace for this test alone, which soon gives up."""
    monkeypatch.setattr(limiter, "HOPELESS", 3)
    monkeypatch.setattr(limiter, "_paces", {})
    monkeypatch.setattr(retry, "_FIRST_WAIT", 0.01)


@pytest.mark.parametrize("status", [401, 402, 403, 429, "no connection"])
def test_a_lost_answer_stays_in_doubt_when_asking_again_fails_for_every_picture(
    service, start, impatient, monkeypatch, caplog, status
):
    service.fault("pfc", {"reset": "committed"})
    with pytest.raises(AirflowException, match="The next try asks once more"):
        start()
    with monkeypatch.context() as away, pytest.raises(AirflowException):
        if status == "no connection":
            connection = service.connection_json(max_retries=0).replace(
                service.base_url, "http://127.0.0.1:9/v2"
            )
            away.setenv("AIRFLOW_CONN_PC", connection)
        else:
            service.fault("pfc", refused(status), times=None)
        start()
    service.clear_faults()
    caplog.clear()

    job, _ = start()

    assert job and "which may pay twice" in caplog.text and "possibly_paid_twice=" in caplog.text
    assert len(file_keys(service)) == 1 and service.bill()["billed"] == 1  # the service's cache has answered


def test_a_lost_answer_that_cannot_be_asked_about_is_started_anew_and_said_to_be(service, start, caplog):
    service.fault("pfc", {"reset": "committed"})
    with pytest.raises(AirflowException):
        start()
    service.fault("pfc", refused(400))
    with pytest.raises(AirflowException, match="a retry uploads it anew, which may pay twice") as lost:
        start()
    assert not isinstance(lost.value, AirflowFailException)
    service.fault("pfc", refused(401))
    with pytest.raises(AirflowFailException, match="401"):
        start()
    caplog.clear()

    job, _ = start()

    assert job and "may pay twice" in caplog.text and "possibly_paid_twice=" in caplog.text
    assert service.bill()["accepted"] == 2
    assert start()[0] == job and service.bill()["accepted"] == 2


def test_a_given_file_key_that_cannot_be_asked_about_waits_for_a_person(service, start, caplog):
    _, xcoms = start("manual__0")
    again = {"source": None, "file_key": xcoms["file_key"], "correction": {"output_type": "png"}}
    service.fault("pfc", {"reset": "committed"})
    with pytest.raises(AirflowException):
        start(**again)
    service.fault("pfc", refused(400))
    with pytest.raises(AirflowFailException, match=r"It may have been paid\. Upload the file again"):
        start(**again)


def test_a_refusal_of_a_first_start_leaves_no_doubt(service, start, caplog, impatient):
    for status in (401, 402, 403, 429):
        service.fault("pfc", refused(status), times=3 if status == 429 else 1)
        with pytest.raises(AirflowException):
            start()
    start()
    assert "twice" not in caplog.text and service.bill()["accepted"] == 1


# ---- the same bytes


@pytest.mark.parametrize("lost", [False, True])
def test_a_source_that_was_only_touched_is_the_same(service, start, photos, caplog, lost):
    if lost:
        service.fault("pfc", {"reset": "committed"})
        with pytest.raises(AirflowException):
            start()
    else:
        start()
    (photos / "a.jpg").chmod(0o640)
    os.utime(photos / "a.jpg", (1, 1))

    start()

    assert "has changed" not in caplog.text
    assert len(file_keys(service)) == 1 and service.bill()["billed"] == 1


def test_a_source_that_is_replaced_after_a_lost_answer_says_what_may_have_been_paid(
    service, start, photos, caplog
):
    service.fault("pfc", {"reset": "committed"})
    with pytest.raises(AirflowException):
        start()
    (photos / "a.jpg").write_bytes(picture("red"))
    start()
    assert "since a start without a response" in caplog.text and "may have been paid" in caplog.text
    assert service.bill()["accepted"] == 2


def test_a_replaced_source_is_not_given_the_job_of_its_earlier_content(service, start, photos, caplog):
    """A gateway repeats the response of before, also to the retry. Each start is accepted."""
    earlier, _ = start()
    (photos / "a.jpg").write_bytes(picture("red"))
    named = {"statusEndpoint": f"{service.base_url}/status/{earlier}"}
    service.fault({"route": "pfc", "times": 2}, {"answer": {"status": 200, "json": named, "commit": True}})

    for _ in range(2):
        with pytest.raises(AirflowException, match="a retry uploads the file anew, which may pay twice"):
            start()
    job, xcoms = start()

    (entry,) = [entry for entry in service.bill()["entries"] if entry["job_id"] == job]
    assert job != earlier and entry["file_key"] == xcoms["file_key"]
    assert service.bill()["accepted"] == 4 and "possibly_paid_twice=2" in caplog.text
    assert start()[0] == job and service.bill()["accepted"] == 4


def test_a_replaced_source_is_not_given_the_job_of_the_content_before_the_last(service, start, photos):
    first, _ = start()
    (photos / "a.jpg").write_bytes(picture("red"))
    start()
    (photos / "a.jpg").write_bytes(picture("blue"))
    named = {"statusEndpoint": f"{service.base_url}/status/{first}"}
    service.fault("pfc", {"answer": {"status": 200, "json": named}})

    with pytest.raises(AirflowException, match="which was started for the earlier content of"):
        start()
    assert start()[0] != first


def test_a_source_whose_first_content_comes_back_gets_its_job_from_a_cache(service, start, photos, caplog):
    service.behave(same_job=True)
    first = (photos / "a.jpg").read_bytes()
    job, _ = start()
    service.fault("pfc", {"answer": {"status": 422, "json": {"error": "not this one"}}})
    (photos / "a.jpg").write_bytes(picture("red"))
    with pytest.raises(AirflowException):
        start()
    (photos / "a.jpg").write_bytes(first)

    assert start()[0] == job
    assert "bytes again that were started and replaced before: this is another start, paid" in caplog.text


def stopped_at_its_upload(service, photos, tmp_path, **kwargs):
    """A try that sleeps once its upload has arrived."""
    service.fault("put", {"kill": {"pid": "peer", "signal": "SIGSTOP", "when": "committed"}})
    process = in_a_process(photos, tmp_path, **kwargs)
    wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    return process


def said_by(process):
    return process.communicate(timeout=90)[0]


def test_nothing_is_started_for_a_source_that_changes_while_it_is_uploaded(service, start, photos, tmp_path):
    process = stopped_at_its_upload(service, photos, tmp_path)
    (photos / "a.jpg").write_bytes(picture("red"))
    process.send_signal(signal.SIGCONT)

    assert "changed while it was uploaded" in said_by(process)
    assert service.bill()["accepted"] == 0
    start()
    assert service.bill()["accepted"] == 1


def test_a_source_that_is_touched_while_it_is_uploaded_is_started(service, photos, tmp_path):
    process = stopped_at_its_upload(service, photos, tmp_path)
    (photos / "a.jpg").chmod(0o640)
    process.send_signal(signal.SIGCONT)

    assert "JOB" in said_by(process)
    assert service.bill()["accepted"] == 1


# ---- two instances with one source


def test_a_start_that_waits_is_not_taken_over(service, start, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(owners, "ABANDONED", 2.0)
    monkeypatch.setattr(owners, "LOOK", 0.2)
    service.fault("pfc", refused(429, **{"Retry-After": "6"}))
    waiting = in_a_process(photos, tmp_path, map_index=0, heartbeat=0.3)
    wait_for(lambda: starts_sent(service) == 1)

    with pytest.raises(AirflowException, match="which is still running"):
        start(map_index=1)

    assert "JOB" in said_by(waiting)
    assert service.bill()["accepted"] == 1 and starts_sent(service) == 2
    start(map_index=1)
    assert service.bill()["accepted"] == 1


@pytest.mark.parametrize("sleeps", ["after its upload", "while it waits"])
def test_a_start_that_was_taken_over_sends_nothing(service, start, photos, tmp_path, monkeypatch, sleeps):
    monkeypatch.setattr(owners, "ABANDONED", 0.5)
    monkeypatch.setattr(owners, "LOOK", 0.2)
    if sleeps == "while it waits":  # and shows no sign of life
        service.fault("pfc", refused(429, **{"Retry-After": "4"}))
        first = in_a_process(photos, tmp_path, map_index=0)
        wait_for(lambda: starts_sent(service) == 1)
    else:
        first = stopped_at_its_upload(service, photos, tmp_path, map_index=0)

    job, _ = start(map_index=1)
    first.send_signal(signal.SIGCONT)

    assert "is used by another try of this task" in said_by(first)
    assert starts_sent(service) == (2 if sleeps == "while it waits" else 1)
    assert service.bill()["accepted"] == 1
    assert start(map_index=0)[0] == job


def test_a_process_that_stood_still_after_it_declared_a_start_sends_nothing(
    service, start, monkeypatch, tmp_path
):
    monkeypatch.setattr(starts, "STALE", -1.0)
    with pytest.raises(AirflowException, match="stood still"):
        start()
    assert starts_sent(service) == 0
    monkeypatch.setattr(starts, "STALE", 45.0)
    start()
    assert service.bill()["accepted"] == 1


def test_the_record_holds_no_secret(service, start, tmp_path):
    start()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert b'"r":"started"' in kept
    assert KEY.encode() not in kept and b"ignature" not in kept
