"""
100,000 tiny pictures through one task that is killed in the middle, with a few faults on the way.

``python -m tests.chaos.hundred_thousand --pictures 100000`` says how long it took, by how much the worker grew, and
what was paid; the invariants are checked over all that is left. The emulator only echoes (``--echo``).
"""

from __future__ import annotations

import argparse
import io
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from tests.chaos.storm import folder_for_sandboxes
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox

#: No pause of a real run's length after a lost start.
CONSTANTS = {"catalog.engine.start_queue.LEAST": 2.0}
TROUBLE = (
    ("upload", {"answer": {"status": 503, "headers": {"Retry-After": "0"}}}),
    ("put", {"reset": "committed"}),
    ("pfc", {"reset": "committed"}),
    ("pfc", {"garble": "html"}),
    ("status", {"garble": "cut_json"}),
    ("status", {"answer": {"status": 429, "headers": {"Retry-After": "1"}}}),
    ("download", {"reset": "answering"}),
    ("download", {"answer": {"status": 500}}),
)
HOURS = 6.0


def make_pictures(folder: Path, number: int) -> None:
    """Real pictures of 16 x 16, each with another comment in it."""
    data = io.BytesIO()
    Image.radial_gradient("L").resize((16, 16)).save(data, "JPEG")
    start, rest = data.getvalue()[:2], data.getvalue()[2:]
    for each in range(number):
        path = folder / f"{each // 1000:03d}" / f"{each:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(start + b"\xff\xfe\x00\x0a%08d" % each + rest)


def spoil(emulator: Emulator, number: int, dice: random.Random) -> None:
    """Each kind of fault once in the first half, and once in the second."""
    for route, do in TROUBLE * 2:
        emulator.fault({"route": route, "nth": dice.randint(1, max(1, number // 2))}, do)
    emulator.fault({"route": "download", "nth": max(1, number // 2)}, {"kill": {"when": "answering"}})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100_000)
    given = parser.parse_args()
    place = folder_for_sandboxes()
    if place is not None:
        os.environ["TMPDIR"] = tempfile.tempdir = place  # for the emulator's files too
    with (
        tempfile.TemporaryDirectory() as folder,
        running_emulator(job_seconds=1.0, jobs=1000, echo=True, cache="done-only") as emulator,
    ):
        sandbox = Sandbox(Path(folder), emulator, run="hundred thousand")
        make_pictures(sandbox.source, given.pictures)
        spoil(emulator, given.pictures, random.Random(1))
        began = time.monotonic()
        tries = 0
        said = None
        while said is None or "summary" not in said:
            tries += 1
            said = sandbox.work(within=HOURS * 3600, constants=CONSTANTS, level="INFO")
            print(f"try {tries}, after {time.monotonic() - began:.0f} s: {said or 'killed'}", flush=True)
            if tries == 5:
                return 1
        print(
            f"bill: {emulator.bill(summary=True)}; invariants that hold: {check_invariants(sandbox)}",
            flush=True,
        )
        print(f"faults that never happened: {len(emulator.unconsumed())}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
