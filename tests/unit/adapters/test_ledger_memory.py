"""What Airflow remembers of a ledger, over tries and runs: a ledger that is missing is never begun anew."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.catalog.engine import waiting
from airflow_provider_perfectlyclear.operators import perfectlyclear as operators
from tests.support import tasks
from tests.support.account import CONN_ID
from tests.support.tasks import run


class Store(dict):
    """Airflow's store of a task instance, which survives its tries (Airflow 3.3)."""

    def set(self, key, value):
        self[key] = value


class Airflow:
    """What one task finds of its earlier tries and runs."""

    def __init__(self, *, has_stores):
        self.stores = {} if has_stores else None
        self.xcoms = {}

    def context(self, run_id):
        """Of a try; its run's XComs are cleared when it begins."""
        self.xcoms.pop(run_id, None)
        mine = self.xcoms[run_id] = {}

        def pull(*, key, **_):
            return next((said[key] for said in reversed(self.xcoms.values()) if key in said), None)

        ti = SimpleNamespace(dag_id="dag", task_id="task", run_id=run_id, map_index=-1, try_number=1)
        ti.xcom_pull = pull
        ti.xcom_push = lambda key, value: mine.__setitem__(key, value)
        store = {} if self.stores is None else {"task_state_store": self.stores.setdefault(run_id, Store())}
        return {"ti": ti, **store}


@pytest.fixture(params=["start", "one", "catalog"])
def task(request, service, photos, tmp_path):
    """Tries of one task, whose ledger lies on a mount."""
    (tmp_path / "mnt").mkdir()
    common = {
        "task_id": "task",
        "perfectlyclear_conn_id": CONN_ID,
        "state_path": str(tmp_path / "mnt" / "state"),
    }
    kinds = {
        "start": lambda **more: operators.PerfectlyClearStartCorrectionOperator(
            source=str(photos / "a.jpg"), **common, **more
        ),
        "one": lambda **more: operators.PerfectlyClearCorrectOperator(
            source=str(photos / "a.jpg"), destination=f"{tmp_path}/out/", poll_interval=0.1, **common, **more
        ),
        "catalog": lambda **more: operators.PerfectlyClearCatalogOperator(
            source=str(photos), destination=str(tmp_path / "out"), poll_interval=0.1, **common, **more
        ),
    }

    def attempt(airflow, run_id, **more):
        return run(kinds[request.param](**more), airflow.context(run_id))[0]

    attempt.kind = request.param
    return attempt


@pytest.fixture
def unmounted(tmp_path):
    """The share is not mounted here: there is another, empty folder."""

    def unmount():
        shutil.move(tmp_path / "mnt", tmp_path / "elsewhere")
        (tmp_path / "mnt").mkdir()

    return unmount


def remounted(tmp_path):
    shutil.rmtree(tmp_path / "mnt")
    shutil.move(tmp_path / "elsewhere", tmp_path / "mnt")


def is_missed(task, airflow, run_id, **more):
    with pytest.raises(AirflowException, match="wrote ledger") as missed:
        task(airflow, run_id, **more)
    assert not isinstance(missed.value, AirflowFailException)
    return str(missed.value)


def test_a_retry_that_does_not_see_the_ledger_of_its_run_stops(service, task, unmounted, tmp_path):
    airflow = Airflow(has_stores=True)
    first = task(airflow, "monday")
    accepted = service.bill()["accepted"]
    unmounted()

    for _ in range(2):
        assert "accept_ledger='" in is_missed(task, airflow, "monday")

    assert list((tmp_path / "mnt").iterdir()) == [] and service.bill()["accepted"] == accepted
    remounted(tmp_path)
    again = task(airflow, "monday")
    assert service.bill()["accepted"] == accepted
    if task.kind == "start":
        assert again == first


@pytest.mark.parametrize("has_stores", [False, True])
def test_a_run_that_does_not_see_the_ledger_of_the_last_one_stops(
    service, task, unmounted, tmp_path, has_stores
):
    airflow = Airflow(has_stores=has_stores)
    task(airflow, "monday")
    accepted = service.bill()["accepted"]
    unmounted()
    for _ in range(2):
        is_missed(task, airflow, "tuesday")
    assert service.bill()["accepted"] == accepted
    remounted(tmp_path)
    task(airflow, "tuesday")


def test_another_ledger_is_not_taken_for_the_right_one_by_the_next_try(service, task, unmounted, tmp_path):
    airflow, elses = Airflow(has_stores=True), Airflow(has_stores=True)
    task(airflow, "monday")
    unmounted()
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    task(elses, "another task's")
    accepted = service.bill()["accepted"]

    for run_id in ("monday", "monday", "tuesday", "wednesday"):
        assert "another ledger" in is_missed(task, airflow, run_id)

    assert service.bill()["accepted"] == accepted


def test_a_ledger_that_is_lost_can_be_given_up(service, task, unmounted, tmp_path):
    airflow = Airflow(has_stores=True)
    task(airflow, "monday")
    unmounted()
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    ledger = is_missed(task, airflow, "monday").rpartition("accept_ledger='")[2].partition("'")[0]
    accepted = service.bill()["accepted"]

    task(airflow, "monday", accept_ledger=ledger)

    assert service.bill()["accepted"] == 2 * accepted
    task(airflow, "monday")
    assert service.bill()["accepted"] == 2 * accepted


def test_the_place_of_a_starts_ledger_is_known_before_anything_is_paid(
    service, photos, tmp_path, monkeypatch, unmounted
):
    """A worker that dies in the paid call says nothing afterwards."""
    airflow = Airflow(has_stores=True)
    (tmp_path / "mnt").mkdir()
    operator = operators.PerfectlyClearStartCorrectionOperator(
        task_id="task",
        source=str(photos / "a.jpg"),
        state_path=str(tmp_path / "mnt" / "state"),
        perfectlyclear_conn_id=CONN_ID,
    )
    known = []
    monkeypatch.setattr(
        operators.PerfectlyClearStartCorrectionOperator,
        "_uploaded",
        lambda *_: known.append(dict(airflow.stores["monday"])) or 1 / 0,
    )
    with pytest.raises(ZeroDivisionError):
        run(operator, airflow.context("monday"))
    assert known[0]["perfectlyclear_ledger"]["place"] == str(tmp_path / "mnt" / "state" / "starts")


def test_a_retry_of_a_deferred_first_run_that_does_not_see_its_ledger_stops(
    service, task, unmounted, monkeypatch
):
    """The pod of the deferred attempt is gone, and its disk with it. The resume stops, and so does the retry."""
    if task.kind == "start":
        pytest.skip("it is never deferred")
    monkeypatch.setattr(waiting, "WORTH_DEFERRING", 0.0)
    airflow = Airflow(has_stores=True)
    wakes_up = tasks.first_event
    monkeypatch.setattr(tasks, "first_event", lambda trigger: (unmounted(), wakes_up(trigger))[1])
    with pytest.raises(AirflowException, match="This run was deferred"):
        task(airflow, "monday", deferrable=True)
    monkeypatch.setattr(tasks, "first_event", wakes_up)
    accepted = service.bill()["accepted"]
    assert accepted

    for _ in range(2):
        is_missed(task, airflow, "monday", deferrable=True)

    assert service.bill()["accepted"] == accepted


def test_the_place_of_a_runs_ledger_is_known_before_anything_is_paid(service, task, monkeypatch):
    """A worker that dies in the paid call says nothing afterwards."""
    airflow, known = Airflow(has_stores=True), []
    send = Client.send

    def noted(client, call, **kwargs):
        if call.name == "GET /pfc":
            known.append(dict(airflow.stores["monday"]))
        return send(client, call, **kwargs)

    monkeypatch.setattr(Client, "send", noted)
    task(airflow, "monday")
    assert known and all("ledger" in said.get("perfectlyclear_ledger", {}) for said in known)
