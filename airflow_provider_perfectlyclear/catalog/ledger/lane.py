"""
The write-ahead log that is also the lock.

A lane is one log: segments ``00000001.jsonl``, ``00000002.jsonl``, ..., each written whole and created only
if its number is still free. Losing a number means that another owner has come: one verb is record, lock,
fence and heartbeat. The first line of a segment is its header; the others are records (``records.py``).
"""

from __future__ import annotations

import gzip
import json
import secrets
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

from airflow_provider_perfectlyclear.catalog.ledger.records import (
    SCHEMA,
    Bill,
    Record,
    Row,
    apply,
    billed,
    charge,
)
from airflow_provider_perfectlyclear.errors import LaneHeld, LaneLost, LedgerError
from airflow_provider_perfectlyclear.storage import Entry, Store, is_part

#: A checkpoint is written when this many segments stand since the last one.
CHECKPOINT_EVERY = 500
#: Segments below a checkpoint are removed when older than this (seconds). A number must not become free
#: while a stopped process may wake up and take it. A run's bill is kept for as long after its last start.
KEEP = 7 * 86_400.0
#: A live owner appends at least this often (seconds) ...
HEARTBEAT = 25.0
#: ... so a lane whose head stood still for this long (seconds, watched by the newcomer) has lost its owner.
ABANDONED = 90.0
#: The largest segment, unpacked, that is read (bytes).
MAX_SEGMENT = 1 << 30
#: A checkpoint is written in parts of this size (bytes, unpacked), each far below what is read; one row has some kB.
PART = 1 << 28

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
    """

    rows: dict[str, Row] = field(default_factory=dict)
    bills: dict[str, Bill] = field(default_factory=dict)
    head: int = 0
    checkpoint: int = 0
    holder: Header | None = None
    is_parked: bool = False
    seq: int = 0
    merged: dict[str, int] = field(default_factory=dict)


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
    numbers = sorted(int(e.name[:8]) for e in entries if _is_segment(e.name))
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
        if _is_segment(name):
            lanes.setdefault(lane, []).append(replace(entry, name=name))
    return lanes


def _is_segment(name: str) -> bool:
    return len(name) == 14 and name[:8].isdigit() and name.endswith(".jsonl")


def _is_parked(store: Store, lane: str, number: int) -> bool:
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
                apply(rows, record, run=self.header.run, at=self.header.at, seq=self.header.seq)
                charge(view.bills, record, run=self.header.run, at=self.header.at)
                self.last = record.get("r")
                if self.last == "row" and record.get("run") != run:
                    rows[record["output"]] = rows[record["output"]].settled()
                elif self.last == "merged":
                    view.merged[record["lane"]] = int(record["head"])

    def ends_with(self) -> str | None:
        """The kind of its last record, without applying any."""
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
        f"The ledger's segment {store.uri(segment_name(lane, number))} {what}. Nothing was paid. Bring it "
        f"back from a backup; or move the folder {folder} away, and the run goes on without what it held: "
        "outputs made before are then unknown, and jobs that were open are lost."
    )


def _line(record: Record) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode()


class _Part:
    """One part of a checkpoint, compressed line by line: 100,000 rows are never there as a whole."""

    def __init__(self) -> None:
        self._sink = BytesIO()
        self._file = gzip.GzipFile(fileobj=self._sink, mode="wb", compresslevel=3)
        self.size = 0

    def add(self, line: bytes) -> None:
        self._file.write(line + b"\n")
        self.size += len(line) + 1

    def packed(self, header: bytes) -> bytes:
        """The part's segment. The header comes last in time and first in the file: gzip members follow each other."""
        self._file.close()
        return gzip.compress(header + b"\n", 3) + self._sink.getvalue()


class Ledger:
    """
    One lane, as one owner sees it. Not for use by several threads.

    :param store: the state folder.
    :param lane: the lane's name: ``all``, ``03of16``, ``one-<hash>``.
    :param run: the run key: the same for every try of one task instance.
    :param title: this run as a person would name it, for whoever is refused.
    :param clock: Unix seconds.
    """

    def __init__(
        self, store: Store, lane: str, *, run: str, title: str, clock: Callable[[], float] = time.time
    ) -> None:
        self.store = store
        self.lane = lane
        self.run = run
        self.title = title
        self._clock = clock
        self._last_append = time.monotonic()
        #: The ledger's id, see ``identity.py``; written into every header.
        self.id = ""
        #: The highest sequence number that was read in any lane.
        self.seq = 0
        self.owned = False
        self.complete = False  # whether `rows` holds the whole lane, not only this run's part
        self.view = View()

    @property
    def rows(self) -> dict[str, Row]:
        """Output name -> row, as of the last read or append."""
        return self.view.rows

    @property
    def head(self) -> int:
        return self.view.head

    @property
    def bill(self) -> Bill:
        """What this run has paid in this lane, over all its tries."""
        return self.view.bills.get(self.run, Bill())

    def load(self, entries: Iterable[Entry] | None = None) -> None:
        """
        Read the lane.

        :param entries: its listing, when there is one already.
        :raises LedgerError: it cannot be understood.
        """
        self.view = read_lane(self.store, self.lane, entries, run=self.run)
        self.saw(self.view.seq)
        self.complete = True

    def saw(self, seq: int) -> None:
        """Take note of a sequence number that was read in some lane: what is written from now on is newer."""
        self.seq = max(self.seq, seq)

    def continue_from(
        self, rows: dict[str, Row], head: int, checkpoint: int, bill: Bill | None = None, seq: int = 0
    ) -> bool:
        """
        Go on from what this run kept for itself, without reading the lane.

        :param head: the number under which it was to be parked.
        :param seq: the sequence number that it had reached.
        :returns: False if it never was, which a resume that runs twice may find: then the lane must be read.
        """
        if not _is_parked(self.store, self.lane, head):
            return False
        self.view = View(rows=rows, bills={self.run: bill or Bill()}, head=head, checkpoint=checkpoint)
        self.saw(seq)
        self.complete = False
        return True

    def read_rest(self) -> None:
        """Know the whole lane, not only this run's part of it."""
        if not self.complete:
            whole = read_lane(self.store, self.lane, run=self.run)
            self.view.rows, self.view.bills, self.view.merged = whole.rows, whole.bills, whole.merged
            self.complete = True

    def take(self) -> bool:
        """Become the owner at the next number. False: somebody else was faster; read again."""
        try:
            self.append([{"r": "owner", "host": socket.gethostname()}])
        except LaneLost:
            return False
        self.owned = True
        return True

    def append(self, records: Sequence[Record]) -> None:
        """
        Write records as the next segment, and apply them.

        :param records: what to write; may be empty, which only shows that this owner lives.
        :raises LaneLost: another owner has come. Start nothing more.
        :raises StorageFailed: the ledger cannot be written. Start nothing more.
        """
        at = self._clock()
        header = _line(self._header(at, self.view.checkpoint))
        self._write(b"\n".join((header, *map(_line, records))))
        for record in records:
            apply(self.view.rows, record, run=self.run, at=at, seq=self.seq)
            charge(self.view.bills, record, run=self.run, at=at)

    def _header(self, at: float, checkpoint: int) -> dict[str, Any]:
        return {
            "v": SCHEMA,
            "lane": self.lane,
            "n": self.head + 1,
            "run": self.run,
            "title": self.title,
            "checkpoint": checkpoint,
            "at": at,
            "seq": self.seq + 1,
            "ledger": self.id,
            "token": secrets.token_hex(8),
        }

    def _write(self, data: bytes) -> None:
        """
        Create the segment at the next number.

        An owner that slept until its numbers were cleaned up would find the next number free again: so its own
        last segment must still stand when the new one does.
        """
        began, number = time.monotonic(), self.head + 1
        ours = self.store.create(segment_name(self.lane, number), data)
        if not ours or (number > 1 and self.store.stat(segment_name(self.lane, number - 1)) is None):
            self.owned = False
            raise LaneLost(
                f"Another run took the lock on {self.store.uri('')} (lane {self.lane!r}, segment {number}). This "
                "run starts no more jobs; the jobs it started are in the ledger."
            )
        self._last_append = began
        self.view.head = number
        self.view.holder = None
        self.seq += 1

    @property
    def silence(self) -> float:
        """
        Seconds since this owner last showed that it lives. May be asked by any thread.

        Counted from before the append: a process may be stopped between writing a segment and hearing of it.
        """
        return time.monotonic() - self._last_append

    @property
    def next_beat(self) -> float:
        """Seconds until this owner has to show that it lives."""
        return max(0.0, HEARTBEAT - self.silence)

    def beat(self) -> None:
        """Show that this owner lives, if nothing was appended for a while."""
        if self.owned and self.silence > HEARTBEAT:
            self.append([])

    def park(self, records: Sequence[Record] = ()) -> None:
        """Nobody owns the lane while its task is deferred; anyone may take it."""
        self.append([*records, {"r": "parked"}])
        self.owned = False

    def release(self) -> None:
        """The run is over."""
        if self.owned:
            self.append([{"r": "released"}])
            self.owned = False

    def checkpoint(self, *, release: bool = False) -> None:
        """
        Write the whole map as the next segments, and remove segments that are long below it.

        Each part is within what a reader takes. Until the last one stands they are ordinary segments, which say again
        what is known; the last one's header names the first as where to begin.
        """
        self.read_rest()
        for row in list(self.rows.values()):
            if row.run != self.run:
                self.rows[row.output] = row.settled()  # its own run's manifest has the rest
        before, first, part = self.view.checkpoint, self.head + 1, _Part()
        for record in self._whole_map(release):
            line = _line(record)
            if part.size and part.size + len(line) > PART:
                self._write(part.packed(_line(self._header(self._clock(), before))))
                part = _Part()
            part.add(line)
        self._write(part.packed(_line(self._header(self._clock(), first))))
        self.view.checkpoint = first
        self.owned = not release
        self._clean(below=before)

    def _whole_map(self, release: bool) -> Iterator[Record]:
        recent = self._clock() - KEEP
        yield from ({"r": "row", **row.to_json()} for row in self.rows.values())
        yield from (billed(run, bill) for run, bill in self.view.bills.items() if bill.at > recent)
        yield from ({"r": "merged", "lane": lane, "head": head} for lane, head in self.view.merged.items())
        if release:
            yield {"r": "released"}

    @property
    def wants_checkpoint(self) -> bool:
        return self.head - self.view.checkpoint >= CHECKPOINT_EVERY

    def _clean(self, *, below: int) -> None:
        folder = self.store.child(f"{LANES}/{self.lane}")
        for entry in folder.list():
            old = entry.modified is not None and self._clock() - entry.modified > KEEP
            if old and (is_part(entry.name) or (_is_segment(entry.name) and int(entry.name[:8]) < below)):
                folder.delete(entry.name)

    def wait_for_owner(self, sleep: Callable[[float], None]) -> None:
        """
        Make sure that no other run works in this lane now.

        A lane of this run key is free at once (a retry, a clear). Another's is watched: when its head stands
        still for 90 s, its owner is gone.

        :param sleep: seconds to let pass; may raise to end the wait.
        :raises LaneHeld: its owner lives.
        """
        holder = self.view.holder
        if holder is None or holder.run == self.run:
            return
        deadline = time.monotonic() + ABANDONED
        while time.monotonic() < deadline:
            if self.store.stat(segment_name(self.lane, self.head + 1)) is not None:
                raise LaneHeld(
                    f"{self.store.uri('')} is locked by {holder.title}, which is still running. Set retries to try "
                    "again later. To avoid this, chain the tasks, or set max_active_runs=1 for runs of one Dag."
                )
            sleep(2.0)
