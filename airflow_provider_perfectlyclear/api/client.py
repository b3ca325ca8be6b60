"""
The two senders: Client for threads (workers), AsyncClient for the event loop (triggerer).

Both run the same conversation (``conversation.py``), and differ in how they sleep and send.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

import httpx

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import calls, wire
from airflow_provider_perfectlyclear.api.answers import Answer
from airflow_provider_perfectlyclear.api.calls import Call
from airflow_provider_perfectlyclear.api.conversation import (
    Ask,
    Clocks,
    Conversation,
    Renew,
    Sleep,
    Step,
    url_of,
)
from airflow_provider_perfectlyclear.api.limiter import limiter_for
from airflow_provider_perfectlyclear.api.models import UploadTarget
from airflow_provider_perfectlyclear.api.retry import Failure, Trouble
from airflow_provider_perfectlyclear.api.safety import can_exist, is_loopback, read_url
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.api.transfers import Downloaded, OpenBody, Transfers

__all__ = ["AsyncClient", "Client", "Downloaded", "Settings"]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: The most requests of one AsyncClient at the same time.
IN_FLIGHT = 16

#: The largest file that is downloaded, in bytes, unless the caller says otherwise.
LARGEST_DOWNLOAD = 8 * 2**30
#: So many file keys are remembered, to see one that is given twice; and so often another one is asked for.
REMEMBERED, TARGETS = 10_000, 3


class Client:
    """
    Sends calls and moves bytes, blocking. May be shared by threads.

    :param settings: the connection.
    :param renew: looks the connection up again, once for each 401; returns None when it cannot.
    :raises ConfigurationError: no key, or a URL, proxy or CA file that cannot be used.
    """

    def __init__(self, settings: Settings, *, renew: Callable[[], Settings | None] | None = None) -> None:
        self.settings = _usable(settings)
        self._renew = renew
        self._renewing = threading.Lock()
        self._stop = threading.Event()
        self._http = wire.blocking_client(settings)
        # A kept connection may be closed by the service just when a paid call is sent on it.
        self._paid = wire.blocking_client(settings, keep_alive=False)
        self._transfers = Transfers(settings, self._pause)
        self._file_keys: dict[str, None] = {}
        self._given = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()
        self._paid.close()
        self._transfers.close()

    def cancel(self) -> None:
        """
        Stop, from any thread: calls that wait, transfers that move, and all calls made afterwards raise Cancelled.

        A request that is on the wire comes to its end first: the answer of a paid call must not be lost.
        """
        self._stop.set()

    def send(self, call: Call[T], *, before: Callable[[], None] | None = None) -> T:
        """
        Send a call until it is through, as often as it may be sent.

        :param call: one of ``api.calls``.
        :param before: called right before each request, after all waiting; what it raises ends the call unsent.
        :raises RunStopped: nothing else will work either (key, payment, permission, 429, TLS, Cancelled).
        :raises Unavailable: not through after all repeats.
        :raises PerfectlyClearError: what reading its answer raises.
        """
        settings = self.settings
        steps = Conversation(call, settings, limiter_for(settings), Clocks()).steps()
        result: Any = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # StopIteration has no type parameter
            if before is not None and isinstance(step, Ask):
                before()
            result, settings = self._do(step, call, settings)

    def upload(self, open_body: OpenBody, *, size: int, file_type: str = "image") -> str:
        """
        Upload a file: ``GET /upload`` and a PUT to the URL it names. Free.

        :param open_body: opens the file at its start; called again for every attempt.
        :param size: bytes of the file.
        :param file_type: ``image`` or ``video``.
        :return: the service's ``fileKey``.
        :raises TransferFailed: not through after all repeats and one fresh URL.
        """
        target = self._new_target(file_type)
        if self._put_unless_expired(target.upload_url, open_body, size):
            return target.file_key
        target = self._new_target(file_type)
        self.put(target.upload_url, open_body, size=size)
        return target.file_key

    def _new_target(self, file_type: str) -> UploadTarget:
        """A file key that was given before answers another question: under it, two pictures would be one."""
        for _ in range(TARGETS):
            target = self.send(calls.upload_url(file_type))
            if self._is_new(target.file_key):
                return target
            log.warning(
                "GET /upload: the response repeats file key %s; asked again", one_line(target.file_key, 60)
            )
        raise errors.ProtocolError("GET /upload: the service gives the same file key again and again")

    def know_file_keys(self, file_keys: Iterable[str]) -> None:
        """
        Remember file keys that the service gave to somebody before: given again, they answer another question.

        :param file_keys: of uploads whose jobs are not finished yet.
        """
        for file_key in file_keys:
            self._is_new(file_key)

    def _is_new(self, file_key: str) -> bool:
        with self._given:
            if file_key in self._file_keys:
                return False
            self._file_keys[file_key] = None
            while len(self._file_keys) > REMEMBERED:
                del self._file_keys[next(iter(self._file_keys))]
            return True

    def put(self, url: str, open_body: OpenBody, *, size: int) -> None:
        """
        Send a body to a signed URL: no key, its length, no Content-Type.

        :param url: a signed URL; UrlExpired is raised when the store refuses it.
        :param open_body: opens the body at its start; called again for every attempt.
        :param size: bytes of the body.
        """
        self._transfers.put(url, open_body, size=size)

    def download(self, url: str, sink: BinaryIO, *, max_bytes: int = LARGEST_DOWNLOAD) -> Downloaded:
        """
        Fetch a signed URL into a file, without the key.

        :param url: a signed URL, such as a job's ``corrected_file``; UrlExpired is raised when the store refuses it.
        :param sink: an open file; written from where it stands.
        :param max_bytes: larger files raise TooLarge. Default 8 GiB.
        """
        return self._transfers.download(url, sink, max_bytes=max_bytes)

    def _put_unless_expired(self, url: str, open_body: OpenBody, size: int) -> bool:
        try:
            self.put(url, open_body, size=size)
        except errors.UrlExpired:
            return False
        return True

    def _do(self, step: Step, call: Call[Any], settings: Settings) -> tuple[Any, Settings]:
        match step:
            case Sleep(seconds):
                self._pause(seconds)
                return None, settings
            case Ask():
                self._pause(0)
                settings = self.settings
                return self._ask(call, settings), settings
            case Renew():
                return self._has_new_key(settings), settings

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds) if seconds > 0 else self._stop.is_set():
            raise errors.Cancelled(f"Connection {self.settings.name!r}: cancelled.")

    def _ask(self, call: Call[Any], settings: Settings) -> Answer | Failure:
        started = time.monotonic()
        with wire.on_the_wire(wire.Deadline(settings.call_deadline)):
            try:
                http = self._http if call.repeatable else self._paid
                with http.stream(
                    call.method, url_of(call, settings), json=call.json, auth=wire.KeyAuth(settings)
                ) as response:
                    body = wire.Body(response.headers.get("content-encoding"))
                    for chunk in response.iter_raw():
                        if not body.add(chunk):
                            break
                    outcome: Answer | Failure = body.answer(response, settings.api_key)
                    wire.drop_if_left_over(response)
            except httpx.HTTPError as error:
                outcome = wire.failure(error)
        _note(call, outcome, started)
        return outcome

    def _has_new_key(self, refused: Settings) -> bool:
        with self._renewing:
            if self.settings.api_key == refused.api_key and self._renew is not None:
                self.settings = _renewed(self.settings, self._renew())
            return self.settings.api_key != refused.api_key


class AsyncClient:
    """
    Sends calls on an event loop; share one per loop and connection.

    :param settings: the connection.
    :param renew: looks the connection up again, once for each 401; returns None when it cannot.
    :raises ConfigurationError: no key, or a URL, proxy or CA file that cannot be used.
    """

    def __init__(
        self, settings: Settings, *, renew: Callable[[], Awaitable[Settings | None]] | None = None
    ) -> None:
        self.settings = _usable(settings)
        self._renew = renew
        self._renewing = asyncio.Lock()
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)
        self._http = wire.loop_client(settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send a call until it is through: as ``Client.send``, and with the same errors."""
        settings = self.settings
        steps = Conversation(call, settings, limiter_for(settings), Clocks()).steps()
        result: Any = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # StopIteration has no type parameter
            result, settings = await self._do(step, call, settings)

    async def _do(self, step: Step, call: Call[Any], settings: Settings) -> tuple[Any, Settings]:
        match step:
            case Sleep(seconds):
                await asyncio.sleep(seconds)
                return None, settings
            case Ask(pace):
                async with self._in_flight:
                    if pace.paused(time.monotonic()):
                        return None, settings
                    settings = self.settings
                    return await self._ask(call, settings), settings
            case Renew():
                return await self._has_new_key(settings), settings

    async def _ask(self, call: Call[Any], settings: Settings) -> Answer | Failure:
        started = time.monotonic()
        with wire.on_the_wire(wire.Deadline(settings.call_deadline)):
            try:
                async with asyncio.timeout(settings.call_deadline):
                    outcome = await self._exchange(call, settings)
            except TimeoutError:
                outcome = Failure(Trouble.LOST, "no answer in time")
            except httpx.HTTPError as error:
                outcome = wire.failure(error)
        _note(call, outcome, started)
        return outcome

    async def _exchange(self, call: Call[Any], settings: Settings) -> Answer | Failure:
        async with self._http.stream(
            call.method, url_of(call, settings), json=call.json, auth=wire.KeyAuth(settings)
        ) as response:
            body = wire.Body(response.headers.get("content-encoding"))
            async for chunk in response.aiter_raw():
                if not body.add(chunk):
                    break
            return body.answer(response, settings.api_key)

    async def _has_new_key(self, refused: Settings) -> bool:
        async with self._renewing:
            if self.settings.api_key == refused.api_key and self._renew is not None:
                self.settings = _renewed(self.settings, await self._renew())
            return self.settings.api_key != refused.api_key


def _note(call: Call[Any], outcome: Answer | Failure, started: float) -> None:
    result = outcome.status if isinstance(outcome, Answer) else outcome.why
    log.debug("%s -> %s in %.2f s", call.name, result, time.monotonic() - started)


def _usable(settings: Settings) -> Settings:
    """Refuse settings under which no request could work, or the key would travel in the clear."""
    who = f"Connection {settings.name!r}"
    if not settings.api_key:
        raise errors.ConfigurationError(f"{who} has no API key: put it in the password.")
    if not settings.api_key.isascii() or not settings.api_key.isprintable() or " " in settings.api_key:
        raise errors.ConfigurationError(f"{who}: its API key has characters that no HTTP header can hold.")
    url = read_url(settings.base_url) or httpx.URL("")
    insecure = settings.allow_insecure_hosts or is_loopback(url.host)
    if (
        url.scheme not in (("https", "http") if insecure else ("https",))
        or not can_exist(url)
        or url.userinfo
    ):
        raise errors.ConfigurationError(f"{who}: its host must be a https URL without user and password.")
    return settings


def _renewed(old: Settings, new: Settings | None) -> Settings:
    """Take over a rotated key, but never send it to another place than its connection names."""
    if new is None or new.base_url != old.base_url:
        return old
    return dataclasses.replace(old, api_key=new.api_key)
