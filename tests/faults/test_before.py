"""Ledgers, run objects and trigger arguments that the code before has written: read, and nothing is paid again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_perfectlyclear.triggers.perfectlyclear import PerfectlyClearJobsTrigger
from tests.faults.leftovers import NAMES, left_before
from tests.faults.nights import night
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox


def nothing_is_paid(sandbox: Sandbox, said: dict[str, Any]) -> None:
    assert "summary" in said, said
    assert sandbox.accepted == len(NAMES)
    assert sandbox.outputs == NAMES


@pytest.mark.fault("F55", "the ledger of the code before", "hidden")
@pytest.mark.parametrize("left", ["finished", "shards"])
def test_a_finished_night_of_before_is_known(row: Row, sandbox: Sandbox, left: str) -> None:
    left_before(sandbox, left)

    said = night(sandbox, run="tonight")

    row.consumed("the ledger is of the code before")
    nothing_is_paid(sandbox, said)
    assert said["summary"]["unchanged"] == len(NAMES)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F55", "a run object of the code before", "hidden")
@pytest.mark.parametrize("how", ["resume", "clear"])
def test_a_run_that_was_parked_before_goes_on(row: Row, sandbox: Sandbox, how: str) -> None:
    facts = left_before(sandbox, "parked")

    said = night(sandbox, run=facts["runs"][0], resume=how == "resume")

    row.consumed("what was kept is of the code before")
    nothing_is_paid(sandbox, said)
    assert said["summary"]["corrected"] == said["summary"]["paid"] == len(NAMES)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F55", "intents of the code before", "4 ambiguous")
def test_starts_without_an_answer_of_before_are_asked_about(row: Row, sandbox: Sandbox) -> None:
    facts = left_before(sandbox, "intent")

    said = night(sandbox, run=facts["runs"][0])

    row.consumed("the ledger has four intents")
    assert "summary" in said, said
    assert (said["summary"]["corrected"], said["summary"]["possibly_paid_twice"]) == (len(NAMES), 4)
    assert sandbox.outputs == NAMES
    assert sandbox.emulator.bill()["billed"] == len(NAMES), "the cache has answered"
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F55", "single pictures of the code before", "hidden")
def test_single_pictures_of_before_are_known(row: Row, sandbox: Sandbox) -> None:
    facts = left_before(sandbox, "one")

    said = night(sandbox, run="tonight", pictures=facts["pictures"])

    row.consumed("the ledgers are of the code before")
    assert said["corrected"] == 2, said
    assert sandbox.accepted == 2
    night(sandbox, run="a catalog", files=["f.jpg"])  # so that a run has said what it did
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F55", "a trigger's arguments of the code before", "hidden")
def test_a_trigger_of_before_is_read(row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT", sandbox.emulator.connection_json())
    facts = left_before(sandbox, "parked")
    path, kwargs = facts["trigger"]
    assert path == f"{PerfectlyClearJobsTrigger.__module__}.{PerfectlyClearJobsTrigger.__qualname__}"
    trigger = PerfectlyClearJobsTrigger(**{**kwargs, "deadline": None})  # that one is over

    async def fired() -> dict[str, Any]:
        (event,) = [event.payload async for event in trigger.run()]
        return dict(event)

    event = asyncio.run(fired())

    row.consumed("its arguments are of the code before")
    assert (event["done"], event["why"]) == (len(NAMES), "all_final")
    nothing_is_paid(sandbox, night(sandbox, run=facts["runs"][0], resume=True))
    row.held(check_invariants(sandbox))
