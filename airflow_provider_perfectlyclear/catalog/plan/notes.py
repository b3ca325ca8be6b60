"""Ledger records of what a plan has settled before anything is sent: unchanged sources and refused names."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.engine.progress import Failure
from airflow_provider_perfectlyclear.catalog.ledger.records import failed, seen
from airflow_provider_perfectlyclear.catalog.ledger.rows import Record, Row, State
from airflow_provider_perfectlyclear.catalog.naming import refusal_key
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan
from airflow_provider_perfectlyclear.reasons import PERMANENT

log = logging.getLogger(__name__)


def of_seen(touched: Iterable[Item], moved: Iterable[Item]) -> list[Record]:
    """
    Return the records of sources whose bytes have not changed.

    :param touched: items with a new fingerprint.
    :param moved: items whose source lies elsewhere now.
    """
    records: list[Record] = [seen(item.output, item.fingerprint) for item in touched]
    records += [seen(item.output, item.fingerprint, root=item.root, source=item.source) for item in moved]
    return records


def of_refused(made: Plan) -> list[Record]:
    """Return the records of permanent failures: later runs skip these sources."""
    return [failed(_row(item), code, reason) for item, code, reason in made.refused if code in PERMANENT]


def failures_of_refused(made: Plan) -> dict[str, Failure]:
    """Log every refused source, and return its failure by its name in the ledger."""
    failures = dict[str, Failure]()
    for item, code, reason in made.refused:
        output = _row(item).output
        failures[output] = Failure(output, item.source, code, reason)
        log.warning("%s: %s %s", one_line(item.source), code, one_line(reason))
    return failures


def _row(item: Item) -> Row:
    key = refusal_key(item.source, item.rendition)
    return Row(key, State.FAILED, item.source, item.fingerprint, root=item.root)
