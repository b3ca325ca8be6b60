"""Files of the ledger that are damaged, and the remedies that their messages name: they work, and nothing is paid."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.catalog.run_state import RunState
from airflow_provider_perfectlyclear.errors import LedgerError, LedgerNotFound
from tests.faults.ledgers import catalog, done, memory
from tests.faults.nights import NAMES, night
from tests.faults.presets import NAME, make
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg

BY_IT: dict[str, Any] = {"options": {"correction": {"preset": NAME}}}


def refused(error: type[Exception], run: Callable[[], Any], match: str | None = None) -> str:
    with pytest.raises(error, match=match) as caught:
        run()
    return str(caught.value)


# ---- what the ledger is about


def remedy(said: str) -> str:
    """The ``accept_ledger`` that a message names."""
    return said.partition("accept_ledger='")[2].partition("'")[0]


def test_a_damaged_ledger_json_is_mended_as_its_message_says(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    first = catalog(sandbox, "monday")
    done(first.execute())
    said = memory(first)
    file = sandbox.destination / ".perfectlyclear" / "ledger.json"
    file.write_bytes(file.read_bytes()[:30])
    message = refused(LedgerError, catalog(sandbox, "tuesday", expects=said).execute, "cannot be read")
    assert str(file) in message and remedy(message) == said.ledger
    file.unlink()
    refused(LedgerNotFound, catalog(sandbox, "tuesday", expects=said).execute)

    mended = catalog(
        sandbox, "tuesday", expects=said, accept_ledger=remedy(message)
    )  # and it has nothing to do

    assert done(mended.execute())["unchanged"] == len(NAMES)
    assert file.exists() and memory(mended).ledger != said.ledger
    assert done(catalog(sandbox, "wednesday", expects=memory(mended)).execute())["unchanged"] == len(NAMES)
    assert sandbox.accepted == len(NAMES)


def test_a_damaged_ledger_json_that_airflow_does_not_remember_is_written_anew(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    done(catalog(sandbox, "monday").execute())
    file = sandbox.destination / ".perfectlyclear" / "ledger.json"
    file.write_bytes(b"")
    assert "accept_ledger" not in refused(LedgerError, catalog(sandbox, "tuesday").execute, "delete it")
    file.unlink()
    (sandbox.source / "new.jpg").write_bytes(jpeg(77))
    assert done(catalog(sandbox, "wednesday").execute())["paid"] == 1
    assert file.exists()


@pytest.mark.parametrize("damage", ["is missing", "cannot be read"])
def test_a_damaged_segment_is_given_up_as_its_message_says(
    sandbox: Sandbox, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.put(*NAMES)
    first = catalog(sandbox, "monday")
    done(first.execute())
    said = memory(first)
    folder = sandbox.destination / ".perfectlyclear" / "lanes" / "all"
    newest = max(folder.iterdir())
    if damage == "is missing":
        newest.with_name(f"{int(newest.name[:8]) + 1:08}.jsonl").write_bytes(newest.read_bytes())
        newest.unlink()
    else:
        newest.write_bytes(newest.read_bytes()[:40])
    message = refused(LedgerError, catalog(sandbox, "tuesday", expects=said).execute, damage)
    assert str(folder) in message and "accept_ledger" in message
    ledger = json.loads((sandbox.destination / ".perfectlyclear" / "ledger.json").read_text())["ledger"]
    shutil.move(folder, tmp_path / "aside")
    refused(LedgerNotFound, catalog(sandbox, "tuesday", expects=said).execute)

    given_up = catalog(sandbox, "tuesday", expects=said, accept_ledger=ledger, reprocess="missing")

    assert done(given_up.execute())["paid"] == 0
    assert (
        done(catalog(sandbox, "wednesday", expects=memory(given_up), reprocess="missing").execute())["paid"]
        == 0
    )


def test_a_damaged_object_of_a_run_is_no_error() -> None:
    """The run plans afresh, and takes up from the ledger what it had started."""
    packed = RunState(False, 1.0, None).to_bytes()
    for place in range(len(packed)):
        for damage in (packed[:place], packed[:place] + bytes([packed[place] ^ 0xFF]) + packed[place + 1 :]):
            assert (
                RunState.from_bytes(damage) is None or place < 10
            )  # the head says when, and with what, it was packed
    assert RunState.from_bytes(gzip.compress(b"null")) is None


# ---- what a preset was


DAMAGED = [
    ("empty", b""),
    ("cut short", b'{"name": "Studio'),
    ("a list", b"[]"),
    ("null", b"null"),
    ("without a hash", b"{}"),
    ("a hash of nothing", b'{"sha256": "None"}'),
    ("no text", b"\xff\xfe"),
]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(data, id=way, marks=pytest.mark.fault("F78", f"record: {way}", "hidden"))
        for way, data in DAMAGED
    ],
)
def test_a_damaged_record_of_a_preset_is_written_anew_and_nothing_is_paid(
    row: Row, sandbox: Sandbox, damage: bytes
) -> None:
    sandbox.put(*NAMES)
    make(sandbox.emulator, b"warm")
    assert night(sandbox, run="monday", **BY_IT)["summary"]["paid"] == len(NAMES)
    (record,) = (sandbox.destination / ".perfectlyclear" / "presets").iterdir()
    whole = record.read_bytes()
    record.write_bytes(damage)

    summary = night(sandbox, run="tuesday", **BY_IT)["summary"]

    assert (summary["unchanged"], summary["paid"]) == (len(NAMES), 0)
    assert f"{record} cannot be read" in sandbox.log.read_text()
    assert record.read_bytes() == whole
    row.consumed("it was read")
    row.held(check_invariants(sandbox))


@pytest.mark.parametrize(
    ("route", "do", "said"),
    [
        pytest.param(
            *told, id=told[0], marks=pytest.mark.fault("F78", f"record cut, {told[0]}", "run UNAVAILABLE")
        )
        for told in (
            ("presets", {"set": {"presets": []}}, "was among the account's presets"),
            ("preset", {"remove": "uri"}, "had a file when this ledger last saw it"),
        )
    ],
)
def test_a_damaged_record_still_says_that_its_preset_is_no_built_in_one(
    row: Row, sandbox: Sandbox, route: str, do: dict[str, Any], said: str
) -> None:
    """Else all pictures would have another correction, and be paid for again."""
    sandbox.put(*NAMES)
    make(sandbox.emulator, b"warm")
    assert night(sandbox, run="monday", **BY_IT)["summary"]["paid"] == len(NAMES)
    (record,) = (sandbox.destination / ".perfectlyclear" / "presets").iterdir()
    record.write_bytes(b"")
    sandbox.emulator.fault(route, do, times=None)

    stopped = night(sandbox, run="tuesday", **BY_IT)

    assert stopped.get("code") == "UNAVAILABLE" and said in stopped["message"], stopped
    row.consumed(sandbox.emulator)
    sandbox.emulator.clear_faults()
    assert night(sandbox, run="wednesday", **BY_IT)["summary"]["unchanged"] == len(NAMES)
    assert sandbox.accepted == len(NAMES)
    row.held(check_invariants(sandbox))
