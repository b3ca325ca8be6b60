"""Lanes of other layouts: a catalog that was one task and is now sixteen shards, or the other way round."""

from __future__ import annotations

import re
from collections.abc import Callable

from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger, list_lanes, read_lane
from airflow_provider_perfectlyclear.catalog.plan.decide import in_shard
from airflow_provider_perfectlyclear.errors import LaneHeld


def lane_of(shard: tuple[int, int] | None) -> str:
    """The lane of a shard: ``all``, or such as ``03of16``."""
    return "all" if shard is None else f"{shard[0]:02d}of{shard[1]:02d}"


def _layout(lane: str) -> str:
    return re.sub(r"^\d+of", "of", lane)


class Others:
    """
    What the lanes of other layouts say, merged into one's own.

    :param ledger: the run's own lane.
    :param shard: the run's shard, None for the whole catalog.
    """

    def __init__(self, ledger: Ledger, shard: tuple[int, int] | None) -> None:
        self._ledger = ledger
        self._shard = shard
        self._heads: dict[str, int] | None = None  # of the lanes of other layouts; None: they do not matter
        self.merged = 0

    def load(self, sleep: Callable[[float], None]) -> None:
        """
        Read one's own lane and those of other layouts; the newest row of each output counts.

        A run of another layout must not go on at the same time: one that is deferred is made to plan again, one
        that works is waited for.

        :param sleep: as in :meth:`Ledger.wait_for_owner`.
        :raises LaneHeld: a run of another layout is at work.
        """
        lanes = list_lanes(self._ledger.store)
        self._ledger.load(lanes.pop(self._ledger.lane, []))
        self._ledger.wait_for_owner(sleep)
        self._heads, self.merged = {}, 0
        for lane in lanes:
            if _layout(lane) != _layout(self._ledger.lane):
                self._heads[lane] = self._fence(lane, sleep)
                self._merge(lane)

    def _fence(self, lane: str, sleep: Callable[[float], None]) -> int:
        other = Ledger(self._ledger.store, lane, run=self._ledger.run, title=self._ledger.title)
        other.load()
        other.wait_for_owner(sleep)
        if other.view.holder is not None or other.view.is_parked:
            if not other.take():
                raise LaneHeld(
                    f"{self._ledger.store.uri('')} (lane {lane!r}) is locked by another run. "
                    "Set retries to try again later."
                )
            other.release()
        return other.head

    def _merge(self, lane: str) -> None:
        rows = self._ledger.rows
        for row in read_lane(self._ledger.store, lane).rows.values():
            mine = rows.get(row.output)
            if in_shard(row.source, self._shard) and (mine is None or row.at > mine.at):
                rows[row.output] = row
                self.merged += 1

    def settle(self) -> None:
        """
        After taking one's own lane: what others knew becomes part of it, and none of them may have come back.

        :raises LaneHeld: one has.
        :raises LaneLost: one's own lane is lost.
        """
        if self.merged:
            self._ledger.checkpoint()
            self.merged = 0
        if self._heads is None:
            return
        for lane, entries in list_lanes(self._ledger.store).items():
            newest = max(int(entry.name[:8]) for entry in entries)
            if _layout(lane) != _layout(self._ledger.lane) and newest != self._heads.get(lane):
                raise LaneHeld(
                    f"Another run has begun on {self._ledger.store.uri('')} in another layout of shards (lane "
                    f"{lane!r}). Set retries to try again later."
                )
