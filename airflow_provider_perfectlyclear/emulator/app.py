"""What all routes share: the service, the faults, what was seen, and the two doors in."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from airflow_provider_perfectlyclear.emulator.faults import Instructions
from airflow_provider_perfectlyclear.emulator.faults.exchange import Exchange, Handler
from airflow_provider_perfectlyclear.emulator.service.core import Service
from airflow_provider_perfectlyclear.emulator.transport.answers import (
    Answer,
    Refused,
    error_answer,
    xml_answer,
)
from airflow_provider_perfectlyclear.emulator.transport.request_log import LEAST_KEY_TO_LOOK_FOR, SeenOrigin
from airflow_provider_perfectlyclear.emulator.transport.signing import Signer

#: How many answers of a route are remembered.
MOST_ANSWERS = 20


class Rate:
    """
    A bucket of requests that fills again by the second.

    :param rate: requests a second; None for any number.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._most = max(rate or 1.0, 1.0)
        self._left = self._most
        self._at = time.monotonic()

    def wait(self) -> int:
        """
        Take one request out.

        :return: 0 if it is allowed, else after how many whole seconds to ask again.
        """
        if self._rate is None:
            return 0
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return math.ceil((1 - self._left) / self._rate)
        self._left -= 1
        return 0


class Given:
    """
    The last answers of the routes that tell ids and URLs, a few of each: a fault may give one again.

    Only answers that have reached their client are among them, and of jobs those that were asked about since: a test
    could not tell an answer to another question from a first one otherwise.
    """

    def __init__(self) -> None:
        self._last: dict[str, deque[tuple[float, str, object, Answer]]] = {
            route: deque(maxlen=MOST_ANSWERS) for route in ("upload", "pfc", "status")
        }
        self._asked: deque[str] = deque(maxlen=MOST_ANSWERS)  # job ids

    def note(self, route: str, question: str, answer: Answer, connection: Any) -> None:
        """Remember an answer that was sent, if it is of such a route."""
        if route == "status":
            self._asked.append(_last_part(question))
        if route in self._last and answer.status < 400:
            self._last[route].append((time.monotonic(), question, connection, answer))

    def to_another(self, route: str, question: str, before: float, connection: Any) -> Answer | None:
        """
        Return the last answer to another question.

        All uploads ask for the same: of them it is the last one on this connection.

        :param before: only what was sent before that, on the monotonic clock.
        """
        for at, asked, heard_by, answer in reversed(self._last.get(route) or deque()):
            is_another = heard_by == connection if route == "upload" else asked != question
            if at < before and is_another and self._is_known(route, answer):
                return answer
        return None

    def _is_known(self, route: str, answer: Answer) -> bool:
        if route != "pfc":
            return True
        assert isinstance(answer.body, bytes)  # only downloads are answered with a file
        return _last_part(json.loads(answer.body)["statusEndpoint"]) in self._asked


def _last_part(url: str) -> str:
    return urlsplit(url).path.rpartition("/")[2]


@dataclass
class Emulation:
    """
    Everything that the routes share.

    :param service: uploads, jobs, presets, the bill.
    :param signer: of URLs.
    :param base_url: of the API, with ``/v2``.
    :param storage_url: of the storage origin.
    """

    service: Service
    signer: Signer
    base_url: str
    storage_url: str
    faults: Instructions = field(default_factory=Instructions)
    seen_api: SeenOrigin = field(default_factory=SeenOrigin)
    seen_storage: SeenOrigin = field(default_factory=SeenOrigin)

    def __post_init__(self) -> None:
        self.rate = Rate(self.service.options.rate)
        self.given = Given()

    def reset(self) -> None:
        """Forget everything, faults included."""
        self.service.reset()
        self.faults.clear()
        self.seen_api, self.seen_storage = SeenOrigin(), SeenOrigin()
        self.rate = Rate(self.service.options.rate)
        self.given = Given()

    def keys(self) -> Iterator[str]:
        """Every API key known so far that is long enough to look for."""
        for key in {self.service.options.key or "", *self.seen_api.api_keys}:
            if len(key) >= LEAST_KEY_TO_LOOK_FOR:
                yield key

    def sign(self, exchange: Exchange, method: str, path: str) -> str:
        """Return a signed URL of the storage, one that is over already if a fault says so."""
        return self.signer.url(self.storage_url, method, path, expired=bool(exchange.faults.given("expired")))

    def signed_url(self, exchange: Exchange) -> str:
        """Return the request's own URL if that is signed, else any."""
        if "Signature" in exchange.query:
            return f"{self.storage_url}{exchange.target}"
        return self.signer.url(self.storage_url, "GET", "/corrected/any")


class ExactRoute(Route):
    """
    One method of one path.

    Starlette would let HEAD in with GET, and a HEAD of ``/pfc`` must not start a job; and it would answer another
    method by itself, unseen.
    """

    def __init__(self, path: str, door: Door, method: str) -> None:
        super().__init__(path, door, methods=[method])
        self.methods = {method}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match wholly or not at all."""
        match, found = super().matches(scope)
        return (match, found) if match == Match.FULL else (Match.NONE, {})


class Door:
    """
    Where the requests of one route come in.

    :param emulation: what they share.
    :param route: the name of the route in the fault language.
    :param handler: what answers them.
    """

    def __init__(self, emulation: Emulation, route: str, handler: Handler) -> None:
        self.emulation = emulation
        self.route = route
        self.handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request in."""
        exchange = Exchange(scope, receive, send)
        self.seen().note(self.route, exchange.target, scope["headers"], self.emulation.keys())
        self._introduce(exchange)
        try:
            await exchange.run(self.answer)
        except Exception:
            # Uvicorn answers 500 and is told to be silent; a fault of the emulator's own must not look like one
            # that a test asked for.
            traceback.print_exc()
            raise

    def _introduce(self, exchange: Exchange) -> None:
        """Find out what the request is about, and which faults happen to it."""
        service = self.emulation.service
        job_id = exchange.path.get("job_id")
        exchange.job = service.jobs.get(job_id) if job_id else None
        file_key = exchange.path.get("file_key") or exchange.query.get("fileKey")
        file_key = exchange.job.file_key if exchange.job else file_key
        exchange.signed_url = lambda: self.emulation.signed_url(exchange)
        given, arrived = self.emulation.given, time.monotonic()
        connection = exchange.scope.get("client")
        exchange.answered_to_another = lambda: given.to_another(
            self.route, exchange.target, arrived, connection
        )
        exchange.sent = lambda answer: given.note(self.route, exchange.target, answer, connection)
        exchange.meet(
            self.emulation.faults,
            self.route,
            job_id,
            file_key,
            lambda: service.uploaded_sha256(exchange.job, file_key),
        )

    def seen(self) -> SeenOrigin:
        """Where the requests of this origin are noted."""
        raise NotImplementedError

    async def answer(self, exchange: Exchange) -> Answer:
        """Answer, or refuse in the way of this origin."""
        raise NotImplementedError


class ApiDoor(Door):
    """
    A route of the API: rate, key, and refusals as JSON.

    :param needs_key: False for ``/status`` alone.
    """

    def __init__(self, emulation: Emulation, route: str, handler: Handler, *, needs_key: bool = True) -> None:
        super().__init__(emulation, route, handler)
        self.needs_key = needs_key

    def seen(self) -> SeenOrigin:
        """Where the requests of the API are noted."""
        return self.emulation.seen_api

    async def answer(self, exchange: Exchange) -> Answer:
        """Refuse what comes too often or without the key; else let the handler answer."""
        wait = self.emulation.rate.wait()
        if wait:
            return error_answer(429, "Too many requests", {"Retry-After": str(wait)})
        if self.needs_key and not self._allowed(exchange.header("x-api-key")):
            return error_answer(401, "X-API-KEY is missing or wrong")
        try:
            return await self.handler(exchange)
        except Refused as refused:
            return error_answer(refused.status, refused.text)

    def _allowed(self, key: str) -> bool:
        wanted = self.emulation.service.options.key
        return bool(key) if wanted is None else key == wanted


class StorageDoor(Door):
    """
    A route of the storage: signatures, and refusals as XML.

    :param method: that its URLs are signed for; None for a route that there is not.
    """

    def __init__(self, emulation: Emulation, route: str, handler: Handler, *, method: str | None) -> None:
        super().__init__(emulation, route, handler)
        self.method = method

    def seen(self) -> SeenOrigin:
        """Where the requests of the storage are noted."""
        return self.emulation.seen_storage

    async def answer(self, exchange: Exchange) -> Answer:
        """Refuse what is not signed; else let the handler answer."""
        if self.method is not None:
            refusal = self.emulation.signer.refusal(self.method, exchange.scope["path"], exchange.query)
            if refusal is not None:
                return xml_answer(403, *refusal)
        return await self.handler(exchange)
