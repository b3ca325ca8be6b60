"""Two origins on two sockets in one process, from the first request to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from airflow_provider_perfectlyclear.emulator.app import Emulation
from airflow_provider_perfectlyclear.emulator.routes.api import Api
from airflow_provider_perfectlyclear.emulator.routes.storage import Storage
from airflow_provider_perfectlyclear.emulator.service.core import Service
from airflow_provider_perfectlyclear.emulator.service.options import Options
from airflow_provider_perfectlyclear.emulator.transport.gate import Gate
from airflow_provider_perfectlyclear.emulator.transport.signing import Signer
from airflow_provider_perfectlyclear.emulator.transport.sockets import OpenProtocol

# Requests that a fault keeps silent or dripping have this long to end when the emulator is told to.
GRACE_SECONDS = 0.2
KEEP_ALIVE_SECONDS = 75.0


@dataclass(frozen=True)
class Listen:
    """
    Where to listen.

    :param host: of the API.
    :param port: of the API; 0 for any free one.
    :param storage_host: of the storage.
    :param storage_port: of the storage; 0 for any free one.
    :param certificate: PEM file, to speak https on both.
    :param certificate_key: PEM file.
    :param keep_alive: seconds after which a kept connection is closed.
    :param names: that it may be called by, beside ``localhost`` and addresses.
    """

    host: str = "127.0.0.1"
    port: int = 0
    storage_host: str = "127.0.0.1"
    storage_port: int = 0
    certificate: Path | None = None
    certificate_key: Path | None = None
    keep_alive: float = KEEP_ALIVE_SECONDS
    names: tuple[str, ...] = ()

    @property
    def scheme(self) -> str:
        """What it speaks."""
        return "https" if self.certificate else "http"


class Server(uvicorn.Server):
    """Uvicorn's server, leaving signals to the emulator: it would end by the signal instead of with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets=sockets)
        self.ready.set()

    def __init__(self, app: ASGIApp, listen: Listen) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=OpenProtocol,
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                log_level="critical",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                ssl_certfile=listen.certificate,
                ssl_keyfile=listen.certificate_key,
                timeout_keep_alive=listen.keep_alive,  # type: ignore[arg-type]  # a float works, too
                timeout_graceful_shutdown=GRACE_SECONDS,  # type: ignore[arg-type]  # likewise
            )
        )
        self.ready = asyncio.Event()


def listening_socket(host: str, port: int, *, option: str) -> socket.socket:
    """
    Bind a socket of this machine alone.

    :param host: an address of the loopback network.
    :param port: 0 for any free one.
    :param option: the command line's for the port, for messages.
    :raises ValueError: another address: the emulator demands no real key and obeys every client. Or the port is taken.
    """
    if host != "localhost" and not _is_loopback(host):
        raise ValueError(
            f"The emulator listens on loopback only (127.0.0.1, 127.0.0.2, ...), not on {host!r}."
        )
    # Named in full: asyncio switches Nagle's algorithm off only for sockets that say they are TCP.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise ValueError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Set {option} to another port; {option} 0 takes any "
            "free one."
        ) from error
    return sock


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False


def origin(scheme: str, sock: socket.socket) -> str:
    """Return the URL of what listens on a socket."""
    host, port = sock.getsockname()[:2]
    return f"{scheme}://{host}:{port}"


async def serve(
    options: Options, listen: Listen, *, announce: Callable[[Emulation], None], exit_with_parent: bool = False
) -> None:
    """
    Run the emulator until SIGTERM or SIGINT.

    :param options: of the service.
    :param listen: where.
    :param announce: called with the :class:`Emulation` once both origins answer.
    :param exit_with_parent: end as well when standard input ends.
    """
    api_socket = listening_socket(listen.host, listen.port, option="--port")
    storage_socket = listening_socket(listen.storage_host, listen.storage_port, option="--storage-port")
    service = Service(options)
    api_origin, storage_origin = origin(listen.scheme, api_socket), origin(listen.scheme, storage_socket)
    emulation = Emulation(service, Signer(options.url_seconds), f"{api_origin}/v2", storage_origin)
    apps = Api(emulation).router(), Storage(emulation).router()
    servers = tuple(Server(Gate(app, listen.names), listen) for app in apps)
    _end_on_request(servers, exit_with_parent)
    try:
        running = [
            asyncio.create_task(server.serve([sock]))
            for server, sock in zip(servers, (api_socket, storage_socket), strict=True)
        ]
        for server in servers:
            await server.ready.wait()
        announce(emulation)
        await asyncio.gather(*running)
    finally:
        service.close()


def _end_on_request(servers: Sequence[Server], exit_with_parent: bool) -> None:
    loop = asyncio.get_running_loop()

    def end() -> None:
        for server in servers:
            server.should_exit = True

    def parent_wrote() -> None:
        if not os.read(0, 1024):
            loop.remove_reader(0)
            end()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    if exit_with_parent:
        loop.add_reader(0, parent_wrote)
