"""
Upload, start, land; return when all is done or only waiting is left.

One thread, the caller's, decides and writes the ledger; two small pools do what takes time: *transfers* move
bytes, *calls* ask the service. Decisions are made between their results, so nothing here needs a lock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from airflow_provider_perfectlyclear.api import polling
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.catalog.corrections import Prepared
from airflow_provider_perfectlyclear.catalog.engine.assembly import Assembly
from airflow_provider_perfectlyclear.catalog.engine.board import Stage
from airflow_provider_perfectlyclear.catalog.engine.lines import ProgressLines, deferral_line
from airflow_provider_perfectlyclear.catalog.engine.pools import Pools
from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.ledger.journal import Book
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.plan.model import Item
from airflow_provider_perfectlyclear.catalog.progress import Progress
from airflow_provider_perfectlyclear.catalog.transfer.set_aside import SetAside
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool
from airflow_provider_perfectlyclear.errors import Cancelled

log = logging.getLogger(__name__)

#: Threads that ask the service, beside the transfers.
CALLERS = 4


class Engine:
    """
    The engine of a run.

    :param client: the service.
    :param places: where the pictures are, and where the outputs go.
    :param book: gathers records for an owned lane; with what earlier engines of this run did.
    :param options: how.
    :param prepared: rendition -> correction.
    :param spool: for files on their way.
    :param deadline: monotonic seconds at which the whole task has had its time, or None.
    :param report: told in one line how far it is, every 30 s or 5%.
    """

    def __init__(
        self,
        client: Client,
        places: Places,
        book: Book,
        options: Options,
        prepared: Mapping[str, Prepared],
        spool: Spool,
        *,
        deadline: float | None = None,
        report: Callable[[str], None] = log.info,
    ) -> None:
        self._client = client
        self._options = options
        self._deadline = deadline
        self._recorder = Recorder(book)
        self._pools = Pools(transfers=options.transfers, calls=CALLERS)
        self._parts = Assembly(
            client, places, self._recorder, options, prepared, spool, self._pools, deadline
        )
        self._lines = ProgressLines(report, self._parts.board, book.progress)

    # ---- what is to be done

    def add(self, items: Iterable[Item]) -> None:
        """Take outputs to be made. Items of one source follow each other and share its upload."""
        items = list(items)
        self._parts.backlog.add(items)
        self.aside.sizes.update(item.size for item in items)

    def adopt(self, rows: Iterable[Row], *, fresh: bool = False) -> None:
        """
        Take open rows of the ledger: jobs to be landed, and starts whose answer was lost.

        :param fresh: an attempt has just begun: their ages are told by the clock of the process that started them,
            which may have been hours off. So no job has had its time, and none is lost, before it was watched for a
            while.
        """
        oldest = max(0.0, self._options.job_timeout - polling.LOST_AFTER) if fresh else float("inf")
        now, wall = time.monotonic(), time.time()
        # Of equal outputs, one that was uploaded leads.
        rows = sorted(rows, key=lambda row: row.file_key is None)
        self._client.know_file_keys(row.file_key for row in rows if row.file_key)
        for row in rows:
            since = now - max(0.0, wall - (row.started_at or row.at))
            if row.state is State.STARTED and row.job_id:
                self._parts.sharing.resume(row, row.job_id, max(since, now - oldest))
            elif row.state is State.INTENT:
                self._parts.repeat.adopt(row, since)
        self._parts.disputed.reopen()

    def cancel(self) -> None:
        """Start nothing more and come to an end. Only sets a flag: safe in a signal handler."""
        self._recorder.stop(Cancelled("The task was asked to stop; what it started is in the ledger."))
        self._pools.wake()

    # ---- the loop

    def run(self) -> bool:
        """
        Work until all is done (True) or only waiting is left that a trigger does better (False).

        What fails for one output is in ``progress.failures``; what ends the run is in ``stopped``. However it ends,
        the ledger has the answers to all that was sent.
        """
        try:
            with self._pools:
                self._loop()
        finally:
            self._pools.handle(0.0)
            self._recorder.flush()
            self._say_what_goes_on()
        return self._parts.waiting.is_over()

    def _loop(self) -> None:
        waiting = self._parts.waiting
        try:
            while not waiting.is_over():
                self._turn()
                if waiting.should_defer() or waiting.is_over():  # what a turn finds out may end it
                    break
                self._pools.handle(waiting.patience())
        except BaseException:
            # Such as Airflow's timeout, which is raised out of a signal handler, at any line.
            self.cancel()
            self._client.cancel()
            raise

    def _turn(self) -> None:
        """Write what happened, and give the pools what they can do now."""
        now, parts = time.monotonic(), self._parts
        if self.stopped is None:
            self._recorder.tend()
            parts.copies.write()
            if self._deadline is not None and now >= self._deadline:
                parts.outcomes.leave_the_rest()
            if parts.land.begin(now):
                parts.upload.begin()
            parts.start.begin(now)
            parts.poll.begin(now)
            parts.repeat.begin(now)
            self._lines.tell(now)
        if isinstance(self.stopped, Cancelled):
            self._client.cancel()

    def _say_what_goes_on(self) -> None:
        if self.stopped is not None and self._parts.jobs:
            log.warning(
                "%s still running at the service, which cannot cancel jobs. Each is paid for; the next attempt or run "
                "downloads its result.",
                counted(len(self.open_jobs), "job"),
            )

    # ---- what has become of it

    @property
    def progress(self) -> Progress:
        """What this engine, and earlier ones of the run, did."""
        return self._recorder.progress

    @property
    def stopped(self) -> BaseException | None:
        """Why nothing more was started, None if the run has come to its own end."""
        return self._recorder.stopped

    @property
    def left(self) -> list[Item]:
        """What was not begun: whatever has become of its upload, no start was declared."""
        return self._parts.backlog.left

    @property
    def open_jobs(self) -> list[str]:
        """Job ids that are not final yet, oldest first."""
        return self._parts.jobs.ids

    @property
    def aside(self) -> SetAside:
        """Outputs that are about to be written over."""
        return self._parts.aside

    def next_deadline(self) -> float:
        """Return the seconds until there is something to do again at the latest, whatever the jobs do."""
        return self._parts.waiting.next_deadline()

    def progress_line(self) -> str:
        """Return how far it is, for a person."""
        return self._lines.line()

    def deferral_line(self) -> str:
        """Return what a person reads before the task is deferred."""
        unconfirmed = self._parts.board.count(Stage.UNCONFIRMED)
        return deferral_line(len(self._parts.jobs), unconfirmed, self._parts.waiting.until_about())
