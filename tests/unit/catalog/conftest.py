"""A source, a destination and a service for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from tests.support.sandbox import Sandbox


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with running_emulator(job_seconds=0.3, cache="done-only", jobs=64) as running:
        yield running


@pytest.fixture
def sandbox(tmp_path: Path, emulator: Emulator) -> Iterator[Sandbox]:
    (tmp_path / "in").mkdir()
    sandbox = Sandbox(tmp_path, emulator)
    yield sandbox
    sandbox.close()
