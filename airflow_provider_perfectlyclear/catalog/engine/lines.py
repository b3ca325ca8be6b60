"""How far a run is, in a line for a person."""

from __future__ import annotations

import time
from collections.abc import Callable

from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.catalog.engine.board import Board, Stage
from airflow_provider_perfectlyclear.catalog.progress import Progress

#: Progress is told this often (seconds), or after this share of the work, but not more often than every so often.
REPORT_EVERY, REPORT_SHARE, REPORT_LEAST = 30.0, 0.05, 2.0


class ProgressLines:
    """
    Progress, told now and then.

    :param report: takes a line.
    :param board: how many outputs are in which stage.
    :param progress: what became of the others.
    """

    def __init__(self, report: Callable[[str], None], board: Board, progress: Progress) -> None:
        self._report = report
        self._board = board
        self._progress = progress
        self._reported = (time.monotonic(), progress.settled)

    def tell(self, now: float) -> None:
        """Tell how far it is, every 30 s or 5%."""
        settled, (last, before) = self._progress.settled, self._reported
        total = settled + self._board.count()
        step = now - last >= REPORT_LEAST and (settled - before) >= REPORT_SHARE * total
        if (settled > before and step) or now - last >= REPORT_EVERY:
            self._reported = (now, settled)
            self._report(self.line())

    def line(self) -> str:
        """Return how far it is."""
        count = self._board.count
        in_progress = count(Stage.WAITING, Stage.READY, Stage.STARTING, Stage.RUNNING, Stage.LANDING)
        unconfirmed = f", {count(Stage.UNCONFIRMED):,} unconfirmed" if count(Stage.UNCONFIRMED) else ""
        return (
            f"{self._progress.landed:,} corrected, {len(self._progress.failures):,} failed, {in_progress:,} in "
            f"progress, {count(Stage.QUEUED, Stage.UPLOADING):,} queued{unconfirmed}"
        )


def deferral_line(jobs: int, unconfirmed: int, wait: float | None) -> str:
    """
    Return what a person reads before the task is deferred.

    :param jobs: outputs whose jobs are in progress.
    :param unconfirmed: starts without a response.
    :param wait: seconds until about when; None if that is not known.
    """
    about = ""
    if wait is not None:
        about = f" until about {time.strftime('%H:%M:%S', time.localtime(time.time() + max(0.0, wait)))}"
    also = f" and {counted(unconfirmed, 'unconfirmed start')}" if unconfirmed else ""
    return (
        f"Deferring{about}: {counted(jobs, 'job')} in progress{also}. Requires a running "
        "triggerer; without one, set deferrable=False."
    )
