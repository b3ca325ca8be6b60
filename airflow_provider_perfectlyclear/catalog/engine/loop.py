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
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from itertools import groupby

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction, FileType, JobState, JobStatus
from airflow_provider_perfectlyclear.api.polling import LOST_AFTER
from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.engine.open_jobs import OpenJobs
from airflow_provider_perfectlyclear.catalog.engine.pools import Pools
from airflow_provider_perfectlyclear.catalog.engine.progress import Failure, Prepared, Progress
from airflow_provider_perfectlyclear.catalog.engine.start_queue import STALE, Starts
from airflow_provider_perfectlyclear.catalog.engine.upload import Mover, Uploaded
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.journal import FLUSH, Book
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.records import KNOWN_BAD, Row, State
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan.model import Item
from airflow_provider_perfectlyclear.catalog.transfer.landing import Landed, Wanted
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool
from airflow_provider_perfectlyclear.errors import (
    Cancelled,
    JobError,
    JobLost,
    JobTimeout,
    NotFound,
    PerfectlyClearError,
    RunStopped,
    StartRefused,
    StartUnknown,
    Unavailable,
    UrlGone,
)
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)

#: Threads that ask the service, beside the transfers.
CALLERS = 4
#: Waiting longer than this (seconds) is left to the triggerer.
WORTH_DEFERRING = 10.0
#: A status, and the URL in it, is used without asking again for this long (seconds).
FRESH = 30.0
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
        self._mover = Mover(client, source, destination, prepared, spool)
        self.deadline = deadline
        self.progress = progress or Progress()
        self.stopped: BaseException | None = None
        now = time.monotonic()
        self._todo: deque[list[Item]] = deque()
        self._unsent = 0  # outputs in _todo, counted so that nobody has to
        self._uploading = 0
        self._underway: dict[str, Item] = {}  # from their upload on, until the ledger knows of them
        self._starts = Starts(options.on_ambiguous)
        self._jobs = OpenJobs(
            poll_interval=options.poll_interval, job_timeout=options.job_timeout, deadline=deadline, now=now
        )
        self._book = Book(ledger, self.progress)
        self._pools = Pools(transfers=options.transfers, calls=CALLERS)
        self._moved = now
        self._report = report
        self._reported = (now, self.progress.settled)

    # ---- what is to be done

    def add(self, items: Iterable[Item]) -> None:
        """Outputs to be made. Items of one source follow each other and share its upload."""
        for _, group in groupby(items, key=lambda item: item.source):
            self._todo.append(list(group))
            self._unsent += len(self._todo[-1])

    def adopt(self, rows: Iterable[Row], *, fresh: bool = False) -> None:
        """
        Open rows of the ledger: jobs to be landed, and starts whose answer was lost.

        :param fresh: a try has just begun: their ages are told by the clock of whoever started them, which may have
            been hours off. So no job has had its time, and none is lost, before it was watched for a while.
        """
        oldest = max(0.0, self.options.job_timeout - LOST_AFTER) if fresh else float("inf")
        now, wall = time.monotonic(), time.time()
        for row in self.ledger.rows.values():
            if row.run == self.ledger.run and row.state is State.LANDED and row.started_at is not None:
                self.progress.saw_job(max(0.0, row.at - row.started_at))  # an earlier try's, landing included
        for row in rows:
            since = now - max(0.0, wall - (row.started_at or row.at))
            if row.state is State.STARTED and row.job_id:
                self._jobs.follow(row, row.job_id, max(since, now - oldest))
            elif row.state is State.INTENT:
                self._starts.lost(row, since)

    @property
    def open_jobs(self) -> list[str]:
        """Job ids that are not final yet, oldest first."""
        return self._jobs.ids

    @property
    def left(self) -> list[Item]:
        """What was not begun: whatever has become of its upload, no start was declared."""
        return [*(item for items in self._todo for item in items), *self._underway.values()]

    def next_deadline(self) -> float:
        """Seconds until the task, or the oldest open job, has had its time."""
        return self._jobs.next_deadline(time.monotonic())

    def deferral_line(self) -> str:
        """What a person reads before the task is deferred."""
        about, typical = "", self.progress.typical_job
        if typical is not None:
            ends = time.time() + max(0.0, typical - self._jobs.youngest_age(time.monotonic()))
            about = f" until about {time.strftime('%H:%M:%S', time.localtime(ends))}"
        return f"Deferred{about} with {len(self._jobs):,} jobs open; needs a running triggerer, or set deferrable=False"

    def cancel(self) -> None:
        """Start nothing more and come to an end. Only sets a flag: safe in a signal handler."""
        self._stop(Cancelled("The task was asked to stop; what it started is in the ledger."))
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
            self._guarded(self._book.flush)
            self._say_what_goes_on()
        return self._is_done()

    def _loop(self) -> None:
        try:
            while not self._is_done():
                self._feed()
                if self._should_defer() or self._is_done():  # what feeding finds out may end it
                    break
                self._pools.handle(self._patience())
        except BaseException:
            # Such as Airflow's timeout, which is raised out of a signal handler, at any line.
            self.cancel()
            self.client.cancel()
            raise

    def _say_what_goes_on(self) -> None:
        if self.stopped is not None and self._jobs:
            log.warning(
                "%s jobs go on at the service, which has no way to cancel them. They are paid, and the next try or "
                "run fetches them.",
                f"{len(self._jobs):,}",
            )

    def _is_done(self) -> bool:
        if self._pools.busy("transfers") or self._pools.busy("calls"):
            return False
        return self.stopped is not None or (self._is_nearly_done() and not self._starts.has_ambiguous)

    def _is_nearly_done(self) -> bool:
        """Nothing is left but starts whose answer was lost; those are dealt with last."""
        return not (self._todo or self._uploading or self._starts.in_flight or self._jobs)

    def _feed(self) -> None:
        """Give the pools what they can do now."""
        now = time.monotonic()
        if self.stopped is None:
            self._guarded(self._book.tend)
            if self.deadline is not None and now >= self.deadline:
                self._leave_the_rest()
            self._feed_transfers(now)
            self._declare(self._starts.batch(now, more_to_come=self._uploading > 0))
            for job_id in self._jobs.due(now, self._pools.free("calls")):
                self._ask(job_id)
            self._settle_ambiguous(now)
            self._report_progress(now)
        if isinstance(self.stopped, Cancelled):
            self.client.cancel()

    def _report_progress(self, now: float) -> None:
        settled, (last, before) = self.progress.settled, self._reported
        total = settled + len(self._jobs) + self._starts.in_flight + self._uploading + self._unsent
        step = now - last >= REPORT_LEAST and (settled - before) >= REPORT_SHARE * total
        if settled > before and step or now - last >= REPORT_EVERY:
            self._reported = (now, settled)
            self._report(self.progress_line())

    def progress_line(self) -> str:
        """How far it is, for a person."""
        open_jobs = len(self._jobs) + self._starts.in_flight
        return (
            f"{self.progress.landed:,} corrected, {len(self.progress.failures):,} failed, {open_jobs:,} in work, "
            f"{self._uploading + self._unsent:,} to be sent"
        )

    def _patience(self) -> float:
        """How long to wait for a result before there is something else to do (seconds)."""
        now = time.monotonic()
        waits: list[float | None] = [15.0, FLUSH if self._book.is_behind else None]
        if self.stopped is None:
            waits += (self._starts.next_batch(now), self.ledger.next_beat)
            if self._pools.free("calls"):
                waits.append(self._jobs.next_due(now))
            if self._is_nearly_done():
                waits.append(self._starts.next_settling(now, self.progress.longest_job))
            if self.options.deferrable and self._is_idle():
                waits.append(max(self._moved + WORTH_DEFERRING - now, 0.05))
        return max(0.005, min(wait for wait in waits if wait is not None))

    def _stop(self, error: BaseException) -> None:
        if self.stopped is None:
            self.stopped = error

    def _guarded(self, act: Callable[[], None]) -> bool:
        """Whether ``act`` on the ledger succeeded; if not, the run is over."""
        try:
            act()
            return True
        except RunStopped as error:
            self._stop(error)
            return False

    # ---- waiting

    def _is_idle(self) -> bool:
        """No byte can move and nothing can be started: only waiting is left."""
        busy = self._pools.busy("transfers") or self._jobs.to_land or self._starts.in_flight
        return not busy and bool(self._jobs) and (not self._todo or not self._has_room())

    def _should_defer(self) -> bool:
        if not self.options.deferrable or self.stopped is not None or not self._is_idle():
            return False
        if self._pools.busy("calls"):
            return False
        now, typical = time.monotonic(), self.progress.typical_job
        if typical is not None and typical - self._jobs.oldest_age(now) > WORTH_DEFERRING:
            return True
        return now - self._moved > WORTH_DEFERRING

    # ---- upload

    def _has_room(self) -> bool:
        """The first picture goes alone: key, quota, preset and permissions are proved by it."""
        in_flight = len(self._jobs) + self._starts.in_flight + self._uploading
        return in_flight < (self.options.max_in_flight if self.progress.proved else 1)

    def _feed_transfers(self, now: float) -> None:
        while self._jobs.to_land and self._pools.free("transfers"):
            self._land(*self._jobs.next_landing(), now)
        while self._todo and self._pools.free("transfers") and self._has_room():
            items = self._todo.popleft()
            self._unsent -= len(items)
            self._uploading += len(items)
            self._underway |= {item.output: item for item in items}
            self._pools.submit("transfers", partial(self._mover.upload, items), self._after_upload(items))

    def _after_upload(self, items: list[Item]) -> Callable[[Future[Uploaded]], None]:
        def then(future: Future[Uploaded]) -> None:
            self._uploading -= len(items)
            self._moved = time.monotonic()
            error = future.exception()
            if error is not None:
                for item in items:
                    self._fail(self._row(item), error)
                return
            done = future.result()
            self.progress.bytes_in += done.size
            for item in items:
                if item in done.needed:
                    self._starts.add(self._row(item, done), self._moved)
                    continue
                del self._underway[item.output]
                if item.output in done.fetched:
                    self._book.landed(item.output, done.fetched[item.output])
                else:
                    self.progress.same_bytes += not self._is_own(item.output)
                    self._book.note(records.seen(item.output, item.fingerprint))

        return then

    def _is_own(self, output: str) -> bool:
        """Whether this very run has made it: then it is told about as that, and not as unchanged too."""
        return output in self.ledger.rows and self.ledger.rows[output].run == self.ledger.run

    def _row(self, item: Item, uploaded: Uploaded | None = None) -> Row:
        prepared = self.prepared[item.rendition]
        row = Row(
            output=item.output,
            state=State.INTENT,
            source=item.source,
            root=item.root,
            fingerprint=item.fingerprint,
            digest=prepared.digest,
        )
        if uploaded is None:
            return row
        correction = prepared.correction.model_copy(update={"file_type": FileType(uploaded.file_type)})
        return replace(
            row,
            sha256=uploaded.sha256,
            file_key=uploaded.file_key,
            file_type=uploaded.file_type,
            query=correction.query(),
        )

    # ---- start: nothing is paid that was not written down first

    def _declare(self, rows: list[Row], *, again: bool = False) -> None:
        """Write the intents; then, and only then, call ``/pfc``. ``again``: an earlier call may have been accepted."""
        intents = [records.intent(row, again=again, after_loss=self._was_lost(row)) for row in rows]
        if not rows or not self._guarded(lambda: self._book.append(*intents)):
            return
        for row in rows:
            self._underway.pop(row.output, None)
            self._starts.sent(row)
            self._pools.submit("calls", partial(self._start, row), self._after_start(row, again))

    def _was_lost(self, row: Row) -> bool:
        before = self.ledger.rows.get(row.output)
        is_asked_again = before is not None and before.state is State.INTENT
        return before is not None and (before.code == JobLost.code or (is_asked_again and before.after_loss))

    def _start(self, row: Row) -> str:
        """In a calling thread: the one call that is paid."""
        call = calls.start(str(row.file_key), Correction.parse(dict(row.query or {})))
        return self.client.send(call, before=self._check_still_ours)

    def _check_still_ours(self) -> None:
        """Right before a start goes out, after whatever it waited for: a place in the queue, a pause after 429."""
        if self.stopped is not None:
            raise Unavailable("the run was stopped before it was started")
        if self.ledger.silence > STALE:
            raise Unavailable(
                "this process stood still for too long after it had declared the start; not sent"
            )

    def _after_start(self, row: Row, again: bool) -> Callable[[Future[str]], None]:
        def then(future: Future[str]) -> None:
            self._starts.answered(row)
            self._moved = now = time.monotonic()
            error = future.exception()
            if error is None:
                self._started(row, future.result(), now)
            elif isinstance(error, StartUnknown):
                log.warning("%s: %s", one_line(row.output), error)
                self._starts.lost(self.ledger.rows.get(row.output, row), now)
            else:
                self._refused(row, error, again)

        return then

    def _started(self, row: Row, job_id: str, now: float) -> None:
        self._book.note(records.started(row.output, job_id))
        if not self.progress.proved:  # the others wait for it anyway: no crash shall make it ambiguous
            self._guarded(self._book.flush)
        self.progress.proved = True
        self._jobs.follow(replace(row, job_id=job_id), job_id, now)

    def _refused(self, row: Row, error: BaseException, again: bool) -> None:
        """Nothing was started: the intent is closed. If it was the first, the others would be refused alike."""
        if isinstance(error, PerfectlyClearError):
            self._book.note(records.failed(row, error.code, str(error)))
        self._fail(row, error)
        if isinstance(error, StartRefused) and not self.progress.proved and not again:
            self._stop(
                RunStopped(
                    f"The service refused to start the first picture, {row.source!r}: {str(error).rstrip('.')}. "
                    "Nothing was started; the others were not tried."
                )
            )

    def _settle_ambiguous(self, now: float) -> None:
        """The client never repeats a ``/pfc``; this is the one place that does."""
        if not self._is_nearly_done() or not self._starts.has_ambiguous:
            return
        if self.deadline is not None and now >= self.deadline:
            again, over = list[Row](), self._starts.give_up()
        else:
            again, over = self._starts.settle(now, self.progress.longest_job)
        for row, code, reason in over:
            self._book.failure(Failure(row.output, row.source, code, reason))
        self._declare(again, again=True)

    # ---- ask

    def _ask(self, job_id: str) -> None:
        self._pools.submit("calls", partial(self.client.send, calls.status(job_id)), self._after_ask(job_id))

    def _after_ask(self, job_id: str) -> Callable[[Future[JobStatus]], None]:
        def then(future: Future[JobStatus]) -> None:
            error = future.exception()
            if isinstance(error, RunStopped) or not isinstance(error, PerfectlyClearError | None):
                self._stop(error)
                return
            over = self._judge(job_id, future, error, time.monotonic())
            if over is not None:
                self._moved = time.monotonic()
                self._fail(self._jobs.end(job_id), over, close=not isinstance(over, JobTimeout))

        return then

    def _judge(
        self, job_id: str, future: Future[JobStatus], error: PerfectlyClearError | None, now: float
    ) -> JobError | None:
        """Why the job is over without a result, if it is."""
        if isinstance(error, NotFound):
            return self._jobs.missing(job_id, now)
        if error is not None:
            over = self._jobs.failed(job_id, error, now)
            if self._jobs.given_up(now):
                self._stop(
                    Unavailable(f"The service has answered no question about its jobs for long: {error}")
                )
            return over
        if future.result().state is JobState.COMPLETED:
            self.progress.saw_job(self._jobs.age(job_id, now))
        return self._jobs.answered(future.result(), now)

    # ---- land

    def _land(self, status: JobStatus, asked: float, now: float) -> None:
        row = self._jobs.row(status.job_id)
        strict = self.options.verify == "fail"
        wanted = Wanted(Correction.parse(dict(row.query or {})), row.sha256, strict=strict)
        work = partial(self._mover.land, status, row.output, wanted, fresh=now - asked < FRESH)
        self._pools.submit("transfers", work, self._after_land(status.job_id))

    def _after_land(self, job_id: str) -> Callable[[Future[Landed]], None]:
        def then(future: Future[Landed]) -> None:
            self._moved = time.monotonic()
            age = self._jobs.age(job_id, self._moved)
            row, error = self._jobs.end(job_id), future.exception()
            if isinstance(error, UrlGone) and age >= LOST_AFTER:
                self._fail(row, JobLost(job_id, "its corrected file is gone (404)"), close=True)
            elif error is None:
                self._book.landed(row.output, future.result())
            else:
                self._fail(row, error, close=getattr(error, "code", "") in KNOWN_BAD)

        return then

    # ---- what failed

    def _fail(self, row: Row, error: BaseException, *, close: bool = False) -> None:
        """One output failed, or the whole run did. ``close``: the ledger is told that the output's job is over."""
        if isinstance(error, RunStopped) or not isinstance(error, PerfectlyClearError):
            self._stop(error)
            return
        self._underway.pop(row.output, None)
        self._book.failed(row, error, close=close)
        if isinstance(error, Unavailable) and not self.progress.proved and self._book.streak >= OUT_OF_REACH:
            self._stop(error)
        if self._book.streak >= MAX_STREAK and self._todo:  # no accident of a picture
            log.error("%d failures in a row (%s): nothing more is started", MAX_STREAK, error.code)
            self._leave_the_rest()

    def _leave_the_rest(self) -> None:
        self.progress.unbegun += [item for items in self._todo for item in items]
        self.progress.unbegun += [self._underway.pop(row.output) for row in self._starts.ready]
        self._todo.clear()
        self._unsent = 0
        self._starts.drop_ready()
