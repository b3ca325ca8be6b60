"""What a run has paid, over all its attempts: one bill per run key, built from the same records as the rows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_perfectlyclear.catalog.ledger.rows import Record, Row
from airflow_provider_perfectlyclear.reasons import Reason

#: Records after which a row no longer says that its start was lost.
_ENDS_A_LOST_START = ("intent", "joined", "copying", "landed", "failed")


@dataclass(slots=True)
class Bill:
    """
    What one run has paid, over all its attempts, also for jobs that another run lands.

    :param paid: accepted ``/pfc`` calls.
    :param twice: calls that may have been accepted beside ``paid``: sent again although an earlier one may have been
        accepted, or given up without a job.
    :param at: Unix seconds of the last of them.
    :param paid_again: accepted calls for what was paid for before.
    """

    paid: int = 0
    twice: int = 0
    at: float = 0.0
    paid_again: int = 0


def billed(run: str, bill: Bill) -> dict[str, Any]:
    """Return a checkpoint's record of what a run has paid."""
    again = {"paid_again": bill.paid_again} if bill.paid_again else {}
    return {"r": "bill", "run": run, "paid": bill.paid, "twice": bill.twice, "at": bill.at, **again}


def charge(bills: dict[str, Bill], record: Record, *, run: str, at: float, before: Row | None = None) -> None:
    """
    Let one record change the bills (run key -> bill); run key and time as for a row.

    :param before: the row that the record is about to change.
    """
    kind = record.get("r")
    twice = (kind == "intent" and bool(record.get("again"))) or _gives_up_a_start(before, record)
    if kind == "bill":
        known = record["paid"], record["twice"], record["at"], record.get("paid_again", 0)
        bills[record["run"]] = Bill(*known)
    elif kind == "started" or twice:
        bill = bills.setdefault(run, Bill())
        bill.paid += kind == "started"
        bill.paid_again += kind == "started" and bool(record.get("paid_before"))
        bill.twice += twice
        bill.at = at


def _gives_up_a_start(before: Row | None, record: Record) -> bool:
    """Whether an output whose start was given up becomes something else: no later call is counted for that one."""
    if before is None or before.code != Reason.START_LOST:
        return False
    return record["r"] in _ENDS_A_LOST_START and record.get("code") != Reason.START_LOST
