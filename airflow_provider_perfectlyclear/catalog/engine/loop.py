"""
Upload, start, land; return when all is done or only waiting is left.

One thread, the caller's, decides and writes the ledger; two small pools do what takes time: *transfers* move
bytes, *calls* ask the service. Decisions are made between their results, so nothing here needs a lock.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import groupby

from airflow_provider_perfectlyclear.api import polling
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.catalog.corrections import Prepared
from airflow_provider_perfectlyclear.catalog.engine.board import IN_FLIGHT, MOVING, Board, Stage
from airflow_provider_perfectlyclear.catalog.engine.copies import Copies
from airflow_provider_perfectlyclear.catalog.engine.follow import Follower
from airflow_provider_perfectlyclear.catalog.engine.lines import progress_line
from airflow_provider_perfectlyclear.catalog.engine.open_jobs import OpenJobs
from airflow_provider_perfectlyclear.catalog.engine.pools import Pools
from airflow_provider_perfectlyclear.catalog.engine.progress import Progress
from airflow_provider_perfectlyclear.catalog.engine.send import Sender
from airflow_provider_perfectlyclear.catalog.engine.start import Starter
from airflow_provider_perfectlyclear.catalog.engine.upload import Mover
from airflow_provider_perfectlyclear.catalog.ledger.index import ContentIndex
from airflow_provider_perfectlyclear.catalog.ledger.journal import FLUSH, Book
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan.model import Item
from airflow_provider_perfectlyclear.catalog.transfer.kept import Kept
from airflow_provider_perfectlyclear.catalog.transfer.landing import Landed
from airflow_provider_perfectlyclear.catalog.transfer.set_aside import SetAside
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool
from airflow_provider_perfectlyclear.errors import (
    Cancelled,
    PerfectlyClearError,
    RunStopped,
    Unavailable,
)
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)

#: Threads that ask the service, beside the transfers.
CALLERS = 4
#: Waiting longer than this (seconds) is left to the triggerer.
WORTH_DEFERRING = 10.0
#: Progress is told this often (seconds), or after this share of the work, but not more often than every so often.
REPORT_EVERY, REPORT_SHARE, REPORT_LEAST = 30.0, 0.05, 2.0
#: This many failures in a row for the same reason stop new starts.
MAX_STREAK = 25
#: For so many pictures the service may be out of reach before it has taken any; then it is, for all of them.
OUT_OF_REACH = 3


class Engine:
    """
    :param ledger: an owned lane.
    :param prepared: rendition -> correction.
    :param deadline: monotonic seconds at which the whole task has had its time, or None.
    :param progress: what earlier engines of this run did.
    :param report: told in one line how far it is, every 30 s or 5%.
    """

    def __init__(
        self,
        *,
        client: Client,
        source: Store,
        destination: Store | None,
        ledger: Ledger,
        options: Options,
        prepared: Mapping[str, Prepared],
        spool: Spool,
        deadline: float | None = None,
        progress: Progress | None = None,
        report: Callable[[str], None] = log.info,
    ) -> None:
        self.client = client
        self.ledger = ledger
        self.options = options
        self.prepared = prepared
        self.deadline = deadline
        self.progress = progress or Progress()
        self.stopped: BaseException | None = None
        now = time.monotonic()
        self.todo: deque[list[Item]] = deque()
        self.board = Board()
        self.underway: dict[str, Item] = {}  # from their upload on, until the ledger knows of them
        self.moved = now
        self.book = Book(ledger, self.progress)
        self.pools = Pools(transfers=options.transfers, calls=CALLERS)
        self.start = Starter(self)
        # What is only data has no output that could be copied.
        held = [*ledger.others.values(), *ledger.rows.values()] if destination is not None else []
        self._index = ContentIndex(held, ledger.view.replaced)
        self.start.lead_from_open(held)
        self.aside = SetAside(
            ledger.store, ledger.lane, destination, spool, [one.digest for one in prepared.values()]
        )
        self._copies = Copies(self)
        self.mover = Mover(
            client,
            source,
            destination,
            prepared,
            spool,
            index=self._index,
            twins=self.start.twins,
            run=ledger.run,
            row_of=lambda output: ledger.rows.get(output),
            declare=self._copies.declare,
            aside=self.aside,
            pays_for_gone=options.pays_for_gone,
            check_source=options.check_source,
            kept=Kept(ledger.store),
        )
        self.jobs = OpenJobs(
            poll_interval=options.poll_interval,
            job_timeout=options.job_timeout,
            deadline=deadline,
            now=now,
            board=self.board,
        )
        self._follow = Follower(self, self.jobs)
        self._send = Sender(self)
        self._report = report
        self._reported = (now, self.progress.settled)

    # ---- what is to be done

    def add(self, items: Iterable[Item]) -> None:
        """Outputs to be made. Items of one source follow each other and share its upload."""
        for _, group in groupby(items, key=lambda item: item.source):
            self.todo.append(list(group))
            for item in self.todo[-1]:
                self.board.move(item.output, Stage.QUEUED)
                self.aside.sizes.add(item.size)

    def adopt(self, rows: Iterable[Row], *, fresh: bool = False) -> None:
        """
        Open rows of the ledger: jobs to be landed, and starts whose answer was lost.

        :param fresh: a try has just begun: their ages are told by the clock of the process that started them, which
            may have been hours off. So no job has had its time, and none is lost, before it was watched for a while.
        """
        oldest = max(0.0, self.options.job_timeout - polling.LOST_AFTER) if fresh else float("inf")
        now, wall = time.monotonic(), time.time()
        rows = sorted(
            rows, key=lambda row: row.file_key is None
        )  # of equal outputs, one that was uploaded leads
        self.client.know_file_keys(row.file_key for row in rows if row.file_key)
        for row in rows:
            since = now - max(0.0, wall - (row.started_at or row.at))
            if row.state is State.STARTED and row.job_id:
                self.start.lead_from(row, row.job_id)
                self.follow(row, row.job_id, max(since, now - oldest))
            elif row.state is State.INTENT:
                self.start.adopt(row, since)
        self.start.reopen_disputes()

    def follow(self, row: Row, job_id: str, since: float) -> None:
        """Watch a job for an output, from ``since`` (monotonic seconds) on."""
        self.start.given(row, job_id)
        self.jobs.follow(replace(row, job_id=job_id), job_id, since)

    @property
    def open_jobs(self) -> list[str]:
        """Job ids that are not final yet, oldest first."""
        return self.jobs.ids

    @property
    def left(self) -> list[Item]:
        """What was not begun: whatever has become of its upload, no start was declared."""
        return [*(item for items in self.todo for item in items), *self.underway.values()]

    def next_deadline(self) -> float:
        """Seconds until there is something to do again at the latest, whatever the jobs do."""
        now = time.monotonic()
        if self.jobs:
            return self.jobs.next_deadline(now)
        wait = self.start.queue.next_settling(now, self.progress.longest_job) or 0.0
        return wait if self.deadline is None else min(wait, self.deadline - now)

    def cancel(self) -> None:
        """Start nothing more and come to an end. Only sets a flag: safe in a signal handler."""
        self.stop(Cancelled("The task was asked to stop; what it started is in the ledger."))
        self.pools.wake()

    # ---- the loop

    def run(self) -> bool:
        """
        Work until all is done (True) or only waiting is left that a trigger does better (False).

        What fails for one output is in ``progress.failures``; what ends the run is in ``stopped``. However it ends,
        the ledger has the answers to all that was sent.
        """
        try:
            with self.pools:
                self._loop()
        finally:
            self.pools.handle(0.0)
            self.guarded(self.book.flush)
            self._say_what_goes_on()
        return self._is_done()

    def _loop(self) -> None:
        try:
            while not self._is_done():
                self._feed()
                if self._should_defer() or self._is_done():  # what feeding finds out may end it
                    break
                self.pools.handle(self._patience())
        except BaseException:
            # Such as Airflow's timeout, which is raised out of a signal handler, at any line.
            self.cancel()
            self.client.cancel()
            raise

    def _say_what_goes_on(self) -> None:
        if self.stopped is not None and self.jobs:
            log.warning(
                "%s still running at the service, which cannot cancel jobs. Each is paid for; the next attempt or run "
                "downloads its result.",
                counted(len(self.jobs.ids), "job"),
            )

    def _is_done(self) -> bool:
        if self.pools.busy("transfers") or self.pools.busy("calls"):
            return False
        return self.stopped is not None or (self.is_nearly_done() and not self.board.count(Stage.UNCONFIRMED))

    def is_nearly_done(self) -> bool:
        """Nothing is left but unconfirmed starts, and what waits for them; those are dealt with last."""
        return not self.board.count(Stage.QUEUED, *IN_FLIGHT)

    def _feed(self) -> None:
        """Give the pools what they can do now."""
        now = time.monotonic()
        if self.stopped is None:
            self.guarded(self.book.tend)
            self._copies.write()
            if self.deadline is not None and now >= self.deadline:
                self.leave_the_rest()
            self._feed_transfers(now)
            self.start.declare(
                self.start.queue.batch(now, more_to_come=self.board.count(Stage.UPLOADING) > 0)
            )
            for job_id in self.jobs.due(now, self.pools.free("calls")):
                self._follow.ask(job_id)
            self.start.settle_ambiguous(now)
            self._report_progress(now)
        if isinstance(self.stopped, Cancelled):
            self.client.cancel()

    def _report_progress(self, now: float) -> None:
        settled, (last, before) = self.progress.settled, self._reported
        total = settled + self.board.count()
        step = now - last >= REPORT_LEAST and (settled - before) >= REPORT_SHARE * total
        if settled > before and step or now - last >= REPORT_EVERY:
            self._reported = (now, settled)
            self._report(progress_line(self))

    def _patience(self) -> float:
        """How long to wait for a result before there is something else to do (seconds)."""
        now = time.monotonic()
        waits: list[float | None] = [15.0, FLUSH if self.book.is_behind else None]
        if self.stopped is None:
            waits += (self.start.queue.next_batch(now), self.ledger.next_beat)
            if self.pools.free("calls"):
                waits.append(self.jobs.next_due(now))
            if self.is_nearly_done():
                waits.append(self.start.queue.next_settling(now, self.progress.longest_job))
            if self.options.deferrable and self._is_idle():
                waits.append(max(self.moved + WORTH_DEFERRING - now, 0.05))
        return max(0.005, min(wait for wait in waits if wait is not None))

    def stop(self, error: BaseException) -> None:
        """Start nothing more; what is on its way comes to its end."""
        if self.stopped is None:
            self.stopped = error

    def guarded(self, act: Callable[[], None]) -> bool:
        """Whether ``act`` on the ledger succeeded; if not, the run is over."""
        try:
            act()
            return True
        except RunStopped as error:
            self.stop(error)
            return False

    # ---- waiting

    def _is_idle(self) -> bool:
        """No byte can move and nothing can be started: only waiting is left."""
        busy = self.pools.busy("transfers") or self.jobs.to_land or self.board.count(*MOVING)
        waits = bool(self.jobs) or (self.is_nearly_done() and self.board.count(Stage.UNCONFIRMED) > 0)
        return not busy and waits and (not self.todo or not self._has_room())

    def _should_defer(self) -> bool:
        if not self.options.deferrable or self.stopped is not None or not self._is_idle():
            return False
        if self.pools.busy("calls"):
            return False
        now, typical = time.monotonic(), self.progress.typical_job
        if not self.jobs:  # unconfirmed starts are asked about again after a while: no slot is held for that
            return self.next_deadline() > WORTH_DEFERRING
        is_far_off = typical is not None and typical - self.jobs.oldest_age(now) > WORTH_DEFERRING
        return (is_far_off or now - self.moved > WORTH_DEFERRING) and not self.jobs.is_losing(now)

    # ---- upload

    def _has_room(self) -> bool:
        """The first picture goes alone: key, quota, preset and permissions are proved by it."""
        return self.board.count(*IN_FLIGHT) < (self.options.max_in_flight if self._is_proved() else 1)

    def _is_proved(self) -> bool:
        """What takes the place of lost jobs goes alone, too, as long as the service has not known any job."""
        replaces = bool(self.todo) and self.todo[0][0].reason == "job lost"
        return self.progress.proved and (self.progress.heard or not replaces)

    def _feed_transfers(self, now: float) -> None:
        while self.jobs.to_land and self.pools.free("transfers"):
            status, asked, output = self.jobs.next_landing()
            if not self.start.record_before_landing(output):
                return
            self._follow.land(status, asked, output, now)
        while self.todo and self.pools.free("transfers") and self._has_room():
            items = self.todo.popleft()
            for item in items:
                self.underway[item.output] = item
                self.board.move(item.output, Stage.UPLOADING)
            self._send.upload(items)

    def requeue(self, output: str) -> None:
        """An output whose leader has landed meanwhile: it is copied."""
        self.todo.appendleft([self.underway.pop(output)])
        self.board.move(output, Stage.QUEUED)

    def settle(self, output: str) -> None:
        """Note that an output needs no start, or has failed before one."""
        self.underway.pop(output, None)
        self.board.move(output, None)

    # ---- the end of an output

    def landed(self, row: Row, landed: Landed) -> None:
        """An output stands: from now on it is what equal ones are copied from."""
        self.book.landed(row.output, landed)
        self._copies.landed(row)
        if row.sha256:
            made = replace(row, state=State.LANDED, size=landed.size, output_sha256=landed.sha256)
            self._index.add(replace(made, paid_by=self.ledger.run))
        self.start.twins.landed(row)

    def recall(self, row: Row) -> None:
        """Forget that an output has landed: the job that made it may be another picture's."""
        self._index.discard(row)
        if row.state is State.LANDED and row.run == self.ledger.run:
            self.progress.landed -= 1

    def fail(self, row: Row, error: BaseException, *, close: bool = False) -> None:
        """One output failed, or the whole run did. ``close``: the ledger is told that the output's job is over."""
        if isinstance(error, RunStopped) or not isinstance(error, PerfectlyClearError):
            self.stop(error)
            return
        self.settle(row.output)
        self.book.failed(row, error, close=close)
        if isinstance(error, Unavailable) and not self.progress.proved and self.book.streak >= OUT_OF_REACH:
            self.stop(error)
        if self.book.streak >= MAX_STREAK and self.todo:  # no accident of a picture
            log.error("%d failures in a row (%s): nothing more is started", MAX_STREAK, error.code)
            self.leave_the_rest()

    def leave_the_rest(self, which: Callable[[Item], bool] = lambda item: True) -> None:
        """Begin nothing more of what is to be done, or of a part of it."""
        rest, self.todo = list(self.todo), deque()
        for items in rest:
            left = [item for item in items if which(item)]
            self.progress.unbegun += left
            for item in left:
                self.board.move(item.output, None)
            self.add(item for item in items if item not in left)
        for row in self.start.queue.ready:
            if which(self.underway[row.output]):
                for dropped in self.start.drop(row):
                    self.leave(dropped.output)

    def leave(self, output: str) -> None:
        """Begin nothing more of an output that is uploaded."""
        self.progress.unbegun.append(self.underway[output])
        self.settle(output)
