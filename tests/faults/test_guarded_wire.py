"""The guards between the wire and the run: redirects, kept connections, addresses, variables, told signatures."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.api.wire import tls_context
from airflow_provider_perfectlyclear.errors import ConfigurationError, UnsafeUrl
from tests.faults.ledgers import catalog, done
from tests.faults.nights import NAMES, came_to, ends_well, night
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox

# ---- redirects of the signed PUT


@pytest.mark.parametrize(
    ("status", "times"),
    [
        pytest.param(status, times, marks=pytest.mark.fault("F97", f"{status}, {times} times", "hidden"))
        for status, times in ((307, 1), (308, 2))
    ],
)
def test_a_redirect_of_the_upload_is_followed_with_its_body(
    row: Row, sandbox: Sandbox, status: int, times: int
) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault({"route": "put"}, {"redirect": {"to": "self", "status": status}}, times=times)
    said = night(sandbox)
    came_to(sandbox, said, "hidden", NAMES)
    row.consumed(sandbox.emulator)
    ends_well(sandbox, row, NAMES)


@pytest.mark.fault("F97", "to a plain http address", "item UNSAFE_URL")
def test_a_redirect_of_the_upload_is_checked_as_any_address(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault({"route": "put"}, {"redirect": {"to": "file:///etc/passwd", "status": 307}})
    said = night(sandbox)
    came_to(sandbox, said, "item UNSAFE_URL", NAMES)
    row.consumed(sandbox.emulator)
    ends_well(sandbox, row, NAMES)


# ---- kept connections


@pytest.mark.parametrize(
    "idle",
    [
        pytest.param(idle, marks=pytest.mark.fault("F100", f"idle for {idle * 1000:.0f} ms", "hidden"))
        for idle in (0.0, 0.002, 0.02)
    ],
)
def test_no_start_is_unconfirmed_because_a_kept_connection_was_closed(
    row: Row, sandbox: Sandbox, idle: float
) -> None:
    names = [f"{number}.jpg" for number in range(12)]
    sandbox.put(*names)
    sandbox.emulator.fault({"route": "pfc", "idle": idle}, {"reset": "before"}, times=None)
    sandbox.emulator.fault({"route": "upload", "idle": 0.0}, {"reset": "before"}, times=2)

    summary = done(catalog(sandbox).execute())

    assert (summary["corrected"], summary["possibly_paid_twice"]) == (12, 0)
    row.consumed("kept connections were closed under two uploads; none is used for /pfc")
    row.held(check_invariants(sandbox))


# ---- signatures that are told


@pytest.mark.parametrize(
    ("notation", "route"),
    [
        pytest.param(notation, route, marks=pytest.mark.fault("F103", f"{notation} by {route}", outcome))
        for notation in ("words", "part", "json", "escaped", "xml", "html", "percent", "header")
        for route, outcome in (("status", "hidden"), ("upload", "item REFUSED"))
    ],
)
def test_a_signature_that_an_answer_tells_is_found_nowhere(
    row: Row, sandbox: Sandbox, notation: str, route: str
) -> None:
    sandbox.put(*NAMES)
    times = 1 if route == "upload" else 3
    sandbox.emulator.fault({"route": route, "nth": 3}, {"echo": {"as": notation, "status": 400}}, times=times)
    said = night(sandbox, options={"max_failures": 1})
    assert said["summary"]["failed"] == (1 if route == "upload" else 0)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


# ---- addresses


@contextmanager
def listening() -> Iterator[tuple[int, list[Any]]]:
    """A port of this machine, and who has connected to it."""
    heard: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)

        def accept() -> None:
            while not over.is_set():
                try:
                    heard.append(server.accept()[1])
                except TimeoutError:
                    continue

        over = threading.Event()
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1], heard
        finally:
            over.set()
            thread.join()


@pytest.mark.fault("F104", "public when checked, loopback when connected", "item UNSAFE_URL")
def test_a_name_that_resolves_anew_is_connected_to_at_no_unchecked_address(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["93.184.216.34"])  # any public address; no test connects to it
    resolve = socket.getaddrinfo

    def rebinding(host: Any, *args: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve(next(answers, "127.0.0.1") if name == "store.example" else host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    settings = Settings(api_key="k", base_url="https://api.example/v2", max_retries=0)
    with listening() as (port, heard), Client(settings) as client:
        for _ in range(2):
            with pytest.raises(UnsafeUrl, match="private address"):
                client.download(f"https://store.example:{port}/x?X-Amz-Signature=s", io.BytesIO())
        assert heard == [] and next(answers, None) is None
    monkeypatch.undo()
    row.consumed("it was public once")
    sandbox.put(*NAMES)
    done(catalog(sandbox).execute())
    row.held(check_invariants(sandbox))


# ---- variables of the environment


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, marks=pytest.mark.fault("F96", way, "run CONFIGURATION"), id=name)
        for name, value, way in (
            ("ALL_PROXY", "socks5://127.0.0.1:1080", "SOCKS without its library"),
            ("NO_PROXY", "fd00::/8,[", "an IPv6 range"),
            ("SSL_CERT_FILE", "/nowhere/ca.pem", "a CA file that is missing"),
        )
    ],
)
def test_a_broken_variable_of_the_environment_is_named(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    sandbox.put(*NAMES)
    tls_context.cache_clear()
    with monkeypatch.context() as patch:
        patch.setenv(name, value)
        if name == "NO_PROXY":
            patch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        with pytest.raises(ConfigurationError, match=name) as failure:
            catalog(sandbox)
    assert value not in str(failure.value) or name == "SSL_CERT_FILE"
    tls_context.cache_clear()
    row.consumed("the variable is named")
    assert sandbox.accepted == 0
    done(catalog(sandbox).execute())
    row.held(check_invariants(sandbox))
