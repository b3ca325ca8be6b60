"""What a run writes down while it works, and whether it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from airflow_provider_perfectlyclear.catalog.engine.start_queue import STALE
from airflow_provider_perfectlyclear.catalog.ledger.journal import Book
from airflow_provider_perfectlyclear.catalog.ledger.owners import refuse_taken_over
from airflow_provider_perfectlyclear.catalog.ledger.rows import Record, Row
from airflow_provider_perfectlyclear.catalog.plan.notes import LOCKED
from airflow_provider_perfectlyclear.errors import ItemFailed, LaneLost, RunStopped, Unavailable
from airflow_provider_perfectlyclear.reasons import Reason


class Recorder:
    """
    The ledger and the progress of a run, as its steps use them: what cannot be written ends the run.

    All but :attr:`stopped` and :meth:`row` is for the engine's own thread.

    :param book: gathers records for an owned lane, and the run's progress.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self.ledger = book.ledger
        self.progress = book.progress
        #: Why nothing more is started; None as long as the run goes on.
        self.stopped: BaseException | None = None
        #: When an output has last made a step (monotonic seconds).
        self.moved = time.monotonic()

    @property
    def rows(self) -> Mapping[str, Row]:
        """Output name -> row, as of the last append."""
        return self.ledger.rows

    def row(self, output: str) -> Row | None:
        """Return what the ledger says of an output now. For any thread."""
        return self.ledger.rows.get(output)

    def refuse_contested(self, output: str) -> None:
        """
        Refuse to publish over what a task for this picture alone makes. For any thread.

        :raises ItemFailed: (``LOCKED``) such a task has begun.
        """
        if self.ledger.is_contested(output):
            raise ItemFailed(LOCKED, code=Reason.LOCKED)

    @property
    def stood_still(self) -> bool:
        """Whether this process was silent for so long that another run may own the lane by now. For any thread."""
        return self.ledger.silence > STALE

    def refuse_late(self) -> None:
        """
        Refuse to publish when another run may have made a newer output meanwhile. For any thread.

        :raises Unavailable: this process stood still, or has lost its lane. The job stays open.
        :raises LaneLost: another owner has come meanwhile.
        """
        if self.stood_still or isinstance(self.stopped, LaneLost):
            raise Unavailable("this process stood still for too long; its result was not published")
        refuse_taken_over(self.ledger)

    def refuse_overtaken(self, output: str) -> None:
        """
        Refuse to publish what was made before, over what another run or task makes now. For any thread.

        :raises Unavailable: as :meth:`refuse_late`.
        :raises ItemFailed: as :meth:`refuse_contested`.
        """
        self.refuse_late()
        self.refuse_contested(output)

    def made_a_step(self) -> float:
        """Note that an output has made a step; return the time (monotonic seconds)."""
        self.moved = time.monotonic()
        return self.moved

    def stop(self, error: BaseException) -> None:
        """Start nothing more; what is on its way comes to its end."""
        if self.stopped is None:
            self.stopped = error

    def note(self, record: Record) -> None:
        """Write a record with the next segment."""
        self.book.note(record)

    def append(self, *more: Record) -> bool:
        """Write a segment now, with all that was noted before; return whether it stands. If not, the run is over."""
        return self._guarded(lambda: self.book.append(*more))

    def flush(self) -> bool:
        """Write what was noted, if the lane is still ours; return whether that succeeded. If not, the run is over."""
        return self._guarded(self.book.flush)

    def tend(self) -> None:
        """Write what has waited long enough, and show that this owner lives. If that fails, the run is over."""
        self._guarded(self.book.tend)

    def _guarded(self, act: Callable[[], None]) -> bool:
        try:
            act()
        except RunStopped as error:
            self.stop(error)
            return False
        return True
