"""What runs of the code before left behind (``before/README.md``), put in place for the code of now."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.support.sandbox import Sandbox

BEFORE = Path(__file__).parent / "before"
#: When the sources were last changed, in nanoseconds since 1970.
CHANGED = 1_780_000_000 * 10**9
#: When the runs were, and what of theirs is a time: Unix seconds.
MADE = 1_795_687_720
TIMES = {"at", "began", "deadline", "parked", "started_at"}
NAMES = ["a.jpg", "b/c.jpg", "d.jpg", "e.jpg", "f.jpg"]


def left_before(sandbox: Sandbox, name: str) -> dict[str, Any]:
    """
    Put sources, outputs and ledger in place, and make the service know the jobs.

    :param name: the folder in ``before``.
    :return: its ``facts.json``: ``runs``, the keys of the runs; ``service``, the jobs; and what else there is, as
        ``trigger`` (path and arguments), ``options`` of the run, ``summary``.
    """
    facts: dict[str, Any] = json.loads((BEFORE / name / "facts.json").read_text())
    shutil.copytree(BEFORE / "in", sandbox.source, dirs_exist_ok=True)
    for path in sandbox.source.rglob("*.jpg"):
        os.utime(path, ns=(CHANGED, CHANGED))
    shutil.copytree(BEFORE / name / "out", sandbox.destination, dirs_exist_ok=True)
    _move_to_now(sandbox.destination / ".perfectlyclear", facts)
    uploaded = {sha256(path.read_bytes()).hexdigest(): path for path in sandbox.source.rglob("*.jpg")}
    for job in facts["service"]:
        data = uploaded[job["sha256"]].read_bytes()
        sandbox.emulator.adopt(data, file_key=job["file_key"], job_id=job["job_id"], settings=job["settings"])
    sandbox.runs.update(facts["runs"])
    return facts


def _move_to_now(state: Path, facts: dict[str, Any]) -> None:
    """It was all written a few seconds ago: how old a job is decides what becomes of it."""
    later = time.time() - MADE
    for path in state.rglob("*.json*"):
        data = path.read_bytes()
        packed = data.startswith(b"\x1f\x8b")
        text = (gzip.decompress(data) if packed else data).decode()
        lines = [
            json.dumps(_moved(json.loads(line), later), ensure_ascii=False) for line in text.splitlines()
        ]
        moved = "\n".join(lines).encode()
        path.write_bytes(gzip.compress(moved) if packed else moved)
    facts.update(_moved(facts, later))


def _moved(value: Any, later: float) -> Any:
    if isinstance(value, dict):
        return {
            name: part + later if name in TIMES and part is not None else _moved(part, later)
            for name, part in value.items()
        }
    return [_moved(part, later) for part in value] if isinstance(value, list) else value
