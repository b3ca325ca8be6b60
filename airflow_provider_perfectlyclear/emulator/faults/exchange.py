"""One request on its way through the five moments of the fault language."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from airflow_provider_perfectlyclear.emulator.faults import Instructions, Request, actions
from airflow_provider_perfectlyclear.emulator.faults.reply import Mangler, Reply
from airflow_provider_perfectlyclear.emulator.faults.request_faults import RequestFaults
from airflow_provider_perfectlyclear.emulator.faults.shaping import made_up
from airflow_provider_perfectlyclear.emulator.service.jobs import Job
from airflow_provider_perfectlyclear.emulator.transport.answers import Answer
from airflow_provider_perfectlyclear.emulator.transport.sockets import Client, Gone, disconnected, flush

Handler = Callable[["Exchange"], Awaitable[Answer]]


class Exchange:
    """
    A request, and the faults that happen to it.

    :param scope: receive, send: of the ASGI request.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
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
        self._client = Client(scope, receive, send)
        self.faults = RequestFaults(self._client)
        self._reply = Reply(self._client, self.faults)

    def header(self, name: str) -> str:
        """Return a request header, or nothing."""
        return self.headers.get(name.encode(), b"").decode("latin-1")

    def meet(
        self,
        instructions: Instructions,
        route: str,
        job_id: str | None,
        file_key: str | None,
        sha256: Callable[[], str | None],
    ) -> None:
        """Ask which faults happen to this request."""
        self.faults.meet(
            instructions, Request(route, self.target, job_id, file_key, self.scope["idle"], sha256)
        )

    async def run(self, handler: Handler) -> None:
        """Take the request through its moments."""
        try:
            if self.faults:
                await self._run_faulty(handler)
            else:
                answer = await handler(self)
                await self._reply.send(answer)
                self.sent(answer)
        except Gone:
            await disconnected(self._client.receive)

    async def _run_faulty(self, handler: Handler) -> None:
        await self.faults.find_peer()
        await self.faults.moment(actions.BEFORE)
        answer = self.faults.shape(await self._answer(handler), self.signed_url)
        await self.faults.moment(actions.COMMITTED)
        await self._reply.send(answer)
        await flush(self._client.transport)
        await self.faults.moment(actions.ANSWERED)

    async def _answer(self, handler: Handler) -> Answer:
        """Return the service's own answer, or what a fault gives in its place, with or without the service's work."""
        instead: dict[str, Any] | None = self.faults.given("answer")
        another: dict[str, Any] | None = self.faults.given("another")
        earlier = self.answered_to_another() if another is not None else None
        if all(given is None or given.get("commit") for given in (instead, another)):
            answer = await handler(self)
        if instead is not None:
            return made_up(instead, self.signed_url() if instead.get("self") else None)
        if another is not None and earlier is None:
            self.faults.misfire("another", "no other question was answered yet")
            return await handler(self) if not another["commit"] else answer
        return earlier or answer

    async def body(self) -> AsyncIterator[bytes]:
        """
        Return the request's body as it comes, or as a fault makes it.

        :raises Gone: the client went away before the end.
        """
        mangle = Mangler(self.faults.given("truncate"), self.faults.given("scramble"))
        length = int(self.header("content-length") or 0) if self.faults else 0
        due = self.faults.after(actions.READING, length)
        read = 0
        more = True
        while more:
            message = await self._client.receive()
            if message["type"] == "http.disconnect":
                raise Gone
            read += len(message.get("body", b""))
            more = message.get("more_body", False)
            if due is not None and (read >= due or not more):
                due = None
                await self.faults.moment(actions.READING)
            yield mangle(message.get("body", b""))
