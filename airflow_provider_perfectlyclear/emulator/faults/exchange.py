"""One request on its way through the five moments of the fault language."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from airflow_provider_perfectlyclear.emulator.faults import FaultBook, Request, actions
from airflow_provider_perfectlyclear.emulator.faults.actions import Action
from airflow_provider_perfectlyclear.emulator.faults.shaping import Misfire, echo, made_up, shape
from airflow_provider_perfectlyclear.emulator.service.jobs import Job
from airflow_provider_perfectlyclear.emulator.transport.answers import Answer, FilePart
from airflow_provider_perfectlyclear.emulator.transport.sockets import (
    CHUNK_BYTES,
    Client,
    Gone,
    Sender,
    disconnected,
    flush,
    send_signal,
    stopped,
)

Handler = Callable[["Exchange"], Awaitable[Answer]]


class Exchange:
    """
    A request, and the faults that happen to it.

    :param scope: receive, send: of the ASGI request.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.client = Client(scope, receive, send)
        self.query_string: str = scope["query_string"].decode("latin-1")
        self.target: str = f"{scope['raw_path'].decode('latin-1')}?{self.query_string}"
        self.pairs = parse_qsl(self.query_string, keep_blank_values=True)
        self.query = dict(self.pairs)
        self.path: dict[str, str] = scope.get("path_params", {})
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.job: Job | None = None
        #: A signed URL, for a fault that tells one: the request's own, if it has one.
        self.signed_url: Callable[[], str] = str
        #: What the route has answered to another question, for a fault that answers that.
        self.answered_to_another: Callable[[], Answer | None] = lambda: None
        #: Hears what was answered, when it is sent as it was meant.
        self.sent: Callable[[Answer], None] = lambda answer: None
        self.faults: list[tuple[str, Action]] = []
        self._book = FaultBook()
        self._peer: int | None = None

    def header(self, name: str) -> str:
        """A request header, or nothing."""
        return self.headers.get(name.encode(), b"").decode("latin-1")

    def meet(
        self,
        book: FaultBook,
        route: str,
        job_id: str | None,
        file_key: str | None,
        sha256: Callable[[], str | None],
    ) -> None:
        """Ask which faults happen to this request."""
        self._book = book
        request = Request(route, self.target, job_id, file_key, self.scope["idle"], sha256)
        self.faults = book.take(request) if book.instructions else []

    def fault(self, name: str) -> Any:
        """What an action of that name is given, or None if there is none."""
        return next((action.value for _, action in self.faults if action.name == name), None)

    def misfire(self, name: str, why: str) -> None:
        """Note that actions of that name could not be done."""
        for instruction_id, action in self.faults:
            if action.name == name:
                self._book.misfire(instruction_id, f"{name}: {why}")

    async def run(self, handler: Handler) -> None:
        """Take the request through its moments."""
        try:
            if self.faults:
                await self._run_faulty(handler)
            else:
                answer = await handler(self)
                await self._send(answer)
                self.sent(answer)
        except Gone:
            await disconnected(self.client.receive)

    async def _run_faulty(self, handler: Handler) -> None:
        if any(action.name == "kill" and action.value["pid"] == "peer" for _, action in self.faults):
            # Found beforehand, it dies at its moment, not tens of milliseconds later.
            self._peer = await self.client.peer()
        await self.moment(actions.BEFORE)
        answer = self._shape(await self._answer(handler))
        await self.moment(actions.COMMITTED)
        await self._send(answer)
        await flush(self.client.transport)
        await self.moment(actions.ANSWERED)

    async def _answer(self, handler: Handler) -> Answer:
        """The service's own answer, or what a fault gives in its place, with or without the service's work."""
        instead: dict[str, Any] | None = self.fault("answer")
        another: dict[str, Any] | None = self.fault("another")
        earlier = self.answered_to_another() if another is not None else None
        if all(given is None or given.get("commit") for given in (instead, another)):
            answer = await handler(self)
        if instead is not None:
            return made_up(instead, self.signed_url() if instead.get("self") else None)
        if another is not None and earlier is None:
            self.misfire("another", "no other question was answered yet")
            return await handler(self) if not another["commit"] else answer
        return earlier or answer

    def _shape(self, answer: Answer) -> Answer:
        for instruction_id, action in self.faults:
            if action.name == "echo":
                answer = echo(action.value, self.signed_url())
                continue
            try:
                answer = shape(answer, action)
            except Misfire as misfire:
                self._book.misfire(instruction_id, f"{action.name}: {misfire}")
        return answer

    async def moment(self, when: str) -> None:
        """Do what is to be done at a moment, in order."""
        for instruction_id, action in self.faults:
            if action.when == when:
                await self._do(instruction_id, action)

    async def _do(self, instruction_id: str, action: Action) -> None:
        if action.name == "delay":
            await asyncio.sleep(action.value)
        elif action.name == "kill":
            await self._kill(instruction_id, action)
        else:
            await self.client.end(action.name)

    async def _kill(self, instruction_id: str, action: Action) -> None:
        pid = self._peer if action.value["pid"] == "peer" else action.value["pid"]
        if pid is None or not send_signal(pid, action.value["signal"]):
            self._book.misfire(instruction_id, f"kill: no process {action.value['pid']} to kill")
        elif action.value["signal"] == signal.SIGSTOP:
            await stopped(pid)
        if action.value["signal"] == signal.SIGKILL and action.when != actions.ANSWERED:
            # The dead client's socket may live on in a child that it forked.
            await self.client.end("reset")

    def _after(self, when: str, length: int) -> int | None:
        """After how many bytes the earliest action of a moment comes; None if there is none."""
        half = length // 2
        due = [
            half if action.after is None else action.after for _, action in self.faults if action.when == when
        ]
        return min(due, default=None)

    # The request's body

    async def body(self) -> AsyncIterator[bytes]:
        """
        The request's body as it comes, or as a fault makes it.

        :raises Gone: the client went away before the end.
        """
        mangle = _Mangler(self.fault("truncate"), self.fault("scramble"))
        due = self._after(actions.READING, int(self.header("content-length") or 0)) if self.faults else None
        read = 0
        more = True
        while more:
            message = await self.client.receive()
            if message["type"] == "http.disconnect":
                raise Gone
            read += len(message.get("body", b""))
            more = message.get("more_body", False)
            if due is not None and (read >= due or not more):
                due = None
                await self.moment(actions.READING)
            yield mangle(message.get("body", b""))

    # The answer

    async def _send(self, answer: Answer) -> None:
        if self.faults:
            await self._send_faulty(answer)
            return
        sender = self.client.sender("length")
        await sender.head(answer)
        if isinstance(answer.body, bytes):
            await sender.end(answer.body)
            return
        for chunk in _chunks(answer.body):
            await sender.write(chunk)
        await sender.end()

    async def _send_faulty(self, answer: Answer) -> None:
        answer = self._truncated(answer)
        if self.fault("repeat"):
            self._write_beforehand(answer)
        sender = self.client.sender(self.fault("framing") or "length")
        await sender.head(answer)
        await self._send_body(sender, answer)
        await sender.end()

    def _write_beforehand(self, answer: Answer) -> None:
        if isinstance(answer.body, bytes):
            self.client.write_beforehand(answer, answer.body)
        else:
            self.misfire("repeat", "the answer is a file")

    def _truncated(self, answer: Answer) -> Answer:
        """On the routes that send files: shorten it, as if that were all of it."""
        truncate = self.fault("truncate")
        if truncate is None or not isinstance(answer.body, FilePart):
            return answer
        return replace(answer, body=replace(answer.body, length=min(truncate, answer.body.length)))

    async def _send_body(self, sender: Sender, answer: Answer) -> None:
        speed, size = self.fault("drip") or (None, CHUNK_BYTES)
        scramble = self.fault("scramble") if isinstance(answer.body, FilePart) else None
        mangle = _Mangler(None, scramble)
        due = self._after(actions.ANSWERING, answer.length)
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
        await flush(self.client.transport)
        await self.moment(actions.ANSWERING)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self.client.transport.is_closing():
            raise Gone


def _chunks(body: bytes | FilePart, size: int = CHUNK_BYTES, cut: int | None = None) -> Iterator[bytes]:
    """The body in parts of at most ``size`` bytes, one of which ends at ``cut``."""
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


class _Mangler:
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
        start, self._at = self._at, self._at + len(chunk)
        if self._scramble is not None and self._at > self._scramble:
            keep = max(self._scramble - start, 0)
            # Adding one never leaves a byte as it was, and makes no marker out of a marker.
            chunk = chunk[:keep] + chunk[keep:].translate(_OTHER_BYTES)
        return chunk if self._truncate is None else chunk[: max(self._truncate - start, 0)]


_OTHER_BYTES = bytes((value + 1) % 256 for value in range(256))
