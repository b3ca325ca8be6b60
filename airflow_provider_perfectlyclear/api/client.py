"""
The two clients: Client for threads (workers), AsyncClient for the event loop (triggerer).

Both take their decisions from ``conversation.py``. They differ in how they sleep and send.
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

#: Maximum number of concurrent requests of one AsyncClient.
IN_FLIGHT = 16

#: Default size limit of a download, in bytes.
LARGEST_DOWNLOAD = 8 * 2**30
#: Number of file keys that are remembered, to notice a repeated one. Number of requests for a new one.
REMEMBERED, TARGETS = 10_000, 3


class Client:
    """
    Blocking client for calls, uploads and downloads. Threads may share it.

    :param settings: The connection.
    :param renew: Reads the connection again after a 401, and returns None if the API key has not changed. Default None:
        a 401 is final.
    :raises ConfigurationError: The API key is missing, or the URL, proxy or CA file cannot be used.
    """

    def __init__(self, settings: Settings, *, renew: Callable[[], Settings | None] | None = None) -> None:
        self.settings = _usable(settings)
        self._renew = renew
        self._renewing = threading.Lock()
        self._stop = threading.Event()
        self._http = wire.blocking_client(settings)
        # The service may close a kept-alive connection just when a paid call is sent on it.
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
        Stop the client, from any thread: waiting calls, running transfers and all later calls raise Cancelled.

        A request that is already sent still gets its response, because the response of a paid call must not be lost.
        """
        self._stop.set()

    def send(self, call: Call[T], *, before: Callable[[], None] | None = None) -> T:
        """
        Send a call, and repeat it as far as it may be repeated.

        :param call: One of ``api.calls``.
        :param before: Called right before each request, after all waiting. If it raises, the request is not sent.
            Default None.
        :returns: The result, as ``call.read`` returns it.
        :raises RunStopped: Other calls would fail the same way: API key, payment, permission, 429, TLS, or
            :meth:`cancel`.
        :raises Unavailable: All repeats failed.
        :raises PerfectlyClearError: As ``call.read``.
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
        Upload a file, which is free: ``GET /upload``, then a PUT to the returned URL.

        :param open_body: Opens the file at its start. Called once per attempt.
        :param size: Size of the file in bytes.
        :param file_type: The service's ``fileType``: ``image`` (the default) or ``video``.
        :returns: The service's ``fileKey``.
        :raises TransferFailed: All repeats failed, also with a second URL.
        :raises InvalidSource: The file does not have ``size`` bytes.
        """
        target = self._new_target(file_type)
        if self._put_unless_expired(target.upload_url, open_body, size):
            return target.file_key
        target = self._new_target(file_type)
        self.put(target.upload_url, open_body, size=size)
        return target.file_key

    def _new_target(self, file_type: str) -> UploadTarget:
        """Ask for an upload URL. Refuse a file key that the service returned before: it would mix up two pictures."""
        for _ in range(TARGETS):
            target = self.send(calls.upload_url(file_type))
            if self._is_new(target.file_key):
                return target
            log.warning(
                "GET /upload: the response repeats file key %s. Asking for another one.",
                one_line(target.file_key, 60),
            )
        raise errors.ProtocolError(
            f"GET /upload: the service returned a known file key {TARGETS} times in a row"
        )

    def know_file_keys(self, file_keys: Iterable[str]) -> None:
        """
        Remember file keys of earlier uploads, so that the client refuses them if the service returns them again.

        :param file_keys: File keys of uploads whose jobs are not finished yet.
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
        Send a body to a signed URL, without API key and Content-Type.

        :param url: The signed URL.
        :param open_body: Opens the body at its start. Called once per attempt.
        :param size: Size of the body in bytes.
        :raises UrlExpired: The store refused the URL.
        :raises TransferFailed: All repeats failed.
        :raises InvalidSource: The body does not have ``size`` bytes.
        :raises UnsafeUrl: The URL is not safe to open.
        """
        self._transfers.put(url, open_body, size=size)

    def download(self, url: str, sink: BinaryIO, *, max_bytes: int = LARGEST_DOWNLOAD) -> Downloaded:
        """
        Download a signed URL into a file, without API key.

        :param url: The signed URL, such as a job's ``corrected_file``.
        :param sink: A file open for writing bytes. Written from its position.
        :param max_bytes: Size limit in bytes. Default 8 GiB.
        :returns: Size, headers and digest of the download.
        :raises UrlExpired: The store refused the URL. Ask the service for a fresh one.
        :raises TooLarge: The file exceeds ``max_bytes``.
        :raises TransferFailed: All repeats failed, or the file is shorter than declared.
        :raises UnsafeUrl: The URL, or a redirect's target, is not safe to open.
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
    Client for calls on an event loop. Share one per loop and connection.

    :param settings: The connection.
    :param renew: Reads the connection again after a 401, and returns None if the API key has not changed. Default None:
        a 401 is final.
    :raises ConfigurationError: The API key is missing, or the URL, proxy or CA file cannot be used.
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
        """Send a call, and repeat it as far as it may be repeated. Parameters and errors as of ``Client.send``."""
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
                outcome = Failure(Trouble.LOST, "no response in time")
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
    """Refuse settings that cannot work, or that would send the API key unencrypted."""
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
        raise errors.ConfigurationError(f"{who}: its host must be an https URL without user and password.")
    return settings


def _renewed(old: Settings, new: Settings | None) -> Settings:
    """Use a rotated API key, unless the connection has another base URL now: the old URL must not get the new key."""
    if new is None or new.base_url != old.base_url:
        return old
    return dataclasses.replace(old, api_key=new.api_key)
