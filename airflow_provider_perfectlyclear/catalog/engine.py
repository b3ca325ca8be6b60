"""
Upload, start, land; return when all is done or only waiting is left.

One thread, the caller's, decides and writes the ledger; two small pools do what takes time: *transfers* move
bytes, *calls* ask the service. Decisions are made between their results, so nothing here needs a lock.
"""

from __future__ import annotations

import logging
import statistics
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
from airflow_provider_perfectlyclear.api.watch import Watch
from airflow_provider_perfectlyclear.catalog import records
from airflow_provider_perfectlyclear.catalog.landing import Landed, Wanted
from airflow_provider_perfectlyclear.catalog.ledger import Ledger
from airflow_provider_perfectlyclear.catalog.moving import Mover, Uploaded
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan import Item
from airflow_provider_perfectlyclear.catalog.pools import Pools
from airflow_provider_perfectlyclear.catalog.progress import Failure, Prepared, Progress
from airflow_provider_perfectlyclear.catalog.records import KNOWN_BAD, Row, State
from airflow_provider_perfectlyclear.catalog.spool import Spool
from airflow_provider_perfectlyclear.errors import (
    Cancelled,
    InvalidSource,
    JobError,
    JobFailed,
    JobLost,
    JobRejected,
    NotFound,
    PerfectlyClearError,
    RunStopped,
    StartRefused,
    StartUnknown,
    Unavailable,
)
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)

#: Intents that may stand in the ledger without an answer: what a crash can make ambiguous.
MAX_INTENTS = 16
#: Threads that ask the service, beside the transfers.
CALLERS = 4
#: Intents are gathered for this long (seconds), so that one segment serves several.
GATHER = 0.1
#: What happened is in the ledger after at most this long (seconds).
FLUSH = 0.5
#: Waiting longer than this (seconds) is left to the triggerer.
WORTH_DEFERRING = 10.0
#: This many pictures with the same oddity are logged; the manifest has all.
WARNED = 5
#: This many failures in a row for the same reason stop new starts.
MAX_STREAK = 25
#: A lost start is asked about again after this many times the longest job seen (seconds: at least, if none).
AMBIGUOUS_FACTOR, AMBIGUOUS_LEAST, AMBIGUOUS_UNKNOWN = 3.0, 10.0, 60.0


class Engine:
    """
    :param ledger: an owned lane.
    :param prepared: rendition -> correction.
    :param deadline: monotonic seconds at which the whole task has had its time, or None.
    :param progress: what earlier engines of this run did.
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
    ) -> None:
        self.client = client
        self.ledger = ledger
        self.options = options
        self.prepared = prepared
        self._mover = Mover(client, source, destination, prepared, spool)
        self.deadline = deadline
        self.progress = progress or Progress()
        self.stopped: Exception | None = None
        self._todo: deque[list[Item]] = deque()
        self._ready: list[Row] = []
        self._ready_since = 0.0
        self._starting: set[str] = set()
        self._jobs: dict[str, Row] = {}
        self._since: dict[str, float] = {}  # job id -> monotonic seconds of its start
        self._asking: set[str] = set()
        self._landable: deque[tuple[JobStatus, float]] = deque()
        self._ambiguous: dict[str, tuple[Row, float]] = {}  # output -> row, monotonic seconds of its intent
        self._watch = Watch({}, poll_interval=options.poll_interval, now=time.monotonic())
        self._pending: list[records.Record] = []
        self._pending_since = 0.0
        self._uploading = 0
        self._pools = Pools(transfers=options.transfers, calls=CALLERS)
        self._moved = time.monotonic()
        self._next_look = 0.0
        self._streak = ("", 0)

    # ---- what is to be done

    def add(self, items: Iterable[Item]) -> None:
        """Outputs to be made. Items of one source follow each other and share its upload."""
        for _, group in groupby(items, key=lambda item: item.source):
            self._todo.append(list(group))

    def adopt(self, rows: Iterable[Row]) -> None:
        """Open rows of the ledger: jobs to be landed, and starts whose answer was lost."""
        now, wall = time.monotonic(), time.time()
        if not self.progress.job_seconds:
            self.progress.job_seconds = [
                took for row in self.ledger.rows.values() if (took := self._took(row))
            ]
        for row in rows:
            age = max(0.0, wall - (row.started_at or row.at))
            if row.state is State.STARTED and row.job_id:
                self._follow(row, row.job_id, now - age)
            elif row.state is State.INTENT:
                self._ambiguous[row.output] = (row, now - age)

    def _took(self, row: Row) -> float | None:
        """How long a job of an earlier try of this run took, landing included (seconds)."""
        if row.run != self.ledger.run or row.state is not State.LANDED or row.started_at is None:
            return None
        return max(0.0, row.at - row.started_at)

    def _follow(self, row: Row, job_id: str, since: float) -> None:
        self._jobs[job_id] = row
        self._since[job_id] = since
        self._watch.add(job_id, now=since)

    @property
    def open_jobs(self) -> list[str]:
        """Job ids that are not final yet, oldest first."""
        return sorted(self._jobs, key=lambda job_id: self._since[job_id])

    @property
    def left(self) -> list[Item]:
        """What was not begun."""
        return [item for items in self._todo for item in items]

    def next_deadline(self, now: float) -> float:
        """Seconds until the task, or the oldest open job, has had its time."""
        ends = [self._since[job_id] + self.options.job_timeout for job_id in self._jobs]
        return min([*ends, *([self.deadline] if self.deadline is not None else [])]) - now

    def deferral_line(self) -> str:
        """What a person reads before the task is deferred."""
        now, seen = time.monotonic(), self.progress.job_seconds[-50:]
        about = ""
        if seen:
            youngest = max(self._since.values())
            ends = time.time() + max(0.0, statistics.median(seen) - (now - youngest))
            about = f" until about {time.strftime('%H:%M:%S', time.localtime(ends))}"
        return f"Deferred{about} with {len(self._jobs):,} jobs open; needs a running triggerer, or set deferrable=False"

    def cancel(self) -> None:
        """Start nothing more and come to an end. Only sets a flag: safe in a signal handler."""
        self.stopped = self.stopped or Cancelled(
            "The task was asked to stop; what it started is in the ledger."
        )
        self._pools.wake()

    # ---- the loop

    def run(self) -> bool:
        """
        Work until all is done (True) or only waiting is left that a trigger does better (False).

        What fails for one output is in ``progress.failures``; what ends the run is in ``stopped``.
        """
        with self._pools:
            while not self._is_done():
                self._feed()
                if self._should_defer():
                    break
                self._pools.handle(self._patience())
        self._pools.handle(0.0)
        self._flush()
        return self._is_done()

    def _is_done(self) -> bool:
        if self._pools.busy("transfers") or self._pools.busy("calls"):
            return False
        if self.stopped is not None:
            return True
        return not (self._todo or self._ready or self._jobs or self._ambiguous)

    def _feed(self) -> None:
        """Give the pools what they can do now."""
        now = time.monotonic()
        if self.stopped is None:
            self._guarded(self._tend_ledger)
            self._expire(now)
            self._feed_transfers(now)
            self._commit(now)
            self._feed_asks(now)
            self._settle_ambiguous(now)
        if self._pending and now - self._pending_since >= FLUSH:
            self._flush()

    def _tend_ledger(self) -> None:
        self.ledger.beat()
        if self.ledger.wants_checkpoint:
            self._flush()
            self.ledger.checkpoint()

    def _patience(self) -> float:
        """How long to wait for a result before there is something else to do (seconds)."""
        now = time.monotonic()
        waits = [15.0]
        if self._pending:
            waits.append(FLUSH)
        if self.stopped is None:
            due = self._watch.next_due(now)
            if due is not None and self._pools.free("calls"):
                waits.append(due)
            if self._ready:
                waits.append(max(self._ready_since + GATHER - now, 0.0))
            if self._only_ambiguous():
                waits += [self._ambiguous_at(since) - now for _, since in self._ambiguous.values()]
            if self._jobs:
                waits.append(max(self.next_deadline(now), 0.5))
            if self.options.deferrable and self._is_idle():
                waits.append(max(self._moved + WORTH_DEFERRING - now, 0.05))
        return max(0.005, min(waits))

    def _stop(self, error: Exception) -> None:
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
        busy = self._pools.busy("transfers") or self._landable or self._ready or self._starting
        return not busy and bool(self._jobs) and (not self._todo or not self._has_room())

    def _should_defer(self) -> bool:
        if (
            not self.options.deferrable
            or self.stopped is not None
            or self._pools.busy("calls")
            or not self._is_idle()
        ):
            return False
        now = time.monotonic()
        if now - self._moved > WORTH_DEFERRING:
            return True
        if not self.progress.job_seconds:
            return False
        oldest = min(self._since.values())
        return statistics.median(self.progress.job_seconds[-50:]) - (now - oldest) > WORTH_DEFERRING

    def _expire(self, now: float) -> None:
        """Begin nothing after the deadline. Open jobs are asked once more before they are called TIMEOUT."""
        if now < self._next_look:
            return
        self._next_look = now + 0.5
        if self.deadline is not None and now >= self.deadline:
            self._leave_the_rest()
        for job_id in [job for job in self._jobs if self._has_expired(job, now) and job not in self._asking]:
            if not self._pools.free("calls"):
                return
            self._ask(job_id)

    def _has_expired(self, job_id: str, now: float) -> bool:
        ends = self._since[job_id] + self.options.job_timeout
        return now >= (ends if self.deadline is None else min(ends, self.deadline))

    # ---- upload

    def _in_flight(self) -> int:
        return len(self._jobs) + len(self._starting) + len(self._ready) + self._uploading

    def _has_room(self) -> bool:
        """The first picture goes alone: key, quota, preset and permissions are proved by it."""
        return self._in_flight() < (self.options.max_in_flight if self.progress.proved else 1)

    def _feed_transfers(self, now: float) -> None:
        while self._landable and self._pools.free("transfers"):
            self._land(*self._landable.popleft(), now)
        while self._todo and self._pools.free("transfers") and self._has_room():
            items = self._todo.popleft()
            self._uploading += len(items)
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
                if item.output in done.fetched:
                    self._landed(item.output, done.fetched[item.output])
                elif item in done.needed:
                    self._ready_since = self._ready_since if self._ready else self._moved
                    self._ready.append(self._row(item, done))
                else:
                    self.progress.same_bytes += 1
                    self._note(records.seen(item.output, item.fingerprint))

        return then

    def _row(self, item: Item, uploaded: Uploaded | None = None) -> Row:
        prepared = self.prepared[item.rendition]
        row = Row(
            output=item.output,
            state=State.INTENT,
            source=item.source,
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

    def _commit(self, now: float) -> None:
        """Write the intents of what is ready, at most so many unanswered; then, and only then, call ``/pfc``."""
        batch = self._ready[: MAX_INTENTS - len(self._starting)]
        more_to_come = self._uploading and len(self._ready) < MAX_INTENTS
        if not batch or (more_to_come and now - self._ready_since < GATHER):
            return
        del self._ready[: len(batch)]
        self._declare(batch, again=False)

    def _declare(self, rows: list[Row], *, again: bool) -> None:
        written = [*self._pending, *(records.intent(row, again=again) for row in rows)]
        if not self._guarded(lambda: self.ledger.append(written)):
            return
        self._pending.clear()
        for row in rows:
            self._starting.add(row.output)
            correction = Correction.parse(dict(row.query or {}))
            call = calls.start(str(row.file_key), correction)
            self._pools.submit("calls", partial(self.client.send, call), self._after_start(row, again))

    def _after_start(self, row: Row, again: bool) -> Callable[[Future[str]], None]:
        def then(future: Future[str]) -> None:
            self._starting.discard(row.output)
            self._moved = now = time.monotonic()
            error = future.exception()
            if error is None:
                self._note(records.started(row.output, future.result()))
                if (
                    not self.progress.proved
                ):  # the others wait for it anyway: no crash shall make it ambiguous
                    self._flush()
                self.progress.proved = True
                self._follow(replace(row, job_id=future.result()), future.result(), now)
            elif isinstance(error, StartUnknown):
                log.warning("%s: %s", row.output, error)
                self._ambiguous[row.output] = (self._known(row), now)
            else:
                self._refused(row, error, again)

        return then

    def _refused(self, row: Row, error: BaseException, again: bool) -> None:
        """Nothing was started: the intent is closed. If it was the first, the others would be refused alike."""
        if isinstance(error, PerfectlyClearError):
            self._note(records.failed(row, error.code, str(error)))
        self._fail(row, error)
        if isinstance(error, StartRefused) and not self.progress.proved and not again:
            self._stop(
                RunStopped(
                    f"The service refused to start the first picture, {row.source!r}: {error} "
                    "Nothing was started; the others were not tried."
                )
            )

    def _known(self, row: Row) -> Row:
        return self.ledger.rows.get(row.output, row)

    # ---- ask

    def _feed_asks(self, now: float) -> None:
        for job_id in self._watch.due(now, self._pools.free("calls")):
            if job_id in self._jobs and job_id not in self._asking:
                self._ask(job_id)

    def _ask(self, job_id: str) -> None:
        self._asking.add(job_id)
        self._pools.submit("calls", partial(self.client.send, calls.status(job_id)), self._after_ask(job_id))

    def _after_ask(self, job_id: str) -> Callable[[Future[JobStatus]], None]:
        def then(future: Future[JobStatus]) -> None:
            self._asking.discard(job_id)
            now, error = time.monotonic(), future.exception()
            if job_id not in self._jobs:
                return
            if error is None:
                self._answered(job_id, future.result(), now)
            elif isinstance(error, NotFound):
                if self._watch.missing(job_id, now=now):
                    lost = JobLost(job_id, "the service no longer knows the job (404)")
                    self._fail(self._end(job_id), lost, close=True)
            elif isinstance(error, RunStopped) or not isinstance(error, PerfectlyClearError):
                self._stop(error)  # type: ignore[arg-type]
            else:
                self._watch.failed(job_id, error, now=now)
                if self._watch.given_up(now):
                    self._stop(
                        Unavailable(f"The service has answered no question about its jobs for long: {error}")
                    )
                elif self._has_expired(job_id, now):
                    self._time_out(job_id, str(error))

        return then

    def _answered(self, job_id: str, status: JobStatus, now: float) -> None:
        is_final = self._watch.answered(job_id, status, now=now)
        if (word := self._watch.newly_unknown.pop(job_id, None)) is not None:
            log.warning("Job %s: the service's status %r is unknown and taken as still open", job_id, word)
        if not is_final:
            if self._has_expired(job_id, now):
                self._time_out(job_id, f"still {status.raw_status}")
            return
        if status.state is JobState.COMPLETED:
            self.progress.job_seconds.append(round(now - self._since[job_id], 1))
            self._landable.append((status, now))
            return
        self._moved = now
        error = JobRejected if status.state is JobState.REJECTED else JobFailed
        self._fail(self._end(job_id), error(job_id, status.status_text), close=True)

    def _time_out(self, job_id: str, what: str) -> None:
        row = self._end(job_id)
        reason = (
            f"job {job_id} was {what} when its time was up; it stays in the ledger, and asking again is free"
        )
        self._failed(Failure(row.output, row.source, "TIMEOUT", reason))

    def _end(self, job_id: str) -> Row:
        """The job is over for this run."""
        self._watch.forget(job_id)
        self._since.pop(job_id, None)
        return self._jobs.pop(job_id)

    # ---- land

    def _land(self, status: JobStatus, asked: float, now: float) -> None:
        row = self._jobs[status.job_id]
        wanted = Wanted(
            Correction.parse(dict(row.query or {})), row.sha256, strict=self.options.verify == "fail"
        )

        work = partial(self._mover.land, status, row.output, wanted, fresh=now - asked < 30)
        self._pools.submit("transfers", work, self._after_land(status.job_id))

    def _after_land(self, job_id: str) -> Callable[[Future[Landed]], None]:
        def then(future: Future[Landed]) -> None:
            self._moved = time.monotonic()
            row, error = self._end(job_id), future.exception()
            if error is not None:
                self._fail(row, error, close=getattr(error, "code", "") in (*KNOWN_BAD, "JOB_LOST"))
                return
            self._landed(row.output, future.result())

        return then

    def _landed(self, output: str, done: Landed) -> None:
        usage = done.status.usage.counters() if done.status.usage else None
        self._note(records.landed(output, size=done.size, usage=usage))
        self._streak = ("", 0)
        self.progress.landed += 1
        self.progress.bytes_out += done.size or 0
        self.progress.failures.pop(output, None)
        if done.status.detection_data is not None:
            self.progress.details[output] = done.status.public()["detection_data"]
        for warning in done.warnings:
            self.progress.warned[warning] = count = self.progress.warned.get(warning, 0) + 1
            if count <= WARNED:
                log.warning("%s: %s%s", output, warning, " (no more of these are logged)" * (count == WARNED))
            self.progress.warnings.setdefault(output, []).append(warning)

    # ---- starts whose answer was lost

    def _only_ambiguous(self) -> bool:
        return not (self._todo or self._uploading or self._ready or self._starting or self._jobs)

    def _ambiguous_at(self, since: float) -> float:
        """When the service can be asked again: a cache can only answer once the first job is done."""
        seen = self.progress.job_seconds
        wait = max(AMBIGUOUS_LEAST, AMBIGUOUS_FACTOR * max(seen)) if seen else AMBIGUOUS_UNKNOWN
        return since + wait

    def _settle_ambiguous(self, now: float) -> None:
        """Dealt with last. The client never repeats a ``/pfc``; this is the one place that does."""
        if not self._only_ambiguous():
            return
        for output, (row, since) in list(self._ambiguous.items()):
            if not self._may_ask_again(row) or (self.deadline is not None and now >= self.deadline):
                del self._ambiguous[output]
                self._failed(Failure(output, row.source, "START_UNKNOWN", self._why_not_again(row)))
            elif now >= self._ambiguous_at(since) and len(self._starting) < MAX_INTENTS:
                del self._ambiguous[output]
                self._declare([row], again=True)

    def _may_ask_again(self, row: Row) -> bool:
        if row.file_key is None or (row.run == self.ledger.run and row.twice):
            return False
        cached = (row.query or {}).get("cache", "true") != "false"
        return self.options.on_ambiguous == "restart" or (self.options.on_ambiguous == "auto" and cached)

    def _why_not_again(self, row: Row) -> str:
        lost = f"the answer to starting it was lost (file key {row.file_key}); it may have been paid"
        if row.run == self.ledger.run and row.twice:
            return f"{lost}, and so was the answer to asking once more"
        return f'{lost}. on_ambiguous="restart" starts it again, which may pay twice'

    # ---- what failed, and what is written down

    def _fail(self, row: Row, error: BaseException, *, close: bool = False) -> None:
        """
        One output failed, or the whole run did.

        :param close: the ledger is told that its job is over.
        """
        if isinstance(error, RunStopped) or not isinstance(error, PerfectlyClearError):
            self._stop(error)  # type: ignore[arg-type]
            return
        reason = getattr(error, "reason", None) or str(error)
        if close or (error.code in KNOWN_BAD and row.output not in self._starting):
            self._note(records.failed(row, error.code, reason))
        self._failed(Failure(row.output, row.source, error.code, reason))
        if not isinstance(error, InvalidSource):  # which costs nothing, and says nothing about the next
            self._count_streak(f"{error.code} {reason}" if isinstance(error, JobError) else error.code)

    def _failed(self, failure: Failure) -> None:
        log.warning("%s: %s %s", failure.output, failure.code, failure.reason)
        self.progress.failures[failure.output] = failure

    def _count_streak(self, same: str) -> None:
        """Many failures alike in a row are no accident of a picture: start nothing more."""
        self._streak = (same, self._streak[1] + 1 if self._streak[0] == same else 1)
        if self._streak[1] >= MAX_STREAK and self._todo:
            log.error("%d failures in a row (%s): nothing more is started", MAX_STREAK, same)
            self._leave_the_rest()

    def _leave_the_rest(self) -> None:
        self.progress.unbegun += self.left
        self._todo.clear()

    def _note(self, record: records.Record) -> None:
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending.append(record)

    def _flush(self) -> None:
        if self._pending and self.ledger.owned and self._guarded(lambda: self.ledger.append(self._pending)):
            self._pending = []
