"""Invariant I8: the output of a name was made from the source of this name, by the correction of its row."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.ledger.records import correction_digest
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.ledger.segments import list_lanes, read_lane
from airflow_provider_perfectlyclear.storage import LocalStore
from tests.support.marks import mark_of

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox


def rows_of(folder: Path) -> dict[str, Row]:
    """The newest row of each output, of all lanes, catalogs' and single pictures'."""
    newest: dict[str, Row] = {}
    for lanes in sorted(folder.rglob("lanes")):
        if lanes.parent.name == "starts" or not lanes.is_dir():
            continue
        store = LocalStore(lanes.parent)
        for lane in list_lanes(store):
            for row in read_lane(store, lane).rows.values():
                if row.output not in newest or row.age >= newest[row.output].age:
                    newest[row.output] = row
    return newest


def paid_by_two_lanes(sandbox: Sandbox) -> int:
    """
    How many paid calls were for a content and correction that another lane has declared, too, for another output: equal
    pictures under a catalog and a single task, or under two of these, at the same time. No lock spans two lanes, and
    the docs say so.
    """
    lanes: dict[tuple[str, str], set[Path]] = {}
    outputs: dict[tuple[str, str], set[str]] = {}
    for lane, records in _lanes(sandbox):
        for record in records:
            if record["r"] == "intent":
                key = record["sha256"], record["digest"]
                lanes.setdefault(key, set()).add(lane)
                outputs.setdefault(key, set()).add(record["output"])
    paid = Counter(_made_of(entry) for entry in sandbox.emulator.bill(results=True)["entries"])
    return sum(
        min(count, len(lanes[key]), len(outputs[key])) - 1 for key, count in paid.items() if key in lanes
    )


def paid_after_replacement(sandbox: Sandbox) -> int:
    """
    How many paid calls were declared to be for a content that an output had, and that was replaced there: no output is
    left to copy, and the docs say so.
    """
    count = 0
    for _, records in _lanes(sandbox):
        now: dict[str, tuple[str, str]] = {}
        replaced = set[tuple[str, str]]()
        for record in records:
            key = record["sha256"], record["digest"]
            count += record["r"] == "intent" and bool(record.get("paid_before")) and key in replaced
            if (before := now.get(record["output"])) not in (None, key):
                replaced.add(before)
            now[record["output"]] = key
    return count


def paid_after_a_preset_was_found(sandbox: Sandbox) -> int:
    """
    How many outputs were paid for under a content that had been paid for by the name of its preset alone, as the
    service had hidden the preset from all lists so far: to the ledger this is another correction, and the docs say so.
    """
    count = 0
    for _, records in _lanes(sandbox):
        by_name = set[tuple[str, str]]()
        found = set[str]()
        for record in records:
            if record["r"] == "intent":
                key = record["sha256"], correction_digest(Correction.parse(record["query"]).canonical())
                if record["digest"] == key[1]:
                    by_name.add(key)
                elif key in by_name:
                    found.add(record["output"])
        count += len(found)
    return count


def _lanes(sandbox: Sandbox) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Each lane, with what its segments say about contents and corrections."""
    for lane in sorted({segment.parent for segment in sandbox.look().rglob("lanes/*/*.jsonl")}):
        records = list[dict[str, Any]]()
        for segment in sorted(lane.glob("*.jsonl")):
            data = segment.read_bytes()
            lines = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).splitlines()
            records += [json.loads(line) for line in lines]
        yield lane, [record for record in records if record.get("sha256") and "digest" in record]


def _made_of(entry: Mapping[str, Any]) -> tuple[str, str]:
    parameters = Correction.parse(dict(entry["settings"])).canonical()
    return entry["sha256"], correction_digest(parameters, preset_sha256=entry["preset_sha256"])


def each_output_is_that_of_its_source(sandbox: Sandbox, folder: Path, edited: Collection[str]) -> None:
    """
    I8. What a test has put there itself, or instead of a result, it says in ``sandbox.altered``.

    :param edited: outputs of which a run says that they were changed meanwhile.
    """
    entries = {entry["job_id"]: entry for entry in sandbox.emulator.bill(results=True)["entries"]}
    for row, data in _landed(folder):
        if row.output in sandbox.altered or row.output in edited:
            continue
        assert row.size in (None, len(data)), f"{row.output!r}: {len(data)} bytes, {row.size} were landed"
        if (entry := entries.get(row.job_id)) is not None:
            _is_what_its_job_was_to_make(row, entry)
            assert sha256(data).hexdigest() == entry["result_sha256"], (
                f"{row.output!r}: not what its job made"
            )
        _is_from_its_source(sandbox, row, data)


def _landed(folder: Path) -> Iterator[tuple[Row, bytes]]:
    for row in rows_of(folder).values():
        path = folder / row.output
        if row.state is State.LANDED and path.is_file():
            yield row, path.read_bytes()


def _is_what_its_job_was_to_make(row: Row, entry: Mapping[str, Any]) -> None:
    assert entry["sha256"] == row.sha256, f"{row.output!r}: its job was given other bytes"
    # A preset that the service hid from all lists so far was taken for a built-in one: its content was not known.
    parameters = Correction.parse(dict(entry["settings"])).canonical()
    assert row.digest in (_made_of(entry)[1], correction_digest(parameters)), (
        f"{row.output!r}: its job made another correction, {entry['settings']}"
    )


def _is_from_its_source(sandbox: Sandbox, row: Row, data: bytes) -> None:
    place = f"{row.root}/{row.source}" if row.root else str(sandbox.source / row.source)
    versions = sandbox.sources.versions.get(place.removeprefix("file://"))
    assert versions is None or row.sha256 in versions, f"{row.output!r}: {place!r} never had these bytes"
    wanted, found = sandbox.sources.mark(row.sha256), mark_of(data)
    assert wanted in (None, found), f"{row.output!r} shows the mark {found}, its source {wanted}"
