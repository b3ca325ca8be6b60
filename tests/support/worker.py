"""
A worker of a run, as a process of its own: what a test kills.

It runs the catalog once, and hands back one object: the summary, or the error. What the configuration may say
beside the places, the connection and the options:

* ``die_at``: the file system call (an audit event, a part of its arguments, and which of them if not the first) at
  which it kills itself, so that the product needs no test hook. ``fail_at``: the calls that fail, as ``[event, part,
  errno, times, first]``.
* ``die_before``: the store's verb and a part of the path at which it kills itself: for stores that are no file system.
* ``constants``: module constants of the package, such as ``{"catalog.ledger.owners.ABANDONED": 3.0}``.
* ``pictures``: names to correct each by itself, by as many ``threads``.
* ``expects``: what Airflow keeps of the ledger, as a try said it as its ``memory``.
* ``files``: names instead of a listing. ``resume``: go on after a deferral. ``key_file``: where a rotated key lies.
* ``settings``: more of the connection, such as ``{"timeout": 2}``. ``environment``: variables. ``level``: of its log.

SIGTERM cancels the run, as Airflow's tasks do.
"""

from __future__ import annotations

import errno
import importlib
import itertools
import json
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.api.wire import tls_context
from airflow_provider_perfectlyclear.catalog.ledger.identity import Expected
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.result import Parked
from airflow_provider_perfectlyclear.catalog.run import CatalogRun, catalog_run
from airflow_provider_perfectlyclear.catalog.single import single_run
from airflow_provider_perfectlyclear.errors import PerfectlyClearError
from airflow_provider_perfectlyclear.storage import LocalStore, ObjectStore, Store, open_store

log = logging.getLogger("worker")

#: A single picture's run is resumed after so many seconds, in the same process.
DEFERRED = 0.3

tls_context(True)  # read once, by the process that forks all workers


def store_at(place: str, storage_options: dict[str, Any]) -> Store:
    """A local folder, or a prefix of the S3 server that the options name."""
    if not place.startswith("s3://"):
        return LocalStore(place)
    import s3fs

    return open_store(s3fs.S3FileSystem(use_listings_cache=False, **storage_options), place)


def at(event: str, part: str, action: Callable[[], None], first: int = 1) -> None:
    """Do something at every audit event of that name with ``part`` in one of its arguments, from the first one on."""
    seen = itertools.count(1)

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == event and any(part in str(argument) for argument in arguments) and next(seen) >= first:
            action()

    sys.addaudithook(hook)


def die_at(event: str, part: str, first: int = 1) -> None:
    """SIGKILL at that call."""
    at(event, part, die, first)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail_at(event: str, part: str, number: str, times: int | None = None, first: int = 1) -> None:
    """Calls fail with that errno (``"ENOSPC"``), or, for a name that is looked up, as if there were none."""
    left = [times]

    def fail() -> None:
        if left[0] is not None:
            if left[0] == 0:
                return
            left[0] -= 1
        log.warning("injected: %s at %s", number, event)
        if number == "EAI_NONAME":
            import socket

            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        code = getattr(errno, number)
        raise OSError(code, os.strerror(code))

    at(event, part, fail, first)


def die_before(verb: str, part: str) -> None:
    """SIGKILL when an object store's ``verb`` is about to be done to a path with ``part`` in it."""
    original = getattr(ObjectStore, verb)

    def dying(self: ObjectStore, name: str, *arguments: Any, **more: Any) -> Any:
        if part in self.path(name):
            die()
        return original(self, name, *arguments, **more)

    setattr(ObjectStore, verb, dying)


def set_constants(constants: dict[str, Any]) -> None:
    """So that no test waits for as long as a user's run may."""
    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        found = importlib.import_module(f"airflow_provider_perfectlyclear.{module}")
        assert hasattr(found, constant), name
        setattr(found, constant, value)


def options_of(config: dict[str, Any]) -> Options:
    options = dict(config.get("options", {}))
    correction = Correction.parse(options.pop("correction", None))
    renditions = options.pop("renditions", None)
    if renditions:
        options["renditions"] = {name: Correction.parse(value) for name, value in renditions.items()}
    return Options(correction=correction, **options)


def client_of(config: dict[str, Any]) -> Client:
    settings = Settings(api_key=config["key"], base_url=config["base_url"], **config.get("settings", {}))

    def renew() -> Settings:
        return replace(settings, api_key=Path(config["key_file"]).read_text())

    return Client(settings, renew=renew if "key_file" in config else None)


def correct_each(client: Client, config: dict[str, Any]) -> dict[str, Any]:
    """Each picture by itself, as one mapped task each would: what became of how many."""
    storage_options = config.get("storage_options", {})
    destination = store_at(config["destination"], storage_options)

    facts: dict[str, dict[str, Any]] = {}

    def run_of(name: str) -> CatalogRun:
        return single_run(
            client,
            Places(
                store_at(config["source"], storage_options), destination, destination.child(".perfectlyclear")
            ),
            options_of(config),
            config["run"],
            name,
            title=f"run {config['run']!r}",
        )

    def correct(name: str) -> str:
        one = run_of(name)
        try:
            outcome = one.execute()
            while isinstance(outcome, Parked):
                facts[name] = one.facts()
                time.sleep(min(outcome.timeout, DEFERRED))  # what the trigger does
                one = run_of(name)
                outcome = one.resume()
        except PerfectlyClearError as error:
            return f"{type(error).__name__}: {error}"
        finally:
            facts[name] = one.facts()
        return "corrected"

    with ThreadPoolExecutor(config.get("threads", 1)) as pool:
        said = list(pool.map(correct, config["pictures"]))
    refused = [text for text in said if text != "corrected"]
    return {
        "corrected": said.count("corrected"),
        "refused": refused,
        "run": config["run"],
        "facts": facts,
    }


def correct_all(client: Client, config: dict[str, Any], ready: Callable[[], None]) -> dict[str, Any]:
    """The catalog."""
    storage_options = config.get("storage_options", {})
    destination = store_at(config["destination"], storage_options)
    state = store_at(config["state"], storage_options) if "state" in config else None
    run = catalog_run(
        client,
        Places(
            store_at(config["source"], storage_options),
            destination,
            state or destination.child(".perfectlyclear"),
        ),
        options_of(config),
        config["run"],
        files=config.get("files"),
        title=f"run {config['run']!r}",
        expects=Expected(**config["expects"]) if config.get("expects") else None,
    )
    signal.signal(signal.SIGTERM, lambda *_: run.cancel())
    ready()
    try:
        outcome = run.resume() if config.get("resume") else run.execute()
    except PerfectlyClearError as error:
        log.exception("The run failed")  # with its whole chain: tests search it for secrets
        helps = getattr(error, "retry_helps", False)
        return {
            "error": type(error).__name__,
            "message": str(error),
            "code": error.code,
            "retry_helps": helps,
            "memory": run.ledger_memory(),
        }
    if isinstance(outcome, Parked):
        return {"waiting": list(outcome.job_ids), "message": outcome.message}
    return {"summary": outcome.data, "skip": outcome.skip, "memory": run.ledger_memory()}


def left_behind() -> list[str]:
    """Threads and sockets of ours that are still there. fsspec's own thread lives as long as its process."""
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    sockets = psutil.Process().net_connections("inet")
    if "fsspecIO" in threads:  # and so do its connections, and the threads of its loop
        threads = [name for name in threads if name != "fsspecIO" and not name.startswith("asyncio_")]
        sockets = []
    return [*threads, *(str(socket) for socket in sockets)]


def peak_memory() -> int:
    """Bytes. Not by getrusage: what that tells begins with the memory of the process that started it."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def note_connections() -> None:
    """Log every address that is connected to: a check reads there that nothing else was."""

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "socket.connect" and isinstance(arguments[1], tuple):
            log.debug("connects to %s", arguments[1][0])

    sys.addaudithook(hook)


def run(config: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    """
    Run once.

    :param say: hears ``{"ready": True}`` right before the run begins, and at its end what it came to, with what is
        ``left`` behind, and by how many MB the process ``grew`` at most.
    """
    os.environ.update(config.get("environment", {}))
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=config.get("level", "DEBUG"), stream=sys.stderr, format=form)
    note_connections()
    set_constants(config.get("constants", {}))
    if "die_at" in config:
        die_at(*config["die_at"])
    if "fail_at" in config:
        fail_at(*config["fail_at"])
    if "die_before" in config:
        die_before(*config["die_before"])

    def ready() -> None:
        say({"ready": True})

    if config["source"].startswith("s3://"):
        importlib.import_module("s3fs")  # what it weighs itself is not what a run needs
        logging.getLogger("botocore").setLevel(logging.INFO)  # at DEBUG it logs how it signs its own requests
    before = peak_memory()
    with client_of(config) as client:
        if "pictures" in config:
            ready()
            said = correct_each(client, config)
        else:
            said = correct_all(client, config, ready)
    say({**said, "left": left_behind(), "grew": round((peak_memory() - before) / 2**20, 1)})


def forked(config: dict[str, Any], sender: Any, log_path: str, temporary: str) -> None:
    """The same in a process that was forked from one that has imported all this."""
    os.environ["TMPDIR"] = tempfile.tempdir = temporary
    with open(log_path, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    run(config, sender.send)


if __name__ == "__main__":
    run(json.loads(sys.stdin.read()), lambda said: print(json.dumps(said), flush=True))
