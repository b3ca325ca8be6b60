"""
Outputs of the same content and correction: one of them is started, the others join its job. Paid once means once.

The first to come leads. :meth:`Twins.lead` is asked by transfer threads, all else by the thread that decides.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from airflow_provider_perfectlyclear.catalog.engine.board import Board, Stage
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row

#: Content (SHA-256) and correction (digest).
Key = tuple[str, str]


@dataclass
class _Pair:
    """
    What leads for a content and correction.

    :param job_id: the leader's job, once it is started.
    :param error: why the leader has failed, once it has.
    :param landed: the leader's output stands.
    :param waiting: outputs that wait for the leader.
    """

    job_id: str | None = None
    error: BaseException | None = None
    landed: bool = False
    waiting: list[Row] = field(default_factory=list)


class Twins:
    """
    What leads for which content and correction in this run.

    :param board: told of the outputs that wait.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._lock = threading.Lock()
        self._pairs: dict[Key, _Pair] = {}

    @staticmethod
    def key(row: Row) -> Key | None:
        """Return what an output is made from; None while its content is not known."""
        return (row.sha256, row.digest) if row.sha256 else None

    def lead(self, sha256: str, digest: str, *, anew: bool = False) -> bool:
        """
        Lead for a content and correction; return False if another output does already. For any thread.

        :param anew: whether what has landed for it is gone again: then the next output leads.
        """
        with self._lock:
            pair = self._pairs.get((sha256, digest))
            if pair is not None and not (anew and pair.landed):
                return False
            self._pairs[sha256, digest] = _Pair()
            return True

    def adopt(self, row: Row) -> None:
        """Let a start or a job of an earlier attempt lead."""
        if (key := self.key(row)) is not None:
            self._pairs[key] = _Pair(job_id=row.job_id)

    def is_in_doubt(self, row: Row) -> bool:
        """Return whether the output that leads for this content and correction has an unconfirmed start."""
        pair = self._pairs.get((row.sha256, row.digest))
        return pair is not None and pair.job_id is None and pair.error is None and not pair.landed

    def find(self, row: Row) -> _Pair | None:
        """Return what leads for an output's content and correction; None when it was dropped meanwhile."""
        return self._pairs.get((row.sha256, row.digest))

    def wait(self, row: Row) -> None:
        """Let an output wait for its leader to be started."""
        self._pairs[row.sha256, row.digest].waiting.append(row)
        self._board.move(row.output, Stage.WAITING)

    def started(self, row: Row, job_id: str) -> list[Row]:
        """Note that the leader was started; return the outputs that join its job."""
        return self._settle(row, job_id=job_id)

    def landed(self, row: Row) -> None:
        """Note that the leader's output stands; those that come later copy it."""
        self._settle(row, landed=True)

    def failed(self, row: Row, error: BaseException) -> list[Row]:
        """Note that the leader has failed before it had a job; return the outputs that fail alike."""
        return self._settle(row, error=error)

    def drop(self, row: Row) -> list[Row]:
        """Let no output lead any more; return those that wait."""
        key = self.key(row)
        pair = self._pairs.pop(key, None) if key is not None else None
        return [] if pair is None else pair.waiting

    def _settle(
        self, row: Row, *, job_id: str | None = None, error: BaseException | None = None, landed: bool = False
    ) -> list[Row]:
        key = self.key(row)
        pair = self._pairs.get(key) if key is not None else None
        if pair is None:
            return []
        pair.job_id, pair.error = job_id or pair.job_id, error
        pair.landed = pair.landed or landed
        waiting, pair.waiting = pair.waiting, []
        return waiting
