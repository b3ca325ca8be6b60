"""100,000 pictures: what a run returns, what its trigger carries, and what its worker holds."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.records import correction_digest
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row as Record
from airflow_provider_perfectlyclear.catalog.ledger.rows import State
from airflow_provider_perfectlyclear.storage import LocalStore
from airflow_provider_perfectlyclear.triggers import polling as asking
from airflow_provider_perfectlyclear.triggers.perfectlyclear import PerfectlyClearJobsTrigger
from tests.faults.nights import ends_well, failed, night
from tests.faults.table import Row
from tests.support.sandbox import Sandbox, jpeg
from tests.unit.catalog.ledger.test_owners import no_job_ends

FEW, MANY = 10_000, 100_000
NEW = ["new/1.jpg", "new/2.jpg", "new/3.jpg"]
#: The most links to one file that a common file system allows is 65,000.
LINKS = 20_000


def album(number: int) -> str:
    return f"album/{number // 1000:03d}/picture-{number:06d}.jpg"


def corrected_before(sandbox: Sandbox, first: int, last: int) -> None:
    """Pictures that exist at both places, and a ledger that lists them: each is a link to one of few files."""
    rows = {}
    digest = correction_digest(Correction().canonical())
    for number in range(first, last):
        if number % LINKS == 0 or number == first:
            kept = sandbox.root / f"kept-{number}"
            kept.write_bytes(jpeg(number))
            facts = os.stat(kept)
        name = album(number)
        for place in (sandbox.source, sandbox.destination):
            if number % 1000 == 0:
                (place / name).parent.mkdir(parents=True)
            os.link(kept, place / name)
        rows[name] = Record(
            name,
            State.LANDED,
            source=name,
            fingerprint=f"{facts.st_size}-{facts.st_mtime_ns}",
            sha256=f"{number:064x}",
            digest=digest,
            run="before",
            job_id=f"{number:024x}",
            size=facts.st_size,
        )
    ledger = Ledger(LocalStore(sandbox.destination / ".perfectlyclear"), "all", run="before", title="before")
    ledger.load()
    ledger.take()
    ledger.rows.update(rows)
    ledger.checkpoint(release=True)


@pytest.mark.fault("F54", "100,000 unchanged", "hidden")
def test_a_run_over_100_000_pictures_says_and_holds_little(row: Row, sandbox: Sandbox) -> None:
    corrected_before(sandbox, 0, FEW)
    few = night(sandbox, run="few", within=60)
    corrected_before(sandbox, FEW, MANY)
    sandbox.put(*NEW)

    many = night(sandbox, run="many", within=120)

    assert (few["summary"]["unchanged"], few["summary"]["paid"]) == (FEW, 0)
    assert (many["summary"]["unchanged"], many["summary"]["paid"]) == (MANY, len(NEW))
    assert len(json.dumps(many["summary"])) < 2000
    assert many["grew"] - few["grew"] < 120, (few["grew"], many["grew"])  # 1.3 kB for each more
    row.consumed(f"{MANY} listed and unchanged")
    for place in (sandbox.source, sandbox.destination):
        shutil.rmtree(place / "album")  # the check opens every picture
    ends_well(sandbox, row, NEW)


@pytest.mark.fault("F54", "names of emoji, all refused", "items INVALID_SOURCE")
def test_a_summary_is_short_whatever_the_pictures_are_called(row: Row, sandbox: Sandbox) -> None:
    names = [f"{sign * 60}/{sign * 60}.jpg" for sign in "😀😁😂🤣😃😄"]
    sandbox.put(*names)
    for name in names:
        (sandbox.source / name).write_bytes(b"")

    said = night(sandbox, options={"max_failures": "100%"})

    assert [line["code"] for line in failed(sandbox)] == ["INVALID_SOURCE"] * len(names)
    assert said["summary"]["failed"] == len(names)
    assert 0 < len(said["summary"]["failures"]) < 5
    assert len(json.dumps(said["summary"])) < 2000
    row.consumed("twelve bytes for each sign")
    ends_well(sandbox, row, [])


@pytest.mark.fault("F54", "the jobs that a trigger carries", "hidden")
def test_what_a_trigger_carries_and_says_is_bounded(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:04d}.jpg" for number in range(60)]
    sandbox.put(*names)
    more: dict[str, Any] = {
        "options": {"deferrable": True, "max_in_flight": 40, "transfers": 16},
        "constants": {"catalog.engine.waiting.WORTH_DEFERRING": 0.2},
    }
    with no_job_ends(sandbox):
        waiting = night(sandbox, **more)
    carried = waiting["waiting"]
    monkeypatch.setenv("AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT", sandbox.emulator.connection_json())
    monkeypatch.setattr(asking, "SETTLE", 0.0)
    trigger = PerfectlyClearJobsTrigger(job_ids=carried, poll_interval=0.1, timeout=30)

    async def fire() -> dict[str, Any]:
        (event,) = [event.payload async for event in trigger.run()]
        return dict(event)

    event = asyncio.run(fire())

    assert len(carried) == 40
    assert len(json.dumps(trigger.serialize())) < 40 * 30 + 500
    assert event["done"] + event["open"] == 40
    assert len(json.dumps(event)) < 1000
    row.consumed("40 jobs carried")
    ends_well(sandbox, row, names)
