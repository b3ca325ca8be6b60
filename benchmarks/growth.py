"""
5,000 tiny pictures through one run: what a worker holds after the first 500, and at the end.

Threads, open sockets, open files and memory must not grow with the number of pictures. The emulator only echoes
(``--echo``), so that the worker is what is measured. Put ``TMPDIR`` on a memory file system to leave the disk out.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from catalog_vs_loop import make_pictures

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.catalog.ledger.journal import Book
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.result import Finished
from airflow_provider_perfectlyclear.catalog.run import catalog_run
from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from airflow_provider_perfectlyclear.storage import LocalStore

#: From the first measurement to the last: a row of the ledger for each picture (MB), and what each thread of the
#: pools may hold open at one moment and not at another.
ALLOWED_MB, ALLOWED_OPEN = 20.0, 8


@dataclass
class Held:
    """What this process holds at one moment."""

    landed: int
    seconds: float
    threads: int
    sockets: int
    files: int
    megabytes: float

    @staticmethod
    def now(landed: int, seconds: float) -> Held:
        sockets = files = 0
        for handle in Path("/proc/self/fd").iterdir():
            try:
                is_socket = os.readlink(handle).startswith("socket:")
            except FileNotFoundError:  # the one that lists them
                continue
            sockets += is_socket
            files += not is_socket
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        return Held(landed, seconds, threading.active_count(), sockets, files, memory)

    def __str__(self) -> str:
        return (
            f"{self.landed:8,} landed{self.seconds:8.1f} s{self.threads:5} threads{self.sockets:5} sockets"
            f"{self.files:5} files{self.megabytes:8.1f} MB"
        )


def watch_landings(act: Callable[[int], None]) -> None:
    """Call ``act`` with the count whenever a picture has landed, in the deciding thread."""
    landed = Book.landed

    def counted(book: Book, output: str, done: object) -> None:
        landed(book, output, done)  # type: ignore[arg-type]
        act(book.progress.landed)

    Book.landed = counted  # type: ignore[method-assign]


def correct(emulator: Emulator, source: Path, destination: Path) -> Finished:
    with Client(Settings(api_key=emulator.key, base_url=emulator.base_url)) as client:
        corrected = LocalStore(destination)
        outcome = catalog_run(
            client,
            Places(LocalStore(source), corrected, corrected.child(".perfectlyclear")),
            Options(correction=Correction()),
            "growth",
        ).execute()
    assert isinstance(outcome, Finished)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--first", type=int, default=500, help="what is held then is compared with")
    parser.add_argument("--bytes", type=int, default=2000)
    parser.add_argument("--job-seconds", type=float, default=1.0)
    given = parser.parse_args()
    logging.getLogger("airflow_provider_perfectlyclear").setLevel(logging.ERROR)
    began, seen = time.perf_counter(), list[Held]()

    def note(landed: int) -> None:
        if landed % given.first == 0 or landed == given.pictures:
            seen.append(Held.now(landed, time.perf_counter() - began))
            print(seen[-1], flush=True)

    watch_landings(note)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        make_pictures(Path(one), given.pictures, given.bytes)
        with running_emulator(job_seconds=given.job_seconds, jobs=1000, echo=True) as emulator:
            began = time.perf_counter()
            summary = correct(emulator, Path(one), Path(other))
            seconds = time.perf_counter() - began
            billed = emulator.bill(summary=True)["billed"]
    print(f"{seconds:.1f} s, {given.pictures / seconds:.1f} pictures a second")
    if not summary.data["corrected"] == billed == given.pictures:
        raise SystemExit(f"{summary.data['corrected']} landed and {billed} billed of {given.pictures}")
    first, last = seen[0], seen[-1]
    grown = {
        "threads": last.threads - first.threads,
        "sockets": last.sockets - first.sockets,
        "files": last.files - first.files,
        "megabytes": round(last.megabytes - first.megabytes, 1),
    }
    print(json.dumps(grown))
    fine = grown["threads"] <= 0 and max(grown["sockets"], grown["files"]) <= ALLOWED_OPEN
    return 0 if fine and grown["megabytes"] <= ALLOWED_MB else 1


if __name__ == "__main__":
    sys.exit(main())
