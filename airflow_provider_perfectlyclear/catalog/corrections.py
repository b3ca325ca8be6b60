"""A run's corrections, as they are sent, with their digests: read once, when the run plans."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction, FileType
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.records import correction_digest
from airflow_provider_perfectlyclear.catalog.ledger.rows import State
from airflow_provider_perfectlyclear.catalog.presets import Presets
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """One of the run's corrections: as it is sent, and its digest."""

    correction: Correction
    digest: str

    def query(self, file_type: str) -> dict[str, str]:
        """Return the parameters of ``/pfc`` for a source of this ``fileType``."""
        return self.correction.model_copy(update={"file_type": FileType(file_type)}).query()


class Corrections:
    """
    What a run corrects by.

    :param client: asked for the files of custom presets.
    :param state: the state folder, which remembers them.
    :param corrections: rendition -> correction.
    """

    def __init__(self, client: Client, state: Store, corrections: Mapping[str, Correction]) -> None:
        self._client = client
        self._state = state
        self._corrections = corrections
        #: Rendition -> correction and digest; empty before they were read.
        self.prepared: dict[str, Prepared] = {}

    @property
    def digests(self) -> dict[str, str]:
        """Rendition -> digest of its correction."""
        return {rendition: prepared.digest for rendition, prepared in self.prepared.items()}

    def read(self, ledger: Ledger) -> None:
        """
        Find out the digest of each correction, unless it is known; the file of a custom preset is fetched once.

        :param ledger: tells whether something has landed by a correction: then its preset is known to exist.
        """
        if self.prepared:
            return
        presets, prepared = Presets(self._client, self._state), dict[str, Prepared]()
        contents: dict[str | None, tuple[str | None, str | None]] = {}
        for rendition, correction in self._corrections.items():
            name = correction.preset
            if name not in contents:
                contents[name] = presets.sha256(name)
            sha256, doubt = contents[name]
            digest = correction_digest(correction.canonical(), preset_sha256=sha256)
            if doubt is not None and not _has_landed_by(ledger, digest):
                log.warning("%s", doubt)
            prepared[rendition] = Prepared(correction, digest)
        self.prepared = prepared

    def forget(self) -> None:
        """Read them anew the next time: nothing was planned by them."""
        self.prepared = {}

    def use_planned(self, queries: Mapping[str, Mapping[str, str]], digests: Mapping[str, str]) -> None:
        """Take the corrections of a plan that was made before a deferral, whatever the Dag says now."""
        for name, query in queries.items():
            self.prepared[name] = Prepared(Correction.parse(query), digests[name])


def _has_landed_by(ledger: Ledger, digest: str) -> bool:
    """Return whether an output of this lane, or of another that is known here, landed by a correction of a digest."""
    rows = itertools.chain(ledger.rows.values(), ledger.others.values())
    return any(row.digest == digest and row.state is State.LANDED for row in rows)
