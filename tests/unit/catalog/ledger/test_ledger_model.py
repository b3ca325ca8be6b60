"""
A model of the ledger: random histories of tasks that share one, with every payment judged when it happens.

The runs are the product's own, over stores and a service in memory, in simulated time (``histories``). What is drawn:
catalogs, shards and single pictures on one destination; sources that fight for a name; equal pictures, edited and put
back; corrections edited between runs, attempts and deferrals; other services and destinations; mounts that come
and go; processes that are killed or sleep between any two operations of a store; paid calls that arrive late, lost
answers, lost jobs, refusals; outputs that are moved on; ``reprocess``.

``LEDGER_SEEDS`` says how many random histories are played, ``LEDGER_FIRST`` which is the first.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.support.histories.stand_ins import simulated  # noqa: F401
from tests.support.histories.store import DeafStore, ModelStore, OverwritingStore
from tests.support.histories.world import play

SEEDS = int(os.environ.get("LEDGER_SEEDS", "500"))
FIRST = int(os.environ.get("LEDGER_FIRST", "0"))
#: What must be seen in one history of so many.
OFTEN = {
    25: (
        *("parked", "killed", "slept", "LaneHeld", "LaneLost", "planned again after a resume", "cancelled"),
        *("answer lost", "asked again", "paid again", "correction edited", "put back", "joined or copied"),
        *("mount went", "LedgerNotFound", "LedgerMismatch", "collision", "output moved on"),
        *("runs of single", "runs of other", "runs of other single", "runs of stranger", "runs of part1"),
    ),
    150: ("runs of moved", "published late"),
    250: ("JobFailed", "made by two at once"),
}


@pytest.mark.timeout(60 + SEEDS)
@pytest.mark.usefixtures("simulated")
def test_nothing_is_paid_in_silence_and_no_picture_is_lost() -> None:
    seen, paid, found = Counter[str](), 0, dict[int, list[str]]()
    for seed in range(FIRST, FIRST + SEEDS):
        world = play(seed)
        if world.rules.wrong:
            found[seed] = world.rules.wrong
        seen += world.seen
        paid += world.rules.bill.total()
    print(f"{SEEDS} histories: {paid} paid; {dict(seen)}")
    assert not found, f"{len(found)} of {SEEDS} histories: {dict(list(found.items())[:5])}"
    for one_of, kinds in OFTEN.items():
        for kind in kinds:
            assert seen[kind] >= SEEDS // one_of, (
                f"hardly any history has {kind!r}: the model has lost its teeth"
            )


@pytest.mark.parametrize("shelf", [OverwritingStore, DeafStore])
@pytest.mark.usefixtures("simulated")
def test_without_the_fence_the_model_finds_faults(shelf: type[ModelStore]) -> None:
    wrong = [play(seed, shelf, tolerant=True).rules.wrong for seed in range(100)]
    found = sum(bool(said) for said in wrong)
    print(f"{shelf.__name__}: something wrong in {found} of 100 histories")
    assert found >= 2
