"""A night with a fault in it, and what must come of it."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from typing import Any

from airflow_provider_perfectlyclear.reasons import PERMANENT
from tests.catalog.conftest import House
from tests.catalog.judge import judge
from tests.faults.table import Row

NAMES = ["a.jpg", "b/c.jpg", "d.jpg", "e.jpg"]
#: No test waits for as long as a user's run may. The emulator's jobs take a fifth of a second.
SOON = {
    "api.retry._FIRST_WAIT": 0.05,
    "api.polling.LOST_AFTER": 1.0,
    "catalog.ledger.lane.ABANDONED": 3.0,
    "catalog.engine.start_queue.LEAST": 0.5,
    "catalog.engine.start_queue.UNKNOWN": 0.5,
}
OPTIONS = {"poll_interval": 0.1}
#: How many retries must be enough when nothing fails any more.
RETRIES = 3


def night(house: House, *, run: str | None = None, within: float = 120.0, **more: Any) -> dict[str, Any]:
    """One try of a worker that ends by itself. ``more``: what the worker is told beside the usual."""
    said = house.end(house.start(**told(house, run, more)), within)
    assert said is not None, "killed"
    return said


def night_held(
    house: House, match: dict[str, Any], when: dict[str, Any], meanwhile: Callable[[], None], **more: Any
) -> dict[str, Any]:
    """A night whose worker sleeps from a moment of a request on, while something happens."""
    house.emulator.fault(match, {"kill": {"pid": "peer", "signal": "SIGSTOP", **when}})
    worker = house.start(**told(house, None, more))
    ends = time.monotonic() + 30
    while not worker.is_stopped:
        assert time.monotonic() < ends, "it did not come to that request"
        time.sleep(0.02)
    meanwhile()
    worker.send_signal(signal.SIGCONT)
    said = house.end(worker, 30)
    assert said is not None, "killed"
    return said


def told(house: House, run: str | None, more: dict[str, Any]) -> dict[str, Any]:
    """What a worker is told in all."""
    constants = {**SOON, **more.get("constants", {})}
    options = {**OPTIONS, **house.options, **more.get("options", {})}
    named = {} if run is None else {"run": run}
    return {**more, "constants": constants, "options": options, **named}


def came_to(house: House, said: dict[str, Any], outcome: str, names: list[str]) -> None:
    """
    A try came to its outcome.

    :param outcome: ``hidden``; ``item CODE``, for one of them, ``items CODE``, for all; ``run CODE``; or
        ``N ambiguous``.
    :param names: the outputs that were wanted.
    """
    kind, _, code = outcome.partition(" ")
    if kind == "run":
        assert said.get("code") == code, said
    elif kind in ("item", "items"):
        bad = 1 if kind == "item" else len(names)
        assert said.get("error") == "CatalogFailed", said
        assert [line["code"] for line in failed(house)] == [code] * bad
        assert len(house.outputs) == len(names) - bad
    else:
        ambiguous = 0 if kind == "hidden" else int(kind)
        assert "summary" in said, said
        assert said["summary"]["corrected"] == len(names)
        assert said["summary"]["possibly_paid_twice"] == ambiguous
        assert house.emulator.seen()["api"]["routes"]["pfc"] - refused_starts(house) <= len(names) + ambiguous
        assert house.outputs == names


def refused_starts(house: House) -> int:
    """How many calls of ``/pfc`` were refused: nothing was started, and they may be sent again."""
    return len(re.findall(r"GET /pfc -> 4\d\d", house.log.read_text(errors="replace")))


def failed(house: House, run: str | None = None) -> list[dict[str, Any]]:
    """The lines of a run's manifest about what failed."""
    return [line for line in lines(house) if line["state"] == "failed"]


def lines(house: House) -> list[dict[str, Any]]:
    """The lines of all manifests about single outputs."""
    found = [path.read_text().splitlines() for path in house.look().rglob("manifest.jsonl")]
    return [json.loads(line) for text in found for line in text[1:]]


def ends_well(house: House, row: Row, names: list[str], **more: Any) -> None:
    """
    When nothing fails any more, a few retries land all that can be landed; the night after has nothing to pay; and
    the invariants hold.

    :param names: the outputs that were wanted.
    """
    house.emulator.clear_faults()
    last = house.tries[-1]
    for _ in range(RETRIES):
        if "summary" in last or (last.get("error") == "CatalogFailed" and not last["retry_helps"]):
            break
        last = night(house, **more)
    bad = {line["output"] for line in failed(house) if line["code"] in PERMANENT}
    assert "summary" in last or bad, last
    assert house.outputs == sorted(set(names) - bad)
    before = house.emulator.bill(summary=True)
    after = night(house, run="the night after", **more)
    assert "summary" in after or after["code"] in PERMANENT, after
    assert house.emulator.bill(summary=True) == before, "the night after paid again"
    row.held(judge(house))
