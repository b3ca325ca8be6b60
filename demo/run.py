"""
``make demo``: a folder of real photographs, corrected by the Dag ``nightly_catalog`` in a whole Airflow.

The service is the emulator, so nothing is paid and no key is needed. Everything is kept in ``.demo/``: run it
again and nothing is corrected; replace a picture in ``.demo/photos/catalog`` and only that one is. The emulator's
port is kept, too, as a ledger belongs to the address of its service.
"""

from __future__ import annotations

import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator  # noqa: E402
from tests.airflow.harness import Airflow, NotSeen, until  # noqa: E402

JOB_SECONDS = 20
DEMO = ROOT / ".demo"
INBOX, CATALOG, CORRECTED = (DEMO / "photos" / name for name in ("inbox", "catalog", "corrected"))
PHOTOGRAPHS = {
    "skimage": [
        "data/astronaut.png",
        "data/chelsea.png",
        "data/coffee.png",
        "data/hubble_deep_field.jpg",
        "data/motorcycle_left.png",
        "data/rocket.jpg",
    ],
    "sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"],
}


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    put_photographs_in()
    shutil.rmtree(DEMO / "airflow", ignore_errors=True)
    with emulator_of(DEMO) as emulator:
        say(f"The emulator of the service: {emulator.base_url}, {JOB_SECONDS} s for each picture.")
        env = {
            "AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT": emulator.connection_json(),
            "PHOTOS_INBOX": str(INBOX),
            "PHOTOS_CATALOG": str(CATALOG),
            "PHOTOS_CORRECTED": str(CORRECTED),
            "PHOTOS_SCHEDULE": "",
        }
        say("Starting Airflow 3.3.2: api-server, scheduler, triggerer, dag-processor.")
        with Airflow(DEMO / "airflow", env=env) as airflow:
            return run(airflow)


@contextmanager
def emulator_of(folder: Path) -> Iterator[Emulator]:
    """Run the emulator on the port that it had at the first run of the demo in this folder."""
    file = folder / "port"
    port = int(file.read_text()) if file.exists() else 0
    if port and not is_free(port):
        sys.exit(
            f"Port {port} of the emulator is in use, perhaps by another make demo. The ledger in {folder} belongs to "
            f"this port. End the program that uses it, or delete {folder} to begin anew."
        )
    with running_emulator(job_seconds=JOB_SECONDS, port=port) as emulator:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{urlsplit(emulator.base_url).port}\n")
        yield emulator


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the emulator binds it
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def put_photographs_in() -> None:
    """Let the photographs of two installed libraries arrive, if they have not before."""
    for folder in (INBOX, CATALOG, CORRECTED):
        folder.mkdir(parents=True, exist_ok=True)
    for library, names in PHOTOGRAPHS.items():
        spec = find_spec(library)
        assert spec and spec.origin, f"{library} is not installed"
        for photograph in (Path(spec.origin).parent / name for name in names):
            if not (CATALOG / photograph.name).exists():
                shutil.copy(photograph, INBOX)


def run(airflow: Airflow) -> int:
    airflow.put_dag("nightly_catalog", ROOT / "example_dags" / "nightly_catalog.py")
    run_id = airflow.trigger("nightly_catalog")
    say(f"Dag nightly_catalog, run {run_id}")
    state = follow(airflow, run_id)
    if state != "success":
        say(f"The run is {state}. What it logged:\n{airflow.log_text('nightly_catalog', run_id)}")
        return 1
    summary = airflow.xcom("nightly_catalog", run_id, "correct")
    print_summary(summary)
    published = wait_for_publishing(airflow)
    say(f"Dag publish_catalog was started by the asset and found {len(published)} pictures.")
    print(f"\n  before  {CATALOG}\n  after   {CORRECTED}\n")
    print("  Again:   make demo. Replace a picture in the first folder, and only that one is corrected.")
    print("  Away:    make clean removes the environment and these folders.")
    return 0 if len(published) >= summary["listed"] else 1


def follow(airflow: Airflow, run_id: str) -> str:
    """Print every state of every task as it comes, until the run ends."""
    began, shown = time.monotonic(), 0

    def look() -> str | None:
        nonlocal shown
        state = airflow.run_state("nightly_catalog", run_id)
        rows = airflow.query("SELECT task_id, state FROM seen_state WHERE run_id = ? ORDER BY rowid", run_id)
        for row in rows[shown:]:
            held = f"   task processes: {len(airflow.task_processes())}" if row["state"] == "deferred" else ""
            print(f"  {time.monotonic() - began:6.1f} s  {row['task_id']:10}{row['state']}{held}", flush=True)
        shown = len(rows)
        return state if state in ("success", "failed") else None

    return str(until("the end of the run", look, within=180))


def print_summary(summary: dict[str, Any]) -> None:
    to_correct = summary["corrected"] + summary["failed"] + summary["not_started"]
    paid, unchanged = summary["paid"], summary["unchanged"]
    say(
        f"{to_correct} to correct, {unchanged} unchanged; {paid} paid. What the task's summary has, beside zeros:"
    )
    for name, value in summary.items():
        value = {key: count for key, count in value.items() if count} if isinstance(value, dict) else value
        if not value:
            continue
        print(f"  {name:24}{value}")
    print()


def wait_for_publishing(airflow: Airflow) -> list[str]:
    def look() -> str | None:
        runs = airflow.query("SELECT run_id FROM dag_run WHERE dag_id = 'publish_catalog'")
        return runs[0]["run_id"] if runs else None

    run_id = str(until("publish_catalog started", look, within=60))
    if airflow.wait_for_run("publish_catalog", run_id) != "success":
        raise NotSeen(airflow.log_text("publish_catalog", run_id))
    return list(airflow.xcom("publish_catalog", run_id, "publish"))


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
