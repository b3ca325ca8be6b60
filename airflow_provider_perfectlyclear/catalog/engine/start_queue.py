"""
What stands between an upload and a job: uploads that wait for their start, and starts without a response. Pure.

Nothing here calls ``/pfc``; it says what may be called, and when.
"""

from __future__ import annotations

from typing import NamedTuple

from airflow_provider_perfectlyclear.catalog.engine.board import Board, Stage
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.catalog.types import Ambiguous
from airflow_provider_perfectlyclear.errors import StartUnknown
from airflow_provider_perfectlyclear.reasons import Reason

#: Intents that may stand in the ledger without an answer: what a crash can make ambiguous.
MAX_INTENTS = 16
#: Intents are gathered for this long (seconds), so that one segment serves several.
GATHER = 0.1
#: An owner that was silent for longer than this (seconds) sends no start any more: it stood still, and may no longer
#: own its lane. More than a live owner's heartbeat takes, far less than a stranger watches before it takes a lane.
STALE = 45.0
#: A lost start is asked about again after this many times the longest job seen (seconds: at least; if none).
FACTOR, LEAST, UNKNOWN = 3.0, 10.0, 60.0


class GivenUp(NamedTuple):
    """A start that may have been accepted and is not asked about any more in this try."""

    row: Row
    code: str
    reason: str


class StartQueue:
    """
    Uploads that wait to be started.

    :param board: told of each output's stage.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._ready: list[Row] = []
        self._ready_since = 0.0

    @property
    def ready(self) -> list[Row]:
        """What is uploaded and not declared yet."""
        return list(self._ready)

    def drop(self, row: Row) -> None:
        """Start nothing for what was ready."""
        self._ready.remove(row)
        self._board.move(row.output, None)

    def add(self, row: Row, now: float) -> None:
        """Take an uploaded output, ready to be started."""
        if not self._ready:
            self._ready_since = now
        self._ready.append(row)
        self._board.move(row.output, Stage.READY)

    def batch(self, now: float) -> list[Row]:
        """Return what to declare and start now: at most so many unanswered at a time."""
        room = _room(self._board)
        more_to_come = self._board.count(Stage.UPLOADING) > 0
        if more_to_come and len(self._ready) < room and now - self._ready_since < GATHER:
            return []
        chosen, self._ready = self._ready[:room], self._ready[room:]
        return chosen

    def next_batch(self, now: float) -> float | None:
        """Return the seconds until a batch that is gathered is due, or None."""
        return max(self._ready_since + GATHER - now, 0.0) if self._ready else None

    def sent(self, row: Row) -> None:
        """Note that its intent is written, and ``/pfc`` may be called."""
        self._board.move(row.output, Stage.STARTING)

    def answered(self, row: Row) -> None:
        """Note that ``/pfc`` was answered, or its answer is lost."""
        self._board.move(row.output, None)


class Unconfirmed:
    """
    Starts without a response: they may have been accepted.

    :param mode: ``on_ambiguous``.
    :param board: told of each output's stage.
    """

    def __init__(self, mode: Ambiguous, board: Board) -> None:
        self._mode = mode
        self._board = board
        self._starts: dict[str, tuple[Row, float]] = {}  # output -> row, monotonic seconds of its intent
        self._asked_again: set[str] = set()
        self._adopted: set[str] = set()

    def __contains__(self, output: object) -> bool:
        """Whether the start of an output is unconfirmed."""
        return output in self._starts

    def adopt(self, output: str) -> None:
        """Note that the start of an output was left unconfirmed by an earlier attempt."""
        self._adopted.add(output)

    def was_adopted(self, output: str) -> bool:
        """Return whether an earlier attempt has left the start of an output unconfirmed."""
        return output in self._adopted

    def lost(self, row: Row, since: float) -> None:
        """Note that ``row`` may have been started; its intent was written at ``since``."""
        self._starts[row.output] = (row, since)
        self._board.move(row.output, Stage.UNCONFIRMED)

    def settle(self, now: float, longest_job: float | None) -> tuple[list[Row], list[GivenUp]]:
        """
        Take out those that are asked about once more, and those that are given up. The others wait.

        :param longest_job: the longest job of this run so far (seconds): a cache can only answer once the first
            job is done.
        """
        again, over = list[Row](), list[GivenUp]()
        room = _room(self._board)
        for row, since in list(self._starts.values()):
            if (given_up := self._why_not(row)) is not None:
                over.append(given_up)
            elif now >= since + _wait(longest_job) and len(again) < room:
                again.append(row)
        for row in (*again, *(given_up.row for given_up in over)):
            del self._starts[row.output]
            self._board.move(row.output, None)
        self._asked_again.update(row.output for row in again)
        return again, over

    def give_up(self) -> list[GivenUp]:
        """Take all of them out: the time is up."""
        rows = [row for row, _ in self._starts.values()]
        self._starts.clear()
        for row in rows:
            self._board.move(row.output, None)
        late = "the time was up before it could be asked about"
        return [GivenUp(row, Reason.START_LOST, f"{_lost(row)}; {late}") for row in rows]

    def next_settling(self, now: float, longest_job: float | None) -> float | None:
        """Return the seconds until one of them can be asked about, or None."""
        if not self._starts:
            return None
        return min(since for _, since in self._starts.values()) + _wait(longest_job) - now

    def _why_not(self, row: Row) -> GivenUp | None:
        if row.output in self._asked_again:  # a later try asks again, and declares it again
            return GivenUp(row, Reason.START_LOST, f"{_lost(row)}, and so was the answer to asking once more")
        cached = (row.query or {}).get("cache", "true") != "false"
        if row.file_key and (self._mode == "restart" or (self._mode == "auto" and cached)):
            return None
        reason = f'{_lost(row)}. on_ambiguous="restart" starts it again, which may pay twice'
        return GivenUp(row, StartUnknown.code, reason)


def _room(board: Board) -> int:
    return MAX_INTENTS - board.count(Stage.STARTING)


def _wait(longest_job: float | None) -> float:
    return UNKNOWN if longest_job is None else max(LEAST, FACTOR * longest_job)


def _lost(row: Row) -> str:
    return f"the answer to starting it was lost (file key {row.file_key}); it may have been paid"
