"""Real pictures, a real service, real workers."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.report import Summary
from airflow_provider_perfectlyclear.catalog.run import CatalogRun
from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from airflow_provider_perfectlyclear.storage import Store

WORKER = Path(__file__).with_name("worker.py")


def jpeg(seed: int = 0, size: tuple[int, int] = (64, 48)) -> bytes:
    """A small real picture, unlike any other seed's."""
    picture = Image.radial_gradient("L").resize(size).convert("RGB")
    picture.putpixel((seed % size[0], seed // size[0] % size[1]), (255, seed % 256, 0))
    picture.paste((seed * 37 % 256, seed * 91 % 256, seed % 256), (0, 0, 8, 8))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=95)
    return data.getvalue()


@dataclass
class House:
    """A source, a destination, a service, and workers that correct the one into the other."""

    root: Path
    emulator: Emulator
    options: dict[str, Any] = field(default_factory=dict)
    run: str = "nightly/2026-11-22/correct/-1"

    @property
    def source(self) -> Path:
        return self.root / "in"

    @property
    def destination(self) -> Path:
        return self.root / "out"

    def put(self, *names: str) -> None:
        """Real pictures under these names, each different."""
        for number, name in enumerate(names):
            path = self.source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(number + len(list(self.source.iterdir()))))

    def config(self, **more: Any) -> dict[str, Any]:
        return {
            "source": str(self.source),
            "destination": str(self.destination),
            "base_url": self.emulator.base_url,
            "key": self.emulator.key,
            "run": self.run,
            "options": self.options,
            **more,
        }

    def start(self, **more: Any) -> subprocess.Popen[str]:
        """A worker that runs by itself; its log goes to ``worker.log``."""
        temporary = self.root / "tmp"  # its spool is judged afterwards
        temporary.mkdir(exist_ok=True)
        command = [sys.executable, str(WORKER), json.dumps(self.config(**more))]
        with open(self.root / "worker.log", "a") as log:
            return subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "TMPDIR": str(temporary)},
            )

    def work(self, **more: Any) -> dict[str, Any] | None:
        """One try: what it said, or None when it was killed."""
        process = self.start(**more)
        out, _ = process.communicate(timeout=240)
        lines = [line for line in out.splitlines() if line != "ready"]
        if process.returncode == -9:
            return None
        assert process.returncode == 0, (self.root / "worker.log").read_text()[-4000:]
        return dict(json.loads(lines[-1]))

    def catalog_run(self, key: str = "night", correction: Any = None, **options: Any) -> CatalogRun:
        """A run in this process."""
        renditions = options.pop("renditions", None)
        if renditions:
            options["renditions"] = {name: Correction.parse(value) for name, value in renditions.items()}
        destination = Store.local(self.destination)
        return CatalogRun(
            client=Client(Settings(api_key=self.emulator.key, base_url=self.emulator.base_url)),
            source=Store.local(self.source),
            destination=destination,
            state=destination.child(".perfectlyclear"),
            run_key=key,
            options=Options(correction=Correction.parse(correction), **{"poll_interval": 0.1, **options}),
            title=f"run {key!r}",
        )

    def correct(self, key: str = "night", correction: Any = None, **options: Any) -> dict[str, Any]:
        """Run in this process, to the end."""
        outcome = self.catalog_run(key, correction, **options).execute()
        assert isinstance(outcome, Summary)
        return outcome.data

    @property
    def accepted(self) -> int:
        """How many paid calls the service has accepted."""
        return int(self.emulator.bill(summary=True)["accepted"])

    @property
    def outputs(self) -> list[str]:
        """The names at the destination, without the state folder."""
        found = (path for path in self.destination.rglob("*") if path.is_file())
        names = (path.relative_to(self.destination).as_posix() for path in found)
        return sorted(name for name in names if not name.startswith(".perfectlyclear/"))


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with running_emulator(job_seconds=0.3, cache="done-only", jobs=64) as running:
        yield running


@pytest.fixture
def house(tmp_path: Path, emulator: Emulator) -> House:
    (tmp_path / "in").mkdir()
    return House(tmp_path, emulator)
