"""A night with a fault in it, and what must come of it."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from typing import Any

from airflow_provider_perfectlyclear.reasons import PERMANENT
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox

NAMES = ["a.jpg", "b/c.jpg", "d.jpg", "e.jpg"]
#: No test waits for as long as a user's run may. The emulator's jobs take a fifth of a second.
SOON = {
    "api.retry._FIRST_WAIT": 0.05,
    "api.polling.LOST_AFTER": 1.0,
    "catalog.ledger.owners.ABANDONED": 3.0,
    "catalog.engine.start_queue.LEAST": 0.5,
    "catalog.engine.start_queue.UNKNOWN": 0.5,
}
OPTIONS = {"poll_interval": 0.1}
#: How many retries must be enough when nothing fails any more.
RETRIES = 3


def night(sandbox: Sandbox, *, run: str | None = None, within: float = 120.0, **more: Any) -> dict[str, Any]:
    """One try of a worker that ends by itself. ``more``: what the worker is told beside the usual."""
    said = sandbox.end(sandbox.start(**told(sandbox, run, more)), within)
    assert said is not None, "killed"
    return said


def night_held(
    sandbox: Sandbox, match: dict[str, Any], when: dict[str, Any], meanwhile: Callable[[], None], **more: Any
) -> dict[str, Any]:
    """A night whose worker sleeps from a moment of a request on, while something happens."""
    sandbox.emulator.fault(match, {"kill": {"pid": "peer", "signal": "SIGSTOP", **when}})
    worker = sandbox.start(**told(sandbox, None, more))
    ends = time.monotonic() + 30
    while not worker.is_stopped:
        assert time.monotonic() < ends, "it did not come to that request"
        time.sleep(0.02)
    meanwhile()
    worker.send_signal(signal.SIGCONT)
    said = sandbox.end(worker, 30)
    assert said is not None, "killed"
    return said


def told(sandbox: Sandbox, run: str | None, more: dict[str, Any]) -> dict[str, Any]:
    """What a worker is told in all."""
    constants = {**SOON, **more.get("constants", {})}
    options = {**OPTIONS, **sandbox.options, **more.get("options", {})}
    named = {} if run is None else {"run": run}
    return {**more, "constants": constants, "options": options, **named}


def came_to(sandbox: Sandbox, said: dict[str, Any], outcome: str, names: list[str]) -> None:
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
        assert [line["code"] for line in failed(sandbox)] == [code] * bad
        assert len(sandbox.outputs) == len(names) - bad
    else:
        ambiguous = 0 if kind == "hidden" else int(kind)
        assert "summary" in said, said
        assert said["summary"]["corrected"] == len(names)
        assert said["summary"]["possibly_paid_twice"] == ambiguous
        assert (
            sandbox.emulator.seen()["api"]["routes"]["pfc"] - refused_starts(sandbox)
            <= len(names) + ambiguous
        )
        assert sandbox.outputs == names


def refused_starts(sandbox: Sandbox) -> int:
    """How many calls of ``/pfc`` were refused: nothing was started, and they may be sent again."""
    return len(re.findall(r"GET /pfc -> 4\d\d", sandbox.log.read_text(errors="replace")))


def failed(sandbox: Sandbox, run: str | None = None) -> list[dict[str, Any]]:
    """The lines of a run's manifest about what failed."""
    return [line for line in lines(sandbox) if line["state"] == "failed"]


def lines(sandbox: Sandbox) -> list[dict[str, Any]]:
    """The lines of all manifests about single outputs."""
    found = [path.read_text().splitlines() for path in sandbox.look().rglob("manifest.jsonl")]
    return [json.loads(line) for text in found for line in text[1:]]


def ends_well(sandbox: Sandbox, row: Row, names: list[str], **more: Any) -> None:
    """
    When nothing fails any more, a few retries land all that can be landed; the night after has nothing to pay; and
    the invariants hold.

    :param names: the outputs that were wanted.
    """
    sandbox.emulator.clear_faults()
    last = sandbox.tries[-1]
    for _ in range(RETRIES):
        if "summary" in last or (last.get("error") == "CatalogFailed" and not last["retry_helps"]):
            break
        last = night(sandbox, **more)
    bad = {line["output"] for line in failed(sandbox) if line["code"] in PERMANENT}
    assert "summary" in last or bad, last
    assert sandbox.outputs == sorted(set(names) - bad)
    before = sandbox.emulator.bill(summary=True)
    after = night(sandbox, run="the night after", **more)
    assert "summary" in after or after["code"] in PERMANENT, after
    assert sandbox.emulator.bill(summary=True) == before, "the night after paid again"
    row.held(check_invariants(sandbox))
