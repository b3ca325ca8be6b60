"""A catalog that is corrected by a whole Airflow, as the invariants are checked over it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from airflow_provider_perfectlyclear.emulator.testing import Emulator
from tests.airflow.harness import Airflow, until
from tests.support.sandbox import jpeg
from tests.support.sources import Sources

TASK = "correct"
NAMES = ["a.jpg", "b/c.jpg", "d.jpg", "e.jpg"]

#: What a run corrects, and by which service, is said when it is triggered.
DAGS = """
    import tempfile
    from datetime import timedelta

    from airflow.sdk import DAG
    from airflow_provider_perfectlyclear.catalog.engine import start_queue, waiting
    from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearCatalogOperator

    # No test waits for as long as a user's run may.
    waiting.WORTH_DEFERRING, start_queue.LEAST, start_queue.UNKNOWN = 1.0, 0.5, 0.5

    def keep_apart(context):
        tempfile.tempdir = context["dag_run"].conf["temporary"]

    for dag_id, arguments in {dags!r}.items():
        if "execution_timeout" in arguments:
            arguments["execution_timeout"] = timedelta(seconds=arguments["execution_timeout"])
        with DAG(dag_id, schedule=None):
            PerfectlyClearCatalogOperator(
                task_id="correct",
                source="{{{{ dag_run.conf['source'] }}}}",
                destination="{{{{ dag_run.conf['destination'] }}}}",
                perfectlyclear_conn_id="{{{{ dag_run.conf['service'] }}}}",
                correction={{"output_type": "jpg"}},
                poll_interval=0.5,
                pre_execute=keep_apart,
                **{{"retries": 3, "retry_delay": timedelta(seconds=1), **arguments}},
            )
"""


def catalog_dags(dags: Mapping[str, Mapping[str, Any]]) -> str:
    """A Dag file. ``dags``: Dag id -> arguments of its one task beside the usual."""
    return DAGS.format(dags=dags)


@dataclass(frozen=True)
class Night:
    """One Dag run of a sandbox."""

    sandbox: AirflowSandbox
    dag_id: str
    run_id: str

    @property
    def log(self) -> str:
        """Of all tries, and of the triggers."""
        return self.sandbox.airflow.log_text(self.dag_id, self.run_id)

    def said(self, pattern: str) -> list[tuple[float, str]]:
        """Return when its log had such an event, in Unix seconds of the process that logged it, and its group."""
        lines = (json.loads(line) for line in self.log.splitlines() if line.startswith("{"))
        found = ((line["timestamp"], re.fullmatch(pattern, line.get("event", ""))) for line in lines)
        return sorted((datetime.fromisoformat(when).timestamp(), match[1]) for when, match in found if match)

    @property
    def states(self) -> list[str | None]:
        """Every state that its task had."""
        return self.sandbox.airflow.history(self.dag_id, self.run_id, TASK)

    @property
    def events(self) -> list[str]:
        """What triggers gave back to it."""
        kept = self.sandbox.airflow.next_kwargs(self.dag_id, self.run_id, TASK)
        return [text for text in kept if '"event"' in text]

    @property
    def task(self) -> dict[str, Any]:
        return self.sandbox.airflow.task(self.dag_id, self.run_id, TASK)

    def comes_to(self, *states: str, within: float = 240) -> None:
        """Wait until its task is, or has been, in one of these states."""
        until(
            f"{self.dag_id} {' or '.join(states)}; it was {self.states}",
            lambda: set(states) & set(self.states),
            within=within,
        )

    def is_held_by_no_worker(self, within: float = 60) -> None:
        """Wait until no process works on it any more."""
        until("no process of the task", lambda: self.process is None, within=within)

    @property
    def process(self) -> psutil.Process | None:
        """The process that supervises its task: Airflow's worker, not the process that runs the task."""
        wanted = str(self.task["id"]).replace("-", "")
        for process in self.sandbox.airflow.task_processes():
            if wanted in " ".join(process.cmdline()).replace("-", ""):
                return process
        return None

    def end(self, within: float = 240) -> dict[str, Any]:
        """Wait for its success: the summary."""
        state = self.sandbox.airflow.wait_for_run(self.dag_id, self.run_id, within=within)
        assert state == "success", self.log[-6000:]
        return dict(self.sandbox.airflow.xcom(self.dag_id, self.run_id, TASK))


class AirflowSandbox:
    """
    A source, a destination and a service of its own, for the runs of a Dag.

    :param name: of the Airflow connection that leads to its service.
    :param note: something for the conf of its runs.
    """

    def __init__(
        self, airflow: Airflow, emulator: Emulator, root: Path, name: str, *, note: str = ""
    ) -> None:
        self.airflow = airflow
        self.emulator = emulator
        self.root = root
        self.name = name
        self.note = note
        self.runs: list[Night] = []
        #: What the workers of other sandboxes say at their end; a task tells Airflow.
        self.tries: list[dict[str, Any]] = []
        self.sources = Sources()
        self.asked_by_name: set[str] = set()
        self.singles: dict[tuple[str, str], dict[str, Any]] = {}
        self.limited: set[str] = set()
        self.listings: dict[str, set[str]] = {}
        self.taken: set[str] = set()
        self.altered: set[str] = set()
        (self.source / "b").mkdir(parents=True)
        self.temporary.mkdir()
        for number, picture in enumerate(NAMES):
            (self.source / picture).write_bytes(jpeg(number))
        airflow.add_connection(
            name, conn_type="perfectlyclear", host=emulator.base_url, password=emulator.key
        )

    def begin(self, dag_id: str) -> Night:
        """Trigger a Dag of ``catalog_dags``."""
        conf = {
            "source": str(self.source),
            "destination": str(self.destination),
            "temporary": str(self.temporary),
            "service": self.name,
            "note": self.note,
        }
        night = Night(self, dag_id, self.airflow.trigger(dag_id, conf=conf))
        self.runs.append(night)
        return night

    def hold(self) -> None:
        """No job ends from now on."""
        self.emulator.fault("status", {"patch": {"status": "PROCESSING", "correctedFile": None}}, times=None)

    def let_go(self) -> None:
        """Nothing fails any more."""
        self.emulator.clear_faults()

    def asked(self) -> int:
        """How many questions about jobs the service was asked."""
        return int(self.emulator.seen()["api"]["routes"].get("status", 0))

    def is_asked_again(self, times: int = 3, within: float = 60) -> None:
        """Wait for more questions about jobs."""
        before = self.asked()
        until("more questions", lambda: self.asked() >= before + times, within=within)

    @property
    def outputs(self) -> list[str]:
        found = (path for path in self.destination.rglob("*.jpg") if path.is_file())
        return sorted(path.relative_to(self.destination).as_posix() for path in found)

    def records(self, kind: str) -> int:
        """How many records of a kind the ledger holds."""
        lane = self.destination / ".perfectlyclear" / "lanes" / "all"
        return sum(path.read_bytes().count(b'{"r":"%s"' % kind.encode()) for path in lane.glob("*.jsonl"))

    # ---- what the invariants are checked over

    @property
    def source(self) -> Path:
        return self.root / "in"

    @property
    def destination(self) -> Path:
        return self.root / "out"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def log(self) -> Path:
        """Of workers that are not Airflow's: there is none."""
        return self.root / "none.log"

    def look_at_sources(self) -> None:
        self.sources.look_at(self.source)

    def look(self) -> Path:
        return self.destination

    @property
    def accepted(self) -> int:
        return int(self.emulator.bill(summary=True)["accepted"])

    def evidence(self) -> Iterator[tuple[str, bytes]]:
        """Every byte that Airflow keeps: its database, and the logs of tasks, triggers and components."""
        for night in self.runs:
            yield f"log of {night.dag_id}", night.log.encode()
        yield "Airflow's home", self.airflow.everything_kept()
