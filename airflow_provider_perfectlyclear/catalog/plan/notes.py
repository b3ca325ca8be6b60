"""Ledger records of what a plan has settled before anything is sent: unchanged sources and refused names."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.engine.progress import Failure
from airflow_provider_perfectlyclear.catalog.ledger.journal import FAILURES_NAMED
from airflow_provider_perfectlyclear.catalog.ledger.records import Record, Row, State, failed, seen
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
    """Log the first refused sources of each code, and count the others. Return the failures by name in the ledger."""
    failures, counts = dict[str, Failure](), Counter[str]()
    for item, code, reason in made.refused:
        output = _row(item).output
        failures[output] = Failure(output, item.source, code, reason)
        counts[code] += 1
        if counts[code] <= FAILURES_NAMED:
            log.warning("%s: %s %s", one_line(item.source), code, one_line(reason))
    for code, count in counts.items():
        if count > FAILURES_NAMED:
            log.warning("... and %s more %s; the manifest names all", f"{count - FAILURES_NAMED:,}", code)
    return failures


def _row(item: Item) -> Row:
    key = refusal_key(item.source, item.rendition)
    return Row(key, State.FAILED, item.source, item.fingerprint, root=item.root)
