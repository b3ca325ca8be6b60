"""What lies at the source and at the destination."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from airflow_provider_perfectlyclear.api.text import counted, one_line
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.catalog.naming import add_composed
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.plan.decide import FUTURE
from airflow_provider_perfectlyclear.catalog.plan.listing import look_for, originals
from airflow_provider_perfectlyclear.catalog.plan.model import Plan
from airflow_provider_perfectlyclear.catalog.plan.waiting import wait_for
from airflow_provider_perfectlyclear.errors import InvalidSource
from airflow_provider_perfectlyclear.storage import Entry, Look, Store, check_name, is_part

log = logging.getLogger(__name__)

#: Threads that look for given files at the source.
LOOKERS = 16


class NotThere(NamedTuple):
    """A given file that cannot be a source."""

    name: str
    code: str
    reason: str


class Survey:
    """
    Lists a source and a destination, once each and at the same time.

    :param places: where the pictures are and go; the state folder is never listed as a place of pictures.
    :param files: names below the source instead of listing it.
    :param look: called between long steps; may raise to end them.
    """

    def __init__(
        self, places: Places, options: Options, *, files: Iterable[str] | None, look: Callable[[], None]
    ) -> None:
        self._places = places
        self._options = options
        self._files = None if files is None else list(dict.fromkeys(files))
        self._look = look
        self._seen = Look()
        #: The given files that are not there, as of the last listing.
        self.not_there: list[NotThere] = []

    @property
    def was_given_nothing(self) -> bool:
        """Whether the run was given a list of files that has none: an ingestion that found nothing."""
        return self._files is not None and not self._files

    @property
    def closed(self) -> list[str]:
        """Folders of the destination that hold no outputs: an original must never be overwritten."""
        places = self._places
        return _inside(places.destination, places.state, places.source) if places.destination else []

    def list_both(self, rows: Mapping[str, Row]) -> tuple[list[Entry], dict[str, int]]:
        """
        List both places.

        :param rows: the ledger.
        :returns: the source's files; and output name -> size in bytes.
        """
        with ThreadPoolExecutor(2) as pool:
            here = pool.submit(self._list_source)
            there = pool.submit(self._list_destination, rows)
            wait_for(here, there, look=self._look)
            return here.result(), there.result()

    def note_what_was_seen(self, made: Plan) -> None:
        """Count by name the folders that were passed over. Those that could not be read fail the run at its end."""
        made.unread = [list(one) for one in self._seen.unread]
        for folder, why in self._seen.unread[:10]:
            log.error("Folder %s of the source cannot be read: %s", one_line(folder), why)
        for name, count in self._seen.skipped.items():
            made.notes[f"folder{'s' * (count != 1)} {one_line(name, 40)} passed over"] = count
        if others := len(self._seen.destinations):
            whose = "folder of another catalog's" if others == 1 else "folders of other catalogs'"
            made.notes[f"{whose} outputs passed over"] = others
        if early := made.notes.get(FUTURE):
            log.warning(
                "%s with a time in the future: min_age does not hold them back", counted(early, "file")
            )

    def _list_source(self) -> list[Entry]:
        source = self._places.source
        if self._files is None:
            self._seen = look_for(self._options.exclude)
            prune = _inside(source, self._places.destination, self._places.state)
            return list(originals(list(source.list(prune=prune, look=self._seen)), self._seen))
        self.not_there = []
        with ThreadPoolExecutor(LOOKERS) as pool:
            return [entry for entry in pool.map(self._look_for, self._files) if entry is not None]

    def _look_for(self, name: str) -> Entry | None:
        """Look for a given file. An unsafe name is not even looked for: it may lead out of the source."""
        try:
            entry = self._places.source.stat(check_name(name))
        except InvalidSource as refusal:
            self.not_there.append(NotThere(name, refusal.code, refusal.reason))
            return None
        if entry is None:
            reason = f"there is no file {self._places.source.uri(name)}"
            self.not_there.append(NotThere(name, "SOURCE_CHANGED", reason))
        return entry

    def _list_destination(self, rows: Mapping[str, Row]) -> dict[str, int]:
        """
        List outputs, and remove temporary files that have no owner any more.

        :param rows: the ledger's, which have most of these numbers already: 100,000 more of them are 3 MB.
        :returns: output name -> size in bytes.
        """
        destination = self._places.destination
        if destination is None:
            return {}
        sizes, parts = dict[str, int](), list[Entry]()
        for entry in destination.list(prune=self.closed):
            if is_part(entry.name):
                parts.append(entry)
            else:
                row = rows.get(entry.name)
                sizes[entry.name] = row.size if row is not None and row.size == entry.size else entry.size
        destination.sweep(parts)
        add_composed(sizes)
        return sizes


def _inside(store: Store, *others: Store | None) -> list[str]:
    places = [store.relative(other) for other in others if other is not None]
    return [place for place in places if place]
