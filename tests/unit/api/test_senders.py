"""Both senders, over real sockets: the same tests run with threads and on an event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api import wire as wires
from airflow_provider_perfectlyclear.api.client import AsyncClient, Client
from airflow_provider_perfectlyclear.api.models import JobState
from airflow_provider_perfectlyclear.api.settings import Settings
from tests.support.certificate import self_signed

pytestmark = pytest.mark.usefixtures("impatient")

STATUS = calls.status("job1")
START = calls.start("key1")

Senders = Callable[..., Any]


def test_a_call_is_sent_with_the_key_and_its_answer_read(
    senders: Senders, wire: Any, settings: Settings, say: Any
) -> None:
    wire.says(say.http(200, {"status": "PROCESSING"}))
    assert senders(settings).send(STATUS).state is JobState.PROCESSING
    [request] = wire.requests
    assert (request.method, request.target) == ("GET", "/v2/status/job1?noRedirect=true")
    assert request.headers["x-api-key"] == settings.api_key
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("airflow-provider-perfectlyclear/")


def test_a_post_carries_its_json_with_its_length(
    senders: Senders, wire: Any, settings: Settings, say: Any
) -> None:
    wire.says(say.http(201, {"presetId": "p", "uploadUrl": "https://h/"}))
    senders(settings).send(calls.create_preset("n", "d"))
    [request] = wire.requests
    assert (request.method, request.target) == ("POST", "/v2/presets/")
    assert json.loads(request.body) == {"name": "n", "description": "d"}
    assert request.headers["content-length"] == str(len(request.body))
    assert request.headers["content-type"] == "application/json"
    assert "transfer-encoding" not in request.headers


def test_bursts_of_5xx_are_hidden(senders: Senders, wire: Any, settings: Settings, say: Any) -> None:
    wire.says(
        say.http(500), say.http(503, "<html>"), say.reset, say.hang_up, say.http(200, {"status": "PENDING"})
    )
    assert senders(settings).send(STATUS).state is JobState.PENDING
    assert len(wire.requests) == 5


@pytest.mark.parametrize("fault", ["reset", "hang_up", "http500", "cut", "nonsense"])
def test_a_lost_pfc_is_never_sent_again(
    senders: Senders, wire: Any, settings: Settings, say: Any, fault: str
) -> None:
    faults = {
        "reset": say.reset,
        "hang_up": say.hang_up,
        "http500": say.http(500),
        "cut": say.then(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"statusEnd', say.hang_up),
        "nonsense": b"\x16\x03\x01 this is no HTTP\r\n\r\n",
    }
    wire.says(faults[fault], say.http(200, {"statusEndpoint": "https://h/j1"}))
    with pytest.raises(errors.StartUnknown) as caught:
        senders(settings).send(START)
    assert caught.value.file_key == "key1"
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    assert len(wire.requests) == 1


def test_a_429_of_pfc_is_sent_again_as_nothing_was_started(
    senders: Senders, wire: Any, settings: Settings, say: Any
) -> None:
    wire.says(say.http(429, Retry_After="0"), say.http(200, {"statusEndpoint": "https://h/j1"}))
    assert senders(settings).send(START) == "j1"
    assert len(wire.requests) == 2


def test_retry_after_is_waited_for(senders: Senders, wire: Any, settings: Settings, say: Any) -> None:
    wire.says(say.http(429, Retry_After="0.3"), say.http(200, {"status": "PENDING"}))
    senders(settings).send(STATUS)
    assert wire.requests[1].received - wire.requests[0].received >= 0.3


def test_refused_connections_are_unavailable_and_nothing_was_sent(
    senders: Senders, wire: Any, settings: Settings
) -> None:
    wire.close()
    for call in (STATUS, START):
        with pytest.raises(
            errors.Unavailable, match=r"Connection 'pc': GET .*: the connection was refused; nothing was sent"
        ):
            senders(dataclasses.replace(settings, max_retries=2)).send(call)


def test_an_unknown_host_is_called_that(senders: Senders, settings: Settings) -> None:
    unknown = dataclasses.replace(settings, base_url="https://no-such-host.invalid/v2", max_retries=0)
    with pytest.raises(errors.Unavailable, match="DNS"):
        senders(unknown).send(START)


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_the_key_never_follows_one(
        self, senders: Senders, wire: Any, store: Any, settings: Settings, say: Any, status: int
    ) -> None:
        wire.says(say.http(status, Location=f"{store.origin}/elsewhere"))
        store.says(say.http(200, []))
        with pytest.raises(errors.ProtocolError, match="redirect"):
            senders(settings).send(calls.list_presets())
        with pytest.raises(errors.StartUnknown):
            senders(settings).send(START)
        assert store.requests == []
        assert len(wire.requests) == 2

    def test_one_of_a_status_is_its_result(
        self, senders: Senders, wire: Any, store: Any, settings: Settings, say: Any
    ) -> None:
        wire.says(say.http(302, Location=f"{store.origin}/out.jpg?sig=1"))
        job = senders(settings).send(STATUS)
        assert (job.state, job.corrected_file) == (JobState.COMPLETED, f"{store.origin}/out.jpg?sig=1")
        assert store.requests == []


class TestTheKey:
    @pytest.mark.parametrize(
        ("url", "goes"),
        [
            ("https://api.example/v2/pfc", True),
            ("https://API.example:443/other", True),
            ("http://api.example/v2/pfc", False),
            ("https://api.example:8443/v2/pfc", False),
            ("https://store.example/v2/pfc", False),
            ("https://api.example.evil.example/v2", False),
        ],
    )
    def test_is_attached_for_the_apis_own_origin_only(self, url: str, goes: bool) -> None:
        auth = wires.KeyAuth(Settings(api_key="k", base_url="https://api.example/v2"))
        request = next(auth.auth_flow(httpx.Request("GET", url)))
        assert ("x-api-key" in request.headers) == goes

    def test_a_refused_key_costs_one_request_and_names_the_connection(
        self, senders: Senders, wire: Any, settings: Settings, say: Any
    ) -> None:
        wire.says(say.http(401, {"message": f"bad key {settings.api_key}"}))
        with pytest.raises(errors.AuthenticationError, match="Connection 'pc'") as caught:
            senders(settings).send(STATUS)
        assert settings.api_key not in str(caught.value)
        assert len(wire.requests) == 1

    def test_a_rotated_key_is_taken_up_and_kept(
        self, senders: Senders, wire: Any, settings: Settings, say: Any
    ) -> None:
        asked: list[None] = []

        def renew() -> Settings:
            asked.append(None)
            return dataclasses.replace(settings, api_key="the-new-key")

        wire.says(say.http(401), say.http(200, {"statusEndpoint": "https://h/j1"}))
        sender = senders(settings, renew)
        assert sender.send(START) == "j1"
        assert sender.send(START) == "j1"
        assert [request.headers["x-api-key"] for request in wire.requests] == [
            settings.api_key,
            *["the-new-key"] * 2,
        ]
        assert len(asked) == 1

    @pytest.mark.parametrize("found", ["the same key", "nothing", "another place"])
    def test_nothing_new_stops(
        self, senders: Senders, wire: Any, settings: Settings, say: Any, found: str
    ) -> None:
        renewed = {
            "the same key": settings,
            "nothing": None,
            "another place": dataclasses.replace(
                settings, api_key="new-key-1", base_url="https://elsewhere/v2"
            ),
        }[found]
        wire.says(say.http(401), say.http(200, {"status": "PENDING"}))
        with pytest.raises(errors.AuthenticationError):
            senders(settings, lambda: renewed).send(STATUS)
        assert len(wire.requests) == 1

    def test_the_users_netrc_is_not_sent(
        self,
        senders: Senders,
        wire: Any,
        settings: Settings,
        say: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        wire.says(say.http(200, {"status": "PENDING"}))
        senders(settings).send(STATUS)
        assert "authorization" not in wire.requests[0].headers


class TestDeadlines:
    @pytest.mark.parametrize("where", ["status line", "headers", "body", "chunks"])
    def test_one_byte_at_a_time_does_not_get_past_the_deadline(
        self, senders: Senders, wire: Any, settings: Settings, say: Any, where: str
    ) -> None:
        slow = {
            "status line": say.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", every=0.1),
            "headers": say.then(b"HTTP/1.1 200 OK\r\n", say.drip(b"X: y\r\n" * 1000, every=0.1)),
            "body": say.then(
                b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", say.drip(b" " * 999, every=0.1)
            ),
            "chunks": say.then(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                say.drip(b"1\r\n \r\n" * 999, every=0.1),
            ),
        }
        wire.says(slow[where])
        hurried = dataclasses.replace(settings, timeout=5.0, call_deadline=0.5)
        began = time.monotonic()
        with pytest.raises(errors.StartUnknown, match="no response in time"):
            senders(hurried).send(START)
        assert time.monotonic() - began < 60

    def test_silence_ends_with_the_timeout(self, senders: Senders, wire: Any, settings: Settings) -> None:
        wire.says(lambda connection, request: time.sleep(2))
        with pytest.raises(errors.StartUnknown, match="no response in time"):
            senders(dataclasses.replace(settings, timeout=0.3)).send(START)

    def test_an_answer_of_ten_megabytes_is_not_read_to_its_end(
        self, senders: Senders, wire: Any, settings: Settings
    ) -> None:
        def five_of_ten(connection: Any, request: Any) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n{" + b" " * 5_000_000)
            connection.recv(1)  # who wants the rest waits here

        wire.says(five_of_ten)
        with pytest.raises(errors.ProtocolError, match="not JSON") as caught:
            senders(dataclasses.replace(settings, max_retries=0)).send(STATUS)
        assert len(str(caught.value)) < 400

    def test_a_gzip_bomb_is_not_unpacked(
        self, senders: Senders, wire: Any, settings: Settings, say: Any
    ) -> None:
        import gzip
        import tracemalloc

        bomb = gzip.compress(b" " * 200_000_000, 9)
        wire.says(say.http(200, bomb, Content_Encoding="gzip"))
        sender = senders(dataclasses.replace(settings, max_retries=0))
        tracemalloc.start()
        with pytest.raises(errors.ProtocolError):
            sender.send(STATUS)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
        tracemalloc.stop()

    def test_a_gateway_that_packs_all_the_same_is_understood(
        self, senders: Senders, wire: Any, settings: Settings, say: Any
    ) -> None:
        import gzip

        wire.says(say.http(200, gzip.compress(b'{"status": "PENDING"}'), Content_Encoding="gzip"))
        assert senders(settings).send(STATUS).state is JobState.PENDING


def test_a_certificate_that_is_not_trusted_stops(
    senders: Senders, settings: Settings, tmp_path: Path
) -> None:
    server, origin, ca = tls_server(tmp_path)
    untrusted = dataclasses.replace(settings, base_url=f"{origin}/v2")
    with pytest.raises(errors.TlsError, match=r"Connection 'pc': .*'verify'"):
        senders(untrusted).send(START)
    trusted = dataclasses.replace(untrusted, verify=str(ca))
    assert senders(trusted).send(STATUS).state is JobState.PENDING
    assert senders(dataclasses.replace(untrusted, verify=False)).send(STATUS).state is JobState.PENDING
    server.close()


def tls_server(folder: Path) -> tuple[Any, str, Path]:
    """A server with a certificate of its own for 127.0.0.1, that says PENDING."""
    import socket

    ca, secret = self_signed(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, secret)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(65536)
                    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"status": "PENDING"}')
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    return listener, f"https://127.0.0.1:{listener.getsockname()[1]}", ca


class TestProxies:
    def test_the_variables_of_the_environment_are_honoured(
        self, senders: Senders, wire: Any, settings: Settings, say: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", wire.origin)
        wire.says(say.http(200, {"status": "PENDING"}))
        elsewhere = dataclasses.replace(settings, base_url="http://api.invalid/v2", allow_insecure_hosts=True)
        senders(elsewhere).send(STATUS)
        assert wire.requests[0].target == "http://api.invalid/v2/status/job1?noRedirect=true"

    def test_no_proxy_is_honoured(
        self, senders: Senders, wire: Any, settings: Settings, say: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        wire.says(say.http(200, {"status": "PENDING"}))
        assert senders(settings).send(STATUS)

    def test_the_connections_own_proxy_wins(
        self, senders: Senders, wire: Any, settings: Settings, say: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        wire.says(say.http(200, {"status": "PENDING"}))
        senders(dataclasses.replace(settings, proxy=wire.origin)).send(STATUS)
        assert wire.requests[0].target.startswith("http://")

    def test_a_proxy_that_refuses_was_sent_nothing(
        self, senders: Senders, wire: Any, settings: Settings, say: Any
    ) -> None:
        wire.says(say.http(403))
        behind = dataclasses.replace(
            settings, base_url="https://api.invalid/v2", proxy=wire.origin, max_retries=1
        )
        with pytest.raises(errors.Unavailable, match="the proxy refused; nothing was sent"):
            senders(behind).send(START)
        assert {request.method for request in wire.requests} == {"CONNECT"}
        assert not [request for request in wire.requests if "x-api-key" in request.headers]


@pytest.mark.parametrize(
    "wrong",
    [{"api_key": ""}, {"api_key": "a b"}, {"api_key": "a\nb"}, {"api_key": "schlüssel"}, {"base_url": "http://api.example/v2"},
     {"base_url": "https://u:p@api.example/v2"}, {"base_url": "nonsense"}, {"base_url": "https://[bad/v2"},
     {"base_url": "https://xn--/v2"},
     {"proxy": "nonsense://u:secret@h"}, {"verify": "/no/such/file"}],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_settings_that_cannot_work_are_refused_at_once(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigurationError, match="Connection 'pc'") as caught:
        kind(Settings(**{"api_key": "secret-key", "name": "pc", **wrong}))
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_building_a_tls_context_is_done_once() -> None:
    assert wires.tls_context(True) is wires.tls_context(True)


class TestCancelling:
    def test_wakes_a_call_that_waits(self, wire: Any, settings: Settings, say: Any) -> None:
        client = Client(settings)

        def cancel_soon(connection: Any, request: Any) -> None:
            connection.sendall(say.http(429, Retry_After="100"))
            threading.Timer(0.1, client.cancel).start()

        wire.says(cancel_soon)
        began = time.monotonic()
        with pytest.raises(errors.Cancelled):
            client.send(STATUS)
        assert time.monotonic() - began < 60
        with pytest.raises(errors.Cancelled):
            client.send(STATUS)
        assert len(wire.requests) == 1
        client.close()

    def test_lets_a_paid_call_come_to_its_answer(self, wire: Any, settings: Settings, say: Any) -> None:
        client = Client(settings)

        def cancel_first(connection: Any, request: Any) -> None:
            client.cancel()
            connection.sendall(say.http(200, {"statusEndpoint": "https://h/j1"}))

        wire.says(cancel_first)
        assert client.send(START) == "j1"
        client.close()


def test_threads_share_a_client(wire: Any, settings: Settings, say: Any) -> None:
    wire.says(say.http(200, {"status": "PENDING"}))
    found: list[JobState] = []
    with Client(settings) as client:
        threads = [
            threading.Thread(target=lambda: found.append(client.send(STATUS).state)) for _ in range(32)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [JobState.PENDING] * 32


def test_threads_that_find_the_key_rotated_look_once(wire: Any, settings: Settings, say: Any) -> None:
    looked: list[None] = []
    gate = threading.Barrier(8)

    def by_key(connection: Any, request: Any) -> None:
        if request.headers["x-api-key"] == "the-new-key":
            connection.sendall(say.http(200, {"status": "PENDING"}))
        else:
            gate.wait(5)
            connection.sendall(say.http(401))

    def renew() -> Settings:
        looked.append(None)
        return dataclasses.replace(settings, api_key="the-new-key")

    wire.says(by_key)
    with Client(settings, renew=renew) as client:
        threads = [threading.Thread(target=client.send, args=(STATUS,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(looked) == 1
    assert len(wire.requests) == 16


def test_at_most_16_requests_of_a_loop_are_in_flight(wire: Any, settings: Settings, say: Any) -> None:
    now, most = [0], [0]
    lock, sixteen = threading.Lock(), threading.Event()

    def count(connection: Any, request: Any) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            if now[0] == 16:
                sixteen.set()
        sixteen.wait(60)  # no response before all sixteen are here
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        connection.sendall(say.http(200, {"status": "PENDING"}))

    wire.says(count)

    async def main() -> list[Any]:
        async with AsyncClient(settings) as client:
            return await asyncio.gather(*[client.send(STATUS) for _ in range(100)])

    assert len(asyncio.run(main())) == 100
    assert most[0] == 16


def test_a_task_that_is_cancelled_is_cancelled(wire: Any, settings: Settings) -> None:
    wire.says(lambda connection, request: time.sleep(1))

    async def main() -> None:
        async with AsyncClient(settings) as client:
            task = asyncio.create_task(client.send(STATUS))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_a_429_holds_back_the_requests_that_wait_for_a_free_connection(
    wire: Any, settings: Settings, say: Any
) -> None:
    wire.says(*[say.http(429, Retry_After="0.5")] * 16, say.http(200, {"status": "PENDING"}))

    async def main() -> None:
        async with AsyncClient(settings) as client:
            await asyncio.gather(*[client.send(STATUS) for _ in range(24)])

    asyncio.run(main())
    first = wire.requests[0].received
    early = [request for request in wire.requests if request.received < first + 0.4]
    assert len(early) <= 16
    assert len(wire.requests) <= 41
