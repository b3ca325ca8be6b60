"""Presets, made and deleted as the hook does it; also in a process that may be killed."""

from __future__ import annotations

import io
import multiprocessing

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.emulator.testing import Emulator
from airflow_provider_perfectlyclear.hooks import presets

NAME = "Studio 7"


def client_of(service: Emulator) -> Client:
    return Client(Settings(api_key=service.key, base_url=service.base_url, max_retries=1))


def make(service: Emulator, content: bytes, *, name: str = NAME) -> None:
    with client_of(service) as client:
        presets.upload(client, name, io.BytesIO(content), if_exists="replace")


def delete(service: Emulator) -> None:
    with client_of(service) as client:
        found = presets.find(client, name=NAME)
        assert found is not None
        client.send(calls.delete_preset(found.preset_id))


def make_in_a_process(service: Emulator, content: bytes) -> int | None:
    """Its exit code."""
    context = multiprocessing.get_context("forkserver")
    # The object itself holds a process, and cannot be handed over.
    process = context.Process(
        target=_make, args=(service.base_url, service.storage_url, service.key, content), daemon=True
    )
    process.start()
    process.join(30)
    return process.exitcode


def _make(base_url: str, storage_url: str, key: str, content: bytes) -> None:
    make(Emulator(None, base_url, storage_url, key), content)  # type: ignore[arg-type]
