from __future__ import annotations

import importlib.util
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from airflow_provider_perfectlyclear.emulator.testing import (
    Emulator,
    perfectlyclear_emulator,
    running_emulator,
)

__all__ = ["perfectlyclear_emulator"]

DEADLINE_SECONDS = 20.0


class Caller:
    """A client of the emulator that knows nothing but the reference."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.base = emulator.base_url
        # Following a redirect or a proxy by itself would hide what the emulator said.
        self.api = httpx.Client(
            headers={"X-API-KEY": emulator.key}, trust_env=False, verify=False, timeout=60
        )
        self.http = httpx.Client(trust_env=False, verify=False, timeout=60)

    def close(self) -> None:
        self.api.close()
        self.http.close()

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.api.get(self.base + path, params=params)

    def upload(self, data: bytes, file_type: str = "image") -> str:
        slot = self.get("/upload", fileType=file_type).json()
        assert self.http.put(slot["upload_url"], content=data).status_code == 200
        return str(slot["fileKey"])

    def pfc(self, file_key: str, **params: Any) -> httpx.Response:
        return self.get("/pfc", fileKey=file_key, **params)

    def start(self, file_key: str, **params: Any) -> str:
        """The job's id."""
        answer = self.pfc(file_key, **params)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["statusEndpoint"].rsplit("/", 1)[1])

    def status(self, job_id: str, **params: Any) -> httpx.Response:
        return self.http.get(f"{self.base}/status/{job_id}", params=params)

    def finished(self, job_id: str) -> dict[str, Any]:
        """Ask until the job is over."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            view: dict[str, Any] = self.status(job_id, noRedirect="true").json()
            if view["status"] not in ("PENDING", "PROCESSING"):
                return view
        raise AssertionError(f"job {job_id} is still open")

    def corrected(self, data: bytes, **params: Any) -> tuple[dict[str, Any], bytes]:
        """Correct a picture: the final status and the file."""
        view = self.finished(self.start(self.upload(data), **params))
        assert view["status"] == "COMPLETED", view
        answer = self.http.get(view["correctedFile"])
        assert answer.status_code == 200
        return view, answer.content


@pytest.fixture(scope="session")
def process() -> Iterator[Emulator]:
    with running_emulator(storage_host="127.0.0.2", job_seconds=0) as emulator:
        yield emulator


@pytest.fixture
def emulator(process: Emulator) -> Iterator[Emulator]:
    """A blank one. What a test told it to do must have happened by its end."""
    process.reset()
    process.set_key(None)
    yield process
    assert process.unconsumed() == []


@pytest.fixture
def caller(emulator: Emulator) -> Iterator[Caller]:
    caller = Caller(emulator)
    yield caller
    caller.close()


@pytest.fixture
def started() -> Iterator[Callable[..., Caller]]:
    """Start emulators with options of the test's own."""
    running = []
    callers = []

    def start(**options: Any) -> Caller:
        context = running_emulator(**{"storage_host": "127.0.0.2", "job_seconds": 0, **options})
        running.append(context)
        callers.append(Caller(context.__enter__()))
        return callers[-1]

    yield start
    for caller in callers:
        caller.close()
    for context in running:
        context.__exit__(None, None, None)


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((120, 80)).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The photographs inside the scikit-image wheel."""
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        pytest.skip("scikit-image, whose wheel holds real photographs, is not installed")
    return Path(found.origin).parent / "data"
