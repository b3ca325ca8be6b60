"""What a try or a run did, in a few numbers, for programs that watch from outside. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_perfectlyclear.catalog.ledger.bills import Bill
from airflow_provider_perfectlyclear.catalog.run_state import RunState

#: What of a summary is worth keeping with an event or a lineage record: numbers, and one place.
FACTS = (
    "listed",
    "unchanged",
    "known_bad",
    "corrected",
    "failed",
    "not_started",
    "paid",
    "possibly_paid_twice",
    "bytes_in",
    "bytes_out",
    "seconds",
    "manifest",
)


def tally_of(state: RunState, bill: Bill, *, now: float) -> dict[str, float]:
    """
    Count what one try did, the parts before its deferrals too. Tries add up: none counts what another did.

    :param bill: what the run has paid over all its tries; what it had paid when the try began is taken off.
    :param now: Unix seconds.
    """
    before, progress = state.before or bill, state.progress
    return {
        "corrected": progress.landed,
        "failed": len(progress.failures),
        "unchanged": state.counts.unchanged + progress.same_bytes,
        "paid": max(0, bill.paid - before.paid),
        "possibly_paid_twice": max(0, bill.twice - before.twice),
        "bytes_in": progress.bytes_in,
        "bytes_out": progress.bytes_out,
        "seconds": max(0.0, now - state.began),
        "seconds_waited": state.waited,
    }


def facts_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Take the counts, the paid calls and the manifest's place from a summary."""
    return {name: summary[name] for name in FACTS if name in summary}
