"""Outputs that a run is about to write over, copied first: another source may have their content by now."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection

from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.transfer.landing import BeforePublish, Landed
from airflow_provider_perfectlyclear.catalog.transfer.reuse import copy_file
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool
from airflow_provider_perfectlyclear.errors import PerfectlyClearError
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)

FOLDER = "replaced"


class SetAside:
    """
    Copies of outputs by content and correction. For any thread.

    They live until the run is over, or a later run of its lane is: a renumbered series needs them after a killed
    worker, too.

    :param state: the state folder.
    :param lane: the lane of the run.
    :param destination: where the outputs stand; None when only data is wanted.
    :param spool: for files on their way.
    :param digests: of the run's corrections: what was made by another one is not copied.
    """

    def __init__(
        self, state: Store, lane: str, destination: Store | None, spool: Spool, digests: Collection[str]
    ) -> None:
        self._digests = frozenset(digests)
        self._store = state.child(f"{FOLDER}/{lane}")
        self._destination = destination
        self._spool = spool
        #: Sizes of the sources that the run looks at (bytes): only an output made from such a size is copied.
        self.sizes: set[int] = set()
        self._rows: dict[str, Row] = {}  # by content and correction
        self._is_read = False

    def may_be_wanted(self, row: Row | None, sha256: str, digest: str) -> bool:
        """
        Return whether an output that is to be made from something else may be the result of another source of this run.

        :param row: what the ledger says of the output.
        :param sha256: of the new content.
        :param digest: of the new correction.
        """
        if row is None or row.state is not State.LANDED or (row.sha256, row.digest) == (sha256, digest):
            return False
        size = row.fingerprint.partition("-")[0]
        is_reusable = bool(row.output_sha256) and row.digest in self._digests
        return is_reusable and size.isdigit() and int(size) in self.sizes

    def keep(self, row: Row) -> None:
        """
        Copy an output that stands as the ledger has it.

        :raises StorageFailed: the state folder is full, denied or failing.
        """
        if self._destination is not None:
            copy_file((self._destination, row.output), (self._store, _name(row)), row, self._spool)
            self._rows[_key(row)] = row

    def copy_to(self, output: str, row: Row, before: BeforePublish) -> Landed | None:
        """
        Copy what was set aside to an output.

        :param row: whose content and correction is wanted.
        :param before: called before anything is published.
        :returns: None when it was not set aside.
        :raises StorageFailed: the destination is full, denied or failing.
        """
        if self._destination is None:
            return None
        held = self._find(row)
        if held is None:
            return None
        return copy_file((self._store, _name(held)), (self._destination, output), held, self._spool, before)

    def has(self, row: Row) -> bool:
        """Return whether an output was set aside whose content and correction another output has now."""
        return _key(row) in self._rows

    def forget(self, row: Row) -> None:
        """Remove a copy whose content has an output again, according to the ledger."""
        if (held := self._rows.pop(_key(row), None)) is not None:
            self._store.delete(_name(held))

    def _find(self, row: Row) -> Row | None:
        """Find what an earlier worker of the lane has set aside, too: its folder is listed once."""
        if _key(row) not in self._rows and not self._is_read:
            for found in (_row_of(entry.name) for entry in self._store.list()):
                if found is not None:
                    self._rows.setdefault(_key(found), found)
            self._is_read = True
        return self._rows.get(_key(row))


def clear(state: Store, lane: str) -> None:
    """Remove what a lane has set aside: its run is over."""
    folder = state.child(f"{FOLDER}/{lane}")
    try:
        leftovers: Collection[str] = [entry.name for entry in (*folder.list(), *folder.parts(""))]
    except PerfectlyClearError as error:
        log.info("%s", error)
        return
    for name in leftovers:
        folder.delete(name)


def _key(row: Row) -> str:
    return f"{row.sha256}-{row.digest}"


def _name(row: Row) -> str:
    """Return a name that says what a later worker must know: what it was made from, and what it has to be."""
    return f"{_key(row)}-{row.size}-{row.output_sha256}"


def _row_of(name: str) -> Row | None:
    found = re.fullmatch(r"([0-9a-f]{64})-([0-9a-f]+)-(\d+)-([0-9a-f]+)", name)
    if found is None:
        return None
    sha256, digest, size, output_sha256 = found.groups()
    return Row(name, State.LANDED, sha256=sha256, digest=digest, size=int(size), output_sha256=output_sha256)
