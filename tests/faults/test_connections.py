"""Faults of what lies between: connections, keys, certificates, proxies; and lost answers, whatever ``cache`` means."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from airflow_provider_perfectlyclear.triggers import polling as asking
from airflow_provider_perfectlyclear.triggers.perfectlyclear import PerfectlyClearJobsTrigger
from tests.faults.conftest import KEY
from tests.faults.nights import NAMES, came_to, ends_well, night, told
from tests.faults.servers import OtherHost, Proxy, Server
from tests.faults.table import Row
from tests.support.certificate import self_signed
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox


def until(condition: Any, seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.02)


# ---- 429: all requests wait


@pytest.mark.fault("F1", "the whole process waits", "hidden")
def test_all_requests_wait_as_long_as_was_asked_for(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    refusal = {"answer": {"status": 429, "headers": {"Retry-After": "2"}, "body": ""}}
    sandbox.emulator.fault({"route": "status", "nth": 2}, refusal)

    said = night(sandbox)

    row.consumed(sandbox.emulator)
    came_to(sandbox, said, "hidden", NAMES)
    asked = list(requests_of_the_api(sandbox))
    (refused,) = (at for at, status in asked if status == "429")
    after = [at for at, _ in asked if at > refused]
    assert after and min(after) >= refused + 1.9, (refused, asked)
    ends_well(sandbox, row, NAMES)


def requests_of_the_api(sandbox: Sandbox) -> Iterator[tuple[float, str]]:
    """When each was sent, and what came."""
    form = re.compile(r"^(\S+ \S+) DEBUG \S+\.api\.client: \S+ \S+ -> (\S+) in ([0-9.]+) s", re.MULTILINE)
    for at, status, took in form.findall(sandbox.log.read_text()):
        sent = datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f").astimezone()  # logs are in local time
        yield sent.timestamp() - float(took), status


# ---- the answer of /pfc is lost, whatever `cache` means


@pytest.fixture(scope="module", params=["free", "billed", "done-only"])
def reading(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    with running_emulator(job_seconds=0.2, cache=request.param, jobs=64, key=KEY) as running:
        yield running


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(moment, marks=pytest.mark.fault("F5", f"reset {moment}", "1 ambiguous"))
        for moment in ("before", "committed", "answering")
    ],
)
def test_a_lost_start_is_asked_for_once_more_and_declared(
    row: Row, tmp_path: Path, reading: Emulator, moment: str
) -> None:
    reading.reset()
    (tmp_path / "in").mkdir()
    sandbox = Sandbox(tmp_path, reading)
    sandbox.put(*NAMES)
    reading.fault({"route": "pfc", "nth": 2}, {"reset": moment})

    said = night(sandbox)

    row.consumed(reading)
    came_to(sandbox, said, "1 ambiguous", NAMES)
    assert reading.seen()["api"]["routes"]["pfc"] == len(NAMES) + 1
    ends_well(sandbox, row, NAMES)


# ---- no connection


@pytest.mark.fault("F6", "refused three times", "hidden")
def test_a_service_that_refuses_connections_for_a_moment_is_waited_for(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    port = sandbox.emulator.base_url.rpartition(":")[2].split("/")[0]

    said = night(sandbox, fail_at=["socket.connect", port, "ECONNREFUSED", 3])

    assert sandbox.log.read_text().count("injected: ECONNREFUSED") == 3
    row.consumed("three connections were refused")
    came_to(sandbox, said, "hidden", NAMES)
    ends_well(sandbox, row, NAMES)


@pytest.mark.fault("F6", "a name that is not found twice", "hidden")
def test_a_name_that_is_not_found_for_a_moment_is_looked_up_again(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    by_name = sandbox.emulator.base_url.replace("127.0.0.1", "localhost")

    said = night(sandbox, base_url=by_name, fail_at=["socket.getaddrinfo", "localhost", "EAI_NONAME", 2])

    assert sandbox.log.read_text().count("injected: EAI_NONAME") == 2
    row.consumed("looked up twice in vain")
    came_to(sandbox, said, "hidden", NAMES)
    ends_well(sandbox, row, NAMES, base_url=by_name)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=pytest.mark.fault(fault, f"self-signed, {way}", "run TLS"))
        for fault, way in [("F6", "at the first call"), ("F49", "until verify names it")]
    ],
)
def test_an_untrusted_certificate_stops_the_run(row: Row, tmp_path: Path, way: str) -> None:
    certificate, key = self_signed(tmp_path)
    with running_emulator(
        job_seconds=0.2, key=KEY, storage_host="127.0.0.2", certificate=certificate, certificate_key=key
    ) as emulator:
        (tmp_path / "in").mkdir()
        sandbox = Sandbox(tmp_path, emulator)
        sandbox.put(*NAMES)

        said = night(sandbox)

        assert emulator.seen()["api"]["requests"] == 0
        row.consumed("refused in the handshake")
        came_to(sandbox, said, "run TLS", NAMES)
        assert "'verify'" in said["message"]
        ends_well(sandbox, row, NAMES, settings={"verify": str(certificate)})


# ---- the key


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(status, code, marks=pytest.mark.fault("F18", f"{status}", f"run {code}"))
        for status, code in [(401, "WRONG_KEY"), (403, "PERMISSION_DENIED"), (402, "PAYMENT_REQUIRED")]
    ],
)
def test_a_refused_key_costs_one_request(row: Row, sandbox: Sandbox, status: int, code: str) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault("any", {"answer": {"status": status, "json": {"error": f"no {KEY}"}}}, times=None)

    said = night(sandbox)

    row.consumed(sandbox.emulator)
    came_to(sandbox, said, f"run {code}", NAMES)
    assert sandbox.emulator.seen()["api"]["requests"] == 1
    assert "perfectlyclear_default" in said["message"] and KEY not in said["message"]
    ends_well(sandbox, row, NAMES)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(True, marks=pytest.mark.fault("F44", "the connection has the new key", "hidden")),
        pytest.param(
            False, marks=pytest.mark.fault("F44", "the connection has the old key", "run WRONG_KEY")
        ),
    ],
)
def test_a_key_that_is_rotated_during_a_run(row: Row, sandbox: Sandbox, tmp_path: Path, told: bool) -> None:
    sandbox.put(*NAMES)
    new, key_file = f"{KEY}-rotated", tmp_path / "key"
    key_file.write_text(KEY)
    sandbox.emulator.fault({"route": "upload", "nth": 3}, {"kill": {"when": "before", "signal": "SIGSTOP"}})
    worker = sandbox.start(key_file=str(key_file), options={"poll_interval": 0.1})
    until(lambda: worker.is_stopped)
    sandbox.emulator.set_key(new)
    if told:
        key_file.write_text(new)
    worker.send_signal(18)
    said = sandbox.end(worker, 30)

    assert said is not None
    row.consumed(sandbox.emulator)
    came_to(sandbox, said, "hidden" if told else "run WRONG_KEY", NAMES)
    ends_well(sandbox, row, NAMES, key=new)


# ---- redirects


REDIRECTS = [
    ("upload", 302, "item PROTOCOL_ERROR"),
    ("put", 302, "item TRANSFER_FAILED"),
    ("pfc", 302, "1 ambiguous"),
    ("pfc", 307, "1 ambiguous"),
    ("status", 302, "item CORRUPT_OUTPUT"),  # how the service says that a job is COMPLETED
    ("status", 307, "hidden"),
    ("download", 302, "item CORRUPT_OUTPUT"),
]


@pytest.mark.parametrize(
    ("route", "status", "outcome"),
    [
        pytest.param(*way, marks=pytest.mark.fault("F25", f"{way[1]} at {way[0]}", way[2]))
        for way in REDIRECTS
    ],
)
def test_no_redirect_takes_the_key_elsewhere(
    row: Row, sandbox: Sandbox, other_host: Server, route: str, status: int, outcome: str
) -> None:
    sandbox.put(*NAMES)
    times = 3 if "CORRUPT" in outcome else 1
    sandbox.emulator.fault(route, {"redirect": {"to": f"{other_host.url}/x", "status": status}}, times=times)

    said = night(sandbox, options={"transfers": 1, "max_in_flight": 1})

    row.consumed(sandbox.emulator)
    came_to(sandbox, said, outcome, NAMES)
    assert not any(KEY.encode() in request for request in other_host.requests)
    assert bool(other_host.requests) == ("CORRUPT" in outcome)
    ends_well(sandbox, row, NAMES)


@pytest.fixture
def other_host() -> Iterator[OtherHost]:
    server = OtherHost("127.0.0.3")
    yield server
    server.close()


# ---- proxies


@pytest.mark.fault("F50", "worker and triggerer go through it", "hidden")
def test_a_proxy_of_the_environment_is_used_on_both_sides(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy()
    sandbox.put(*NAMES)
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setattr(asking, "SETTLE", 0.5)
    monkeypatch.setenv("AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT", sandbox.emulator.connection_json())
    through = {"environment": {"http_proxy": proxy.url}}
    still = {"patch": {"status": "PROCESSING", "correctedFile": None}}
    sandbox.emulator.fault("status", still, times=None)

    said = night(
        sandbox,
        options={"deferrable": True},
        constants={"catalog.engine.waiting.WORTH_DEFERRING": 0.5},
        **through,
    )
    assert "waiting" in said, said
    sandbox.emulator.clear_faults()
    asked = len(proxy.requests)
    trigger = PerfectlyClearJobsTrigger(job_ids=said["waiting"], poll_interval=0.1, timeout=60)
    event = asyncio.run(anext(trigger.run()))
    waited = len(proxy.requests)
    done = night(sandbox, resume=True, **through)

    assert event is not None
    assert 0 < asked < waited < len(proxy.requests)
    seen = sandbox.emulator.seen()
    assert seen["api"]["requests"] + seen["storage"]["requests"] <= len(proxy.requests)
    row.consumed("every request came through the proxy")
    came_to(sandbox, done, "hidden", NAMES)
    ends_well(sandbox, row, NAMES, **through)
    proxy.close()


@pytest.mark.fault("F82", "a lost job of equal pictures", "1 ambiguous")
def test_a_job_that_is_lost_is_declared_whichever_equal_picture_is_started_again(
    row: Row, sandbox: Sandbox
) -> None:
    sandbox.put("b.jpg")
    (sandbox.source / "a.jpg").write_bytes((sandbox.source / "b.jpg").read_bytes())
    sandbox.emulator.fault("pfc", {"outcome": "lost"})
    options: dict[str, Any] = {"options": {"transfers": 1, "max_in_flight": 1}}

    said = night(sandbox, **options)

    row.consumed(sandbox.emulator)
    assert "JOB_LOST" in said["message"], said
    summary = night(sandbox, **options)["summary"]
    assert (summary["corrected"], summary["possibly_paid_twice"], sandbox.accepted) == (2, 1, 2)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F37", "long after /pfc was accepted, its upload expired", "1 ambiguous")
def test_an_unconfirmed_start_that_is_refused_when_asked_again_is_sent_anew(
    row: Row, sandbox: Sandbox
) -> None:
    sandbox.put("a.jpg")
    sandbox.emulator.fault("pfc", {"kill": {"pid": "peer", "when": "committed", "signal": "SIGKILL"}})
    assert sandbox.end(sandbox.start(**told(sandbox, None, {})), 30) is None
    row.consumed(sandbox.emulator)
    sandbox.emulator.let_pass(25)

    said = night(sandbox)

    assert "START_LOST" in said["message"] and "asking again was refused" in said["message"], said
    assert said["retry_helps"]
    assert night(sandbox)["summary"]["corrected"] == 1
    row.held(check_invariants(sandbox))
