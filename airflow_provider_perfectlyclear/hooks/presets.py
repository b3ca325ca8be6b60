"""Presets as a whole: listing all pages, a two-step upload that leaves nothing half done, a file fetched."""

from __future__ import annotations

import difflib
import hashlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, cast

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.catalog.presets import MAX_PRESET, fetch_preset, iter_presets
from airflow_provider_perfectlyclear.errors import (
    ConfigurationError,
    NotFound,
    PerfectlyClearError,
    ProtocolError,
    TooLarge,
    UrlGone,
)
from airflow_provider_perfectlyclear.hooks.files import Body, opened, put
from airflow_provider_perfectlyclear.limits import is_none

if TYPE_CHECKING:
    from airflow_provider_perfectlyclear.api.client import Client
    from airflow_provider_perfectlyclear.api.models import Preset
    from airflow_provider_perfectlyclear.hooks.files import Source, Target

log = logging.getLogger(__name__)


def iterate(client: Client) -> Iterator[Preset]:
    """Every preset of the account."""
    return iter_presets(client)


def find(client: Client, *, preset_id: str | None = None, name: str | None = None) -> Preset | None:
    """
    Find a preset by its id or by its exact name.

    :raises ConfigurationError: neither or both were given.
    """
    preset_id, name = (None if is_none(value) else value for value in (preset_id, name))
    if bool(preset_id) == bool(name):
        why = "" if name else " Neither was given: did an upstream task return nothing?"
        raise ConfigurationError(f"Name a preset by preset_id or by name, one of them.{why}")
    if name:
        return next((preset for preset in iterate(client) if preset.name == name), None)
    try:
        return client.send(calls.get_preset(str(preset_id)))
    except NotFound:
        return None


def not_found(client: Client, name: str) -> NotFound:
    """The error for a name that no preset has, with the nearest one."""
    names = {preset.name.lower(): preset.name for preset in iterate(client)}
    close = difflib.get_close_matches(name.lower(), names, 1)
    hint = f"; did you mean {names[close[0]]!r}?" if close else "."
    return NotFound(f"Preset {name!r} not found{hint}")


def upload(
    client: Client, name: str, file: Source, *, description: str = "", if_exists: str = "fail"
) -> tuple[Preset, str]:
    """
    Make a preset. Replacing makes the new one first: there is always one of that name. A preset with the same
    content is left as it is, whatever ``if_exists`` says, so that doing it twice changes nothing.

    :returns: the preset, and what was done: ``made``, ``replaced``, ``skipped`` or ``unchanged``.
    :raises ConfigurationError: it exists, and ``if_exists`` is ``"fail"``; or another word.
    """
    if if_exists not in ("replace", "skip", "fail"):
        raise ConfigurationError(f"if_exists is {if_exists!r}: give one of 'replace', 'skip', 'fail'.")
    if is_none(name):
        raise ConfigurationError("name is None: did an upstream task return nothing? Name the preset.")
    with opened(file, name, argument="file") as body:
        there = [preset for preset in iterate(client) if preset.name == name]
        whole = [preset for preset in there if _is_whole(client, preset)]
        if whole and if_exists == "skip":
            return whole[0], "skipped"
        if len(whole) == 1 and _has_content(client, whole[0], body):
            return whole[0], "unchanged"
        if whole and if_exists == "fail":
            raise ConfigurationError(f"Preset {name!r} exists already: say if_exists='replace' or 'skip'.")
        preset_id = _create(client, name, body, description)
    for old in there:
        with suppress(NotFound):
            client.send(calls.delete_preset(old.preset_id))
    return client.send(calls.get_preset(preset_id)), "replaced" if whole else "made"


def _is_whole(client: Client, preset: Preset) -> bool:
    """Whether it has a file: one whose upload was cut off has none, or is listed and not found."""
    try:
        return client.send(calls.get_preset(preset.preset_id)).uri is not None
    except NotFound:
        return False


def _has_content(client: Client, preset: Preset, body: Body) -> bool:
    """Whether the preset's file is the same, byte for byte."""
    open_body, size = body
    if size > MAX_PRESET:
        return False
    with tempfile.TemporaryFile() as sink:
        try:
            got = fetch_preset(client, preset.preset_id, cast(BinaryIO, sink))
        except (NotFound, UrlGone, TooLarge):
            return False
    with open_body() as file:
        return got is not None and got.sha256 == hashlib.sha256(file.read()).hexdigest()


def _create(client: Client, name: str, body: Body, description: str) -> str:
    open_body, size = body
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


def download(client: Client, preset_id: str, destination: Target) -> str | None:
    """
    Fetch a preset's file; in a folder it is named after its id.

    :raises ProtocolError: the service names no file.
    """
    with tempfile.NamedTemporaryFile() as spool:
        if fetch_preset(client, preset_id, cast(BinaryIO, spool)) is None:
            raise ProtocolError(f"Preset {preset_id} has no file: the service named no uri.")
        spool.flush()
        return put(spool.name, destination, f"{preset_id}.preset")
