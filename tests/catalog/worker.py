"""
A worker of a run, as a process of its own: what a test kills.

Reads one JSON object from its first argument, runs the catalog once, and prints one JSON line: the summary, or the
error. ``die_at`` names the file system call (an audit event, and a part of its arguments) at which it kills
itself, so that the product needs no test hook; ``full_at`` the one that finds the disk full.

``constants`` sets module constants of the catalog, such as ``{"ledger.ABANDONED": 3.0}``. With ``pictures``, a
list of names, each is corrected by itself, by as many threads as ``threads`` says. SIGTERM cancels the run, as
Airflow's tasks do.
"""

from __future__ import annotations

import errno
import importlib
import json
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.catalog.one import CorrectOne
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.run import CatalogRun, Waiting
from airflow_provider_perfectlyclear.errors import PerfectlyClearError
from airflow_provider_perfectlyclear.storage import Store, open_store


def store_at(place: str, storage_options: dict[str, Any]) -> Store:
    """A local folder, or a prefix of the S3 server that the options name."""
    if not place.startswith("s3://"):
        return Store.local(place)
    import s3fs

    return open_store(s3fs.S3FileSystem(use_listings_cache=False, **storage_options), place)


def die_at(event: str, part: str) -> None:
    """SIGKILL, at the first audit event of that name with ``part`` in one of its arguments."""

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == event and any(part in str(argument) for argument in arguments):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def full_at(event: str, part: str) -> None:
    """No space is left at audit events of that name with ``part`` in one of their arguments."""

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == event and any(part in str(argument) for argument in arguments):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sys.addaudithook(hook)


def set_constants(constants: dict[str, Any]) -> None:
    """So that no test waits for as long as a user's run may."""
    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        found = importlib.import_module(f"airflow_provider_perfectlyclear.catalog.{module}")
        assert hasattr(found, constant), name
        setattr(found, constant, value)


def correct_each(client: Client, config: dict[str, Any], options: Options) -> dict[str, Any]:
    """Each picture by itself, as one mapped task each would: what became of how many."""
    storage_options = config.get("storage_options", {})
    destination = store_at(config["destination"], storage_options)

    def correct(name: str) -> str:
        one = CorrectOne(
            client=client,
            source=store_at(config["source"], storage_options),
            name=name,
            destination=destination,
            state=destination.child(".perfectlyclear"),
            run_key=config["run"],
            options=options,
            title=f"run {config['run']!r}",
        )
        try:
            one.execute()
        except PerfectlyClearError as error:
            return f"{type(error).__name__}: {error}"
        return "corrected"

    with ThreadPoolExecutor(config.get("threads", 1)) as pool:
        said = list(pool.map(correct, config["pictures"]))
    return {"corrected": said.count("corrected"), "refused": [text for text in said if text != "corrected"]}


def main() -> None:
    """Run once."""
    config = json.loads(sys.argv[1])
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format=form)
    set_constants(config.get("constants", {}))
    if "die_at" in config:
        die_at(*config["die_at"])
    if "full_at" in config:
        full_at(*config["full_at"])
    options = dict(config.get("options", {}))
    correction = Correction.parse(options.pop("correction", None))
    renditions = options.pop("renditions", None)
    if renditions:
        options["renditions"] = {name: Correction.parse(value) for name, value in renditions.items()}
    client = Client(Settings(api_key=config["key"], base_url=config["base_url"]))
    if "pictures" in config:
        print("ready", flush=True)
        print(json.dumps(correct_each(client, config, Options(correction=correction, **options))))
        return
    storage_options = config.get("storage_options", {})
    destination = store_at(config["destination"], storage_options)
    run = CatalogRun(
        client=client,
        source=store_at(config["source"], storage_options),
        destination=destination,
        state=destination.child(".perfectlyclear"),
        run_key=config["run"],
        options=Options(correction=correction, **options),
        title=f"run {config['run']!r}",
    )
    signal.signal(signal.SIGTERM, lambda *_: run.cancel())
    print("ready", flush=True)
    try:
        outcome = run.resume() if config.get("resume") else run.execute()
    except PerfectlyClearError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error), "code": error.code}))
        return
    if isinstance(outcome, Waiting):
        print(json.dumps({"waiting": list(outcome.job_ids), "message": outcome.message}))
    else:
        print(json.dumps({"summary": outcome.data}))


if __name__ == "__main__":
    main()
