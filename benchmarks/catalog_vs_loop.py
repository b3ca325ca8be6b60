"""
200 pictures of 1 MB, jobs of 2 s: this package's catalog run beside a plain loop over ``requests``.

The loop is what a competent person writes in an hour: 16 threads, one Session each, upload, start, ask once a
second, download to a temporary name, rename. It keeps no record, repeats nothing and checks nothing.

Both talk to an emulator of their own with ``--echo``, so neither waits for pictures to be computed.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from PIL import Image

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.run import catalog_run
from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from airflow_provider_perfectlyclear.storage import LocalStore

TARGET = 5.0


def with_catalog_run(emulator: Emulator, source: Path, destination: Path) -> None:
    """The engine under PerfectlyClearCatalogOperator, with the operator's defaults."""
    with Client(Settings(api_key=emulator.key, base_url=emulator.base_url)) as client:
        corrected = LocalStore(destination)
        catalog_run(
            client,
            Places(LocalStore(source), corrected, corrected.child(".perfectlyclear")),
            Options(correction=Correction()),
            "benchmark",
        ).execute()


def with_loop(emulator: Emulator, source: Path, destination: Path) -> None:
    local = threading.local()

    def session() -> requests.Session:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        return local.session

    def ask(path: str, **query: str) -> dict[str, str]:
        answer = session().get(
            f"{emulator.base_url}{path}", params=query, headers={"X-API-KEY": emulator.key}, timeout=60
        )
        answer.raise_for_status()
        return answer.json()

    def correct(picture: Path) -> None:
        upload = ask("/upload", fileType="image")
        with picture.open("rb") as body:
            session().put(upload["upload_url"], data=body, timeout=60).raise_for_status()
        job_id = ask("/pfc", fileKey=upload["fileKey"])["statusEndpoint"].rsplit("/", 1)[-1]
        while (job := ask(f"/status/{job_id}", noRedirect="true"))["status"] in ("PENDING", "PROCESSING"):
            time.sleep(1)
        if job["status"] != "COMPLETED":
            raise RuntimeError(f"{picture.name}: {job['status']} {job.get('statusText')}")
        part = destination / f"{picture.name}.part"
        with session().get(job["correctedFile"], stream=True, timeout=60) as answer, part.open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_content(1 << 20):
                file.write(chunk)
        part.rename(destination / picture.name)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(correct, sorted(source.iterdir())))


def make_pictures(folder: Path, count: int, size: int) -> None:
    """Noise, which JPEG cannot make smaller; a comment in each makes them different."""
    edge = int(size**0.5)
    noise = Image.frombytes("RGB", (edge, edge), os.urandom(edge * edge * 3))
    noise.save(folder / "noise", "JPEG", quality=92)
    jpeg = (folder / "noise").read_bytes()
    (folder / "noise").unlink()
    for number in range(count):
        comment = f"{number:06}".encode()
        marked = jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
        (folder / f"{number:06}.jpg").write_bytes(marked)


def measure(
    name: str, correct: Callable[[Emulator, Path, Path], None], source: Path, job_seconds: float
) -> float:
    count = len(list(source.iterdir()))
    with (
        tempfile.TemporaryDirectory() as folder,
        running_emulator(job_seconds=job_seconds, jobs=count, echo=True) as emulator,
    ):
        began = time.perf_counter()
        correct(emulator, source, Path(folder))
        seconds = time.perf_counter() - began
        landed = [path for path in Path(folder).glob("*.jpg") if (source / path.name).stat().st_size]
        billed = emulator.bill(summary=True)["billed"]
    if not len(landed) == billed == count:
        raise SystemExit(f"{name}: {len(landed)} landed and {billed} billed of {count}")
    print(f"{name:32}{seconds:8.1f} s{count / seconds:8.1f} pictures a second", flush=True)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--bytes", type=int, default=1_000_000)
    parser.add_argument("--job-seconds", type=float, default=2.0)
    given = parser.parse_args()
    # An echo is identical to its source, which a run warns about for every picture.
    logging.getLogger("airflow_provider_perfectlyclear").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        source = Path(name)
        make_pictures(source, given.pictures, given.bytes)
        mean = sum(path.stat().st_size for path in source.iterdir()) / given.pictures
        print(f"{given.pictures} pictures of {mean / 1e6:.2f} MB, jobs of {given.job_seconds:g} s")
        ours = measure("catalog run", with_catalog_run, source, given.job_seconds)
        loop = measure("requests, 16 threads, 1 s polls", with_loop, source, given.job_seconds)
    ratio = loop / ours
    print(f"{'':32}{ratio:8.1f} times as fast (wanted: {TARGET:g})")
    print(json.dumps({"ours": round(ours, 2), "loop": round(loop, 2), "ratio": round(ratio, 2)}))
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
