"""
The other lanes of a ledger: other layouts of shards, and single pictures.

They are waited for, made to plan again, and what they say is merged into what a run knows.

No lock spans two lanes. A single picture claims its own lane first and reads the catalog's lanes after that; a catalog
declares a start in its own lane first and looks at the picture's lane after that. So at least one of two runs that
begin at the same time sees the other, and steps back before it pays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

from airflow_provider_perfectlyclear.catalog.ledger.index import job_key, replaced_row
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.owners import held, refuse, wait_for_owners
from airflow_provider_perfectlyclear.catalog.ledger.records import merged
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.ledger.segments import LANES, is_segment, list_lanes, read_lane
from airflow_provider_perfectlyclear.catalog.shards import in_shard
from airflow_provider_perfectlyclear.errors import LaneHeld
from airflow_provider_perfectlyclear.storage import Entry, Store

#: Where the lanes of single pictures lie below the state folder.
SINGLES = "one"
#: Outputs of jobs that are only data begin with this; no file is called so.
DATA = "data:"
#: So many lanes of single pictures are read at the same time.
READERS = 16


def single_lane(output: str) -> str:
    """Return the lane of a single picture's output."""
    return f"one-{sha256(output.encode()).hexdigest()[:24]}"


def _layout(lane: str) -> str:
    return re.sub(r"^\d+of", "of", lane)


class _Lanes:
    """What catalogs and single pictures do alike with lanes that are not their own."""

    def __init__(self, ledger: Ledger, state: Store) -> None:
        self.ledger = ledger
        self.state = state
        self.singles = state.child(SINGLES)

    def _open(self, store: Store, lane: str, entries: Iterable[Entry]) -> Ledger:
        other = Ledger(store, lane, run=self.ledger.run, title=self.ledger.title)
        other.id = self.ledger.id
        other.load(entries)
        self.ledger.saw(other.seq)
        return other

    def _open_all(self, store: Store, found: Mapping[str, list[Entry]]) -> list[Ledger]:
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(lambda lane: self._open(store, lane, found[lane]), found))

    def _make_plan_again(self, other: Ledger) -> bool:
        """Whether a lane that nobody works in is ours to read: its owner, deferred or dead, plans again if it comes."""
        if other.view.holder is not None or other.view.is_parked:
            other.saw(self.ledger.seq)
            if not other.take():
                return False
            other.release()
            self.ledger.saw(other.seq)
        return True


class CatalogLanes(_Lanes):
    """
    The lanes beside a catalog's own.

    :param ledger: the run's own lane, in the state folder.
    :param shard: the run's shard, None for the whole catalog.
    :param root: the source's URI; the rows of single pictures say where theirs lay.
    """

    def __init__(self, ledger: Ledger, shard: tuple[int, int] | None, *, root: str = "") -> None:
        super().__init__(ledger, ledger.store)
        self._shard = shard
        self._root = root
        self._heads: dict[str, int] | None = None  # of the lanes of other layouts; None: they do not matter
        self._heads_of_singles: dict[str, int] = {}
        self.merged = 0
        self._read_anew: dict[str, int] = {}  # lanes of single pictures, each with its head
        self._at_work: set[str] = set()  # lanes of single pictures that have an owner now

    def load(self, sleep: Callable[[float], None]) -> None:
        """
        Read one's own lane and the others; the newest row of each output counts.

        A run of another layout must not go on at the same time: one that is deferred is made to plan again, one
        that works is waited for. A single picture that is worked on is left to its own task.

        :param sleep: as in :func:`wait_for_owners`.
        :raises LaneHeld: this lane, or one of another layout, has an owner at work.
        """
        found = list_lanes(self.state)
        self.ledger.load(found.pop(self.ledger.lane, []))
        mine = _layout(self.ledger.lane)
        others = self._open_all(self.state, {lane: found[lane] for lane in found if _layout(lane) != mine})
        singles = self._open_all(self.singles, self._changed_singles())
        alive = list[Ledger]()

        def lives(ledger: Ledger) -> None:
            if ledger not in singles:
                raise held(ledger)
            alive.append(ledger)

        wait_for_owners([self.ledger, *others, *singles], sleep, alive=lives)
        self._heads, self.merged, self._at_work, self._read_anew = {}, 0, set(), {}
        for other in others:
            self._take_in(other)
        self._take_in_singles(singles, alive)

    def may_have_news(self) -> bool:
        """Whether a single picture was ever worked on: it may be one that the run has parked."""
        return bool(list_lanes(self.singles))

    def catch_up(self) -> bool:
        """Whether no single picture was worked on while the run was parked. Another layout makes it plan again."""
        return not self._changed_singles()

    def _changed_singles(self) -> dict[str, list[Entry]]:
        found = list_lanes(self.singles)
        self._heads_of_singles = {lane: _head(entries) for lane, entries in found.items()}
        merged = self.ledger.view.merged
        return {lane: found[lane] for lane in found if merged.get(lane) != self._heads_of_singles[lane]}

    def _take_in(self, other: Ledger) -> None:
        if not self._make_plan_again(other):
            raise LaneHeld(
                f"{self.state.uri('')} (lane {other.lane!r}) is locked by another run. "
                "Set retries to try again later."
            )
        if self._heads is not None:
            self._heads[other.lane] = other.head
        self.ledger.view.take_in_replaced(other.view)
        self._merge(row for row in other.rows.values() if self._is_ours(row))

    def _is_ours(self, row: Row) -> bool:
        """
        Whether a row of another lane is to be known here: of this shard's sources, and what stands under any name.

        An output may have been made from another folder's file, whose name lies in another shard.
        """
        return in_shard(row.source, self._shard) or (
            row.state is State.LANDED and bool(row.root) and row.root.rstrip("/") != self._root.rstrip("/")
        )

    def _take_in_singles(self, singles: list[Ledger], alive: list[Ledger]) -> None:
        for single in singles:
            if single in alive or not self._make_plan_again(single):
                self._at_work.add(single.lane)
                continue
            self._heads_of_singles[single.lane] = self.ledger.view.merged[single.lane] = single.head
            self._read_anew[single.lane] = single.head
            self.ledger.view.take_in_replaced(single.view)
            rows = (self._as_ours(row) for row in single.rows.values() if not row.output.startswith(DATA))
            self._merge(row for row in rows if self._is_ours(row))

    def _as_ours(self, row: Row) -> Row:
        """Return the row with its source named as the catalog would name it, where it lies below the catalog's."""
        below = row.source_uri.removeprefix(f"{self._root.rstrip('/')}/")
        is_below = self._root and row.root and below != row.source_uri
        return replace(row, root=self._root, source=below) if is_below else row

    def _merge(self, rows: Iterable[Row]) -> None:
        known = self.ledger.rows
        for row in rows:
            mine = known.get(row.output)
            newer, older = (row, mine) if mine is None or row.outranks(mine) else (mine, row)
            if older is not None:
                for key in replaced_row(older, newer.sha256, newer.digest):
                    self.ledger.view.replaced.add(key)
                    self.ledger.view.replaced_jobs[job_key(str(older.job_id))] = key
            if newer is row:
                known[row.output] = row
                self.merged += 1

    def settle(self) -> bool:
        """
        After taking one's own lane: what others knew becomes part of it, and none of them may have come back.

        :returns: True.
        :raises LaneHeld: a run of another layout has come back.
        :raises LaneLost: one's own lane is lost.
        """
        if self.merged:
            self.ledger.checkpoint()
        elif self._read_anew:
            self.ledger.append([merged(lane, head) for lane, head in self._read_anew.items()])
        self.merged, self._read_anew = 0, {}
        for lane, entries in list_lanes(self.state).items() if self._heads is not None else ():
            if _layout(lane) != _layout(self.ledger.lane) and _head(entries) != (self._heads or {}).get(lane):
                raise LaneHeld(
                    f"Another run has begun on {self.state.uri('')} in another layout of shards (lane "
                    f"{lane!r}). Set retries to try again later."
                )
        return True

    def leaves(self, output: str) -> bool:
        """Return whether a task for this picture alone was at work when the lanes were read: the output is its own."""
        return bool(self._at_work) and single_lane(output) in self._at_work

    def is_contested(self, output: str) -> bool:
        """Whether a task for this picture alone has begun since the lanes were read. May be asked by any thread."""
        lane = single_lane(output)
        known = self._heads_of_singles.get(lane, 0)
        # Not only the next number: it may have been cleaned up while this process slept.
        segments = self.singles.child(f"{LANES}/{lane}").list()
        return any(is_segment(entry.name) and int(entry.name[:8]) > known for entry in segments)


class SingleLanes(_Lanes):
    """
    The lanes beside a single picture's own.

    :param ledger: the picture's lane, in the folder of single pictures.
    :param state: the state folder.
    :param output: the picture's output.
    :param older: the lanes and output names that versions before this one gave a job that is only data; newest first.
    """

    def __init__(
        self, ledger: Ledger, state: Store, output: str, *, older: Iterable[tuple[str, str]] = ()
    ) -> None:
        super().__init__(ledger, state)
        self._output = output
        self._older = tuple(older)
        #: The catalog's lanes when they were read; None once this lane was found to be taken in time.
        self._heads: dict[str, int] | None = None
        self._taken_up: Row | None = None

    def load(self, sleep: Callable[[float], None]) -> None:
        """
        Read one's own lane and the catalog's; the newest row of the output counts.

        :param sleep: as in :func:`wait_for_owners`.
        :raises LaneHeld: the picture is worked on now, by another task or by the catalog.
        """
        self.ledger.load()
        wait_for_owners([self.ledger], sleep, alive=refuse)
        self._taken_up = None
        self._read_older()
        found = list_lanes(self.state)
        self._heads = {lane: _head(entries) for lane, entries in found.items()}
        catalogs = self._open_all(self.state, found)
        wait_for_owners([one for one in catalogs if self._is_open_in(one)], sleep, alive=refuse)
        self._merge(catalogs)

    def may_have_news(self) -> bool:
        """Return False: a catalog that takes up the picture writes to its lane, and so makes its own run plan again."""
        return False

    def catch_up(self) -> bool:
        """After a deferral: what the catalog's lanes hold. True: the picture's own output is its own lane's matter."""
        self.ledger.others.clear()
        for catalog in self._open_all(self.state, list_lanes(self.state)):
            catalog.rows.pop(self._output, None)
            self.ledger.others.update(catalog.rows)
            self.ledger.view.take_in_replaced(catalog.view)
        return True

    def _read_older(self) -> None:
        for lane, name in self._older:
            if self._output in self.ledger.rows:
                return
            row = read_lane(self.singles, lane).rows.get(name)
            if row is not None:
                self._take_up(replace(row, output=self._output))

    def _take_up(self, row: Row) -> None:
        """Go on from another lane's row. :meth:`settle` writes it into this lane, before anything is added to it."""
        self.ledger.rows[self._output] = self._taken_up = row

    def _is_open_in(self, catalog: Ledger) -> bool:
        row = catalog.rows.get(self._output)
        return row is not None and row.state.is_open

    def _merge(self, catalogs: Iterable[Ledger]) -> None:
        self.ledger.others.clear()
        for catalog in catalogs:
            row = catalog.rows.pop(self._output, None)
            self.ledger.others.update(catalog.rows)
            self.ledger.view.take_in_replaced(catalog.view)
            if row is None:
                continue
            mine = self.ledger.rows.get(self._output)
            is_newer = mine is None or row.outranks(mine)
            if row.state.is_open:
                self._fence(catalog, row, is_newer)
            if is_newer:
                self._take_up(row)

    def _fence(self, catalog: Ledger, row: Row, is_newer: bool) -> None:
        """
        Make a catalog that is deferred or dead plan again: its job for the output would land over what is made here.

        :raises LaneHeld: the catalog works on the output.
        """
        if row.state is State.INTENT and catalog.view.is_parked and is_newer:
            raise held(catalog)  # its own run asks again when it is woken up
        if not self._make_plan_again(catalog):
            raise held(catalog)
        if self._heads is not None:
            self._heads[catalog.lane] = catalog.head

    def settle(self) -> bool:
        """
        After taking one's own lane: record here the row that was taken up from another lane.

        The next record may say no more than that the output has landed, and a reader has to know from what.

        :returns: False when a catalog has written meanwhile, and the lanes must be read again.
        :raises LaneLost: one's own lane is lost.
        """
        if self._heads is not None:
            if {lane: _head(entries) for lane, entries in list_lanes(self.state).items()} != self._heads:
                return False
            self._heads = None  # from now on a catalog sees that this picture is worked on, and leaves it
        if self._taken_up is not None:
            self.ledger.append([{"r": "row", **self._taken_up.to_json()}])
            self._taken_up = None
        return True

    @staticmethod
    def leaves(output: str) -> bool:
        """Return False: a single picture is left to no other task."""
        return False

    @staticmethod
    def is_contested(output: str) -> bool:
        """Return False: the catalog steps back, as its lanes were read after this one was claimed."""
        return False


def _head(entries: Iterable[Entry]) -> int:
    return max(int(entry.name[:8]) for entry in entries)
