"""
The two kinds of httpx client, and the code that both clients need around a request.

- The API key is attached only here, and only to requests for the API's own origin.
- No client follows a redirect, because httpx would send ``X-API-KEY`` to the other host.
- During a request of this package, the loggers of httpx and httpcore are silent for it: they print whole URLs and
  ``Location`` headers, with signatures. This package's own logger prints the request without them.
- httpx's timeouts apply to one read each, so one byte per second would defeat them. A Deadline limits the request.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import re
import ssl
import time
import zlib
from collections.abc import Callable, Generator, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

import httpcore
import httpx

from airflow_provider_perfectlyclear import __version__, errors
from airflow_provider_perfectlyclear.api import environment
from airflow_provider_perfectlyclear.api.answers import LARGEST_BODY, Answer
from airflow_provider_perfectlyclear.api.retry import Failure, Trouble
from airflow_provider_perfectlyclear.api.settings import Settings

T = TypeVar("T")

#: Bytes per second: a transfer may take the connection's ``call_deadline``, plus one second per this many bytes.
SLOWEST_TRANSFER = 32 * 1024

_HEADERS = {"User-Agent": f"airflow-provider-perfectlyclear/{__version__}", "Accept-Encoding": "identity"}
_LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=32, keepalive_expiry=45.0)
_LOGGERS = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
)


class Deadline:
    """
    End of a request's time. Transferred bytes extend it, so that large files have enough time.

    :param seconds: Seconds from now.
    """

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Remaining seconds. Negative after the end."""
        return self._ends - time.monotonic()

    def moved(self, size: int) -> None:
        """Extend the time by the seconds that this many bytes may take."""
        self._ends += size / SLOWEST_TRANSFER


_current: ContextVar[Deadline | None] = ContextVar("perfectlyclear_request", default=None)


@contextlib.contextmanager
def on_the_wire(deadline: Deadline) -> Iterator[Deadline]:
    """Limit all reads and writes of this thread or task by a deadline, and silence httpx's loggers."""
    _silence()
    token = _current.set(deadline)
    try:
        yield deadline
    finally:
        _current.reset(token)


def _is_not_ours(record: logging.LogRecord) -> bool:
    return _current.get() is None


@functools.cache
def _silence() -> None:
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_not_ours)


class KeyAuth(httpx.Auth):
    """
    Attaches the API key, only to requests for the API's own origin.

    :param settings: The connection.
    """

    def __init__(self, settings: Settings) -> None:
        self._key = settings.api_key
        self._origin = _origin(httpx.URL(settings.base_url))

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Attach the key. httpx calls this for each request."""
        if _origin(request.url) == self._origin:
            request.headers["X-API-KEY"] = self._key
        yield request


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    port = url.port or {"https": 443, "http": 80}.get(url.scheme)
    return url.scheme, url.host, port


def blocking_client(
    settings: Settings,
    *,
    keep_alive: bool = True,
    addresses_of: Callable[[str], list[str]] | None = None,
) -> httpx.Client:
    """
    Return a client for threads, without the API key.

    :param settings: The connection.
    :param keep_alive: Whether to reuse connections. False: each request opens a new connection, which no server can be
        about to close. Default True.
    :param addresses_of: Returns the addresses to connect to for a host. Not used with a proxy, which resolves names
        itself. Default None: the system resolves names.
    :raises ConfigurationError: The proxy or the CA file cannot be used.
    """
    options = _options(settings)
    if not keep_alive:
        options["limits"] = httpx.Limits(max_connections=32, max_keepalive_connections=0)
    client = _built(lambda: httpx.Client(**options), settings)
    # httpx has no public way to limit the time of headers that arrive byte by byte.
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001
        if isinstance(transport, httpx.HTTPTransport):
            picks = addresses_of if transport is client._transport else None  # noqa: SLF001
            pool = transport._pool  # noqa: SLF001
            pool._network_backend = _Backend(pool._network_backend, picks)  # noqa: SLF001
    return client


def loop_client(settings: Settings) -> httpx.AsyncClient:
    """
    Return a client for the event loop, without the API key.

    :param settings: The connection.
    :raises ConfigurationError: The proxy or the CA file cannot be used.
    """
    return _built(lambda: httpx.AsyncClient(**_options(settings)), settings)


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "headers": _HEADERS,
        "timeout": httpx.Timeout(settings.timeout, pool=settings.call_deadline),
        "limits": _LIMITS,
        "follow_redirects": False,
        "proxy": settings.proxy,
        "verify": _built(lambda: tls_context(settings.verify), settings),
    }


def _built(build: Callable[[], T], settings: Settings) -> T:
    try:
        return build()
    except (ValueError, OSError, ImportError, httpx.InvalidURL):
        pass  # raised below without a cause: the original may quote a proxy's password
    raise errors.ConfigurationError(f"Connection {settings.name!r}: {environment.what_is_wrong(settings)}")


@functools.cache
def tls_context(verify: bool | str) -> ssl.SSLContext:
    """Return the TLS context, built once per process: building takes about 30 ms and blocks the event loop."""
    if isinstance(verify, str):
        is_folder = os.path.isdir(verify)
        return (
            ssl.create_default_context(capath=verify)
            if is_folder
            else ssl.create_default_context(cafile=verify)
        )
    return httpx.create_ssl_context(verify=verify)


def failure(error: httpx.HTTPError) -> Failure:
    """Return the meaning of an httpx exception without its text, which may contain a signed URL."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError):
        return _not_connected(error)
    if isinstance(error, httpx.TimeoutException):
        return Failure(Trouble.LOST, "no response in time")
    if isinstance(error, httpx.UnsupportedProtocol):
        return Failure(Trouble.NOT_SENT, "no http or https URL")
    return Failure(Trouble.LOST, "the connection broke off")


def _not_connected(error: httpx.HTTPError) -> Failure:
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure(Trouble.TLS, _not_trusted(cause.verify_message or "certificate not trusted"))
        if isinstance(cause, ssl.SSLError) and not isinstance(
            cause, ssl.SSLEOFError | ssl.SSLZeroReturnError
        ):
            said = (cause.reason or "TLS error").replace("_", " ").lower()
            return Failure(Trouble.TLS, f"{said}. Check host and port: the port may not use TLS")
    if any(isinstance(cause, OSError) and type(cause).__name__ == "gaierror" for cause in causes):
        return Failure(Trouble.NOT_SENT, "the host's name is not known (DNS)")
    if isinstance(error, httpx.ProxyError):
        return Failure(Trouble.NOT_SENT, "the proxy refused")
    timed_out = isinstance(error, httpx.TimeoutException)
    return Failure(Trouble.NOT_SENT, "no connection in time" if timed_out else "the connection was refused")


def _not_trusted(said: str) -> str:
    said = said.rstrip(".")
    if "mismatch" in said.lower():
        return f"{said}. Check the host: the certificate belongs to another host"
    return f"{said}. Put the CA that signed it into the connection's 'verify'"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class Body:
    """
    Body of a JSON response while it arrives: at most ``LARGEST_BODY`` bytes, also if it is compressed.

    :param encoding: The response's Content-Encoding. The client asks for none, but a gateway may compress all the same.
    """

    def __init__(self, encoding: str | None) -> None:
        packed = (encoding or "").strip().lower() in ("gzip", "x-gzip", "deflate")
        self._unpack = zlib.decompressobj(wbits=47) if packed else None
        self._parts: list[bytes] = []
        self._room = LARGEST_BODY

    def add(self, chunk: bytes) -> bool:
        """Add the next bytes. Return False if there is no room for more."""
        if self._unpack is not None:
            try:
                chunk = self._unpack.decompress(chunk, self._room)
            except zlib.error:
                return False
        self._parts.append(chunk[: self._room])
        self._room -= len(self._parts[-1])
        return self._room > 0

    def answer(self, response: httpx.Response, key: str) -> Answer:
        """
        Return the response with the API key masked: a service may repeat the key in an error message.

        :param response: The response, for its status and headers.
        :param key: The API key.
        """
        body = _in_utf8(b"".join(self._parts))
        if len(key) >= 8:
            body = _spellings(key).sub(b"***", body) if b"\\" in body else body.replace(key.encode(), b"***")
        return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)


def _in_utf8(body: bytes) -> bytes:
    """Return the body in UTF-8. In UTF-16 and UTF-32, keys and signatures would not be found."""
    encoding = json.detect_encoding(body)
    return body if encoding.startswith("utf-8") else body.decode(encoding, "replace").encode()


def _spellings(key: str) -> re.Pattern[bytes]:
    r"""Return a pattern for the key, also with JSON escapes: ``\/``, ``\u002b``."""
    letters = (rf"(?:\\?{re.escape(letter)}|\\u00{ord(letter):02x})" for letter in key)
    return re.compile("".join(letters).encode(), re.IGNORECASE)


def _bounded(timeout: float | None, over: type[Exception]) -> float | None:
    deadline = _current.get()
    if deadline is None:
        return timeout
    if (left := deadline.left) <= 0:
        raise over("over the deadline")
    return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    """Connection whose reads and writes end at the deadline of their request."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self.heard = Heard()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, _bounded(timeout, httpcore.ReadTimeout))
        self.heard.add(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.heard = Heard()
        self._stream.write(buffer, _bounded(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout = _bounded(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class Heard:
    """
    Bytes that were received on a connection since the last request.

    If there are more than the response's, a proxy repeats or mixes up responses, and the next request on this
    connection would get the rest as its response.
    """

    def __init__(self) -> None:
        self._size = 0
        self._head: bytes | None = b""
        self._head_size = 0

    def add(self, data: bytes) -> None:
        """Count bytes that were read."""
        self._size += len(data)
        if self._head is None:
            return
        self._head += data
        if (end := self._head.find(b"\r\n\r\n")) >= 0 or len(self._head) > 2**17:
            self._head_size, self._head = end + 4, None

    def has_left_over(self, response: httpx.Response) -> bool:
        """Return whether there were more bytes than this response, which has been read to its end."""
        declared = response.headers.get("content-length", "")
        if not declared.isdecimal() or self._head is not None or response.is_informational:
            return False
        return self._size > self._head_size + int(declared)


def drop_if_left_over(response: httpx.Response) -> None:
    """Close a connection that received more than its response. The pool then opens another one."""
    stream = response.extensions.get("network_stream")
    if isinstance(stream, _Stream) and stream.heard.has_left_over(response):
        stream.close()


class _Backend(httpcore.NetworkBackend):
    def __init__(
        self, backend: httpcore.NetworkBackend, addresses_of: Callable[[str], list[str]] | None = None
    ) -> None:
        self._backend = backend
        self._addresses_of = addresses_of or (lambda host: [host])

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        addresses = self._addresses_of(host)
        for number, address in enumerate(addresses, 1):
            left = _bounded(timeout, httpcore.ConnectTimeout)
            try:
                return _Stream(self._backend.connect_tcp(address, port, left, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise httpcore.ConnectError("no address")
