"""Real pictures, a real service, real workers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.result import Finished
from airflow_provider_perfectlyclear.catalog.run import CatalogRun, catalog_run
from airflow_provider_perfectlyclear.emulator.testing import Emulator
from airflow_provider_perfectlyclear.storage import LocalStore
from tests.support.marks import marked, metadata
from tests.support.sources import Sources
from tests.support.workers import Worker


def jpeg(seed: int = 0, size: tuple[int, int] = (64, 48)) -> bytes:
    """A small real picture, unlike any other seed's: it carries the seed as its mark."""
    picture = marked(Image.radial_gradient("L").resize(size), seed)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=95, exif=metadata(seed))
    return data.getvalue()


#: Ways to ask by name for what was paid before.
BY_NAME = ("missing", "always", "failed")
#: With one of these a run does not look at all pictures, does not name all, or names them otherwise.
PARTIAL = {"pattern", "exclude", "min_age", "shard", "renditions", "name_template", "manifest", "plan_only"}


@dataclass
class Sandbox:
    """A source, a destination, a service, and workers that correct the one into the other."""

    root: Path
    emulator: Emulator
    options: dict[str, Any] = field(default_factory=dict)
    run: str = "nightly/2026-11-22/correct/-1"

    #: The keys of all runs.
    runs: set[str] = field(default_factory=set)
    #: What each worker said at its end.
    tries: list[dict[str, Any]] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)

    #: What the sources have had.
    sources: Sources = field(default_factory=Sources)
    #: Runs (as the ends of their folders' names) that were allowed to pay for what was paid before.
    asked_by_name: set[str] = field(default_factory=set)
    #: Runs that were not to do everything.
    limited: set[str] = field(default_factory=set)
    #: Runs that look at the whole source -> the pictures that lay there when they began.
    listings: dict[str, set[str]] = field(default_factory=dict)
    #: Of single pictures: (run, name) -> what it said to have paid.
    singles: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    #: Outputs whose download a fault has replaced by other bytes.
    altered: set[str] = field(default_factory=set)
    #: Outputs that the test has taken away after the last run.
    taken: set[str] = field(default_factory=set)

    @property
    def log(self) -> Path:
        """Of all workers, at DEBUG."""
        return self.root / "worker.log"

    @property
    def temporary(self) -> Path:
        """The workers' folder for temporary files."""
        return self.root / "tmp"

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

    def start(self, **more: Any) -> Worker:
        """A worker that runs by itself."""
        config = self.config(**more)
        self.runs.add(config["run"])
        whole = not {"files", "pictures", "resume"} & config.keys() and config["source"] == str(self.source)
        self.expect(config["run"], config["options"], whole=whole)
        started = Worker(config, log=self.log, temporary=self.temporary)
        self.workers.append(started)
        return started

    def end(self, worker: Worker, seconds: float = 60.0) -> dict[str, Any] | None:
        """What a worker said at its end; None if it was killed."""
        said = worker.end(seconds)
        if said is not None:
            self.tries.append(said)
            for name, facts in said.get("facts", {}).items():
                self.singles[said["run"], name] = facts
        return said

    def expect(self, run: str, options: Mapping[str, Any], *, whole: bool = False) -> None:
        """
        A run begins: note what lies at the source, and what it may do.

        :param whole: whether it lists the source anew.
        """
        self.look_at_sources()
        by_name = options.get("reprocess") in BY_NAME or options.get("on_ambiguous") == "restart"
        named = sha256(run.encode()).hexdigest()[:8]
        if by_name or options.get("max_paid_again") is not None:
            self.asked_by_name.add(named)
        if options.get("limit") is not None or options.get("timeout") is not None:
            self.limited.add(named)
        if whole and not options.keys() & PARTIAL:
            self.listings[named] = set(self.sources.pictures(self.source))

    def look_at_sources(self) -> None:
        """Note what lies at the source now."""
        self.sources.look_at(self.source)

    def work(self, *, within: float = 60.0, **more: Any) -> dict[str, Any] | None:
        """One try: what it said, or None when it was killed. ``within``: seconds that it may take."""
        return self.end(self.start(**more), within)

    def close(self) -> None:
        """No worker outlives its test."""
        for worker in self.workers:
            worker.kill()

    def look(self) -> Path:
        """Where what lies at the destination can be looked at."""
        return self.destination

    def catalog_run(self, key: str = "night", correction: Any = None, **options: Any) -> CatalogRun:
        """A run in this process."""
        self.runs.add(key)
        self.expect(key, options)
        renditions = options.pop("renditions", None)
        if renditions:
            options["renditions"] = {name: Correction.parse(value) for name, value in renditions.items()}
        destination = LocalStore(self.destination)
        return catalog_run(
            Client(Settings(api_key=self.emulator.key, base_url=self.emulator.base_url)),
            Places(LocalStore(self.source), destination, destination.child(".perfectlyclear")),
            Options(correction=Correction.parse(correction), **{"poll_interval": 0.1, **options}),
            key,
            title=f"run {key!r}",
        )

    def correct(self, key: str = "night", correction: Any = None, **options: Any) -> dict[str, Any]:
        """Run in this process, to the end."""
        outcome = self.catalog_run(key, correction, **options).execute()
        assert isinstance(outcome, Finished)
        return outcome.data

    def evidence(self) -> Iterator[tuple[str, bytes]]:
        """All that was said and logged: where, and what. What is named ``log...`` is read by people."""
        yield "what was said", json.dumps(self.tries).encode()
        if self.log.exists():
            yield "log", self.log.read_bytes()

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
