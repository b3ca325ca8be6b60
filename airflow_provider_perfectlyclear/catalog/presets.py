"""The content of a custom preset is part of what makes a picture changed."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import re
import tempfile
import time
from collections.abc import Iterator
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
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)

#: The largest preset file that is looked at (bytes).
MAX_PRESET = 16 * 2**20
#: How many presets are asked for at once (the reference's default), and how many pages at the most.
PAGE, MAX_PAGES = 20, 1000

#: A preset's file that is not what it was is read again after this long (seconds), and so often at the most.
AGAIN_AFTER, READINGS = 0.5, 3

_SHA256 = re.compile(r"[0-9a-f]{64}")

#: Names that are no custom preset (the vendor's guide): automatic selection, and no correction.
BUILT_IN = ("universal", "none")


def iter_presets(client: Client) -> Iterator[Preset]:
    """
    Read every preset of the account, page by page; free.

    A short page is not the last one, as the service may leave some out after it has counted; one with nothing new is.
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


class Presets:
    """
    The presets of an account, and those that it had when they were last looked for.

    One that is left out of a list for once must not be taken for a built-in one, which would be another correction, and
    paid for again.

    :param home: where a ledger lies.
    """

    def __init__(self, client: Client, home: Store) -> None:
        self._client = client
        self._home = home

    def sha256(self, name: str | None) -> tuple[str | None, str | None]:
        """
        Find out the SHA-256 of a custom preset's file.

        :param name: as in the correction.
        :returns: it, or None when it has none that can be known; and what a person should hear of a preset that may be
            built in, or misspelt.
        :raises ConfigurationError: the file is larger than 16 MB.
        :raises Unavailable: it is listed, and its file is not there: half made, or deleted meanwhile. Or it was listed
            before, and is not now.
        """
        if name is None or name.lower() in BUILT_IN:
            return None, None
        others = list[str]()
        for found in iter_presets(self._client):
            if found.name == name:
                break
            others.append(found.name)
        else:
            self._refuse_known(name)
            return None, _not_listed(name, others)
        return self._believed(name, found), None

    def _believed(self, name: str, found: Preset) -> str | None:
        """
        Return the content's SHA-256: the remembered one, or one that two readings agree on.

        A single misreading would count as another correction and be paid for. If every reading differs, the redo guard
        decides.
        """
        is_known, known = self._remembered(name)
        read = list[str]()
        while len(read) < READINGS:
            if read:
                time.sleep(AGAIN_AFTER)
            sha256 = self._content(name, found)
            if sha256 is None and is_known:
                raise Unavailable(
                    f"Preset {name!r} had a file when this ledger last saw it, and the service names none now. Nothing "
                    "was paid. Run the task again later."
                )
            if sha256 is None or sha256 == known:
                return sha256
            if sha256 in read:
                self._remember(name, sha256)
                return sha256
            read.append(sha256)
        log.warning("The file of preset %r is another one each time that it is read", name)
        return read[-1]

    def _content(self, name: str, found: Preset) -> str | None:
        with tempfile.TemporaryFile() as sink:
            try:
                got = fetch_preset(self._client, found.preset_id, cast(BinaryIO, sink))
                sink.seek(0)
                if got and sink.read(64).lstrip().lower().startswith((b"<html", b"<!doctype html")):
                    raise Unavailable(
                        f"In place of the file of preset {name!r} came a web page. Nothing was paid."
                    )
                return got.sha256 if got else None
            except (
                NotFound,
                UrlGone,
            ) as error:  # not to be taken for another content, which would be paid for
                raise Unavailable(
                    f"Preset {name!r} is listed, but its file is not there now: {error} Nothing was paid."
                ) from None
            except TooLarge:
                pass
        raise ConfigurationError(
            f"Preset {name!r} has more than {MAX_PRESET:,} bytes, so its content cannot be compared. Nothing was "
            "paid: use a smaller preset."
        )

    @staticmethod
    def _file(name: str) -> str:
        return f"presets/{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"

    def _remembered(self, name: str) -> tuple[bool, str | None]:
        """
        Return whether the preset was listed before, and the SHA-256 of its file.

        Of a damaged record only the first is known: that is enough not to take the preset for a built-in one, and two
        readings of its file write the record anew.
        """
        file = self._file(name)
        data = self._home.read(file)
        if data is None:
            return False, None
        try:
            return True, _SHA256.fullmatch(json.loads(data)["sha256"])[0]  # type: ignore[index]
        except (ValueError, KeyError, TypeError):
            log.warning(
                "%s cannot be read. The file of preset %r is read again to write it anew; nothing is paid for that",
                self._home.uri(file),
                name,
            )
            return True, None

    def _refuse_known(self, name: str) -> None:
        if self._remembered(name)[0]:
            raise Unavailable(
                f"Preset {name!r} was among the account's presets when this ledger last saw it, and is not listed now. "
                "Nothing was paid. Run the task again later. If the preset was deleted, name another one."
            )

    def _remember(self, name: str, sha256: str) -> None:
        data = json.dumps({"name": name, "sha256": sha256}, ensure_ascii=False).encode()
        if self._home.read(self._file(name)) != data:
            self._home.write(self._file(name), data)


def _not_listed(name: str, others: list[str]) -> str:
    near = difflib.get_close_matches(name, others, n=1, cutoff=0.75)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"Preset {name!r} is not among the account's presets.{hint} It may be built in: it is tried with the first "
        "picture alone."
    )
