"""Other servers on the network: another host, a proxy, a relay. All on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit

_BUFFER = 64 * 1024


class Server:
    """
    Accepts connections, each in a thread of its own.

    :param host: to listen on.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._listener = socket.socket()
        self._listener.bind((host, 0))
        self._listener.listen()
        self.url = f"http://{host}:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # closed meanwhile
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            data = b""
            while b"\r\n\r\n" not in data:
                chunk = connection.recv(_BUFFER)
                if not chunk:
                    return
                data += chunk
            self.requests.append(data.partition(b"\r\n\r\n")[0])
            self.answer(connection, data)

    def answer(self, connection: socket.socket, data: bytes) -> None:
        """``data``: what came so far, with the whole head of the request in it."""
        raise NotImplementedError

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class OtherHost(Server):
    """Answers 200 with a web page to everything."""

    def answer(self, connection: socket.socket, data: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")


class Proxy(Server):
    """A forward proxy. Each connection serves one request."""

    def answer(self, connection: socket.socket, data: bytes) -> None:
        target = urlsplit(data.split(b" ", 2)[1].decode())
        head, _, rest = data.partition(b"\r\n\r\n")
        head = head.replace(f"{target.scheme}://{target.netloc}".encode(), b"", 1)
        head = head.replace(b"Connection: keep-alive", b"Connection: close")
        self.pipe(connection, (target.hostname or "", target.port or 80), head + b"\r\n\r\n" + rest)

    def pipe(self, connection: socket.socket, address: tuple[str, int], data: bytes) -> None:
        with socket.create_connection(address) as upstream:
            upstream.sendall(data)
            threading.Thread(target=_pour, args=(connection, upstream), daemon=True).start()
            _pour(upstream, connection)


class Relay(Proxy):
    """
    A proxy in front of one server, which passes on what it receives.

    :param url: the server's.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        super().__init__()

    def answer(self, connection: socket.socket, data: bytes) -> None:
        head, _, rest = data.partition(b"\r\n\r\n")
        self.pipe(connection, self._address, head + b"\r\nConnection: close\r\n\r\n" + rest)


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_BUFFER):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
