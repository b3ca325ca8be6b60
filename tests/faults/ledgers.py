"""Runs in this process, of catalogs and of single pictures, that share or lose their ledgers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.catalog.ledger.identity import Expected
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.result import Finished, Parked
from airflow_provider_perfectlyclear.catalog.run import CatalogRun, catalog_run
from airflow_provider_perfectlyclear.catalog.single import single_run
from airflow_provider_perfectlyclear.storage import LocalStore, Store
from tests.support.sandbox import Sandbox

DATA_ONLY = {"include_detection_data": True}


def client_of(sandbox: Sandbox, base_url: str | None = None) -> Client:
    return Client(Settings(api_key=sandbox.emulator.key, base_url=base_url or sandbox.emulator.base_url))


def catalog(
    sandbox: Sandbox,
    key: str = "night",
    correction: Any = None,
    *,
    state: Path | None = None,
    destination: Path | None = None,
    source: Path | Store | None = None,
    expects: Expected | None = None,
    base_url: str | None = None,
    **options: Any,
) -> CatalogRun:
    """A catalog's run. ``state``: where its ledger lies, if not in the destination."""
    sandbox.runs.add(key)
    sandbox.expect(key, options)
    target = LocalStore(destination or sandbox.destination)
    return catalog_run(
        client_of(sandbox, base_url),
        Places(
            source if isinstance(source, Store) else LocalStore(source or sandbox.source),
            target,
            LocalStore(state) if state else target.child(".perfectlyclear"),
        ),
        Options(correction=Correction.parse(correction), **{"poll_interval": 0.1, **options}),
        key,
        title=f"run {key!r}",
        expects=expects,
    )


def single(
    sandbox: Sandbox,
    picture: Path,
    key: str = "single",
    correction: Any = None,
    *,
    destination: Path | None = None,
    state: Path | None = None,
    **options: Any,
) -> CatalogRun:
    """The run of one picture into the sandbox's destination, or, with ``state`` alone, of its data."""
    sandbox.runs.add(key)
    sandbox.expect(key, options)
    sandbox.sources.look_at(picture.parent)
    target = None if state and destination is None else LocalStore(destination or sandbox.destination)
    home = LocalStore(state) if state else None
    if home is None:
        assert target is not None
        home = target.child(".perfectlyclear")
    return single_run(
        client_of(sandbox),
        Places(LocalStore(picture.parent), target, home),
        Options(correction=Correction.parse(correction), **{"poll_interval": 0.1, **options}),
        key,
        picture.name,
        title=f"run {key!r}",
    )


def done(outcome: Parked | Finished) -> dict[str, Any]:
    """What a run returned that came to its end."""
    assert isinstance(outcome, Finished), outcome
    return outcome.data


def memory(run: CatalogRun, *, same_run: bool = False) -> Expected:
    """What Airflow would keep of a run's ledger for the next run."""
    said = run.ledger_memory()
    assert said is not None
    return Expected(said["ledger"], said["place"], said["outputs"], said["seq"], same_run)
