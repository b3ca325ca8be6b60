"""The service (an emulator in a process of its own), a folder of pictures, and a sandbox for runs."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before anything imports Airflow, which makes a folder and a configuration file where this points.
if "AIRFLOW_HOME" not in os.environ:
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

import pytest

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from tests.support.account import CONN_ID, KEY, picture
from tests.support.sandbox import Sandbox


@pytest.fixture(scope="session")
def one_emulator() -> Iterator[Emulator]:
    with running_emulator(key=KEY, job_seconds=0.2) as emulator:
        yield emulator


@pytest.fixture
def service(one_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The service as new, which the connection ``pc`` leads to."""
    one_emulator.reset()
    one_emulator.set_key(KEY)
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", one_emulator.connection_json())
    yield one_emulator


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three pictures."""
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    for name, colour in (("a.jpg", "teal"), ("b/ü #1 %.jpg", "maroon"), ("b/c.jpg", "gold")):
        (folder / name).write_bytes(picture(colour))
    return folder


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
