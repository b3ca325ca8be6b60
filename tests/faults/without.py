"""
Take one safeguard at a time out of a copy of the package, and see which faults of the table catch it.

``python -m tests.faults.without`` takes all of them, one after the other, a minute or two each; with names, only those.
Only the part of the table is played that is nearest to each: more of it may catch it, too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WIRE, KILLS, OWNERS = (
    "tests/faults/test_wire.py",
    "tests/catalog/test_kills.py",
    "tests/catalog/test_owners.py",
)


@dataclass(frozen=True)
class Safeguard:
    """
    What protects, and how it is taken out.

    :param file: below the package.
    :param text: of the file; occurs once.
    :param instead: what takes its place.
    :param near: the arguments of pytest that choose the part of the table.
    """

    name: str
    file: str
    text: str
    instead: str
    near: tuple[str, ...]


SAFEGUARDS = [
    Safeguard(
        "record before pay",
        "catalog/engine/start.py",
        "engine.guarded(lambda: engine.book.append(*intents))",
        "engine.guarded(lambda: [engine.book.note(one) for one in intents] and None)",
        (KILLS,),
    ),
    Safeguard(
        "temporary name",
        "storage/local.py",
        "            self._place_whole(name, copy, os.replace)",
        "            with open(self.path(name), 'wb') as part:\n                copy(part)",
        (KILLS, "tests/faults/test_stores.py", "tests/faults/test_judge.py"),
    ),
    Safeguard(
        "keyless storage client",
        "api/transfers.py",
        'headers={"Content-Length": str(size)}',
        'headers={"Content-Length": str(size), "X-API-KEY": self._settings.api_key}',
        (WIRE, "-k", "F7 or F8 or F9"),
    ),
    Safeguard(
        "losing a number",
        "catalog/ledger/lane.py",
        "ours = self.store.create(",
        "ours = None is not self.store.create(",
        (OWNERS,),
    ),
    Safeguard(
        "redo guard",
        "catalog/plan/brakes.py",
        "_guard_redo(made, options, where)\n    new",
        "new",
        ("tests/faults/test_plans.py",),
    ),
    Safeguard(
        "deadline of a request",
        "api/wire.py",
        "return self._ends - time.monotonic()",
        "return 3600.0",
        (WIRE, "-k", "F12"),
    ),
    Safeguard(
        "deadline of a job",
        "catalog/engine/open_jobs.py",
        "return now >= (ends if self._deadline is None else min(ends, self._deadline))",
        "return False",
        (WIRE, "-k", "F15 or F17 or F22"),
    ),
    Safeguard(
        "no blind repeat of /pfc",
        "api/conversation.py",
        "(outcome.trouble is Trouble.LOST and call.repeatable)",
        "outcome.trouble is Trouble.LOST",
        (WIRE, "tests/faults/test_connections.py", "-k", "F4 or F12 or F13 or lost_start"),
    ),
    Safeguard(
        "end marker",
        "catalog/transfer/landing.py",
        "has_end(",
        "(lambda *_: True)(",
        (WIRE, "-k", "F9 or F10 or F11"),
    ),
]


def rows_that_catch(safeguard: Safeguard, folder: Path) -> Iterator[str]:
    """The ways of the table that fail without it."""
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "HEAD"], capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)
    path = folder / "airflow_provider_perfectlyclear" / safeguard.file
    text = path.read_text()
    assert text.count(safeguard.text) == 1, f"{safeguard.name}: not found once in {safeguard.file}"
    path.write_text(text.replace(safeguard.text, safeguard.instead))
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-n", "3", "-p", "no:cacheprovider", *safeguard.near],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    ).stdout
    yield from re.findall(r"^(F\d+ +)BAD (.*)$", said, re.MULTILINE)


def main() -> int:
    chosen = [one for one in SAFEGUARDS if not sys.argv[1:] or one.name in sys.argv[1:]]
    missed = 0
    for safeguard in chosen:
        with tempfile.TemporaryDirectory() as folder:
            rows = list(rows_that_catch(safeguard, Path(folder)))
        faults = ", ".join(dict.fromkeys(number.strip() for number, _ in rows)) or "NOTHING"
        print(f"without {safeguard.name}: caught by {faults} ({len(rows)} ways)", flush=True)
        missed += not rows
    print(f"{len(chosen)} safeguards, {missed} of them caught by no row")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
