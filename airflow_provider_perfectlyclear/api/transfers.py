"""Uploads to and downloads from signed URLs of the service's store: streamed, limited, without the API key."""

from __future__ import annotations

import hashlib
import itertools
import logging
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

import httpx

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import retry, wire
from airflow_provider_perfectlyclear.api.retry import Trouble
from airflow_provider_perfectlyclear.api.safety import Guard
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.api.text import without_query

log = logging.getLogger(__name__)

R = TypeVar("R")

OpenBody = Callable[[], BinaryIO]

_CHUNK = 64 * 1024
_MD5 = re.compile(r"[0-9a-f]{32}")
_REDIRECTS = 3

# Responses of object stores to an expired signature or a deleted object.
_EXPIRED = frozenset({400, 401, 403, 404, 410})


@dataclass(frozen=True)
class Downloaded:
    """
    Result of a download.

    :param size: Number of bytes.
    :param declared: The Content-Length in bytes. None: the store sent none.
    :param content_type: The Content-Type. None: the store sent none.
    :param etag: The ETag without quotes. None: the store sent none.
    :param sha256: Hex digest of the bytes.
    """

    size: int
    declared: int | None
    content_type: str | None
    etag: str | None
    sha256: str


@dataclass(frozen=True)
class _Setback:
    """
    A failed transfer.

    :param error: The error to raise if there is no further attempt.
    :param again: Whether another attempt may succeed.
    :param asked: Seconds to wait, as the store asks in Retry-After. Default None.
    """

    error: errors.PerfectlyClearError
    again: bool
    asked: float | None = None


class Transfers:
    """
    Uploads and downloads with signed URLs.

    :param settings: The connection. Its API key is not used.
    :param pause: Sleeps for a number of seconds, or raises Cancelled.
    """

    def __init__(self, settings: Settings, pause: Callable[[float], None]) -> None:
        self._settings = settings
        self._pause = pause
        self._guard = Guard(settings)
        self._http = wire.blocking_client(settings, addresses_of=self._guard.addresses_of)
        self._etags_are_md5 = True  # until one is not

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def put(self, url: str, open_body: OpenBody, *, size: int) -> None:
        """
        Send a body to a signed URL, with its length and without Content-Type.

        :param url: The signed URL.
        :param open_body: Opens the body at its start. Called once per attempt.
        :param size: Size of the body in bytes.
        :raises UrlExpired: The store refused the URL.
        :raises TransferFailed: All repeats failed.
        :raises InvalidSource: The body does not have ``size`` bytes, because it has changed.
        :raises UnsafeUrl: The URL, or a redirect's target, is not safe to open.
        """
        self._persist(lambda: self._put_following(url, open_body, size))

    def download(self, url: str, sink: BinaryIO, *, max_bytes: int) -> Downloaded:
        """
        Download a signed URL into a file. After the first bytes, an attempt is not repeated here.

        :param url: The signed URL.
        :param sink: A file open for writing bytes. Written from its position.
        :param max_bytes: Size limit in bytes.
        :returns: Size, headers and digest of the download.
        :raises UrlExpired: The store refused the URL. Ask the service for a fresh one.
        :raises TooLarge: The file exceeds ``max_bytes``.
        :raises TransferFailed: All repeats failed, or the file is shorter than declared.
        :raises UnsafeUrl: The URL, or a redirect's target, is not safe to open.
        """
        return self._persist(lambda: self._get_once(url, sink, max_bytes))

    def _persist(self, once: Callable[[], R | _Setback]) -> R:
        for attempt in itertools.count():
            self._pause(0)
            result = once()
            if not isinstance(result, _Setback):
                return result
            wait = retry.wait_before_repeat(
                attempt,
                repeatable=result.again,
                max_retries=self._settings.max_retries,
                dice=random.random,
                asked=result.asked,
            )
            if wait is None:
                raise result.error
            log.debug("Again in %.1f s: %s", wait, result.error)
            self._pause(wait)
        raise AssertionError("unreachable")

    def _put_following(self, url: str, open_body: OpenBody, size: int) -> _Setback | None:
        """Send the body and follow redirects that keep the method (307, 308). Check each target."""
        target = self._guard.check(url)
        for _ in range(_REDIRECTS + 1):
            result = self._put_once(target, open_body, size)
            if not isinstance(result, httpx.URL):
                return result
            target = self._guard.check(str(result))
        return _Setback(errors.TransferFailed(f"upload of {_name(target)}: too many redirects"), again=False)

    def _put_once(self, url: httpx.URL, open_body: OpenBody, size: int) -> _Setback | httpx.URL | None:
        with open_body() as body, wire.on_the_wire(wire.Deadline(self._settings.call_deadline)) as deadline:
            digest = hashlib.md5(usedforsecurity=False)
            content = self._chunks(body, size, deadline, digest)
            try:
                with self._http.stream(
                    "PUT", url, content=content, headers={"Content-Length": str(size)}
                ) as response:
                    log.debug("PUT %s -> %s", without_query(str(url)), response.status_code)
                    if response.status_code in (307, 308) and "location" in response.headers:
                        return _next(url, response.headers["location"])
                    if not response.is_success:
                        return self._refused("upload", response)
                    self._compare(response, digest.hexdigest())
                    return None
            except httpx.HTTPError as error:
                failure = wire.failure(error)
        return self._broke_off("upload", url, failure)

    def _compare(self, response: httpx.Response, md5: str) -> None:
        """Warn once if the store's ETag is the MD5 of other bytes. The service checks the file when it reads it."""
        etag = response.headers.get("etag", "").strip('"')
        if self._etags_are_md5 and _MD5.fullmatch(etag) and etag != md5:
            self._etags_are_md5 = False
            log.warning(
                "upload of %s: the store's ETag is not the MD5 of what was sent. It encrypts what it stores, or has "
                "stored something else; the service says if it cannot read it. This is said once.",
                _name(response.url),
            )

    def _chunks(
        self, body: BinaryIO, size: int, deadline: wire.Deadline, digest: hashlib._Hash
    ) -> Iterator[bytes]:
        left = size
        while chunk := body.read(_CHUNK):
            self._pause(0)
            digest.update(chunk)
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
            deadline.moved(len(chunk))
        if left:
            word = "less" if left > 0 else "more"
            raise errors.InvalidSource(
                f"the file has {word} than the {size} bytes it had", code="SOURCE_CHANGED"
            )

    def _get_once(self, url: str, sink: BinaryIO, max_bytes: int) -> Downloaded | _Setback:
        target = self._guard.check(url)
        for _ in range(_REDIRECTS + 1):
            result = self._get(target, sink, max_bytes)
            if not isinstance(result, httpx.URL):
                return result
            target = self._guard.check(str(result))
        return _Setback(
            errors.TransferFailed(f"download of {_name(target)}: too many redirects"), again=False
        )

    def _get(self, url: httpx.URL, sink: BinaryIO, max_bytes: int) -> Downloaded | _Setback | httpx.URL:
        pour = _Pour(sink, max_bytes)
        with wire.on_the_wire(wire.Deadline(self._settings.call_deadline)) as deadline:
            try:
                with self._http.stream("GET", url) as response:
                    log.debug("GET %s -> %s", without_query(str(url)), response.status_code)
                    if response.is_redirect and response.next_request:
                        return response.next_request.url
                    if response.status_code != 200:
                        return self._refused("download", response)
                    return self._receive(response, pour, deadline)
            except httpx.HTTPError as error:
                failure = wire.failure(error)
        return self._broke_off("download", url, failure, pour)

    def _receive(
        self, response: httpx.Response, pour: _Pour, deadline: wire.Deadline
    ) -> Downloaded | _Setback:
        declared = _length(response)
        if packed := response.headers.get("content-encoding", "identity").lower().replace("identity", ""):
            return _Setback(
                errors.TransferFailed(f"download of {_name(response.url)}: packed as {packed!r}"), again=False
            )
        if declared is not None and declared > pour.most:
            return self._too_large(response, pour)
        for chunk in response.iter_raw():
            self._pause(0)
            deadline.moved(len(chunk))
            if not pour.add(chunk):
                return self._too_large(response, pour)
        return Downloaded(
            size=pour.size,
            declared=declared,
            content_type=response.headers.get("content-type"),
            etag=(response.headers.get("etag") or "").strip('"') or None,
            sha256=pour.digest.hexdigest(),
        )

    def _too_large(self, response: httpx.Response, pour: _Pour) -> _Setback:
        said = f"download of {_name(response.url)}: larger than {pour.most} bytes"
        return _Setback(errors.TooLarge(said), again=False)

    def _refused(self, what: str, response: httpx.Response) -> _Setback:
        """Return the failure of a store's response. Quotes only its code, because its body may repeat signatures."""
        status = response.status_code
        said = f"{what} of {_name(response.url)}: the store answered HTTP {status}{_store_code(response)}"
        if status in _EXPIRED:
            kind = errors.UrlGone if status in (404, 410) else errors.UrlExpired
            return _Setback(kind(said), again=False)
        asked = retry.retry_after(response.headers.get("retry-after"), retry.wall_clock())
        again = status >= 500 or status in (408, 429)
        return _Setback(errors.TransferFailed(said), again, asked)

    def _broke_off(
        self, what: str, url: httpx.URL, failure: retry.Failure, pour: _Pour | None = None
    ) -> _Setback:
        said = f"{what} of {_name(url)}: {failure.why}"
        if failure.trouble is Trouble.TLS:
            return _Setback(errors.TlsError(f"Connection {self._settings.name!r}: {said}"), again=False)
        if pour is not None and pour.size:
            return _Setback(errors.TransferFailed(f"{said} after {pour.size} bytes"), again=False)
        return _Setback(errors.TransferFailed(said), again=True)


class _Pour:
    """Writes, counts and hashes the bytes of a download."""

    def __init__(self, sink: BinaryIO, most: int) -> None:
        self._sink = sink
        self.most = most
        self.size = 0
        self.digest = hashlib.sha256()

    def add(self, chunk: bytes) -> bool:
        self.size += len(chunk)
        if self.size > self.most:
            return False
        self.digest.update(chunk)
        self._sink.write(chunk)
        return True


def _next(url: httpx.URL, location: str) -> httpx.URL:
    """Return a redirect's target. If it is not a URL, return one that the guard refuses."""
    try:
        return url.join(location)
    except (httpx.InvalidURL, ValueError):
        return httpx.URL("invalid:")


def _name(url: httpx.URL) -> str:
    return without_query(str(url))


def _length(response: httpx.Response) -> int | None:
    value = response.headers.get("content-length", "")
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else None


def _store_code(response: httpx.Response) -> str:
    """Return the ``<Code>`` of an S3-like error, such as AccessDenied."""
    first = next(iter(response.iter_raw(4096)), b"")
    found = re.search(rb"<Code>([A-Za-z]{1,60})</Code>", first)
    return f" ({found[1].decode()})" if found else ""
