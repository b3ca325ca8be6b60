"""Segments of a lane: how they are named, written and read."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO

from airflow_provider_perfectlyclear.catalog.ledger.bills import Bill, billed, charge
from airflow_provider_perfectlyclear.catalog.ledger.index import (
    replaced_content,
    replaced_job_records,
    replaced_jobs,
    replaced_records,
)
from airflow_provider_perfectlyclear.catalog.ledger.records import SCHEMA, apply, merged
from airflow_provider_perfectlyclear.catalog.ledger.rows import Record, Row
from airflow_provider_perfectlyclear.errors import LedgerError
from airflow_provider_perfectlyclear.storage import Entry, Store, is_part

#: The largest segment, unpacked, that is read (bytes).
MAX_SEGMENT = 1 << 30


LANES = "lanes"


@dataclass(frozen=True, slots=True)
class Header:
    """
    The first line of a segment.

    :param run: the run key of its writer.
    :param title: the writer, as a person would name it.
    :param checkpoint: the number of the newest checkpoint's first part at or below this segment, 0 for none.
    :param at: Unix seconds.
    :param seq: greater than that of every segment that its writer had read, in any lane; 0 in earlier versions.
    """

    run: str
    title: str
    checkpoint: int
    at: float
    seq: int = 0


@dataclass
class View:
    """
    What a lane says when it is read.

    :param rows: output name -> row.
    :param bills: run key -> what it has paid.
    :param head: the number of the newest segment, 0 when there is none.
    :param checkpoint: the number of the newest checkpoint.
    :param holder: the newest header while its owner neither parked nor released.
    :param is_parked: its owner is deferred and will come back.
    :param seq: the sequence number of the newest segment.
    :param merged: lanes whose rows are part of this one's: lane -> the number of the newest segment that was read.
    :param replaced: keys of paid contents that no row holds any more, see ``index.py``.
    :param replaced_jobs: key of a job -> key of its content, of jobs that no row holds any more for this reason.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    bills: dict[str, Bill] = field(default_factory=dict)
    head: int = 0
    checkpoint: int = 0
    holder: Header | None = None
    is_parked: bool = False
    seq: int = 0
    merged: dict[str, int] = field(default_factory=dict)
    replaced: set[int] = field(default_factory=set)
    replaced_jobs: dict[int, int] = field(default_factory=dict)

    def apply(self, record: Record, header: Header) -> None:
        """Let one record of a segment change what the lane says."""
        self.replaced.update(replaced_content(self.rows, record))
        self.replaced_jobs.update(replaced_jobs(self.rows, record))
        before = self.rows.get(record.get("output", ""))
        charge(self.bills, record, run=header.run, at=header.at, before=before)
        apply(self.rows, record, run=header.run, at=header.at, seq=header.seq)

    def take_in_replaced(self, other: View) -> None:
        """Know what another lane knows of contents that were paid for and replaced."""
        self.replaced |= other.replaced
        self.replaced_jobs |= other.replaced_jobs

    def to_records(self, *, bills_since: float) -> Iterator[Record]:
        """
        Yield all that the lane says, for a checkpoint.

        :param bills_since: bills of runs without a start since then (Unix seconds) are left out.
        """
        yield from ({"r": "row", **row.to_json()} for row in self.rows.values())
        yield from (billed(run, bill) for run, bill in self.bills.items() if bill.at > bills_since)
        yield from replaced_records(self.replaced)
        yield from replaced_job_records(self.replaced_jobs)
        yield from (merged(lane, head) for lane, head in self.merged.items())


def segment_name(lane: str, number: int) -> str:
    """Where a segment lies below the state folder."""
    return f"{LANES}/{lane}/{number:08d}.jsonl"


def read_lane(store: Store, lane: str, entries: Iterable[Entry] | None = None, *, run: str = "") -> View:
    """
    Read a lane from its newest checkpoint on.

    :param store: the state folder.
    :param lane: the lane's name.
    :param entries: its listing, when there is one already.
    :param run: of rows that other runs landed, only what this one needs is kept.
    :raises LedgerError: a segment is missing, cannot be understood, or is of a newer version.
    """
    if entries is None:
        entries = store.child(f"{LANES}/{lane}").list()
    numbers = sorted(int(e.name[:8]) for e in entries if is_segment(e.name))
    view = View()
    if not numbers:
        return view
    newest = _Segment(store, lane, numbers[-1])
    view.checkpoint, view.head, view.seq = newest.header.checkpoint, numbers[-1], newest.header.seq
    for number in range(max(view.checkpoint, 1), view.head):
        _Segment(store, lane, number).replay(view, run)
    newest.replay(view, run)
    view.is_parked = newest.last == "parked"
    view.holder = None if newest.last in ("parked", "released") else newest.header
    return view


def list_lanes(store: Store) -> dict[str, list[Entry]]:
    """Every lane of a state folder with its segments, from one listing."""
    lanes: dict[str, list[Entry]] = {}
    for entry in store.child(LANES).list():
        lane, _, name = entry.name.partition("/")
        if is_segment(name):
            lanes.setdefault(lane, []).append(replace(entry, name=name))
    return lanes


def is_segment(name: str) -> bool:
    """Return whether a file of a lane is a segment, by its name."""
    return len(name) == 14 and name[:8].isdigit() and name.endswith(".jsonl")


def is_parked(store: Store, lane: str, number: int) -> bool:
    """Whether the segment of that number is there, and its owner parked in it."""
    if store.stat(segment_name(lane, number)) is None:
        return False
    return _Segment(store, lane, number).ends_with() == "parked"


class _Segment:
    """
    One segment, read line by line: a checkpoint of 100,000 rows is never unpacked as a whole.

    :raises LedgerError: it is missing, cannot be understood, or is of a newer version.
    """

    def __init__(self, store: Store, lane: str, number: int) -> None:
        self._place = (store, lane, number)
        self.last: str | None = None
        name = segment_name(lane, number)
        data = store.read(name)
        if data is None:
            raise LedgerError(_broken(*self._place, "is missing"))
        with self._understood():
            self._lines = _lines(data)
            first = json.loads(next(self._lines, b""))
            version = first["v"]
        if version != SCHEMA:
            raise LedgerError(
                f"{store.uri(name)} was written by another version of this package (layout {version!r}, "
                f"this version reads {SCHEMA}). Upgrade, or run the version that wrote it. Nothing was paid."
            )
        with self._understood():
            self.header = Header(
                first["run"],
                first["title"],
                int(first["checkpoint"]),
                float(first["at"]),
                int(first.get("seq", 0)),
            )

    def replay(self, view: View, run: str) -> None:
        """Apply its records to a view, as ``run`` needs it; then ``last`` is the kind of the last one."""
        rows = view.rows
        with self._understood():
            for line in self._lines:
                record = dict(json.loads(line))
                view.apply(record, self.header)
                self.last = record.get("r")
                if self.last == "row" and record.get("run") != run:
                    rows[record["output"]] = rows[record["output"]].settled()
                elif self.last == "merged":
                    view.merged[record["lane"]] = int(record["head"])

    def ends_with(self) -> str | None:
        """Return the kind of its last record, without applying any."""
        with self._understood():
            for line in self._lines:
                self.last = json.loads(line).get("r")
        return self.last

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError, TypeError, OSError, EOFError, zlib.error) as error:
            raise LedgerError(_broken(*self._place, f"cannot be read ({type(error).__name__})")) from None


def _lines(data: bytes) -> Iterator[bytes]:
    file = gzip.GzipFile(fileobj=BytesIO(data)) if data[:2] == b"\x1f\x8b" else BytesIO(data)
    read = 0
    while line := file.readline(MAX_SEGMENT):
        read += len(line)
        if read > MAX_SEGMENT:
            raise ValueError("too large")
        if line != b"\n":
            yield line


def _broken(store: Store, lane: str, number: int, what: str) -> str:
    folder = store.uri(f"{LANES}/{lane}")
    return (
        f"The ledger's segment {store.uri(segment_name(lane, number))} {what}. Nothing was paid. Restore it from a "
        f"backup. If there is none, move the folder {folder} away and set accept_ledger to the ledger's id (in "
        "ledger.json) for one run: outputs made before are then unknown, and jobs that were open are lost."
    )


def has_later_segments(store: Store, lane: str) -> bool:
    """Return whether a lane has more than its first number: it began long ago, and the first ones were removed."""
    entries = store.child(f"{LANES}/{lane}").list()
    return any(is_segment(entry.name) and int(entry.name[:8]) > 1 for entry in entries)


def remove_segments(store: Store, lane: str, *, below: int, older_than: float) -> None:
    """
    Remove segments that a checkpoint has made superfluous, and what was left half written.

    :param below: the number from which on segments stay.
    :param older_than: what was modified since then (Unix seconds) stays.
    """
    folder = store.child(f"{LANES}/{lane}")
    for entry in folder.list():
        is_old = entry.modified is not None and entry.modified < older_than
        if is_old and (is_part(entry.name) or (is_segment(entry.name) and int(entry.name[:8]) < below)):
            folder.delete(entry.name)


def line_of(record: Record) -> bytes:
    """Return a record as a segment's line, without its end."""
    return json.dumps(record, separators=(",", ":")).encode()


class Part:
    """One part of a checkpoint, compressed line by line: 100,000 rows are never there as a whole."""

    def __init__(self) -> None:
        self._sink = BytesIO()
        self._file = gzip.GzipFile(fileobj=self._sink, mode="wb", compresslevel=3)
        self.size = 0

    def add(self, line: bytes) -> None:
        """Add a record's line."""
        self._file.write(line + b"\n")
        self.size += len(line) + 1

    def packed(self, header: bytes) -> bytes:
        """Return the part's segment: the header, last in time, comes first, as gzip members follow each other."""
        self._file.close()
        return gzip.compress(header + b"\n", 3) + self._sink.getvalue()
