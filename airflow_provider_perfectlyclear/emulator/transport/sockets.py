"""
Connections that can be reset, closed or dripped into, and whose other end can be killed.

Uvicorn speaks HTTP. What it hides from an ASGI application, the transport of the connection, is handed through by
:class:`OpenProtocol`, as faults happen there.
"""

from __future__ import annotations

import asyncio
import http
import os
import signal
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_perfectlyclear.emulator.transport.answers import Answer

CHUNK_BYTES = 256 * 1024


class OpenProtocol(H11Protocol):
    """
    Uvicorn's protocol, with the connection's ``transport`` in the scope of every request.

    ``idle`` is there, too: for how many seconds the connection had been idle since its last answer; None for its first
    request.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP only
        """Hand the transport to the application, wrapped once for each connection."""
        super().connection_made(transport)
        app = self.app
        answered: float | None = None

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            nonlocal answered
            scope["transport"] = transport
            scope["idle"] = None if answered is None else time.monotonic() - answered
            await app(scope, receive, send)
            answered = time.monotonic()

        self.app = with_transport


class Gone(Exception):
    """This request is over: its connection is gone, or nothing more will be said on it."""


async def flush(transport: asyncio.Transport) -> None:
    """Wait until everything written is in the socket."""
    while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110  # it tells no event
        await asyncio.sleep(0.001)


def reset(transport: asyncio.Transport) -> None:
    """End a connection with a TCP reset: with SO_LINGER at zero, closing sends nothing else."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def disconnected(receive: Receive) -> None:
    """Wait until the client is gone, reading on: unread bytes would hide the end of the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def peer_pid(transport: asyncio.Transport) -> int | None:
    """
    Return the process at the other end of a connection on this machine.

    :return: the one with the lowest id, if several share the socket; None if it is gone.
    """
    import psutil

    theirs, ours = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    for connection in psutil.net_connections(kind="tcp"):
        ends = connection.laddr and connection.raddr and (tuple(connection.laddr), tuple(connection.raddr))
        if connection.pid and ends == (theirs[:2], ours[:2]):
            return int(connection.pid)
    return None


def send_signal(pid: int | None, number: signal.Signals) -> bool:
    """
    Send a signal to a process other than this one.

    :param pid: of it; None if it was not found.

    :return: whether it was there, and not the emulator itself.
    """
    if pid is None or pid in (0, 1, os.getpid()):
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


async def stopped(pid: int) -> None:
    """Wait until SIGSTOP has reached a process: until then, one of its threads may hear what comes next."""
    try:
        import psutil
    except ImportError:
        return
    for _ in range(1000):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_STOPPED:
                return
        except psutil.NoSuchProcess:
            return
        await asyncio.sleep(0.001)


class Sender(Protocol):
    """Writes one answer."""

    async def head(self, answer: Answer) -> None:
        """Write status and headers."""

    async def write(self, data: bytes) -> None:
        """Write a part of the body."""

    async def end(self, data: bytes = b"") -> None:
        """Write the last part of the body, if any, and end it."""


class HttpSender:
    """
    Writes an answer through uvicorn.

    :param transport: of the connection.
    :param send: of the ASGI request.
    :param chunked: say no Content-Length.
    """

    def __init__(self, transport: asyncio.Transport, send: Send, *, chunked: bool) -> None:
        self._transport = transport
        self._send = send
        self._chunked = chunked

    async def head(self, answer: Answer) -> None:
        """Write status and headers."""
        headers = dict(answer.headers)
        if not self._chunked and "content-length" not in map(str.lower, headers):
            headers["Content-Length"] = str(answer.length)
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": answer.status, "headers": raw})

    async def write(self, data: bytes) -> None:
        """
        Write a part of the body.

        :raises Gone: the client is gone. Uvicorn would take gigabytes and drop them, never letting go of
            the event loop.
        """
        if self._transport.is_closing():
            raise Gone
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Write the last part of the body, if any, and end it."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})


def raw_head(answer: Answer, more: Mapping[str, str]) -> bytes:
    """
    Return the status and headers of an answer as they go over the wire.

    :param more: headers beside the answer's own.
    """
    phrase = http.HTTPStatus(answer.status).phrase if answer.status in _KNOWN else ""
    headers = {**answer.headers, **more}
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {text}" for name, text in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class RawSender:
    """
    Writes an answer whose body ends with the connection. No server library does that to an HTTP/1.1 client.

    :param transport: of the connection.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    async def head(self, answer: Answer) -> None:
        """Write status and headers."""
        self._transport.write(raw_head(answer, {"Connection": "close"}))

    async def write(self, data: bytes) -> None:
        """Write a part of the body, and wait until it is in the socket."""
        self._transport.write(data)
        await flush(self._transport)

    async def end(self, data: bytes = b"") -> None:
        """End the body, which is to end the connection."""
        self._transport.write(data)
        self._transport.close()
        raise Gone


_KNOWN = {status.value for status in http.HTTPStatus}


class Client:
    """
    One request's end of a connection.

    :param scope: receive, send: of the ASGI request.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.transport: asyncio.Transport = scope["transport"]
        self.receive = receive
        self.send = send

    def sender(self, framing: str) -> Sender:
        """
        Return what writes the answer.

        :param framing: ``length``, ``chunked`` or ``close``.
        """
        if framing == "close":
            return RawSender(self.transport)
        return HttpSender(self.transport, self.send, chunked=framing == "chunked")

    def write_beforehand(self, answer: Answer, body: bytes) -> None:
        """Write a whole answer that the server knows nothing of: what it sends itself will come second."""
        self.transport.write(raw_head(answer, {"Content-Length": str(len(body))}) + body)

    async def end(self, how: str) -> None:
        """
        End the request without a word.

        :param how: ``reset``, ``close`` or ``silence``.
        """
        if how == "reset":
            reset(self.transport)
        elif how == "close":
            self.transport.close()
        await disconnected(self.receive)
        raise Gone

    async def peer(self) -> int | None:
        """Return the process at the other end. Looking for it takes tens of milliseconds."""
        return await asyncio.to_thread(peer_pid, self.transport)
