"""The content of a custom preset is part of what makes a picture changed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from logging import Logger
from typing import BinaryIO, cast

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client, Downloaded
from airflow_provider_perfectlyclear.api.models import Preset
from airflow_provider_perfectlyclear.errors import (
    ConfigurationError,
    NotFound,
    TooLarge,
    Unavailable,
    UrlExpired,
    UrlGone,
)

#: The largest preset file that is looked at (bytes).
MAX_PRESET = 16 * 2**20
#: How many presets are asked for at once (the reference's default), and how many pages at the most.
PAGE, MAX_PAGES = 20, 1000

#: Names that are no custom preset (the vendor's guide): automatic selection, and no correction.
BUILT_IN = ("universal", "none")


def iter_presets(client: Client) -> Iterator[Preset]:
    """
    Every preset of the account, page by page; free. A short page is not the last one, as the service may leave some
    out after it has counted; one with nothing new is.
    """
    seen = set[str]()
    for page in range(MAX_PAGES):
        presets = client.send(calls.list_presets(limit=PAGE, offset=page * PAGE))
        new = [preset for preset in presets if preset.preset_id not in seen]
        if not new:
            return
        seen.update(preset.preset_id for preset in new)
        yield from new


def fetch_preset(client: Client, preset_id: str, sink: BinaryIO) -> Downloaded | None:
    """
    Fetch a preset's file, or None when the service names none.

    :raises NotFound: there is no such preset.
    :raises UrlGone: there is no file where the service says that it is.
    :raises TooLarge: it has more than 16 MB.
    :raises TransferFailed: it did not come through; an address that has expired was asked for once more.
    """
    try:
        return _fetch(client, preset_id, sink)
    except UrlGone:
        raise
    except UrlExpired:
        return _fetch(client, preset_id, sink)  # a refused address has written nothing


def _fetch(client: Client, preset_id: str, sink: BinaryIO) -> Downloaded | None:
    uri = client.send(calls.get_preset(preset_id)).uri
    return None if uri is None else client.download(uri, sink, max_bytes=MAX_PRESET)


def preset_sha256(client: Client, name: str | None, log: Logger) -> str | None:
    """
    The SHA-256 of a custom preset's file, or None when it has none that can be known.

    :param name: as in the correction.
    :raises ConfigurationError: the file is larger than 16 MB.
    :raises Unavailable: it is listed, and its file is not there: half made, or deleted meanwhile.
    """
    if name is None or name.lower() in BUILT_IN:
        return None
    found = next((preset for preset in iter_presets(client) if preset.name == name), None)
    if found is None:
        log.warning(
            "Preset %r is not among the account's presets. It may be built in: it is tried with the first "
            "picture alone.",
            name,
        )
        return None
    with tempfile.TemporaryFile() as sink:
        try:
            got = fetch_preset(client, found.preset_id, cast(BinaryIO, sink))
            return got.sha256 if got else None
        except (NotFound, UrlGone) as error:  # not to be taken for another content, which would be paid for
            raise Unavailable(
                f"Preset {name!r} is listed, but its file is not there now: {error} Nothing was paid."
            ) from None
        except TooLarge:
            pass
    raise ConfigurationError(
        f"Preset {name!r} has more than {MAX_PRESET:,} bytes, so its content cannot be compared. Nothing was paid: "
        "use a smaller preset."
    )
