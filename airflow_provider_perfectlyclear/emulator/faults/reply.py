"""An answer on its way to the client, as it is or as faults make it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from airflow_provider_perfectlyclear.emulator.faults import actions
from airflow_provider_perfectlyclear.emulator.faults.request_faults import RequestFaults
from airflow_provider_perfectlyclear.emulator.transport.answers import Answer, FilePart
from airflow_provider_perfectlyclear.emulator.transport.sockets import (
    CHUNK_BYTES,
    Client,
    Gone,
    Sender,
    flush,
)


class Reply:
    """
    Sends one answer.

    :param client: the request's end of the connection.
    :param faults: that happen to the request.
    """

    def __init__(self, client: Client, faults: RequestFaults) -> None:
        self._client = client
        self._faults = faults

    async def send(self, answer: Answer) -> None:
        """
        Send an answer to its end.

        :raises Gone: the client went away before, or a fault ended the connection.
        """
        if self._faults:
            await self._send_faulty(answer)
            return
        sender = self._client.sender("length")
        await sender.head(answer)
        if isinstance(answer.body, bytes):
            await sender.end(answer.body)
            return
        for chunk in _chunks(answer.body):
            await sender.write(chunk)
        await sender.end()

    async def _send_faulty(self, answer: Answer) -> None:
        answer = self._truncated(answer)
        if self._faults.given("repeat"):
            self._write_beforehand(answer)
        sender = self._client.sender(self._faults.given("framing") or "length")
        await sender.head(answer)
        await self._send_body(sender, answer)
        await sender.end()

    def _write_beforehand(self, answer: Answer) -> None:
        if isinstance(answer.body, bytes):
            self._client.write_beforehand(answer, answer.body)
        else:
            self._faults.misfire("repeat", "the answer is a file")

    def _truncated(self, answer: Answer) -> Answer:
        """On the routes that send files: shorten it, as if that were all of it."""
        truncate = self._faults.given("truncate")
        if truncate is None or not isinstance(answer.body, FilePart):
            return answer
        return replace(answer, body=replace(answer.body, length=min(truncate, answer.body.length)))

    async def _send_body(self, sender: Sender, answer: Answer) -> None:
        speed, size = self._faults.given("drip") or (None, CHUNK_BYTES)
        scramble = self._faults.given("scramble") if isinstance(answer.body, FilePart) else None
        mangle = Mangler(None, scramble)
        due = self._faults.after(actions.ANSWERING, answer.length)
        written = 0
        for chunk in _chunks(answer.body, size, due):
            if due is not None and written == due:
                due = None
                await self._answering()
            await sender.write(mangle(chunk))
            written += len(chunk)
            if speed is not None:
                await self._pause(len(chunk) / speed)
        if due is not None:
            await self._answering()

    async def _answering(self) -> None:
        await flush(self._client.transport)
        await self._faults.moment(actions.ANSWERING)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self._client.transport.is_closing():
            raise Gone


def _chunks(body: bytes | FilePart, size: int = CHUNK_BYTES, cut: int | None = None) -> Iterator[bytes]:
    """Return the body in parts of at most ``size`` bytes, one of which ends at ``cut``."""
    length = body.length if isinstance(body, FilePart) else len(body)
    at = 0
    file = body.path.open("rb") if isinstance(body, FilePart) else None
    try:
        if file is not None and isinstance(body, FilePart):
            file.seek(body.start)
        while at < length:
            until = min(at + size, length)
            until = cut if cut is not None and at < cut < until else until
            # Reading a chunk that the page cache holds is faster than asking a thread for it.
            # The body is bytes where there is no file, which mypy does not conclude.
            yield file.read(until - at) if file is not None else body[at:until]  # type: ignore[index]
            at = until
    finally:
        if file is not None:
            file.close()


class Mangler:
    """
    Shortens and scrambles bytes that come in parts.

    :param truncate: drop everything from this byte on.
    :param scramble: change everything from this byte on.
    """

    def __init__(self, truncate: int | None, scramble: int | None) -> None:
        self._truncate = truncate
        self._scramble = scramble
        self._at = 0

    def __call__(self, chunk: bytes) -> bytes:
        """Return the next part as the client gets it."""
        start, self._at = self._at, self._at + len(chunk)
        if self._scramble is not None and self._at > self._scramble:
            keep = max(self._scramble - start, 0)
            # Adding one never leaves a byte as it was, and makes no marker out of a marker.
            chunk = chunk[:keep] + chunk[keep:].translate(_OTHER_BYTES)
        return chunk if self._truncate is None else chunk[: max(self._truncate - start, 0)]


_OTHER_BYTES = bytes((value + 1) % 256 for value in range(256))
