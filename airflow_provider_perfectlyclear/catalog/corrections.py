"""A run's corrections, as they are sent, with their digests: read once, when the run plans."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.engine.progress import Prepared
from airflow_provider_perfectlyclear.catalog.ledger.records import correction_digest
from airflow_provider_perfectlyclear.catalog.presets import preset_sha256

log = logging.getLogger(__name__)


def prepare(client: Client, corrections: Mapping[str, Correction]) -> dict[str, Prepared]:
    """
    Find out the digest of each correction; the file of a custom preset is fetched once.

    :param corrections: rendition -> correction.
    """
    presets: dict[str | None, str | None] = {}
    prepared = dict[str, Prepared]()
    for rendition, correction in corrections.items():
        name = correction.preset
        if name not in presets:
            presets[name] = preset_sha256(client, name, log)
        digest = correction_digest(correction.canonical(), preset_sha256=presets[name])
        prepared[rendition] = Prepared(correction, digest)
    return prepared


def as_planned(queries: Mapping[str, Mapping[str, str]], digests: Mapping[str, str]) -> dict[str, Prepared]:
    """The corrections of a plan that was made before a deferral, whatever the Dag says now."""
    return {name: Prepared(Correction.parse(query), digests[name]) for name, query in queries.items()}
