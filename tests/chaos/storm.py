"""
A seeded storm: a random catalog, random faults of the service, random kills of the worker, as many tries as it takes.

``python -m tests.chaos.storm --seeds 500 --first 1`` runs many; a failure prints its seed. Each seed is one night
that is retried until it ends, and a second night that must have nothing left to pay.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from tests.catalog.conftest import House, jpeg
from tests.catalog.judge import judge

#: Kills happen in the first tries only; then the night must come to its end.
STORMY_TRIES = 4
TRIES = 10
# So that no seed waits for as long as a user's run may. The emulator's jobs take a fifth of a second.
CONSTANTS = {"catalog.starts.LEAST": 0.8, "catalog.starts.UNKNOWN": 0.8, "catalog.ledger.ABANDONED": 3.0}

RENDITIONS = {"web": {"long": 40}, "print": {"output_type": "png"}}
NAMES = [
    "a.jpg",
    "b/c.jpg",
    "ü #1 %.jpg",
    "new\nline.jpg",
    "😀.jpg",
    "x&y+z?.jpg",
    "d/e/f.jpg",
    "PLAIN.jpg",
    "g h.jpg",
]

FREE_ROUTES = ("upload", "put", "status", "download")
TROUBLE: tuple[dict[str, Any], ...] = (
    {"answer": {"status": 500, "body": "broken"}},
    {"answer": {"status": 503, "headers": {"Retry-After": "0"}}},
    {"answer": {"status": 429, "headers": {"Retry-After": "0"}}},
    {"reset": "before"},
    {"reset": "committed"},
)
LOST_STARTS: tuple[dict[str, Any], ...] = (
    {"reset": "before"},
    {"reset": "committed"},
    {"reset": "answering"},
    {"answer": {"status": 502, "body": "<html>", "commit": True}},
    {"answer": {"status": 503, "body": "", "commit": False}},
    {"garble": "cut_json"},
    {"garble": "html"},
)
BAD_DOWNLOADS: tuple[dict[str, Any], ...] = (
    {"close": {"when": "answering", "after": 200}},
    {"reset": "answering"},
    {"truncate": 300},
    {"expired": True},
)
KILLS = tuple(
    (route, when) for route in ("put", "pfc", "status", "download") for when in ("before", "committed")
)
DEATHS = (("os.rename", "out/"), ("os.rename", "manifest"), ("os.link", "0000004"), ("os.link", "0000007"))


class Storm:
    """
    One seed.

    :param emulator: reset before.
    :param root: an empty folder.
    """

    def __init__(self, seed: int, emulator: Emulator, root: Path) -> None:
        self.dice = random.Random(seed)
        self.house = House(root, emulator, run=f"storm/{seed}")
        self.good: list[str] = []
        self.house.source.mkdir()
        self.make_catalog()
        self.house.options = self.some_options()

    def make_catalog(self) -> None:
        chosen = self.dice.sample(NAMES, self.dice.randint(1, len(NAMES)))
        for number, name in enumerate(chosen):
            path = self.house.source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            kind = self.dice.random()
            if kind < 0.85:
                path.write_bytes(jpeg(number + 1))
                self.good.append(name)
            else:
                path.write_bytes(self.dice.choice([b"", b"no picture", jpeg(3, (300, 300))[:500]]))

    def some_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "transfers": self.dice.randint(1, 4),
            "max_in_flight": self.dice.randint(1, 8),
            "poll_interval": self.dice.choice([0.1, 0.3, 0.7]),
        }
        if self.dice.random() < 0.3:
            options["renditions"] = RENDITIONS
        return options

    def raise_trouble(self) -> None:
        """A few faults for the next try."""
        for _ in range(self.dice.randint(0, 3)):
            route = self.dice.choice(FREE_ROUTES)
            self.post(route, self.dice.choice(TROUBLE), times=self.dice.randint(1, 2))
        if self.dice.random() < 0.5:
            self.post("pfc", self.dice.choice(LOST_STARTS))
        if self.dice.random() < 0.3:
            bad = self.dice.choice(BAD_DOWNLOADS)
            self.post("status" if "expired" in bad else "download", bad)

    def post(self, route: str, do: dict[str, Any], times: int = 1) -> None:
        self.house.emulator.fault({"route": route, "nth": self.dice.randint(1, 5)}, do, times=times)

    def try_once(self, stormy: bool) -> dict[str, Any] | None:
        self.house.emulator.clear_faults()
        more: dict[str, Any] = {"constants": CONSTANTS}
        if stormy:
            self.raise_trouble()
            fate = self.dice.random()
            if fate < 0.6:
                route, when = self.dice.choice(KILLS)
                self.post(route, {"kill": {"pid": "peer", "when": when}})
            elif fate < 0.8:
                more["die_at"] = self.dice.choice(DEATHS)
        return self.house.work(**more)

    def night(self) -> dict[str, Any]:
        """Tries until one comes to its end; what its manifest says."""
        for number in range(TRIES):
            said = self.try_once(stormy=number < STORMY_TRIES)
            if said is None or said.get("error") not in (None, "CatalogFailed"):
                continue
            summary = self.summary()
            if "summary" in said or (number >= STORMY_TRIES and not self.can_change(summary)):
                return summary
        raise AssertionError(f"no end after {TRIES} tries; the last said {said}")

    def can_change(self, summary: dict[str, Any]) -> bool:
        known = ("FAILED", "REJECTED", "INVALID_SOURCE", "CORRUPT_OUTPUT", "NAME_COLLISION")
        return not all(failure["reason"].startswith(known) for failure in summary["failures"])

    def summary(self) -> dict[str, Any]:
        (manifest,) = self.house.destination.rglob("manifest.jsonl")
        summary = json.loads(manifest.read_text().splitlines()[0])["summary"]
        return {**summary, "manifest": str(manifest)}

    def play(self) -> None:
        """The night, its invariants, and the night after."""
        summary = self.night()
        judge(self.house)
        each = 2 if "renditions" in self.house.options else 1
        assert summary["corrected"] == each * len(self.good), summary
        assert len(self.house.outputs) == each * len(self.good)
        paid = self.house.accepted
        self.house.emulator.clear_faults()
        after = self.house.work(run="the night after", constants=CONSTANTS)
        assert after is not None and ("summary" in after or not self.good), after
        assert self.house.accepted == paid, "the night after paid again"


def play(seeds: range) -> list[int]:
    """Play them all; returns those that violated something."""
    bad = []
    with running_emulator(job_seconds=0.2, cache="done-only", jobs=64) as emulator:
        for seed in seeds:
            emulator.reset()
            with tempfile.TemporaryDirectory() as folder:
                try:
                    Storm(seed, emulator, Path(folder)).play()
                except Exception:  # whatever went wrong: the seed is what matters
                    print(f"seed {seed}:\n{traceback.format_exc()}", flush=True)
                    bad.append(seed)
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=1)
    chosen = parser.parse_args()
    bad = play(range(chosen.first, chosen.first + chosen.seeds))
    print(f"{chosen.seeds} seeds, {len(bad)} violations{f': {bad}' if bad else ''}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
