"""
The write-ahead log that is also the lock.

A lane is one log: segments ``00000001.jsonl``, ``00000002.jsonl``, ..., each written whole and created only
if its number is still free. Losing a number means that another owner has come: one verb is record, lock,
fence and heartbeat. The first line of a segment is its header; the others are records (``records.py``).
"""

from __future__ import annotations

import itertools
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from airflow_provider_perfectlyclear.catalog.ledger.bills import Bill
from airflow_provider_perfectlyclear.catalog.ledger.records import SCHEMA
from airflow_provider_perfectlyclear.catalog.ledger.rows import Record, Row
from airflow_provider_perfectlyclear.catalog.ledger.segments import (
    Header,
    Part,
    View,
    has_later_segments,
    is_parked,
    line_of,
    read_lane,
    remove_segments,
    segment_name,
)
from airflow_provider_perfectlyclear.errors import LaneLost
from airflow_provider_perfectlyclear.storage import Entry, Store

#: A checkpoint is written when this many segments stand since the last one.
CHECKPOINT_EVERY = 500
#: Segments below a checkpoint are removed when older than this (seconds). A number must not become free
#: while a stopped process may wake up and take it. A run's bill is kept for as long after its last start.
KEEP = 7 * 86_400.0
#: A checkpoint is written in parts of this size (bytes, unpacked), each far below what is read; one row has some kB.
PART = 1 << 28
#: A live owner appends at least this often (seconds), see ``owners.ABANDONED``.
HEARTBEAT = 25.0


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
        #: The last number under which this owner has tried to write.
        self.tried = 0
        #: The ledger's id, see ``identity.py``; written into every header.
        self.id = ""
        #: Output name -> row, of other lanes: what they have paid for is known here, and not written here.
        self.others: dict[str, Row] = {}
        #: Whether another lane has claimed an output since the lanes were read; see ``claim.py``.
        self.is_contested: Callable[[str], bool] = lambda output: False
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
        """The number of the last segment."""
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
        if not is_parked(self.store, self.lane, head):
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
            self.view.take_in_replaced(whole)
            self.complete = True

    def take(self) -> bool:
        """Become the owner at the next number. False: somebody else was faster; read again."""
        try:
            self.append([{"r": "owner", "host": socket.gethostname()}])
        except LaneLost:
            return False
        self.owned = True
        return True

    def abandon(self) -> None:
        """Remove the first segment of a lane: what was read before it was another ledger."""
        self.store.delete(segment_name(self.lane, self.head))
        self.owned = False

    def append(self, records: Sequence[Record]) -> None:
        """
        Write records as the next segment, and apply them.

        :param records: what to write; may be empty, which only shows that this owner lives.
        :raises LaneLost: another owner has come. Start nothing more.
        :raises StorageFailed: the ledger cannot be written. Start nothing more.
        """
        at = self._clock()
        header = line_of(self._header(at, self.view.checkpoint))
        self._write(b"\n".join((header, *map(line_of, records))))
        written = Header(self.run, self.title, self.view.checkpoint, at, self.seq)
        for record in records:
            self.view.apply(record, written)

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
        last segment must still stand when the new one does; and where there was none, none may stand after it.
        """
        began, number = time.monotonic(), self.head + 1
        self.tried = number
        ours = self.store.create(segment_name(self.lane, number), data)
        if not ours or (number > 1 and self.store.stat(segment_name(self.lane, number - 1)) is None):
            ours = False
        elif number == 1:
            ours = not has_later_segments(self.store, self.lane)
        if not ours:
            self.owned = False
            raise lost(self, number)
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
        """Let go of the lane: the run is over."""
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
        before, first, part = self.view.checkpoint, self.head + 1, Part()
        oldest = self._clock() - KEEP
        ending = [{"r": "released"}] if release else []
        for record in itertools.chain(self.view.to_records(bills_since=oldest), ending):
            line = line_of(record)
            if part.size and part.size + len(line) > PART:
                self._write(part.packed(line_of(self._header(self._clock(), before))))
                part = Part()
            part.add(line)
        self._write(part.packed(line_of(self._header(self._clock(), first))))
        self.view.checkpoint = first
        self.owned = not release
        remove_segments(self.store, self.lane, below=before, older_than=oldest)

    @property
    def wants_checkpoint(self) -> bool:
        """Whether the segments since the last checkpoint are many."""
        return self.head - self.view.checkpoint >= CHECKPOINT_EVERY


def lost(ledger: Ledger, number: int) -> LaneLost:
    """Return the error of an owner whose next number another one has taken."""
    return LaneLost(
        f"Another run took the lock on {ledger.store.uri('')} (lane {ledger.lane!r}, segment {number}). This "
        "run starts no more jobs; the jobs it started are in the ledger."
    )
