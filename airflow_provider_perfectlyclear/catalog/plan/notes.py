"""Ledger records of what a plan has settled before anything is sent: unchanged sources and refused names."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.ledger.journal import FAILURES_NAMED
from airflow_provider_perfectlyclear.catalog.ledger.records import failed, seen
from airflow_provider_perfectlyclear.catalog.ledger.rows import Record, Row, State
from airflow_provider_perfectlyclear.catalog.naming import refusal_key
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan
from airflow_provider_perfectlyclear.catalog.result import Failure
from airflow_provider_perfectlyclear.reasons import PERMANENT, Reason

log = logging.getLogger(__name__)

#: Why an output fails that a task for its picture alone works on.
LOCKED = "a task for this picture alone works on it; a retry tries again"


def of_seen(touched: Iterable[Item], moved: Iterable[Item], leaves: Callable[[str], bool]) -> list[Record]:
    """
    Return the records of sources whose bytes have not changed.

    :param touched: items with a new fingerprint.
    :param moved: items whose source lies elsewhere now.
    :param leaves: whether a task for the picture alone works on an output: a record makes the row newer than what that
        task is about to write.
    """
    records: list[Record] = [seen(item.output, item.fingerprint) for item in touched]
    records += [seen(item.output, item.fingerprint, root=item.root, source=item.source) for item in moved]
    return [record for record in records if not leaves(record["output"])]


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


def failures_of_locked(
    made: Plan, rows: Mapping[str, Row], leaves: Callable[[str], bool]
) -> dict[str, Failure]:
    """
    Take outputs out of a plan that a task for their picture alone works on, and return their failures by output.

    :param rows: the ledger.
    :param leaves: whether an output is left to such a task.
    """
    sources = {item.output: item.source for item in made.todo if leaves(item.output)}
    made.todo = [item for item in made.todo if item.output not in sources]
    opened = (rows[output] for output in made.own if output in rows and rows[output].state.is_open)
    sources |= {row.output: row.source for row in opened if leaves(row.output)}
    return {output: Failure(output, source, Reason.LOCKED, LOCKED) for output, source in sources.items()}


def _row(item: Item) -> Row:
    key = refusal_key(item.source, item.rendition)
    return Row(key, State.FAILED, item.source, item.fingerprint, root=item.root)
