"""Who owns a lane: a run of another key is waited for, and refused or followed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger, lost
from airflow_provider_perfectlyclear.catalog.ledger.segments import segment_name
from airflow_provider_perfectlyclear.errors import LaneHeld, StorageFailed

log = logging.getLogger(__name__)

#: How often a lane that is watched is looked at (seconds).
LOOK = 2.0
#: A lane whose head stood still for this long (seconds, watched by the newcomer) has lost its owner; a live one appends
#: at least every ``lane.HEARTBEAT`` seconds.
ABANDONED = 90.0


def has_stranger(ledger: Ledger) -> bool:
    """
    Return whether another run's owner stands in a lane, alive or dead.

    A lane of this run key is free at once (a retry, a clear).
    """
    holder = ledger.view.holder
    return holder is not None and holder.run != ledger.run


def _has_moved(ledger: Ledger) -> bool:
    """Return whether a run has written to the lane since it was read."""
    return ledger.store.stat(segment_name(ledger.lane, ledger.head + 1)) is not None


def refuse_taken_over(ledger: Ledger) -> None:
    """
    Make sure that an owned lane is owned still, as far as the store says now. For any thread.

    :raises LaneLost: another owner has written to it.
    """
    number = ledger.head + 1
    try:
        stands = ledger.store.stat(segment_name(ledger.lane, number)) is not None
    except StorageFailed:  # the next append tells
        return
    if stands and ledger.tried < number:  # asked last: this owner may be writing it
        raise lost(ledger, number)


def held(ledger: Ledger) -> LaneHeld:
    """Return the error that names the lane's owner and the remedy."""
    who = ledger.view.holder.title if ledger.view.holder else "another run"
    return LaneHeld(
        f"{ledger.store.uri('')} is locked by {who}, which is still running. Set retries to try again later. To "
        "avoid this, chain the tasks, or set max_active_runs=1 for runs of one Dag."
    )


def refuse(ledger: Ledger) -> None:
    """Refuse a lane whose owner lives. :raises LaneHeld: always."""
    raise held(ledger)


def wait_for_owner(ledger: Ledger, sleep: Callable[[float], None]) -> None:
    """
    Make sure that no other run works in a lane now.

    :param sleep: as in :func:`wait_for_owners`.
    :raises LaneHeld: its owner lives.
    """
    wait_for_owners([ledger], sleep, alive=refuse)


def wait_for_owners(
    watched: Iterable[Ledger], sleep: Callable[[float], None], *, alive: Callable[[Ledger], None]
) -> None:
    """
    Watch lanes of strangers all together: one whose head stands still for 90 s has lost its owner.

    :param watched: lanes with a holder, as read.
    :param sleep: seconds to let pass; may raise to end the wait.
    :param alive: called once for each lane whose owner lives; may raise to end the wait.
    """
    waiting = [ledger for ledger in watched if has_stranger(ledger)]
    if not waiting:
        return
    log.info(
        "Waiting up to %.0f s for %s whose owners may have died, such as %s",
        ABANDONED,
        counted(len(waiting), "lock"),
        waiting[0].view.holder.title if waiting[0].view.holder else "another run",
    )
    deadline = time.monotonic() + ABANDONED
    while waiting and time.monotonic() < deadline:
        moved = [ledger for ledger in waiting if _has_moved(ledger)]
        for ledger in moved:
            alive(ledger)
        waiting = [ledger for ledger in waiting if ledger not in moved]
        if waiting:
            sleep(LOOK)
