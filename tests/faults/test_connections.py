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
from tests.catalog.conftest import House
from tests.catalog.judge import judge
from tests.certificate import self_signed
from tests.faults.conftest import KEY
from tests.faults.nights import NAMES, came_to, ends_well, night, told
from tests.faults.servers import Proxy, Server, Stranger
from tests.faults.table import Row


def until(condition: Any, seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.02)


# ---- 429: everybody waits


@pytest.mark.fault("F1", "the whole process waits", "hidden")
def test_everybody_waits_as_long_as_was_asked_for(row: Row, house: House) -> None:
    house.put(*NAMES)
    refusal = {"answer": {"status": 429, "headers": {"Retry-After": "2"}, "body": ""}}
    house.emulator.fault({"route": "status", "nth": 2}, refusal)

    said = night(house)

    row.consumed(house.emulator)
    came_to(house, said, "hidden", NAMES)
    asked = list(requests_of_the_api(house))
    (refused,) = (at for at, status in asked if status == "429")
    after = [at for at, _ in asked if at > refused]
    assert after and min(after) >= refused + 1.9, (refused, asked)
    ends_well(house, row, NAMES)


def requests_of_the_api(house: House) -> Iterator[tuple[float, str]]:
    """When each was sent, and what came."""
    form = re.compile(r"^(\S+ \S+) DEBUG \S+\.api\.client: \S+ \S+ -> (\S+) in ([0-9.]+) s", re.MULTILINE)
    for at, status, took in form.findall(house.log.read_text()):
        yield datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f").timestamp() - float(took), status


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
    house = House(tmp_path, reading)
    house.put(*NAMES)
    reading.fault({"route": "pfc", "nth": 2}, {"reset": moment})

    said = night(house)

    row.consumed(reading)
    came_to(house, said, "1 ambiguous", NAMES)
    assert reading.seen()["api"]["routes"]["pfc"] == len(NAMES) + 1
    ends_well(house, row, NAMES)


# ---- no connection


@pytest.mark.fault("F6", "refused three times", "hidden")
def test_a_service_that_refuses_connections_for_a_moment_is_waited_for(row: Row, house: House) -> None:
    house.put(*NAMES)
    port = house.emulator.base_url.rpartition(":")[2].split("/")[0]

    said = night(house, fail_at=["socket.connect", port, "ECONNREFUSED", 3])

    assert house.log.read_text().count("injected: ECONNREFUSED") == 3
    row.consumed("three connections were refused")
    came_to(house, said, "hidden", NAMES)
    ends_well(house, row, NAMES)


@pytest.mark.fault("F6", "a name that is not found twice", "hidden")
def test_a_name_that_is_not_found_for_a_moment_is_looked_up_again(row: Row, house: House) -> None:
    house.put(*NAMES)
    by_name = house.emulator.base_url.replace("127.0.0.1", "localhost")

    said = night(house, base_url=by_name, fail_at=["socket.getaddrinfo", "localhost", "EAI_NONAME", 2])

    assert house.log.read_text().count("injected: EAI_NONAME") == 2
    row.consumed("looked up twice in vain")
    came_to(house, said, "hidden", NAMES)
    ends_well(house, row, NAMES, base_url=by_name)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=pytest.mark.fault(fault, f"self-signed, {way}", "run TLS"))
        for fault, way in [("F6", "at the first call"), ("F49", "until verify names it")]
    ],
)
def test_a_certificate_that_nobody_trusts_stops_the_run(row: Row, tmp_path: Path, way: str) -> None:
    certificate, key = self_signed(tmp_path)
    with running_emulator(
        job_seconds=0.2, key=KEY, storage_host="127.0.0.2", certificate=certificate, certificate_key=key
    ) as emulator:
        (tmp_path / "in").mkdir()
        house = House(tmp_path, emulator)
        house.put(*NAMES)

        said = night(house)

        assert emulator.seen()["api"]["requests"] == 0
        row.consumed("refused in the handshake")
        came_to(house, said, "run TLS", NAMES)
        assert "'verify'" in said["message"]
        ends_well(house, row, NAMES, settings={"verify": str(certificate)})


# ---- the key


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(status, code, marks=pytest.mark.fault("F18", f"{status}", f"run {code}"))
        for status, code in [(401, "WRONG_KEY"), (403, "PERMISSION_DENIED"), (402, "PAYMENT_REQUIRED")]
    ],
)
def test_a_refused_key_costs_one_request(row: Row, house: House, status: int, code: str) -> None:
    house.put(*NAMES)
    house.emulator.fault("any", {"answer": {"status": status, "json": {"error": f"no {KEY}"}}}, times=None)

    said = night(house)

    row.consumed(house.emulator)
    came_to(house, said, f"run {code}", NAMES)
    assert house.emulator.seen()["api"]["requests"] == 1
    assert "perfectlyclear_default" in said["message"] and KEY not in said["message"]
    ends_well(house, row, NAMES)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(True, marks=pytest.mark.fault("F44", "the connection has the new key", "hidden")),
        pytest.param(
            False, marks=pytest.mark.fault("F44", "the connection has the old key", "run WRONG_KEY")
        ),
    ],
)
def test_a_key_that_is_rotated_during_a_run(row: Row, house: House, tmp_path: Path, told: bool) -> None:
    house.put(*NAMES)
    new, key_file = f"{KEY}-rotated", tmp_path / "key"
    key_file.write_text(KEY)
    house.emulator.fault({"route": "upload", "nth": 3}, {"kill": {"when": "before", "signal": "SIGSTOP"}})
    worker = house.start(key_file=str(key_file), options={"poll_interval": 0.1})
    until(lambda: worker.is_stopped)
    house.emulator.set_key(new)
    if told:
        key_file.write_text(new)
    worker.send_signal(18)
    said = house.end(worker, 30)

    assert said is not None
    row.consumed(house.emulator)
    came_to(house, said, "hidden" if told else "run WRONG_KEY", NAMES)
    ends_well(house, row, NAMES, key=new)


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
    row: Row, house: House, stranger: Server, route: str, status: int, outcome: str
) -> None:
    house.put(*NAMES)
    times = 3 if "CORRUPT" in outcome else 1
    house.emulator.fault(route, {"redirect": {"to": f"{stranger.url}/x", "status": status}}, times=times)

    said = night(house, options={"transfers": 1, "max_in_flight": 1})

    row.consumed(house.emulator)
    came_to(house, said, outcome, NAMES)
    assert not any(KEY.encode() in request for request in stranger.requests)
    assert bool(stranger.requests) == ("CORRUPT" in outcome)
    ends_well(house, row, NAMES)


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    server = Stranger("127.0.0.3")
    yield server
    server.close()


# ---- proxies


@pytest.mark.fault("F50", "worker and triggerer go through it", "hidden")
def test_a_proxy_of_the_environment_is_used_on_both_sides(
    row: Row, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy()
    house.put(*NAMES)
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setattr(asking, "SETTLE", 0.5)
    monkeypatch.setenv("AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT", house.emulator.connection_json())
    through = {"environment": {"http_proxy": proxy.url}}
    still = {"patch": {"status": "PROCESSING", "correctedFile": None}}
    house.emulator.fault("status", still, times=None)

    said = night(
        house, options={"deferrable": True}, constants={"catalog.engine.loop.WORTH_DEFERRING": 0.5}, **through
    )
    assert "waiting" in said, said
    house.emulator.clear_faults()
    asked = len(proxy.requests)
    trigger = PerfectlyClearJobsTrigger(job_ids=said["waiting"], poll_interval=0.1, timeout=60)
    event = asyncio.run(anext(trigger.run()))
    waited = len(proxy.requests)
    done = night(house, resume=True, **through)

    assert event is not None
    assert 0 < asked < waited < len(proxy.requests)
    seen = house.emulator.seen()
    assert seen["api"]["requests"] + seen["storage"]["requests"] <= len(proxy.requests)
    row.consumed("every request came through the proxy")
    came_to(house, done, "hidden", NAMES)
    ends_well(house, row, NAMES, **through)
    proxy.close()


@pytest.mark.fault("F82", "a lost job of equal pictures", "1 ambiguous")
def test_a_job_that_is_lost_is_declared_whichever_equal_picture_is_started_again(
    row: Row, house: House
) -> None:
    house.put("b.jpg")
    (house.source / "a.jpg").write_bytes((house.source / "b.jpg").read_bytes())
    house.emulator.fault("pfc", {"outcome": "lost"})
    options: dict[str, Any] = {"options": {"transfers": 1, "max_in_flight": 1}}

    said = night(house, **options)

    row.consumed(house.emulator)
    assert "JOB_LOST" in said["message"], said
    summary = night(house, **options)["summary"]
    assert (summary["corrected"], summary["possibly_paid_twice"], house.accepted) == (2, 1, 2)
    row.held(judge(house))


@pytest.mark.fault("F37", "long after /pfc was accepted, its upload expired", "1 ambiguous")
def test_an_unconfirmed_start_that_is_refused_when_asked_again_is_sent_anew(row: Row, house: House) -> None:
    house.put("a.jpg")
    house.emulator.fault("pfc", {"kill": {"pid": "peer", "when": "committed", "signal": "SIGKILL"}})
    assert house.end(house.start(**told(house, None, {})), 30) is None
    row.consumed(house.emulator)
    house.emulator.let_pass(25)

    said = night(house)

    assert "START_LOST" in said["message"] and "asking again was refused" in said["message"], said
    assert said["retry_helps"]
    assert night(house)["summary"]["corrected"] == 1
    row.held(judge(house))
