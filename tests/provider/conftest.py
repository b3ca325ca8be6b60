"""The service (an emulator in a process of its own), pictures, and a task instance to run operators in."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Before anything imports Airflow, which makes a folder and a configuration file where this points.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))

import pytest
from PIL import Image

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator

CONN_ID = "pc"
KEY = "canary-7f3e9a-key"


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


def picture(colour: str = "teal") -> bytes:
    """A small photograph's stand-in."""
    image = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
    image.paste(Image.new("RGB", (30, 20), colour), (10, 10))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three pictures."""
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    for name, colour in (("a.jpg", "teal"), ("b/ü #1 %.jpg", "maroon"), ("b/c.jpg", "gold")):
        (folder / name).write_bytes(picture(colour))
    return folder


def a_context(task_id: str = "task", run_id: str = "manual__1") -> Any:
    """What an operator reads of its context."""
    return {"ti": SimpleNamespace(dag_id="dag", run_id=run_id, task_id=task_id, map_index=-1)}
