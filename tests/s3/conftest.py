"""The catalog's sandbox with both of its places on a real S3 server."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.run import CatalogRun, catalog_run
from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from airflow_provider_perfectlyclear.storage import Store, open_store
from tests.s3.server import BUCKET, Server, s3_server
from tests.support.sandbox import Sandbox, jpeg


@dataclass
class SandboxOnS3(Sandbox):
    """The local folders are only used to look at what lies in the bucket."""

    server: Server = None  # type: ignore[assignment]
    prefix: str = field(default_factory=lambda: secrets.token_hex(4))
    #: Where the record lies, if not below the destination.
    record: str | None = None

    def store(self, name: str) -> Store:
        return open_store(self.server.filesystem(), f"s3://{BUCKET}/{self.prefix}/{name}")

    def put(self, *names: str) -> None:
        source = self.store("in")
        for number, name in enumerate(names):
            source.write(name, jpeg(number))

    def look_at_sources(self) -> None:
        source = self.store("in")
        for entry in source.list():
            self.sources.note(source.uri(entry.name), source.read(entry.name) or b"")

    def config(self, **more: Any) -> dict[str, Any]:
        places = {name: f"s3://{BUCKET}/{self.prefix}/{name}" for name in ("in", "out")}
        return super().config(
            source=places["in"],
            destination=places["out"],
            **({"state": self.record} if self.record else {}),
            **{"storage_options": self.server.storage_options, **more},
        )

    def catalog_run(self, key: str = "night", correction: Any = None, **options: Any) -> CatalogRun:
        self.runs.add(key)
        self.expect(key, options)
        destination = self.store("out")
        return catalog_run(
            Client(Settings(api_key=self.emulator.key, base_url=self.emulator.base_url)),
            Places(self.store("in"), destination, destination.child(".perfectlyclear")),
            Options(correction=Correction.parse(correction), **{"poll_interval": 0.1, **options}),
            key,
            title=f"run {key!r}",
        )

    @property
    def outputs(self) -> list[str]:
        names = (entry.name for entry in self.store("out").list())
        return sorted(name for name in names if not name.startswith(".perfectlyclear/"))

    def look(self) -> Path:
        """A copy of what lies in the bucket, and of the record in another."""
        copy = self.root / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        self._copy(self.store("out"), copy)
        if self.record:
            self._copy(open_store(self.server.filesystem(), self.record), copy / ".perfectlyclear")
        return copy

    def _copy(self, store: Store, copy: Path) -> None:
        for entry in store.list():
            path = copy / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(store.read(entry.name) or b"")
            if entry.modified is not None:
                os.utime(path, (entry.modified, entry.modified))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with running_emulator(job_seconds=0.3, cache="done-only", jobs=64) as running:
        yield running


@pytest.fixture
def sandbox(tmp_path: Path, emulator: Emulator, s3: Server) -> Iterator[SandboxOnS3]:
    sandbox = SandboxOnS3(tmp_path, emulator, server=s3)
    yield sandbox
    sandbox.close()
