"""Presets as a whole: listing all pages, a two-step upload that leaves nothing half done, a file fetched."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.errors import ConfigurationError, PerfectlyClearError, ProtocolError
from airflow_provider_perfectlyclear.hooks.files import opened, published

if TYPE_CHECKING:
    from airflow_provider_perfectlyclear.api.client import Client
    from airflow_provider_perfectlyclear.api.models import Preset

#: The largest preset file that is fetched (bytes).
MAX_PRESET = 16 * 2**20

log = logging.getLogger(__name__)


def iterate(client: Client) -> Iterator[Preset]:
    """Every preset of the account."""
    from airflow_provider_perfectlyclear.catalog.presets import iter_presets

    return iter_presets(client)


def upload(
    client: Client,
    name: str,
    file: str | Path | bytes | BinaryIO,
    *,
    description: str = "",
    if_exists: str = "fail",
) -> Preset:
    """
    Make a preset. Replacing makes the new one first: there is always one of that name.

    :raises ConfigurationError: it exists, and ``if_exists`` is ``"fail"``; or another word.
    """
    if if_exists not in ("replace", "skip", "fail"):
        raise ConfigurationError(f"if_exists is {if_exists!r}: give one of 'replace', 'skip', 'fail'.")
    there = [preset for preset in iterate(client) if preset.name == name]
    if there and if_exists == "fail":
        raise ConfigurationError(f"Preset {name!r} exists already: say if_exists='replace' or 'skip'.")
    if there and if_exists == "skip":
        return there[0]
    preset_id = _create(client, name, file, description)
    for old in there:
        client.send(calls.delete_preset(old.preset_id))
    return client.send(calls.get_preset(preset_id))


def _create(client: Client, name: str, file: str | Path | bytes | BinaryIO, description: str) -> str:
    with opened(file, name) as (open_body, size):
        target = client.send(calls.create_preset(name, description))
        try:
            client.put(target.upload_url, open_body, size=size)
        except BaseException:
            _clean_up(client, target.preset_id)
            raise
    return target.preset_id


def _clean_up(client: Client, preset_id: str) -> None:
    """Remove a preset without a file, or the next run would find a twin."""
    try:
        client.send(calls.delete_preset(preset_id))
    except PerfectlyClearError as error:
        log.warning("Preset %s was half made and could not be removed: %s", preset_id, error)


def download(client: Client, preset_id: str, destination: str | Path | BinaryIO) -> str | None:
    """
    Fetch a preset's file.

    :raises ProtocolError: the service names no file.
    """
    uri = client.send(calls.get_preset(preset_id)).uri
    if uri is None:
        raise ProtocolError(f"Preset {preset_id} has no file: the service named no uri.")
    with published(destination) as (sink, publish):
        client.download(uri, sink, max_bytes=MAX_PRESET)
        return publish()
