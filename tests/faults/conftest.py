"""One service for all faults, on two hosts, with a key that can be looked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from tests.support.sandbox import Sandbox

KEY = "canary-key-7c1e52b0"


@pytest.fixture(scope="session")
def service() -> Iterator[Emulator]:
    with running_emulator(
        job_seconds=0.2, cache="done-only", jobs=64, key=KEY, storage_host="127.0.0.2"
    ) as running:
        yield running


@pytest.fixture
def sandbox(tmp_path: Path, service: Emulator) -> Iterator[Sandbox]:
    """A sandbox of its own; the service has forgotten all that was before."""
    service.reset()
    service.set_key(KEY)
    (tmp_path / "in").mkdir()
    sandbox = Sandbox(tmp_path, service)
    yield sandbox
    sandbox.close()
