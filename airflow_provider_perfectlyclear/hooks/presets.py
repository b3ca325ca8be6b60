"""Presets: list all pages, find one, upload in two steps without leaving an incomplete one, download the file."""

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
    """Return an iterator over all presets of the account."""
    return iter_presets(client)


def find(client: Client, *, preset_id: str | None = None, name: str | None = None) -> Preset | None:
    """
    Return a preset by its id or by its exact name.

    :param client: Client of the connection.
    :param preset_id: The service's ``presetId``. Give this or ``name``.
    :param name: The preset's exact name. Give this or ``preset_id``.
    :returns: None: there is no such preset.
    :raises ConfigurationError: Neither or both were given.
    """
    preset_id, name = (None if is_none(value) else value for value in (preset_id, name))
    if bool(preset_id) == bool(name):
        why = "" if name else " Neither was given: did an upstream task return nothing?"
        raise ConfigurationError(f"Give either preset_id or name.{why}")
    if name:
        return next((preset for preset in iterate(client) if preset.name == name), None)
    try:
        return client.send(calls.get_preset(str(preset_id)))
    except NotFound:
        return None


def not_found(client: Client, name: str) -> NotFound:
    """Return the error for an unknown name, with the most similar known one."""
    names = {preset.name.lower(): preset.name for preset in iterate(client)}
    close = difflib.get_close_matches(name.lower(), names, 1)
    hint = f"; did you mean {names[close[0]]!r}?" if close else "."
    return NotFound(f"Preset {name!r} not found{hint}")


def upload(
    client: Client, name: str, file: Source, *, description: str = "", if_exists: str = "fail"
) -> tuple[Preset, str]:
    """
    Upload a preset. Does nothing if the preset exists with the same content, for every ``if_exists``.

    Replacing uploads the new preset first and deletes the old one last, so there is always one of that name.

    :param client: Client of the connection.
    :param name: The preset's exact name.
    :param file: A path, a URL, an ``ObjectStoragePath``, bytes, or an open binary file.
    :param description: Free text. Default ``""``.
    :param if_exists: ``"fail"`` (the default), ``"skip"`` or ``"replace"``.
    :returns: The preset, and one of ``made``, ``replaced``, ``skipped`` and ``unchanged``.
    :raises ConfigurationError: The preset exists and ``if_exists`` is ``"fail"``, or ``if_exists`` is another word.
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
            raise ConfigurationError(f"Preset {name!r} already exists: set if_exists='replace' or 'skip'.")
        preset_id = _create(client, name, body, description)
    for old in there:
        with suppress(NotFound):
            client.send(calls.delete_preset(old.preset_id))
    return client.send(calls.get_preset(preset_id)), "replaced" if whole else "made"


def _is_whole(client: Client, preset: Preset) -> bool:
    """Return whether a preset has a file. After an interrupted upload it has none, or is listed but not found."""
    try:
        return client.send(calls.get_preset(preset.preset_id)).uri is not None
    except NotFound:
        return False


def _has_content(client: Client, preset: Preset, body: Body) -> bool:
    """Return whether the preset's file has the same bytes."""
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
    """Remove a preset without a file, so that the next run does not find two presets of that name."""
    try:
        client.send(calls.delete_preset(preset_id))
    except PerfectlyClearError as error:
        log.warning("Preset %s is incomplete and could not be removed: %s", preset_id, error)


def download(client: Client, preset_id: str, destination: Target) -> str | None:
    """
    Download a preset's file.

    :param client: Client of the connection.
    :param preset_id: The service's ``presetId``.
    :param destination: A path, a URL, an ``ObjectStoragePath``, or a file open for writing bytes. If it ends in ``/``,
        the file is named after the preset's id.
    :returns: The file's path or URL. None for an open file.
    :raises ProtocolError: The service names no file.
    """
    with tempfile.NamedTemporaryFile() as spool:
        if fetch_preset(client, preset_id, cast(BinaryIO, spool)) is None:
            raise ProtocolError(f"Preset {preset_id} has no file: the service named no uri.")
        spool.flush()
        return put(spool.name, destination, f"{preset_id}.preset")
