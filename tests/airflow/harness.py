"""
A whole Airflow on loopback: api-server, scheduler (LocalExecutor), triggerer, dag-processor.

Everything lives in one folder. Dags are put in as source text and runs are started through the REST API, as
a user would. What happened is read from the metadata database, where SQL triggers keep the history that
Airflow forgets: every state of a task instance, every row for the triggerer, every event it gave back.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from cryptography.fernet import Fernet

T = TypeVar("T")

COMPONENTS = ("api-server", "scheduler", "triggerer", "dag-processor")
FINISHED = {"success", "failed", "skipped", "upstream_failed", "removed"}

OF_TASK = "WHERE dag_id = ? AND run_id = ? AND task_id = ? AND map_index = ?"

HISTORY = """
CREATE TABLE IF NOT EXISTS seen_state (dag_id, run_id, task_id, map_index, try_number, state);
CREATE TRIGGER IF NOT EXISTS keep_state AFTER UPDATE OF state ON task_instance
WHEN NEW.state IS NOT OLD.state BEGIN
    INSERT INTO seen_state
    VALUES (NEW.dag_id, NEW.run_id, NEW.task_id, NEW.map_index, NEW.try_number, NEW.state);
END;
CREATE TABLE IF NOT EXISTS seen_trigger (id, classpath, kwargs);
CREATE TRIGGER IF NOT EXISTS keep_trigger AFTER INSERT ON "trigger" BEGIN
    INSERT INTO seen_trigger VALUES (NEW.id, NEW.classpath, NEW.kwargs);
END;
CREATE TABLE IF NOT EXISTS seen_next_kwargs (dag_id, run_id, task_id, map_index, next_kwargs);
CREATE TRIGGER IF NOT EXISTS keep_next_kwargs AFTER UPDATE OF next_kwargs ON task_instance
WHEN NEW.next_kwargs IS NOT NULL AND NEW.next_kwargs IS NOT OLD.next_kwargs BEGIN
    INSERT INTO seen_next_kwargs
    VALUES (NEW.dag_id, NEW.run_id, NEW.task_id, NEW.map_index, NEW.next_kwargs);
END;
"""


#: Kills a process and all below it once the process that started the watcher is gone, by any signal: what runs in a
#: session of its own hears nothing of the end of the tests.
WATCHER = """
import os, sys, psutil
while os.read(0, 1024):
    pass
try:
    top = psutil.Process(int(sys.argv[1]))
    family = [*top.children(recursive=True), top]
except psutil.NoSuchProcess:
    family = []
for process in family:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        pass
"""


class NotSeen(AssertionError):
    """Airflow did not come to where the test wanted it."""


def until(what: str, look: Callable[[], T], *, within: float, every: float = 0.1) -> T:
    """Look again and again; return the first answer that is true."""
    deadline = time.monotonic() + within
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise NotSeen(f"{what}: not within {within:g} s")
        time.sleep(every)
    return seen


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def watch_over(pid: int) -> subprocess.Popen[bytes]:
    """Start the watcher of a process: it outlives neither this one nor a kill of the watcher."""
    command = [sys.executable, "-c", WATCHER, str(pid)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def utcnow() -> datetime:
    return datetime.now(UTC)


class AirflowHome:
    """A migrated AIRFLOW_HOME, its environment, and what can be read from its database. No process runs."""

    def __init__(self, home: Path, *, env: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.dags = home / "dags"
        self.plugins = home / "plugins"  # a user's own triggers are imported from here
        self.logs = home / "logs"
        self.port = free_port()
        self.env = self._environment(env or {})

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        settings = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self.port}/execution/",
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{self.port}",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "1",
            "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.logs),
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",  # then its triggers go to another
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
            # A supervisor may notice the end of its task this many seconds late. Airflow fails a task that is queued
            # again before its executor has reported the end of the first part: a short deferral, by bad luck.
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "PYTHONUNBUFFERED": "1",
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        return {**inherited, **settings, **env}

    def create(self) -> None:
        for folder in (self.dags, self.plugins, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        migrated = self.cli("db", "migrate")
        if migrated.returncode:
            raise NotSeen(f"airflow db migrate failed:\n{migrated.stdout[-4000:]}")
        self.execute_script(HISTORY)

    def cli(
        self, *args: str, env: Mapping[str, str] | None = None, timeout: float = 240
    ) -> subprocess.CompletedProcess[str]:
        """Run ``airflow ...`` to its end; stdout holds both streams."""
        return subprocess.run(
            [sys.executable, "-m", "airflow", *args],
            env={**self.env, **(env or {})},
            cwd=self.home,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )

    def dags_test(
        self,
        dag_id: str,
        source: str | Path,
        *,
        conf: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> tuple[str, subprocess.CompletedProcess[str]]:
        """Run a Dag with ``airflow dags test`` (triggers inline, no scheduler). Returns run id and output."""
        path = self.write_dag(dag_id, source)
        args = ["--conf", json.dumps(conf)] if conf else []
        done = self.cli("dags", "test", *args, "--dagfile-path", str(path), dag_id, env=env)
        rows = self.query("SELECT run_id FROM dag_run WHERE dag_id = ? ORDER BY id DESC LIMIT 1", dag_id)
        if not rows:
            raise NotSeen(f"dags test {dag_id} made no run:\n{done.stdout[-4000:]}")
        return rows[0]["run_id"], done

    def write_dag(self, name: str, source: str | Path) -> Path:
        """Put a Dag file into the dags folder, whole; from its text or a copy of the file."""
        text = source.read_text() if isinstance(source, Path) else textwrap.dedent(source)
        path = self.dags / f"{name}.py"
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(text)
        unfinished.replace(path)
        return path

    # What happened, from the database

    def _database(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.home / "airflow.db", timeout=30)
        connection.row_factory = sqlite3.Row
        return connection

    def execute_script(self, script: str) -> None:
        with contextlib.closing(self._database()) as database:
            database.executescript(script)

    def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with contextlib.closing(self._database()) as database:
            return [dict(row) for row in database.execute(sql, values)]

    def run_state(self, dag_id: str, run_id: str) -> str | None:
        rows = self.query("SELECT state FROM dag_run WHERE dag_id = ? AND run_id = ?", dag_id, run_id)
        return rows[0]["state"] if rows else None

    def task(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """The row of a task instance; empty before there is one."""
        rows = self.query(f"SELECT * FROM task_instance {OF_TASK}", dag_id, run_id, task_id, map_index)
        return rows[0] if rows else {}

    def history(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> list[str | None]:
        """Every state the task instance had, in order, over all tries. None is its state after a clear."""
        sql = f"SELECT state FROM seen_state {OF_TASK} ORDER BY rowid"
        return [row["state"] for row in self.query(sql, dag_id, run_id, task_id, map_index)]

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        sql = f"SELECT CAST(value AS TEXT) AS value FROM xcom {OF_TASK} AND key = ?"
        rows = self.query(sql, dag_id, run_id, task_id, map_index, key)
        if not rows:
            raise NotSeen(f"{dag_id}.{task_id} of {run_id} has no XCom {key!r}")
        return json.loads(rows[0]["value"])

    def rendered(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        sql = f"SELECT rendered_fields FROM rendered_task_instance_fields {OF_TASK}"
        rows = self.query(sql, dag_id, run_id, task_id, map_index)
        return json.loads(rows[0]["rendered_fields"]) if rows else {}

    def triggers(self) -> list[dict[str, Any]]:
        """Every trigger row there ever was; kwargs as text (Airflow 3.3 keeps a deferral's in the clear)."""
        return self.query("SELECT * FROM seen_trigger ORDER BY rowid")

    def next_kwargs(self, dag_id: str, run_id: str, task_id: str) -> list[str]:
        """What was kept for each resumption, as text: kwargs at the deferral, then with the event."""
        sql = f"SELECT next_kwargs FROM seen_next_kwargs {OF_TASK} ORDER BY rowid"
        return [row["next_kwargs"] for row in self.query(sql, dag_id, run_id, task_id, -1)]

    def log_files(self, dag_id: str, run_id: str) -> list[Path]:
        """All logs of a run: of each try, and of the triggers while it was deferred."""
        folder = self.logs / f"dag_id={dag_id}" / f"run_id={run_id}"
        return sorted(path for path in folder.rglob("*") if path.is_file())

    def log_text(self, dag_id: str, run_id: str) -> str:
        return "\n".join(path.read_text(errors="replace") for path in self.log_files(dag_id, run_id))

    def everything_kept(self) -> bytes:
        """Every byte under the home, the database too: what a search for a leaked secret looks through."""
        return b"\n".join(path.read_bytes() for path in sorted(self.home.rglob("*")) if path.is_file())


class Airflow(AirflowHome):
    """The same with its four processes. A context manager: whatever happens, none of them stays behind."""

    def __init__(self, home: Path, *, env: Mapping[str, str] | None = None) -> None:
        super().__init__(home, env=env)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.watchers: dict[int, subprocess.Popen[bytes]] = {}
        self.own_env: dict[str, Mapping[str, str]] = {}
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/api/v2", timeout=30, trust_env=False)

    def __enter__(self) -> Airflow:
        self.create()
        try:
            self.start(*COMPONENTS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(*self.processes, grace=3)
        self.api.close()

    # Processes

    def start(self, *components: str, env: Mapping[str, str] | None = None) -> None:
        """Start these and return when all of them have said that they are well. ``env``: beside the usual."""
        since = utcnow()
        for component in components:
            self.own_env[component] = env or {}
            process = self.processes[component] = self._spawn(component)
            self.watchers[process.pid] = watch_over(process.pid)
        for component in components:
            until(f"{component} healthy", lambda name=component: self._healthy(name, since), within=120)

    def _spawn(self, component: str) -> subprocess.Popen[bytes]:
        options = {
            "api-server": ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"],
            "scheduler": ["--skip-serve-logs"],
            "triggerer": ["--skip-serve-logs"],
            "dag-processor": [],
        }
        with self.component_log(component).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "airflow", component, *options[component]],
                env={**self.env, **self.own_env[component]},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def component_log(self, component: str) -> Path:
        return self.home / f"{component}.log"

    def _healthy(self, component: str, since: datetime) -> bool:
        if (code := self.processes[component].poll()) is not None:
            text = self.component_log(component).read_text(errors="replace")
            raise NotSeen(f"{component} ended with {code}:\n{text[-4000:]}")
        try:
            health = self.api.get("/monitor/health").json()
        except httpx.TransportError:
            return False
        if component == "api-server":
            return True
        name = component.replace("-", "_")
        heartbeat = health[name][f"latest_{name}_heartbeat"]  # of whatever ran last, perhaps a predecessor
        return heartbeat is not None and datetime.fromisoformat(heartbeat) > since

    def stop(self, *components: str, sig: int = signal.SIGTERM, grace: float = 10) -> None:
        """End these and everything they started; what is still there after ``grace`` seconds is killed."""
        stopping = [self.processes.pop(component) for component in components]
        families = [member for process in stopping for member in self._family(process.pid)]
        for process in stopping:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, sig)
        deadline = time.monotonic() + grace
        for process in stopping:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0, deadline - time.monotonic()))
        for process in stopping:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        for member in families:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        for process in stopping:
            watcher = self.watchers.pop(process.pid)
            watcher.kill()  # before the pid can be another process's
            watcher.communicate()

    def kill(self, component: str) -> None:
        """SIGKILL, as a machine that loses power; its children too."""
        self.stop(component, sig=signal.SIGKILL, grace=0)

    @staticmethod
    def _family(pid: int) -> list[psutil.Process]:
        try:
            return psutil.Process(pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def arguments(self) -> set[str]:
        """What every user of this machine can see of its processes: their titles and arguments."""
        found = set()
        for component in list(self.processes.values()):
            for pid in (component.pid, *(member.pid for member in self._family(component.pid))):
                with contextlib.suppress(OSError):
                    found.add(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    def task_processes(self) -> list[psutil.Process]:
        """The processes that run a task now: a worker slot that is held shows here. Idle workers do not."""
        found = []
        for process in self._family(self.processes["scheduler"].pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                title = " ".join(process.cmdline())
                if re.search(r"airflow worker -- [0-9a-f]{8}-", title):
                    found.append(process)
        return found

    # What a user does

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        (answer,) = until("a database that is free", lambda: self._request(method, path, **kwargs), within=60)
        if answer.is_error:
            raise NotSeen(f"{method} {path}: {answer.status_code} {answer.text[:2000]}")
        return answer.json() if answer.content else None

    def _request(self, method: str, path: str, **kwargs: Any) -> tuple[httpx.Response, ...]:
        """Nothing while another process locks SQLite for too long; then nothing was done."""
        answer = self.api.request(method, path, **kwargs)
        is_locked = answer.status_code == 500 and "Database error" in answer.text
        return () if is_locked else (answer,)

    def add_connection(self, conn_id: str, **fields: Any) -> None:
        """Create the connection or replace it. Fields: conn_type, host, password, extra and so on."""
        self.api.delete(f"/connections/{conn_id}")
        self.call("POST", "/connections", json={"connection_id": conn_id, **fields})

    def put_dag(self, dag_id: str, source: str | Path) -> None:
        """Put a Dag file in; return when it can be run. An import error is raised with its traceback."""
        since = utcnow()
        path = self.write_dag(dag_id, source)
        until(f"Dag {dag_id} parsed", lambda: self._parsed(dag_id, path, since), within=60)

    def _parsed(self, dag_id: str, path: Path, since: datetime) -> bool:
        for error in self.call("GET", "/importErrors")["import_errors"]:
            if error["filename"].endswith(path.name) and datetime.fromisoformat(error["timestamp"]) > since:
                raise NotSeen(error["stack_trace"])
        answer = self.api.get(f"/dags/{dag_id}")
        parsed = answer.json()["last_parsed_time"] if answer.is_success else None
        return parsed is not None and datetime.fromisoformat(parsed) > since

    def trigger(self, dag_id: str, *, conf: Mapping[str, Any] | None = None) -> str:
        body = {"logical_date": utcnow().isoformat(), "conf": dict(conf or {})}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def wait_for_state(
        self, dag_id: str, run_id: str, task_id: str, *states: str, within: float = 90, map_index: int = -1
    ) -> str:
        """Wait until the task instance is in one of these states; another final one ends the wait at once."""

        def look() -> str | None:
            state = self.task(dag_id, run_id, task_id, map_index).get("state")
            if state in FINISHED and state not in states:
                said = self.log_text(dag_id, run_id)[-6000:]
                raise NotSeen(
                    f"{dag_id}.{task_id} is {state}, wanted {' or '.join(states)}. Its log ends:\n{said}"
                )
            return state if state in states else None

        return str(until(f"{dag_id}.{task_id} {' or '.join(states)}", look, within=within))

    def wait_for_run(self, dag_id: str, run_id: str, *, within: float = 120) -> str:
        """Wait for the end of the run and return its state."""

        def look() -> str | None:
            state = self.run_state(dag_id, run_id)
            return state if state in ("success", "failed") else None

        return str(until(f"{dag_id} {run_id} ended", look, within=within))

    def clear(self, dag_id: str, run_id: str, *task_ids: str) -> None:
        """Clear tasks as the UI does: they run again, and the Dag run with them."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": list(task_ids),
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Set a task instance to ``success`` or ``failed``, as a user who cancels it does."""
        self.call(
            "PATCH", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}", json={"new_state": state}
        )
