"""The outputs that are to be made, in their order, and how many may be on their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import groupby

from airflow_provider_perfectlyclear.catalog.engine.board import IN_FLIGHT, Board, Stage
from airflow_provider_perfectlyclear.catalog.plan.model import Item
from airflow_provider_perfectlyclear.catalog.progress import Progress


class Backlog:
    """
    Items that no start was declared for: not begun, or uploaded.

    :param board: told of each output's stage.
    :param progress: says whether the service was proved to work; is told what is left undone.
    :param max_in_flight: how many outputs may be on their way.
    """

    def __init__(self, board: Board, progress: Progress, max_in_flight: int) -> None:
        self._board = board
        self._progress = progress
        self._max_in_flight = max_in_flight
        self._queued: deque[list[Item]] = deque()
        self._underway: dict[str, Item] = {}  # from their upload on, until the ledger knows of them

    def add(self, items: Iterable[Item]) -> None:
        """Take outputs to be made. Items of one source follow each other and share its upload."""
        for _, group in groupby(items, key=lambda item: item.source):
            self._queued.append(list(group))
            for item in self._queued[-1]:
                self._board.move(item.output, Stage.QUEUED)

    @property
    def is_empty(self) -> bool:
        """Whether all was begun."""
        return not self._queued

    @property
    def may_begin(self) -> bool:
        """Whether there is something to begin, and room for it."""
        return bool(self._queued) and self._board.count(*IN_FLIGHT) < self._most_in_flight

    @property
    def _most_in_flight(self) -> int:
        """The first picture goes alone: key, quota, preset and permissions are proved by it."""
        return self._max_in_flight if self._is_proved else 1

    @property
    def _is_proved(self) -> bool:
        """What takes the place of lost jobs goes alone, too, as long as the service has not known any job."""
        replaces = _replaces_lost(self._queued[0])
        return self._progress.proved and (self._progress.heard or not replaces)

    @property
    def has_lost_jobs(self) -> bool:
        """Whether something is to be made whose job of before was lost."""
        return any(_replaces_lost(items) for items in self._queued)

    @property
    def left(self) -> list[Item]:
        """What was not begun: whatever has become of its upload, no start was declared."""
        return [*(item for items in self._queued for item in items), *self._underway.values()]

    def begin(self) -> list[Item]:
        """Take the next source's items: their upload begins."""
        items = self._queued.popleft()
        for item in items:
            self._underway[item.output] = item
            self._board.move(item.output, Stage.UPLOADING)
        return items

    def requeue(self, output: str) -> None:
        """Begin an output again: an equal one has landed meanwhile, and is copied."""
        self._queued.appendleft([self._underway.pop(output)])
        self._board.move(output, Stage.QUEUED)

    def declared(self, output: str) -> None:
        """Note that the ledger knows of an output."""
        self._underway.pop(output, None)

    def settle(self, output: str) -> None:
        """Note that an output needs no start, or has failed before one."""
        self._underway.pop(output, None)
        self._board.move(output, None)

    # ---- what is left undone

    def item(self, output: str) -> Item:
        """Return the item of an output that is uploaded."""
        return self._underway[output]

    def leave(self, output: str) -> None:
        """Begin nothing more of an output that is uploaded."""
        self._progress.unbegun.append(self._underway[output])
        self.settle(output)

    def leave_queued(self, which: Callable[[Item], bool]) -> None:
        """Begin nothing more of what waits, or of a part of it."""
        rest, self._queued = list(self._queued), deque()
        for items in rest:
            left = [item for item in items if which(item)]
            self._progress.unbegun += left
            for item in left:
                self._board.move(item.output, None)
            self.add(item for item in items if item not in left)


def _replaces_lost(items: list[Item]) -> bool:
    return items[0].reason == "job lost"
