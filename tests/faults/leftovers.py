"""What runs of the code before left behind (``before/README.md``), put in place for the code of now."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.catalog.conftest import House

BEFORE = Path(__file__).parent / "before"
#: When the sources were last changed, in nanoseconds since 1970.
CHANGED = 1_780_000_000 * 10**9
NAMES = ["a.jpg", "b/c.jpg", "d.jpg", "e.jpg", "f.jpg"]


def left_before(house: House, name: str) -> dict[str, Any]:
    """
    Put sources, outputs and ledger in place, and make the service know the jobs.

    :param name: the folder in ``before``.
    :return: its ``facts.json``: ``runs``, the keys of the runs; ``service``, the jobs; and what else there is, as
        ``trigger`` (path and arguments), ``options`` of the run, ``summary``.
    """
    facts: dict[str, Any] = json.loads((BEFORE / name / "facts.json").read_text())
    shutil.copytree(BEFORE / "in", house.source, dirs_exist_ok=True)
    for path in house.source.rglob("*.jpg"):
        os.utime(path, ns=(CHANGED, CHANGED))
    shutil.copytree(BEFORE / name / "out", house.destination, dirs_exist_ok=True)
    uploaded = {sha256(path.read_bytes()).hexdigest(): path for path in house.source.rglob("*.jpg")}
    for job in facts["service"]:
        data = uploaded[job["sha256"]].read_bytes()
        house.emulator.adopt(data, file_key=job["file_key"], job_id=job["job_id"], settings=job["settings"])
    house.runs.update(facts["runs"])
    return facts
