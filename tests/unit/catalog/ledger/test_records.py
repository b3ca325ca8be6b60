"""What the ledger says: the same whatever version of this package reads it, and by whichever way it came about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.records import apply, correction_digest
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State

ROW = Row(
    output="b/a.jpg",
    state=State.INTENT,
    source="b/a.tif",
    fingerprint="7-etag",
    sha256="ab" * 32,
    digest="d1",
    query={"preset": "Studio 7", "width": "3000"},
    file_key="key/1",
)


def applied(*all_records: dict[str, Any], run: str = "night1", at: float = 1.0) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for record in all_records:
        apply(rows, json.loads(json.dumps(record)), run=run, at=at)
    return rows


@pytest.mark.parametrize(
    ("correction", "preset", "digest"),
    [
        ({}, None, "24e3d6a8cbdba5fa306d93758df7c1d5"),
        (
            {"preset": "Studio 7", "width": "3000", "outputType": "jpg", "cache": False},
            "ab" * 32,
            "edfaba54918d0a75abb58afd77044dc7",
        ),
        (
            {
                "remove_background": "true",
                "bg_color": "#fff",
                "autocrop": True,
                "crop_arw": 4,
                "crop_arh": "5",
                "output_quality": 90,
            },
            None,
            "5a4ab46b77b8b551fbc164c393e071f4",
        ),
    ],
)
def test_a_digest_never_changes_or_every_catalog_would_be_paid_again(
    correction: dict[str, Any], preset: str | None, digest: str
) -> None:
    assert correction_digest(Correction(**correction).canonical(), preset_sha256=preset) == digest


def test_an_edited_preset_is_another_correction() -> None:
    canonical = Correction(preset="Studio 7").canonical()
    digests = {correction_digest(canonical, preset_sha256=content) for content in (None, "aa", "bb")}
    assert len(digests) == 3


GOLDEN = {
    "intent": (
        records.intent(ROW),
        {
            "r": "intent",
            "output": "b/a.jpg",
            "source": "b/a.tif",
            "fingerprint": "7-etag",
            "sha256": "ab" * 32,
            "digest": "d1",
            "query": {"preset": "Studio 7", "width": "3000"},
            "file_type": "image",
            "file_key": "key/1",
        },
    ),
    "started": (records.started("a.jpg", "j1"), {"r": "started", "output": "a.jpg", "job_id": "j1"}),
    "landed": (
        records.landed("a.jpg", size=9, usage={"credits": 1}),
        {"r": "landed", "output": "a.jpg", "size": 9, "usage": {"credits": 1}},
    ),
    "landed-data": (
        records.landed("a.jpg", size=None, usage=None),
        {"r": "landed", "output": "a.jpg", "size": None, "usage": None},
    ),
    "seen": (records.seen("a.jpg", "7-x"), {"r": "seen", "output": "a.jpg", "fingerprint": "7-x"}),
    "failed": (
        records.failed(ROW, "REJECTED", "no image data"),
        {
            "r": "failed",
            "output": "b/a.jpg",
            "source": "b/a.tif",
            "fingerprint": "7-etag",
            "sha256": "ab" * 32,
            "digest": "d1",
            "code": "REJECTED",
            "reason": "no image data",
        },
    ),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_a_record_is_written_as_it_always_was(kind: str) -> None:
    record, golden = GOLDEN[kind]
    assert record == golden


def test_a_second_intent_says_so() -> None:
    assert records.intent(ROW, again=True) == {**GOLDEN["intent"][1], "again": True}


def test_a_row_is_written_as_it_always_was() -> None:
    assert Row("a.jpg", State.FAILED).to_json() == {"output": "a.jpg", "state": "failed"}
    assert Row(
        output="a.jpg",
        state=State.LANDED,
        source="a.jpg",
        fingerprint="7-x",
        sha256="ab",
        digest="d1",
        run="night1",
        file_key="key/1",
        job_id="j1",
        size=9,
        usage={"credits": 1},
        paid=1,
        twice=1,
        at=2.5,
        started_at=1.5,
        paid_by="night1",
    ).to_json() == {
        "output": "a.jpg",
        "state": "landed",
        "source": "a.jpg",
        "fingerprint": "7-x",
        "sha256": "ab",
        "digest": "d1",
        "run": "night1",
        "file_key": "key/1",
        "job_id": "j1",
        "size": 9,
        "usage": {"credits": 1},
        "paid": 1,
        "twice": 1,
        "at": 2.5,
        "started_at": 1.5,
    }


def test_a_row_comes_back_and_what_a_later_version_adds_is_ignored() -> None:
    row = applied(records.intent(ROW, again=True), records.started(ROW.output, "j1"))[ROW.output]
    assert Row.from_json({**json.loads(json.dumps(row.to_json())), "of_a_later_version": 1}) == row


def test_a_picture_s_life_is_one_row() -> None:
    life = [
        records.intent(ROW),
        records.started(ROW.output, "j1"),
        records.landed(ROW.output, size=9, usage=None),
    ]
    row = applied(*life)[ROW.output]
    assert (row.state, row.paid, row.twice, row.job_id, row.size) == (State.LANDED, 1, 0, "j1", 9)
    assert (row.fingerprint, row.sha256, row.digest) == (ROW.fingerprint, ROW.sha256, ROW.digest)
    assert row.query is None  # no run will ask for it again


def test_an_intent_alone_is_not_paid_and_one_more_is_declared() -> None:
    once = applied(records.intent(ROW))[ROW.output]
    assert (once.state, once.paid, once.twice) == (State.INTENT, 0, 0)
    again = applied(records.intent(ROW), records.intent(ROW, again=True), records.started(ROW.output, "j2"))
    assert (again[ROW.output].paid, again[ROW.output].twice) == (1, 1)


def test_a_new_run_has_a_bill_of_its_own() -> None:
    rows = applied(records.intent(ROW), records.started(ROW.output, "j1"))
    apply(rows, records.landed(ROW.output, size=9, usage=None), run="night2", at=9.0)
    row = rows[ROW.output]
    assert (row.run, row.paid, row.at, row.started_at) == ("night2", 0, 9.0, 1.0)


def test_what_is_only_seen_is_no_newer_than_it_was() -> None:
    """A single task may have landed it meanwhile in its own lane: its row is the newer one."""
    rows = {ROW.output: ROW}
    apply(rows, records.seen(ROW.output, "8-new"), run="night2", at=9.0, seq=7)
    assert rows[ROW.output].age == ROW.age


def test_what_is_only_seen_stays_the_row_of_the_run_that_made_it() -> None:
    rows = applied(records.intent(ROW), records.started(ROW.output, "j1"))
    before = rows[ROW.output]
    apply(rows, records.seen(ROW.output, "8-new"), run="night2", at=9.0)
    assert rows[ROW.output].fingerprint == "8-new"
    assert (rows[ROW.output].run, rows[ROW.output].paid) == (before.run, before.paid)


def test_a_failure_is_about_the_content_that_failed() -> None:
    rows = applied(records.intent(ROW), records.started(ROW.output, "j1"))
    empty = Row(ROW.output, State.FAILED, source=ROW.source, fingerprint="0-x", digest="d1")
    apply(rows, records.failed(empty, "INVALID_SOURCE", "the file is empty"), run="night2", at=2.0)
    row = rows[ROW.output]
    assert (row.fingerprint, row.sha256, row.is_known_bad) == ("0-x", "", True)


@pytest.mark.parametrize(
    "code", ["TIMEOUT", "START_REFUSED", "SOURCE_CHANGED", "TRANSFER_FAILED", "JOB_LOST"]
)
def test_what_can_change_by_itself_is_not_known_bad(code: str) -> None:
    row = applied(records.failed(ROW, code, "why"))[ROW.output]
    assert row.state is State.FAILED and not row.is_known_bad


@pytest.mark.parametrize(
    "record", [{"r": "owner"}, {"r": "parked"}, {"r": "of a later version", "output": "x"}, {}]
)
def test_what_is_about_no_output_changes_no_row(record: dict[str, Any]) -> None:
    rows = applied(records.intent(ROW))
    before = dict(rows)
    apply(rows, record, run="night2", at=2.0)
    assert rows == before


def test_no_record_holds_a_key_or_a_url() -> None:
    for record, _ in GOLDEN.values():
        assert "http" not in json.dumps(record)
