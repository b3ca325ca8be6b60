"""
Processes of a whole Airflow are killed, told to stop, cancelled and misled about the time: the bill decides.

All of it logs at DEBUG, and every service has a key that is looked for in all that Airflow keeps. What can happen at
the same time does: a fixture begins the nights, and each test sees one of them to its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from airflow_provider_perfectlyclear.emulator.testing import running_emulator
from tests.airflow.harness import Airflow, until
from tests.airflow.sandbox import NAMES, TASK, AirflowSandbox, Night, catalog_dags
from tests.faults.table import Row
from tests.support.invariants import check_invariants

KEY = "canary-key-4f1b9c"
#: Part of the conf of each run: a search that finds this would find a secret too.
DECOY = "decoy-73c1d0"
#: With one job at a time it is known which of them a kill leaves ambiguous.
ALONE = {"max_in_flight": 1, "transfers": 1}
#: Two are started, and two have to wait: what is started in spite of a fault would be seen.
TWO = {"max_in_flight": 2}
DAGS = {
    "one_by_one": ALONE,
    "in_a_worker": TWO,
    "impatient": {**TWO, "execution_timeout": 6, "retries": 10},
    "impatient_payer": {**ALONE, "execution_timeout": 6, "retries": 10},
    "deferred": {**TWO, "deferrable": True},
    "short_of_time": {**TWO, "deferrable": True, "timeout": 20, "retries": 0},
    "woken": {**ALONE, "deferrable": True},
}

#: As users write it: nothing is hurried, and a task of their own uses the hook.
AS_SHIPPED = """
    from airflow.sdk import DAG, task
    from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook
    from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearCatalogOperator

    with DAG("as_shipped", schedule=None):
        PerfectlyClearCatalogOperator(
            task_id="correct",
            source="{{ dag_run.conf['source'] }}",
            destination="{{ dag_run.conf['destination'] }}",
            correction={"output_type": "jpg"},
            perfectlyclear_conn_id="{{ dag_run.conf['service'] }}",
            deferrable=True,
        )

    with DAG("by_hand", schedule=None):

        @task
        def correct(dag_run=None):
            with PerfectlyClearHook(dag_run.conf["service"]) as hook:
                job_id = hook.start(hook.upload(dag_run.conf["source"] + "/a.jpg"))
                hook.wait(job_id)
                try:
                    hook.download(job_id, dag_run.conf["destination"] + ".jpg")
                except Exception as error:
                    raise RuntimeError("There is no corrected picture") from error

        correct()
"""

Found = Callable[[str], AirflowSandbox]

#: Each waits for others on a machine that may be busy.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def found(airflow: Airflow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    """Found a sandbox by its name: a catalog, and a service of its own."""
    airflow.put_dag("as_shipped", AS_SHIPPED)
    airflow.put_dag("one_by_one", catalog_dags(DAGS))

    def make(name: str) -> AirflowSandbox:
        service = stack.enter_context(
            running_emulator(job_seconds=0.2, cache="done-only", key=KEY, storage_host="127.0.0.2")
        )
        return AirflowSandbox(airflow, service, tmp_path_factory.mktemp(name), f"service_{name}", note=DECOY)

    with ExitStack() as stack:
        yield make


@pytest.fixture(scope="module", autouse=True)
def arguments(airflow: Airflow) -> Iterator[set[str]]:
    """What the processes of Airflow were called while these tests ran."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            seen.update(airflow.arguments())

    looking = threading.Thread(target=look)
    looking.start()
    yield seen
    over.set()
    looking.join()


@pytest.fixture(scope="module")
def shipped(found: Found) -> Night:
    """A night that nothing happens to, begun before the others."""
    sandbox = found("shipped")
    sandbox.hold()
    return sandbox.begin("as_shipped")


def test_while_the_service_works_the_task_is_deferred_and_no_worker_is_held(
    shipped: Night, killed: dict[str, Night], stopping: dict[str, Night]
) -> None:
    shipped.comes_to("deferred")
    shipped.is_held_by_no_worker()
    assert shipped.task["state"] == "deferred"
    assert shipped.sandbox.accepted == len(NAMES)
    assert shipped.sandbox.outputs == []


# ---- killed

KILLS = {
    "uploaded": ("put", "committed", 0),
    "accepted": ("pfc", "committed", 1),
    "answered": ("pfc", "answered", 1),
    "fetching": ("download", "answering", 0),
}


@pytest.fixture(scope="module")
def killed(shipped: Night, found: Found) -> dict[str, Night]:
    sandboxes = {name: found(name) for name in KILLS}
    for name, (route, when, _) in KILLS.items():
        sandboxes[name].emulator.fault({"route": route, "nth": 3}, {"kill": {"pid": "peer", "when": when}})
    return {name: sandbox.begin("one_by_one") for name, sandbox in sandboxes.items()}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.fault(
                "F37",
                f"Airflow's task killed: {route} {when}",
                f"{unknown} ambiguous" if unknown else "hidden",
            ),
        )
        for name, (route, when, unknown) in KILLS.items()
    ],
)
def test_the_retry_of_a_killed_task_resumes_and_pays_nothing_twice_in_silence(
    row: Row, killed: dict[str, Night], name: str
) -> None:
    night = killed[name]
    summary = night.end()
    row.consumed(night.sandbox.emulator)
    assert night.states.count("up_for_retry") == 1
    assert (summary["corrected"], summary["possibly_paid_twice"]) == (len(NAMES), KILLS[name][2])
    assert night.sandbox.outputs == NAMES
    assert night.sandbox.emulator.bill(summary=True)["billed"] == len(NAMES)
    row.held(check_invariants(night.sandbox))


# ---- told to stop


@pytest.fixture(scope="module")
def stopping(shipped: Night, found: Found) -> dict[str, Night]:
    waiting, paying, told = (found(name) for name in ("late_waiting", "late_paying", "told_to_stop"))
    waiting.hold()
    paying.emulator.fault({"route": "pfc", "nth": 2}, {"delay": {"seconds": 9, "when": "committed"}})
    sigterm = {"kill": {"pid": "peer", "when": "committed", "signal": "SIGTERM"}}
    told.emulator.fault({"route": "pfc", "nth": 3}, sigterm)
    return {
        "waiting": waiting.begin("impatient"),
        "paying": paying.begin("impatient_payer"),
        "told": told.begin("one_by_one"),
    }


@pytest.mark.fault("F38", "SIGTERM of Airflow's task when /pfc is committed", "hidden")
def test_a_task_that_is_told_to_stop_in_a_paid_call_hears_its_answer_and_starts_nothing_more(
    row: Row, stopping: dict[str, Night]
) -> None:
    night = stopping["told"]
    collected(row, night)
    row.consumed(night.sandbox.emulator)
    assert night.states.count("up_for_retry") == 1
    assert "The task was asked to stop" in night.log


@pytest.mark.fault("F38", "execution_timeout while it waits in its worker", "hidden")
def test_a_task_that_has_had_its_time_starts_nothing_more_and_its_retry_collects(
    row: Row, stopping: dict[str, Night]
) -> None:
    night = stopping["waiting"]
    night.comes_to("up_for_retry")
    row.consumed("AirflowTaskTimeout")
    assert "AirflowTaskTimeout" in night.log and "2 jobs still running at the service" in night.log
    assert night.sandbox.accepted == 2
    night.sandbox.let_go()
    collected(row, night)


@pytest.mark.fault("F38", "execution_timeout while /pfc is not answered", "hidden")
def test_a_task_that_has_had_its_time_still_hears_the_answer_of_a_paid_call(
    row: Row, stopping: dict[str, Night]
) -> None:
    night = stopping["paying"]
    collected(row, night)
    row.consumed(night.sandbox.emulator)
    assert "AirflowTaskTimeout" in night.log and "1 job still running at the service" in night.log


@pytest.mark.fault("F38", "SIGTERM of the worker that supervises the task", "hidden")
def test_a_worker_that_is_told_to_stop_tells_its_task_and_the_retry_collects(row: Row, found: Found) -> None:
    night = working(found("worker_told_to_stop"))
    worker = night.process
    assert worker is not None
    worker.terminate()
    night.comes_to("up_for_retry")
    row.consumed("SIGTERM")
    assert "The task was asked to stop" in night.log
    assert night.sandbox.accepted == 2
    night.sandbox.let_go()
    collected(row, night)


def working(sandbox: AirflowSandbox, dag_id: str = "in_a_worker") -> Night:
    """A night whose jobs do not end, with a worker that waits for them."""
    sandbox.hold()
    night = sandbox.begin(dag_id)
    until("two jobs", lambda: sandbox.records("started") == 2, within=90)
    return night


def collected(row: Row, night: Night, *, paid_before: int = 0) -> None:
    """A night comes to its end, nothing was paid twice, and the invariants hold."""
    sandbox = night.sandbox
    summary = night.end()
    assert (summary["corrected"], summary["failed"]) == (len(NAMES), 0)
    assert (summary["paid"], summary["possibly_paid_twice"]) == (len(NAMES) - paid_before, 0)
    assert sandbox.accepted == len(NAMES)
    assert sandbox.outputs == NAMES
    night.is_held_by_no_worker()
    row.held(check_invariants(sandbox))


# ---- nothing secret is kept


@pytest.mark.fault("F45", "a whole Airflow at DEBUG", "hidden")
def test_nothing_that_airflow_keeps_or_shows_has_a_secret_in_it(
    row: Row, airflow: Airflow, found: Found, shipped: Night, arguments: set[str]
) -> None:
    failing = found("failing")
    failing.emulator.fault("download", {"reset": "answering"}, times=None)
    by_hand = failing.begin("by_hand")
    shipped.comes_to("deferred")
    shipped.sandbox.let_go()

    collected(row, shipped)
    states = [state for state in shipped.states if state != "scheduled"]
    assert states == ["queued", "running", "deferred", "queued", "running", "success"]
    assert airflow.wait_for_run("by_hand", by_hand.run_id) == "failed"
    assert "RuntimeError" in by_hand.log and "TransferFailed" in by_hand.log  # the error and its cause
    row.consumed(failing.emulator)

    said = f"{shipped.log} {by_hand.log}"
    kept = airflow.everything_kept()
    assert '"level":"debug"' in said and "GET /status" in said
    assert DECOY.encode() in kept
    assert len(shipped.events) == 1 and any(
        shipped.sandbox.name in row["kwargs"] for row in airflow.triggers()
    )
    assert airflow.rendered("as_shipped", shipped.run_id, TASK)["perfectlyclear_conn_id"] == "service_shipped"
    titles = " ".join(arguments)
    assert "airflow worker -- " in titles and "triggerer" in titles
    for secret in (*shipped.sandbox.emulator.secrets, "ignature="):
        assert secret not in titles
        assert secret not in said
        assert secret.encode() not in kept


# ---- cancelled by its user


@pytest.mark.fault("F43", "marked failed while it runs", "hidden")
def test_a_running_task_that_its_user_fails_starts_nothing_more_and_the_next_run_collects(
    row: Row, airflow: Airflow, found: Found
) -> None:
    sandbox = found("failed_running")
    night = working(sandbox)
    airflow.mark(night.dag_id, night.run_id, TASK, "failed")
    night.is_held_by_no_worker()
    row.consumed("marked failed")
    assert "2 jobs still running at the service" in night.log and "Each is paid for" in night.log
    assert sandbox.accepted == 2
    sandbox.let_go()
    collected(row, sandbox.begin("in_a_worker"), paid_before=2)


@pytest.mark.fault("F43", "marked failed while it is deferred", "hidden")
def test_a_deferred_task_that_its_user_fails_starts_nothing_more_and_the_next_run_collects(
    row: Row, airflow: Airflow, waiting: dict[str, Night]
) -> None:
    night = waiting["failed"]
    night.sandbox.is_asked_again()
    airflow.mark(night.dag_id, night.run_id, TASK, "failed")
    until("the trigger's last words", lambda: "Stopped waiting for 2 jobs" in night.log, within=60)
    row.consumed("marked failed")
    assert night.sandbox.accepted == 2
    night.sandbox.let_go()
    collected(row, night.sandbox.begin("deferred"), paid_before=2)


@pytest.mark.fault("F43", "cleared while it runs, and again while it is deferred", "hidden")
def test_a_task_that_is_cleared_twice_collects_what_its_tries_have_started(
    row: Row, airflow: Airflow, found: Found
) -> None:
    sandbox = found("cleared_twice")
    night = working(sandbox, "deferred")
    airflow.clear(night.dag_id, night.run_id, TASK)
    until("deferred", lambda: night.task["state"] == "deferred" and night.process is None, within=120)
    airflow.clear(night.dag_id, night.run_id, TASK)
    until("another try", lambda: night.states.count("running") >= 3, within=60)
    row.consumed("cleared twice")
    assert sandbox.accepted == 2
    sandbox.let_go()
    collected(row, night)


# ---- the triggerer and the scheduler


@pytest.fixture(scope="module")
def waiting(found: Found) -> dict[str, Night]:
    """Deferred, all at the same time, by jobs that do not end."""
    names = ("woken", "failed", "triggerer_killed", "triggerer_stopped", "scheduler_killed")
    sandboxes = {name: found(name) for name in names}
    for sandbox in sandboxes.values():
        sandbox.hold()
    nights = {
        name: sandbox.begin("woken" if name == "woken" else "deferred") for name, sandbox in sandboxes.items()
    }
    for night in nights.values():
        night.comes_to("deferred")
        night.is_held_by_no_worker()
    return nights


@pytest.mark.fault("F37", "Airflow's task killed after its trigger had woken it", "hidden")
def test_the_retry_of_a_task_that_was_killed_after_it_was_woken_resumes(
    row: Row, waiting: dict[str, Night]
) -> None:
    night = waiting["woken"]
    night.sandbox.let_go()
    night.sandbox.emulator.fault("download", {"kill": {"pid": "peer", "when": "answering"}})
    collected(row, night)
    row.consumed(night.sandbox.emulator)
    assert night.states.count("up_for_retry") == 1


@pytest.mark.fault("F39", "SIGKILL of the triggerer", "hidden")
def test_a_killed_triggerers_successor_resumes_the_wait_and_keeps_its_deadline(
    row: Row, airflow: Airflow, found: Found, waiting: dict[str, Night]
) -> None:
    short = found("short_of_time")
    short.hold()
    due = short.begin("short_of_time")
    due.comes_to("deferred")
    short.is_asked_again()
    airflow.kill("triggerer")
    airflow.start("triggerer")
    row.consumed("SIGKILL")
    goes_on(row, waiting["triggerer_killed"])

    due.comes_to("failed")
    assert len(due.events) == 1 and "deadline" in due.events[0]
    (begun, left), (begun_again, left_again) = due.said(r"Waiting for 2 jobs, for ([\d.]+) s at most")
    counted = float(left) - float(left_again)  # had it counted anew: nothing
    assert counted == pytest.approx(min(begun_again - begun, float(left)), abs=2)
    assert short.accepted == 2
    short.let_go()
    collected(row, short.begin("deferred"), paid_before=2)


@pytest.mark.fault("F39", "SIGTERM of the triggerer", "hidden")
def test_a_triggerer_that_is_told_to_stop_and_started_again_resumes_the_wait(
    row: Row, airflow: Airflow, waiting: dict[str, Night]
) -> None:
    waiting["triggerer_stopped"].sandbox.is_asked_again()
    triggerer = airflow.processes["triggerer"]
    airflow.stop("triggerer", grace=90)
    assert triggerer.returncode == 0
    airflow.start("triggerer")
    row.consumed("SIGTERM")
    goes_on(row, waiting["triggerer_stopped"])


@pytest.mark.fault("F39", "SIGKILL of the scheduler", "hidden")
def test_a_task_that_is_deferred_when_the_scheduler_is_killed_goes_on(
    row: Row, airflow: Airflow, waiting: dict[str, Night]
) -> None:
    airflow.kill("scheduler")
    airflow.start("scheduler")
    row.consumed("SIGKILL")
    goes_on(row, waiting["scheduler_killed"])


def goes_on(row: Row, night: Night) -> None:
    """The wait goes on: nothing new is started, and one event comes of it."""
    sandbox = night.sandbox
    sandbox.is_asked_again(within=120)
    assert sandbox.accepted == 2
    assert night.events == []
    sandbox.let_go()
    collected(row, night)
    assert len(night.events) == night.states.count("deferred")
    assert night.states.count("running") == night.states.count("deferred") + 1
