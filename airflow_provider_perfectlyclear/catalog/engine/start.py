"""From an upload to a job: declared in the ledger first, then started. Here is the one call that is paid."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.api.text import counted, one_line
from airflow_provider_perfectlyclear.catalog.engine.board import Stage
from airflow_provider_perfectlyclear.catalog.engine.disputes import Disputes, Ruling
from airflow_provider_perfectlyclear.catalog.engine.refusals import Refusals, is_about_the_preset
from airflow_provider_perfectlyclear.catalog.engine.start_queue import STALE, Starts
from airflow_provider_perfectlyclear.catalog.engine.twins import Key, Twins
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.plan.notes import LOCKED
from airflow_provider_perfectlyclear.catalog.result import Failure
from airflow_provider_perfectlyclear.errors import (
    ItemFailed,
    JobLost,
    PerfectlyClearError,
    StartRefused,
    StartUnknown,
    Unavailable,
)
from airflow_provider_perfectlyclear.reasons import Reason

if TYPE_CHECKING:
    from airflow_provider_perfectlyclear.catalog.engine.loop import Engine

log = logging.getLogger(__name__)


class Starter:
    """
    :param engine: whose ledger, jobs and pools it uses. All but :meth:`_start` runs in the engine's own thread.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.queue = Starts(engine.options.on_ambiguous, engine.board)
        self.twins = Twins(engine.board)
        #: Job id -> row, of the jobs that were open in this attempt.
        self._given: dict[str, Row] = {}
        #: Job id -> row, of all jobs in the ledger; read before the first job is accepted.
        self._before: dict[str, Row] | None = None
        #: Outputs with an unconfirmed start of an earlier attempt.
        self._adopted = set[str]()
        #: Contents and corrections whose job the service has lost: a start for one of them is a second paid call.
        self._lost = set[Key | None]()
        self._refusals = Refusals(engine)
        self._joined = set[str]()  # outputs whose share in a job may not be written yet
        self._disputes = Disputes()
        #: Job id -> other outputs for which it was named while its own outputs were landing.
        self._after_landing: dict[str, list[tuple[Row, bool]]] = {}
        self._said_until = 0.0

    def adopt(self, row: Row, since: float) -> None:
        """A start of an earlier try whose answer was lost."""
        self._adopted.add(row.output)
        if self.twins.is_in_doubt(row):
            self.twins.wait(row)
            return
        if (
            row.doubt and not row.file_key
        ):  # it shared the job of an output that is closed: there is nothing to ask for
            self._give_up_upload(row)
            return
        self.twins.adopt(row)
        self.queue.lost(row, since)

    def reopen_disputes(self) -> None:
        """Go on with disputes of an earlier attempt, once its unconfirmed starts are adopted."""
        rows = [row for row in self._engine.ledger.rows.values() if row.doubt]
        elsewhere = {row.doubt for row in self._engine.ledger.others.values()}
        for job_id in {row.doubt for row in rows if row.state is State.INTENT}:
            asked = {Twins.key(row): row for row in rows if row.doubt == job_id and row.output in self.queue}
            has_failed = any(row.doubt == job_id and row.state is State.FAILED for row in rows)
            self._disputes.open(job_id, asked.values(), is_open_ended=has_failed or job_id in elsewhere)

    def given(self, row: Row, job_id: str) -> None:
        """A job that is known from the ledger."""
        self._given[job_id] = row

    def lead_from_open(self, rows: Collection[Row]) -> None:
        """Equal outputs join the jobs that are open, also those that have outlasted their time; none that is lost."""
        lost = {row.job_id for row in rows if row.code == JobLost.code}
        self._lost = {Twins.key(row) for row in rows if row.code == JobLost.code}
        for row in rows:
            if row.state is State.STARTED and row.job_id and row.job_id not in lost:
                self.lead_from(row, row.job_id)

    def lead_from(self, row: Row, job_id: str) -> None:
        """A job of an earlier try or run is open: equal outputs join it."""
        self.twins.adopt(row)
        self.given(row, job_id)

    # ---- declare, then start: nothing is paid that was not written down first

    def declare(self, rows: list[Row], *, again: bool = False) -> None:
        """Write the intents; then, and only then, call ``/pfc``. ``again``: an earlier call may have been accepted."""
        engine = self._engine
        intents = [
            records.intent(
                row,
                again=again or self._was_in_doubt(row),
                after_loss=self._was_lost(row),
                doubt=self._disputes.over(row.output) or "",
            )
            for row in rows
        ]
        if not rows or not engine.guarded(lambda: engine.book.append(*intents)):
            return
        for row in rows:
            engine.underway.pop(row.output, None)
            self.queue.sent(row)
            engine.pools.submit("calls", partial(self._start, row), self._after_start(row, again))

    def _was_in_doubt(self, row: Row) -> bool:
        """Return whether an earlier upload of the same content has an unconfirmed start, which is closed."""
        before = self._engine.ledger.rows.get(row.output)
        if before is None or before.state is not State.FAILED:
            return False
        return before.code == Reason.START_LOST and before.sha256 == row.sha256

    def _was_lost(self, row: Row) -> bool:
        if (key := Twins.key(row)) is not None and key in self._lost:
            return True
        before = self._engine.ledger.rows.get(row.output)
        is_asked_again = before is not None and before.state is State.INTENT
        return before is not None and (before.code == JobLost.code or (is_asked_again and before.after_loss))

    def _start(self, row: Row) -> str:
        """In a calling thread: the one call that is paid."""
        call = calls.start(str(row.file_key), Correction.parse(dict(row.query or {})))
        return self._engine.client.send(call, before=partial(self._check_still_ours, row))

    def _check_still_ours(self, row: Row) -> None:
        """Right before a start goes out, after whatever it waited for: a place in the queue, a pause after 429."""
        if self._engine.stopped is not None:
            raise Unavailable("the run was stopped before it was started")
        if self._engine.ledger.silence > STALE:
            raise Unavailable(
                "this process stood still for too long after it had declared the start; not sent"
            )
        if self._engine.ledger.is_contested(row.output):
            raise ItemFailed(LOCKED, code=Reason.LOCKED)

    def _after_start(self, row: Row, again: bool) -> Callable[[Future[str]], None]:
        def then(future: Future[str]) -> None:
            self.queue.answered(row)
            self._engine.moved = now = time.monotonic()
            error = future.exception()
            if error is None and self._is_anothers(row, future.result()):
                self._named_for_another(row, future.result(), again)
            elif error is None and self._disputes.over(row.output):
                self._heard_in_dispute(self._disputes.answered(row, future.result()), now)
            elif error is None:
                self._started(row, future.result(), now)
            elif isinstance(error, StartUnknown):
                log.warning("%s: %s", one_line(row.output), error)
                self.queue.lost(self._engine.ledger.rows.get(row.output, row), now)
            else:
                self._refused(row, error, again)

        return then

    def _is_anothers(self, row: Row, job_id: str) -> bool:
        """Outputs share a job by content and correction alone: any other repeated id answers another question."""
        if self._before is None:  # read once, and only when something is started
            rows = itertools.chain(self._engine.ledger.others.values(), self._engine.ledger.rows.values())
            self._before = {known.job_id: known for known in rows if known.job_id}
        if self._disputes.over(row.output) == job_id:
            return False
        known = self._given.get(job_id) or self._before.get(job_id)
        return self._disputes.has(job_id) or (known is not None and Twins.key(known) != Twins.key(row))

    # ---- a job id that was named for two pictures

    def _named_for_another(self, row: Row, job_id: str, again: bool) -> None:
        """Handle a response that names another picture's job: one of the two belongs to another request."""
        said = f"the response names job {job_id}, which is another picture's"
        log.warning("%s: %s", one_line(row.output), said)
        self._silent_in_dispute(row)
        if self._engine.jobs.is_landing(job_id):  # a landing that has begun cannot be called back
            self._after_landing.setdefault(job_id, []).append((row, again))
        else:
            self._dispute(job_id, [(row, again)])

    def job_ended(self, job_id: str) -> None:
        """Open the dispute that waited for the landings of a job."""
        if rows := self._after_landing.pop(job_id, None):
            self._dispute(job_id, rows)

    def _dispute(self, job_id: str, others: list[tuple[Row, bool]]) -> None:
        """Ask again about every output with this job id, those that have landed included."""
        engine, now = self._engine, time.monotonic()
        # An output that had landed before the others were uploaded is not in doubt.
        is_new = job_id in self._given or any(row.output in self._adopted for row, _ in others)
        holders = self._holders(job_id) if is_new and not self._disputes.has(job_id) else []
        if holders:
            leads = {Twins.key(row): row for row in reversed(holders)}
            told_again = {Twins.key(row): row for row, again in others if again}
            asked = leads | {Twins.key(row): row for row, again in others if not again}
            self._disputes.open(job_id, asked.values(), told_twice=told_again.values())
            for known in (self._given, self._before or {}):
                known.pop(job_id, None)
            if engine.jobs.is_open(job_id):
                engine.jobs.end_all(job_id)
            for row in holders:
                engine.book.note(records.intent(row, doubt=job_id))  # a later attempt asks about it, too
                engine.recall(engine.ledger.rows[row.output])
                log.warning("%s: its job %s was named for another picture, too", one_line(row.output), job_id)
                if leads[Twins.key(row)] is row:
                    self.twins.adopt(row)
                    self.queue.lost(row, now)
                else:
                    self.twins.wait(row)
        for row, again in others:
            if again and not holders:
                self._give_up_upload(row)
                continue
            if holders:
                engine.book.note(records.intent(row, doubt=job_id))
            if not again:
                self.queue.lost(engine.ledger.rows.get(row.output, row), now)
        engine.guarded(engine.book.flush)

    def _holders(self, job_id: str) -> list[Row]:
        """
        Return the outputs of this lane that have the job, as they were before the start; none if the service cannot
        be asked about them again.
        """
        engine = self._engine
        if not engine.guarded(engine.book.flush):
            return []
        planned = {prepared.digest: prepared for prepared in engine.prepared.values()}
        found = list[Row]()
        for row in engine.ledger.rows.values():
            if row.job_id == job_id and row.digest in planned and row.sha256:
                query = row.query or planned[row.digest].query(row.file_type)
                found.append(replace(row, state=State.INTENT, job_id=None, query=query))
        # One output for each content and correction is asked about: the one with the upload.
        found.sort(key=lambda row: row.file_key is None)
        leads = {Twins.key(row): row for row in reversed(found)}
        return found if all(row.file_key for row in leads.values()) else []

    def _silent_in_dispute(self, row: Row) -> None:
        if self._disputes.over(row.output):
            self._heard_in_dispute(self._disputes.unanswered(row), time.monotonic())

    def _heard_in_dispute(self, ruling: Ruling, now: float) -> None:
        for row, job_id in ruling.given:
            self._started(row, job_id, now)
        for row in ruling.unsettled:
            self._give_up_upload(row)

    def _give_up_upload(self, row: Row) -> None:
        """Fail an output for which the service names another picture's job again; a retry uploads it anew."""
        error = ItemFailed(
            "the service names another picture's job for it, also when it is asked again; a retry uploads it anew",
            code=Reason.START_LOST,
        )
        self._engine.book.note(records.failed(row, error.code, str(error)))
        self._engine.fail(row, error)
        self.ended(row, error, is_closed=True)

    def _started(self, row: Row, job_id: str, now: float) -> None:
        engine = self._engine
        self._given[job_id] = row
        engine.book.note(records.started(row.output, job_id, paid_before=row.paid_before))
        if not engine.progress.proved:  # the others wait for it anyway: no crash shall make it ambiguous
            engine.guarded(engine.book.flush)
            engine.progress.proved = True
            self._refusals.are_final()
        engine.follow(row, job_id, now)
        for twin in self.twins.started(row, job_id):
            self.join(twin, job_id, now)

    def join(self, row: Row, job_id: str, now: float) -> None:
        """An output shares a job that was paid for already."""
        engine = self._engine
        engine.underway.pop(row.output, None)
        engine.book.note(records.joined(row, job_id))
        self._joined.add(row.output)
        engine.follow(row, job_id, now)

    def record_before_landing(self, output: str) -> bool:
        """
        Write that an output shares a job, if that is not written yet: its name may show another picture until it lands.

        :returns: False: the ledger cannot be written, and nothing may be published.
        """
        if output not in self._joined:
            return True
        self._joined.clear()
        return self._engine.guarded(self._engine.book.flush)

    def twin(self, row: Row) -> None:
        """An output whose content and correction another output of this run leads for."""
        engine, leader = self._engine, self.twins.find(row)
        if leader is None:  # the time was up for it
            engine.leave(row.output)
        elif leader.landed:
            engine.requeue(row.output)
        elif leader.error is not None:
            engine.fail(row, leader.error)
        elif leader.job_id is not None:
            self.join(row, leader.job_id, time.monotonic())
        else:
            self.twins.wait(row)

    def drop(self, row: Row) -> list[Row]:
        """Start nothing for what was ready. Returns it, with the outputs that wait for it."""
        self.queue.drop(row)
        return [row, *self.twins.drop(row)]

    def ended(self, row: Row, error: BaseException, *, is_closed: bool = False) -> None:
        """
        The leader has failed for good or for this try: those that wait for it fail alike.

        :param is_closed: whether the leader's intent is closed: those of earlier attempts that wait are, too.
        """
        engine = self._engine
        for twin in self.twins.failed(row, error):
            before = engine.ledger.rows.get(twin.output)
            is_intent = before is not None and before.state is State.INTENT
            if is_closed and is_intent and isinstance(error, PerfectlyClearError):
                engine.book.note(records.failed(twin, error.code, str(error)))
            engine.fail(twin, error)

    # ---- refused

    def _refused(self, row: Row, error: BaseException, again: bool) -> None:
        """Nothing was started: the intent is closed."""
        engine = self._engine
        about_preset = isinstance(error, StartRefused) and is_about_the_preset(row, str(error))
        if isinstance(error, StartRefused) and engine.progress.proved and not (again or about_preset):
            error = ItemFailed(str(error), code=Reason.PICTURE_REFUSED)
        elif (
            isinstance(error, StartRefused) and again
        ):  # such as: the service no longer has the uploaded file
            error = ItemFailed(
                f"the answer to starting it was lost, and asking again was refused ({error}); a retry uploads it anew",
                code=Reason.START_LOST,
            )
        if isinstance(error, PerfectlyClearError):
            engine.book.note(records.failed(row, error.code, str(error)))
        engine.fail(row, error)
        self.ended(row, error, is_closed=True)
        self._silent_in_dispute(row)
        if isinstance(error, StartRefused) and not engine.progress.proved and not again:
            self._refusals.count(row, str(error))

    # ---- starts whose answer was lost

    def settle_ambiguous(self, now: float) -> None:
        """The client never repeats a ``/pfc``; this is the one place that does."""
        engine = self._engine
        if not engine.is_nearly_done() or not engine.board.count(Stage.UNCONFIRMED):
            return
        if engine.deadline is not None and now >= engine.deadline:
            again, over = list[Row](), self.queue.give_up()
        else:
            again, over = self.queue.settle(now, engine.progress.longest_job)
        for row, code, reason in over:
            engine.book.failure(Failure(row.output, row.source, code, reason))
            self.ended(row, ItemFailed(reason, code=code))
            self._silent_in_dispute(row)
        self.declare(again, again=True)
        self._say_how_long(now)

    def _say_how_long(self, now: float) -> None:
        wait = self.queue.next_settling(now, self._engine.progress.longest_job)
        if wait is None or wait <= 0 or now < self._said_until:
            return
        self._said_until = now + wait
        ends = time.strftime("%H:%M:%S", time.localtime(time.time() + wait))
        count = self._engine.board.count(Stage.UNCONFIRMED)
        log.info("%s: waiting until %s before asking again", counted(count, "unconfirmed start"), ends)
