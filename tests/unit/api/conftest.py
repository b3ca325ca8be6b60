"""A server on loopback that says exactly what a test wrote, byte by byte, and both senders behind one face."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api import retry
from airflow_provider_perfectlyclear.api.calls import Call
from airflow_provider_perfectlyclear.api.client import AsyncClient, Client
from airflow_provider_perfectlyclear.api.settings import Settings

KEY = "canary-key-4711-do-not-print"


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    received: float = field(default_factory=time.monotonic)


Script = Callable[[socket.socket, Request], None]


def http(status: int, body: bytes | str | dict[str, Any] | list[Any] = b"", **headers: str) -> bytes:
    """The bytes of a whole answer; a header's underscores are hyphens, and an empty header is left out."""
    if isinstance(body, dict | list):
        body = json.dumps(body)
    body = body.encode() if isinstance(body, str) else body
    lines = {
        "Content-Length": str(len(body)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body


def reset(connection: socket.socket, request: Request) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()


def hang_up(connection: socket.socket, request: Request) -> None:
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def drip(data: bytes, *, every: float) -> Script:
    def run(connection: socket.socket, request: Request) -> None:
        for at in range(len(data)):
            connection.sendall(data[at : at + 1])
            time.sleep(every)

    return run


def then(data: bytes, end: Script) -> Script:
    def run(connection: socket.socket, request: Request) -> None:
        connection.sendall(data)
        end(connection, request)

    return run


class Wire:
    """Says ``answers`` one after the other, the last one again and again, and remembers what it was asked."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._listener = socket.create_server((host, 0))
        self.origin = f"http://{host}:{self._listener.getsockname()[1]}"
        self.answers: list[bytes | Script] = []
        self.requests: list[Request] = []
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def says(self, *answers: bytes | Script) -> None:
        self.answers = list(answers)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closed before; closing alone would let one more connection in
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while request := _read(connection):
                with self._lock:
                    self.requests.append(request)
                    answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if isinstance(answer, bytes):
                    connection.sendall(answer)
                else:
                    answer(connection, request)
        except OSError:
            pass


def _read(connection: socket.socket) -> Request | None:
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        head += chunk
    head, _, body = head.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    while len(body) < int(headers.get("content-length", 0)):
        chunk = connection.recv(65536)
        if not chunk:
            return None
        body += chunk
    method, target, _ = first.split(" ")
    return Request(method, target, headers, body)


class Sender:
    """A Client or an AsyncClient; ``send`` blocks in both."""

    def __init__(
        self, kind: str, settings: Settings, renew: Callable[[], Settings | None] | None = None
    ) -> None:
        self.kind = kind
        self._runner = asyncio.Runner()
        self._client: Client | AsyncClient
        if kind == "threads":
            self._client = Client(settings, renew=renew)
        else:
            self._client = AsyncClient(settings, renew=_awaitable(renew) if renew else None)

    def send(self, call: Call[Any]) -> Any:
        if isinstance(self._client, Client):
            return self._client.send(call)
        return self._runner.run(self._client.send(call))

    def close(self) -> None:
        if isinstance(self._client, Client):
            self._client.close()
        else:
            self._runner.run(self._client.aclose())
        self._runner.close()


def _awaitable(renew: Callable[[], Settings | None]) -> Callable[[], Any]:
    async def run() -> Settings | None:
        return renew()

    return run


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire()
    yield server
    server.close()


@pytest.fixture
def store() -> Iterator[Wire]:
    """The object store: another host than the API."""
    server = Wire("127.0.0.2")
    yield server
    server.close()


@pytest.fixture
def settings(wire: Wire) -> Settings:
    return Settings(api_key=KEY, base_url=f"{wire.origin}/v2", name="pc", timeout=10.0, call_deadline=30.0)


@pytest.fixture(params=["threads", "event loop"])
def senders(request: pytest.FixtureRequest) -> Iterator[Callable[..., Sender]]:
    """Makes senders of both kinds; each test that uses it runs twice."""
    made: list[Sender] = []

    def make(settings: Settings, renew: Callable[[], Settings | None] | None = None) -> Sender:
        made.append(Sender(request.param, settings, renew))
        return made[-1]

    yield make
    for sender in made:
        sender.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between repeats shrink to a thousandth."""
    monkeypatch.setattr(retry, "_FIRST_WAIT", 0.0005)


# Test modules are imported by path and cannot import this one: what they use is handed to them by name.
@pytest.fixture(scope="session")
def say() -> Any:
    class Say:
        pass

    for name, value in {"http": http, "reset": reset, "hang_up": hang_up, "drip": drip, "then": then}.items():
        setattr(Say, name, staticmethod(value))
    return Say
