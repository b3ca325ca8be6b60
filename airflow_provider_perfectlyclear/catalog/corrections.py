"""A run's corrections, as they are sent, with their digests: read once, when the run plans."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.engine.progress import Prepared
from airflow_provider_perfectlyclear.catalog.ledger.records import correction_digest
from airflow_provider_perfectlyclear.catalog.presets import Presets

log = logging.getLogger(__name__)


def prepare(
    corrections: Mapping[str, Correction], presets: Presets, *, has_worked: Callable[[str], bool]
) -> dict[str, Prepared]:
    """
    Find out the digest of each correction; the file of a custom preset is fetched once.

    :param corrections: rendition -> correction.
    :param presets: those of the account.
    :param has_worked: whether something has landed by a correction of this digest: its preset is known to exist.
    """
    contents: dict[str | None, tuple[str | None, str | None]] = {}
    prepared = dict[str, Prepared]()
    for rendition, correction in corrections.items():
        name = correction.preset
        if name not in contents:
            contents[name] = presets.sha256(name)
        sha256, doubt = contents[name]
        digest = correction_digest(correction.canonical(), preset_sha256=sha256)
        if doubt is not None and not has_worked(digest):
            log.warning("%s", doubt)
        prepared[rendition] = Prepared(correction, digest)
    return prepared


def as_planned(queries: Mapping[str, Mapping[str, str]], digests: Mapping[str, str]) -> dict[str, Prepared]:
    """The corrections of a plan that was made before a deferral, whatever the Dag says now."""
    return {name: Prepared(Correction.parse(query), digests[name]) for name, query in queries.items()}
