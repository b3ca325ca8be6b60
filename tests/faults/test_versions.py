"""Records of another version of this package: read, or refused with what to do; nothing is paid in the dark."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.errors import ConfigurationError
from airflow_provider_perfectlyclear.triggers.perfectlyclear import PerfectlyClearJobsTrigger
from tests.faults.nights import NAMES, came_to, night
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg
from tests.unit.catalog.ledger.test_owners import no_job_ends

DEFERS = {
    "options": {"deferrable": True, "timeout": 120.0},
    "constants": {"catalog.engine.waiting.WORTH_DEFERRING": 0.5},
}


def lane(sandbox: Sandbox) -> Path:
    return sandbox.destination / ".perfectlyclear" / "lanes" / "all"


def segments(sandbox: Sandbox) -> list[Path]:
    return sorted(lane(sandbox).glob("*.jsonl"))


def rewritten(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """JSON lines, packed or not, with a change in them."""
    data = path.read_bytes()
    packed = data[:2] == b"\x1f\x8b"
    lines = [json.loads(line) for line in (gzip.decompress(data) if packed else data).splitlines()]
    change(lines)
    text = "\n".join(json.dumps(line) for line in lines).encode()
    path.write_bytes(gzip.compress(text) if packed else text)


def of_version(version: int) -> Callable[[list[dict[str, Any]]], None]:
    """As another version might have written it: the first line says so, and nothing else need be the same."""

    def change(lines: list[dict[str, Any]]) -> None:
        lines[:] = [{"v": version, "of": "another time"}, {"what": "unknown"}]

    return change


def way(what: str, version: int, outcome: str, *more: Any) -> Any:
    name = f"{what} of version {version}"
    return pytest.param(
        *more, version, marks=pytest.mark.fault("F55", name, outcome), id=name.replace(" ", "-")
    )


# ---- the ledger


@pytest.mark.parametrize(
    ("killed", "version"),
    [
        way("the newest segment", 0, "run LEDGER", True),
        way("the newest segment", 99, "run LEDGER", True),
        way("the checkpoint", 0, "run LEDGER", False),
        way("the checkpoint", 99, "run LEDGER", False),
    ],
)
def test_a_ledger_of_another_version_is_refused_with_what_to_do(
    row: Row, sandbox: Sandbox, killed: bool, version: int
) -> None:
    """A night that ends leaves a checkpoint, one that is killed its last segment."""
    sandbox.put(*NAMES)
    if killed:
        sandbox.emulator.fault(
            {"route": "download", "nth": 2}, {"kill": {"pid": "peer", "when": "answering"}}
        )
        assert sandbox.end(sandbox.start(run="monday")) is None
    else:
        night(sandbox, run="monday")
    newest = segments(sandbox)[-1]
    kept, paid = newest.read_bytes(), sandbox.accepted
    assert (kept[:2] == b"\x1f\x8b") is not killed
    rewritten(newest, of_version(version))
    (sandbox.source / "new.jpg").write_bytes(jpeg(99))

    said = night(sandbox, run="tuesday")

    assert (said.get("code"), said.get("retry_helps")) == ("LEDGER", False), said
    assert f"layout {version}, this version reads 1" in said["message"]
    assert "Upgrade, or run the version that wrote it. Nothing was paid." in said["message"]
    assert sandbox.accepted == paid
    assert segments(sandbox)[-1] == newest
    row.consumed("the run was refused")
    newest.write_bytes(kept)
    done = night(sandbox, run="monday")
    assert "summary" in done, done
    assert sandbox.outputs == sorted([*NAMES, "new.jpg"])
    assert sandbox.accepted == len(NAMES) + 1
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F55", "a lane of other shards of version 99", "run LEDGER")
def test_another_lane_of_another_version_is_refused_too(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    for shard in ("1/2", "2/2"):
        night(sandbox, run=shard, options={"shard": shard})
    newest = sorted(lane(sandbox).with_name("01of02").glob("*.jsonl"))[-1]
    kept, paid = newest.read_bytes(), sandbox.accepted
    rewritten(newest, of_version(99))

    said = night(sandbox, run="all")

    assert said.get("code") == "LEDGER" and "Upgrade" in said["message"], said
    assert sandbox.accepted == paid == len(NAMES)
    row.consumed("the run was refused")
    newest.write_bytes(kept)
    assert night(sandbox, run="all")["summary"]["unchanged"] == len(NAMES)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F55", "a segment with more than is known", "hidden")
def test_more_than_is_known_is_ignored(row: Row, sandbox: Sandbox) -> None:
    """A later version of the same layout may add fields and records that change nothing for others."""
    sandbox.put(*NAMES)
    night(sandbox, run="monday")

    def more(lines: list[dict[str, Any]]) -> None:
        for line in lines:
            line["new"] = {"er": True}
        lines.insert(1, {"r": "hint", "output": "a.jpg", "for": "others"})

    rewritten(segments(sandbox)[-1], more)
    done = night(sandbox, run="tuesday")["summary"]

    row.consumed("each record has a new field, and there is a new one")
    assert (done["unchanged"], done["paid"]) == (len(NAMES), 0)
    row.held(check_invariants(sandbox))


# ---- what a run keeps for itself while it is deferred


def another_layout(version: int) -> Callable[[list[dict[str, Any]]], None]:
    def change(lines: list[dict[str, Any]]) -> None:
        lines[:] = [{"layout": version, "nothing": "else"}]

    return change


def a_new_field(lines: list[dict[str, Any]]) -> None:
    lines[0]["new"] = 1


def a_missing_field(lines: list[dict[str, Any]]) -> None:
    del lines[0]["counts"]


@pytest.mark.parametrize(
    ("change", "version"),
    [
        way("a deferred run's object", 0, "hidden", another_layout(0)),
        way("a deferred run's object", 99, "hidden", another_layout(99)),
        way("a new field in a deferred run's object", 1, "hidden", a_new_field),
        way("a missing field in a deferred run's object", 1, "hidden", a_missing_field),
    ],
)
def test_a_deferred_run_of_another_version_plans_afresh_and_lands_what_is_open(
    row: Row, sandbox: Sandbox, change: Callable[[list[dict[str, Any]]], None], version: int
) -> None:
    sandbox.put(*NAMES)
    with no_job_ends(sandbox):
        waiting = night(sandbox, **DEFERS)
    assert len(waiting.get("waiting", [])) == len(NAMES), waiting
    (kept,) = sandbox.destination.rglob("run.json.gz")
    rewritten(kept, change)

    said = resumed(sandbox)

    row.consumed("what was kept was not as this version writes it")
    assert "downloading the results first" in sandbox.log.read_text()  # as a try does that begins anew
    came_to(sandbox, said, "hidden", NAMES)
    assert sandbox.accepted == len(NAMES)
    row.held(check_invariants(sandbox))


def resumed(sandbox: Sandbox) -> dict[str, Any]:
    for _ in range(20):
        said = night(sandbox, resume=True, **DEFERS)
        if "waiting" not in said:
            return said
    raise AssertionError("it waits for ever")


# ---- what is sent to the triggerer


def fewer(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: kwargs[name] for name in ("perfectlyclear_conn_id", "job_ids")}


def others(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, "layout": 99, "watch": {"new": "kind"}}


def deferred(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the trigger of a run whose jobs are all open is made of."""
    monkeypatch.setenv("AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT", sandbox.emulator.connection_json())
    sandbox.put(*NAMES)
    with no_job_ends(sandbox):
        waiting = night(sandbox, **DEFERS)["waiting"]
    return PerfectlyClearJobsTrigger(job_ids=waiting, poll_interval=0.1, timeout=30.0).serialize()[1]


def landed(sandbox: Sandbox, row: Row) -> None:
    came_to(sandbox, resumed(sandbox), "hidden", NAMES)
    assert sandbox.accepted == len(NAMES)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F55", "a trigger's arguments of version 0", "hidden")
def test_a_trigger_that_is_told_less_is_read(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    kwargs = fewer(deferred(sandbox, monkeypatch))

    event = asyncio.run(fired(PerfectlyClearJobsTrigger(**kwargs)))

    row.consumed(f"it was told nothing but {sorted(kwargs)}")
    assert event["why"] == "all_final", event
    landed(sandbox, row)


@pytest.mark.fault("F55", "a trigger's arguments of version 99", "CONFIGURATION")
def test_a_trigger_that_is_told_what_it_does_not_know_says_what_to_do(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = PerfectlyClearJobsTrigger(**others(deferred(sandbox, monkeypatch)))

    with pytest.raises(
        ConfigurationError, match=r"not know layout, watch.*Install the same version everywhere"
    ):
        asyncio.run(fired(trigger))

    row.consumed("the trigger has failed")
    landed(sandbox, row)


async def fired(trigger: PerfectlyClearJobsTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        return dict(event.payload)
    raise AssertionError("it has not fired")
