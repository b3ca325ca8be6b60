"""What "Test connection" says: which of DNS, TLS, path and key is at fault, in ten seconds and for nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from airflow_provider_perfectlyclear.emulator.testing import running_emulator
from airflow_provider_perfectlyclear.hooks import connection_test as diagnosis
from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook
from tests.support.account import KEY
from tests.support.certificate import self_signed
from tests.unit.adapters.test_connection import _json

WRONG = "wrong-key-canary"
API = "http://127.0.0.1:{port}"
IN_TIME = "no response in time|did not answer within"  # whichever clock is the first
NOT_THIS_API = "answers at {url}, but not as this API: check host and path."

#: What is wrong: the connection's fields, what the service does, and what the answer says.
FAULTS = {
    "no key": ({"password": ""}, None, "This connection has no API key: put it in the password."),
    "wrong key": (
        {"password": WRONG},
        None,
        "reached, but the API key (the password) is wrong. GET /presets",
    ),
    "wrong path": ({"host": API + "/v3"}, None, NOT_THIS_API + " GET /presets: HTTP 404"),
    "a login page": ({}, {"garble": "html"}, NOT_THIS_API),
    "a redirect": ({}, {"redirect": "https://login.example.com/"}, NOT_THIS_API),
    "forbidden": ({}, {"answer": {"status": 403}}, "403"),
    "out of order": ({}, {"answer": {"status": 503}}, "cannot be reached at {url}. GET /presets: HTTP 503"),
    "no such host": ({"host": "https://api.perfectlyclear.invalid"}, None, "(DNS)"),
    "DNS is silent": ({"host": "https://slow.example.com"}, None, "did not answer within 0.5 seconds"),
    "no TLS": ({"host": "https://127.0.0.1:{port}"}, None, "the port may not use TLS"),
    "nothing listens": ({"host": "http://127.0.0.1:{closed}"}, None, "cannot be reached"),
    "silence": ({}, {"silence": "before"}, IN_TIME),
    "a drip": ({}, {"drip": {"bytes_per_second": 20, "chunk": 1}}, IN_TIME),
    "no such label": ({"host": "https://api..example.com"}, None, "the host is neither a URL"),
    "no host": ({"host": "*"}, None, "the host is neither a URL"),
    "no such port": ({"host": "api.example.com", "port": 99999}, None, "99999 is not a valid port"),
    "busy": (
        {},
        {"answer": {"status": 429, "headers": {"Retry-After": "9"}}},
        "{url} answers 429 (too many requests): test again later.",
    ),
    "a proxy of another kind": (
        {"extra": {"proxy": "socks5://127.0.0.1:1"}},
        None,
        "pip install 'httpx[socks]'",
    ),
    "a wrong field": ({"extra": {"timeout": "soon"}}, None, "extra field 'timeout' must be a number"),
}


#: What ends only with the limit, which is half a second for them.
NEVER_ANSWERS = ("DNS is silent", "silence", "a drip")


@pytest.fixture
def _in_no_time(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    assert diagnosis.AT_MOST + 1 < 10
    monkeypatch.setattr(diagnosis, "AT_MOST", 0.5 if fault in NEVER_ANSWERS else 5)


@pytest.fixture
def slow_dns(monkeypatch):
    """A host that no name server knows anything about, until the test ends."""
    look_up, test_is_over = socket.getaddrinfo, threading.Event()

    def slowly(host, *args, **kwargs):
        if host in ("slow.example.com", b"slow.example.com"):
            test_is_over.wait(60)
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    yield
    test_is_over.set()


def _test(monkeypatch, **fields):
    monkeypatch.setenv("AIRFLOW_CONN_TESTED", _json(**fields))
    return PerfectlyClearHook("tested").test_connection()


def test_a_good_connection_is_said_to_be_good(monkeypatch, service):
    works, message = _test(monkeypatch, host=service.base_url, password=KEY)
    assert works and message == f"{service.base_url} accepted the API key."
    assert service.bill()["billed"] == 0 and service.seen()["api"]["requests"] == 1


@pytest.mark.usefixtures("_in_no_time")
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_at_fault_is_said_in_time_and_costs_nothing(fault, monkeypatch, service, slow_dns):
    fields, does, says = FAULTS[fault]
    places = {"port": service.base_url.split(":")[2].removesuffix("/v2"), "closed": _closed_port()}
    fields = {"host": service.base_url, "password": KEY, **fields}
    fields["host"] = fields["host"].format(**places)
    if does:
        service.fault("presets", does)
    began = time.monotonic()
    works, message = _test(monkeypatch, **fields)
    assert not works and any(words in message for words in says.format(url=fields["host"]).split("|"))
    assert time.monotonic() - began < 30
    assert service.bill()["accepted"] == 0 and service.unconsumed() == []
    assert KEY not in message and WRONG not in message
    assert "tested" not in message  # Airflow's name for the copy that it tests


@pytest.mark.parametrize(
    ("host", "trusted", "says"),
    [
        ("127.0.0.1", True, None),
        ("127.0.0.1", False, "Put the CA that signed it into the connection's 'verify'."),
        ("localhost", True, "Check the host: the certificate belongs to another host."),
    ],
)
def test_a_certificate_is_looked_at(host, trusted, says, monkeypatch, tmp_path):
    certificate, key = self_signed(tmp_path)
    with running_emulator(certificate=certificate, certificate_key=key, key=KEY) as emulator:
        extra = {"verify": str(certificate)} if trusted else {}
        monkeypatch.setattr(diagnosis, "AT_MOST", 60)
        works, message = _test(
            monkeypatch, host=emulator.base_url.replace("127.0.0.1", host), password=KEY, extra=extra
        )
    assert works == (says is None)
    assert works or (message.endswith(says) and ".." not in message), message


def _closed_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return probe.getsockname()[1]
