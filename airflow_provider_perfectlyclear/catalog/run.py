"""
One run over a catalog: claim the lane, land what is open, plan, work, and say what became of it.

A single picture is a catalog of one (``one.py``): one engine, one ledger, one meaning of every state.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.engine.loop import Engine
from airflow_provider_perfectlyclear.catalog.engine.progress import Failure, Prepared
from airflow_provider_perfectlyclear.catalog.ledger.claim import Others, lane_of
from airflow_provider_perfectlyclear.catalog.ledger.lane import LANES, Ledger
from airflow_provider_perfectlyclear.catalog.ledger.records import (
    KNOWN_BAD,
    Row,
    State,
    correction_digest,
    failed,
    seen,
)
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan.decide import Item, Plan, check_template, refusal_key
from airflow_provider_perfectlyclear.catalog.plan.planner import Survey, counts_of
from airflow_provider_perfectlyclear.catalog.presets import preset_sha256
from airflow_provider_perfectlyclear.catalog.report.metrics import facts_of, tally_of
from airflow_provider_perfectlyclear.catalog.report.summary import (
    Outcome,
    Summary,
    failure_message,
    manifest,
    outcome_of,
    summary_of,
)
from airflow_provider_perfectlyclear.catalog.run_state import Kept
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool, sweep_spools
from airflow_provider_perfectlyclear.errors import (
    Cancelled,
    CatalogFailed,
    ConfigurationError,
    JobLost,
    LaneHeld,
    PlanRefused,
    RunStopped,
    StorageFailed,
)
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)

#: How often a run begins again because somebody else wrote to its lane meanwhile.
BEGINNINGS = 5


@dataclass(frozen=True)
class Waiting:
    """
    Only waiting is left.

    :param job_ids: the open jobs, oldest first.
    :param deadline: Unix seconds at which to come back whatever they are doing.
    :param timeout: the same as seconds from now; the smaller of both counts, as clocks jump.
    :param message: what to log before the deferral.
    """

    job_ids: tuple[str, ...]
    deadline: float
    timeout: float
    message: str


class CatalogRun:
    """
    Correct what is new or changed in a catalog.

    :param client: the service.
    :param source: where the pictures are.
    :param destination: where the corrected ones go.
    :param state: where the ledger, the run's own object and the manifest lie.
    :param run_key: names the task instance over all its tries, e.g. dag, run, task and map index.
    :param options: how.
    :param files: names below ``source`` instead of listing it.
    :param title: the run as a person would name it.
    :raises ConfigurationError: an option or a place is wrong; nothing was sent.
    """

    def __init__(
        self,
        *,
        client: Client,
        source: Store,
        destination: Store | None,
        state: Store,
        run_key: str,
        options: Options,
        files: Iterable[str] | None = None,
        lane: str | None = None,
        title: str = "another run",
    ) -> None:
        self.client = client
        self.source = source
        self.destination = destination
        self.state = state
        self.options = options
        self.run = hashlib.sha256(run_key.encode()).hexdigest()[:16]
        self.folder = f"runs/{_slug(run_key)}-{self.run[:8]}"
        self.ledger = Ledger(state, lane or lane_of(options.shard_of()), run=self.run, title=title)
        self._others = Others(self.ledger, options.shard_of())
        self._survey = Survey(source, destination, state, options, files=files, look=self._look_up)
        self._ends: float | None = None  # monotonic seconds at which the whole task has had its time
        self._cancelled = False
        self._engine: Engine | None = None
        self._prepared: dict[str, Prepared] = {}
        self._kept: Kept | None = None
        self._said: Summary | None = None
        for store in (state, destination):
            if store is not None:
                store.part_tag = self.run[:8]

    # ---- the three entrances

    def execute(self) -> Waiting | Summary:
        """
        A fresh try: the first, a retry, or after a clear.

        :raises CatalogFailed: more failed than allowed; what could be landed has landed.
        :raises RunStopped: nothing more may be started; what was started is in the ledger.
        """
        if self.options.timeout is not None:
            self._ends = time.monotonic() + self.options.timeout
        with self._letting_go():
            return self._begin(Kept(planned=False, began=time.time(), deadline=None))

    def resume(self) -> Waiting | Summary:
        """
        After a deferral, on any machine: go on from the run's own object.

        :raises CatalogFailed: as :meth:`execute`.
        """
        packed = self.state.read(f"{self.folder}/run.json.gz")
        kept = Kept.from_bytes(packed) if packed is not None else None
        if kept is None or kept.digests.keys() != self.options.corrections.keys():
            return self.execute()
        self._kept = kept
        kept.woke(time.time())
        if (left := kept.time_left(time.time())) is not None:
            self._ends = time.monotonic() + left
        with self._letting_go():
            rows = {row.output: row for row in kept.rows}
            knows = self.ledger.continue_from(rows, kept.head, kept.checkpoint, kept.bill)
            if knows and self.ledger.take():
                corrections = self.options.corrections.items()
                self._prepared = {name: Prepared(one, kept.digests[name]) for name, one in corrections}
                return self._go_on(kept)
            log.info("Another run has worked on %s meanwhile; planning again", self.state.uri(""))
            return self._begin(Kept(False, kept.began, kept.deadline, before=kept.before, waited=kept.waited))

    @contextmanager
    def _letting_go(self) -> Iterator[None]:
        """However a try ends, its lane is free for the next, unless its process dies."""
        try:
            yield
        except BaseException:  # Airflow's timeout of a task is no Exception
            with suppress(RunStopped):
                self.ledger.release()
            raise

    def cancel(self) -> None:
        """Start nothing more and end soon. Only sets flags: safe in a signal handler."""
        self._cancelled = True
        if self._engine is not None:
            self._engine.cancel()

    # ---- for whoever watches

    def tally(self) -> dict[str, float]:
        """What this try did so far, its deferrals included; empty before it has begun."""
        return tally_of(self._kept, self.ledger.bill, now=time.time()) if self._kept else {}

    def facts(self) -> dict[str, Any]:
        """What this run did over all its tries; empty as long as it has not summed it up."""
        return facts_of(self._said.data) if self._said else {}

    def report(self) -> str | None:
        """Where a person finds what became of each picture, once that is written."""
        has_one = self._said is not None and self._said.data["manifest"]
        return self.state.uri(f"{self.folder}/manifest.jsonl") if has_one else None

    # ---- beginning

    def _begin(self, kept: Kept) -> Waiting | Summary:
        self._kept = kept
        self._check_places()
        if self.options.allow_unlocked_store:
            self.state.unlocked = not self._is_exclusive()
        for _ in range(BEGINNINGS):
            self._load()
            kept.before = kept.before or replace(self.ledger.bill)
            self._sweep()
            self._prepare()
            outcome = self._try_to_begin(kept)
            if outcome is not None:
                return outcome
        raise LaneHeld(
            f"{self.state.uri('')} is locked by others, which are still running. Set retries to try again later."
        )

    def _load(self) -> None:
        self._others.load(self._sleep)

    def _try_to_begin(self, kept: Kept) -> Waiting | Summary | None:
        """None: another owner was faster, and what was read is stale."""
        jobs = [row for row in self.ledger.rows.values() if row.state is State.STARTED]
        if jobs and not self.options.plan_only:
            if not self._take():
                return None
            log.info("%d jobs of earlier tries or runs are open; they are landed first", len(jobs))
            return self._work(kept, [], jobs, fresh=True)
        return self._plan_and_work(kept)

    def _go_on(self, kept: Kept) -> Waiting | Summary:
        rows = [row for row in kept.rows if row.state.is_open]
        if not kept.planned:
            rows = [row for row in rows if row.state is State.STARTED]
        return self._work(kept, kept.todo, rows)

    def _take(self) -> bool:
        if self.ledger.owned:
            return True
        if self.ledger.head == 0:
            self._probe()
        if not self.ledger.take():
            return False
        self._others.settle()
        return True

    def _probe(self) -> None:
        if not self.options.allow_unlocked_store and not self._is_exclusive():
            raise ConfigurationError(
                f"{self.state.uri('')} cannot create a file only if it is absent, so two runs could pay for the "
                "same picture. Put state_path on another store, or, if runs never overlap, set "
                "allow_unlocked_store=True."
            )

    def _is_exclusive(self) -> bool:
        try:
            return self.state.probe("lanes")
        except StorageFailed:
            if self.options.allow_unlocked_store:  # it knows no "only if absent" at all
                return False
            raise

    def _sweep(self) -> None:
        """Temporary files that a killed try left in the state folder, and on this machine."""
        sweep_spools()
        for folder in (LANES, f"{LANES}/{self.ledger.lane}", self.folder):
            self.state.sweep(list(self.state.parts(folder)))

    def _check_places(self) -> None:
        check_template(self.options.name_template, bool(self.options.renditions))
        if self.destination is None:
            self.state.prepare()
            return
        if self.source.relative(self.destination) == "":
            raise ConfigurationError(
                f"source and destination are the same place, {self.source.uri('')}; nothing is ever overwritten "
                "at the source: name another folder or prefix as destination."
            )
        self.destination.prepare()
        self.state.prepare()

    def _prepare(self) -> None:
        if self._prepared:
            return
        digests: dict[str | None, str | None] = {}
        for rendition, correction in self.options.corrections.items():
            name = correction.preset
            if name not in digests:
                digests[name] = preset_sha256(self.client, name, log)
            digest = correction_digest(correction.canonical(), preset_sha256=digests[name])
            self._prepared[rendition] = Prepared(correction, digest)

    def _sleep(self, seconds: float) -> None:
        # A plain flag, looked at: the lock of an Event is no good in a signal handler.
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self._look_up()
            time.sleep(0.2)

    def _look_up(self) -> None:
        """Between the steps of what takes long: is the task still wanted? Does everybody know that it lives?"""
        if self._cancelled:
            raise Cancelled("The task was asked to stop before it began.")
        self.ledger.beat()

    # ---- planning

    def _plan_and_work(self, kept: Kept) -> Waiting | Summary | None:
        made = self._make_plan()
        log.info("%s: %s", self.options.shard or self.ledger.lane, made.line())
        touched = self._settle_touched(made) if self._survey.may_refuse(made) else []
        kept.planned, kept.counts = True, counts_of(made, self.run)
        if self.options.plan_only:
            return self._planned(kept, made)
        self._brake(made)
        unsettled = [row for row in self.ledger.rows.values() if row.state is State.INTENT]
        idle = not (made.todo or made.refused or touched or unsettled)
        if idle and not (self.ledger.view.holder or self.ledger.owned):
            return self._finish(kept)
        if not self._take():
            return None
        if touched:
            self.ledger.append([seen(item.output, item.fingerprint) for item in touched])
        self._record_refused(made, kept)
        todo = self._limited(made.todo)
        kept.later = made.todo[len(todo) :]
        return self._work(kept, todo, unsettled)

    def _settle_touched(self, made: Plan) -> list[Item]:
        own = {row.output for row in self.ledger.rows.values() if row.run == self.run}
        return self._survey.settle_touched(made, own)

    def _planned(self, kept: Kept, made: Plan) -> Summary:
        """Nothing is started or written; a brake that would stop the run is what one wants to hear of."""
        try:
            self._brake(made)
        except PlanRefused as refusal:
            log.warning("Without plan_only this run would be refused: %s", refusal)
        summary = self._summary(kept, Outcome(not_started=len(made.todo)))
        summary.data["manifest"] = None
        return summary

    def _make_plan(self) -> Plan:
        digests = {rendition: prepared.digest for rendition, prepared in self._prepared.items()}
        return self._survey.plan(self.ledger.rows, digests, run=self.run)

    def _brake(self, made: Plan) -> None:
        self._survey.brake(made)

    def _limited(self, todo: list[Item]) -> list[Item]:
        """At most ``limit`` starts in this Dag run, those of earlier tries included."""
        if self.options.limit is None:
            return todo
        begun = self.ledger.bill
        return todo[: max(0, self.options.limit - begun.paid - begun.twice)]

    def _record_refused(self, made: Plan, kept: Kept) -> None:
        records = []
        for item, code, reason in made.refused:
            row = Row(refusal_key(item.source, item.rendition), State.FAILED, item.source, item.fingerprint)
            kept.progress.failures[row.output] = Failure(row.output, item.source, code, reason)
            log.warning("%s: %s %s", one_line(item.source), code, one_line(reason))
            if code in KNOWN_BAD:
                records.append(failed(row, code, reason))
        if records:
            self.ledger.append(records)

    # ---- working

    def _work(
        self, kept: Kept, todo: list[Item], rows: list[Row], *, fresh: bool = False
    ) -> Waiting | Summary:
        with Spool() as spool:
            engine = self._engine = self._engine_for(kept, spool)
            engine.adopt(rows, fresh=fresh)
            engine.add(todo)
            if self._cancelled:
                engine.cancel()
            done = engine.run()
        kept.progress = engine.progress
        self._report(kept, engine.progress_line())
        if engine.stopped is not None:
            with suppress(RunStopped):
                self._write_manifest(kept, engine.left)
            raise engine.stopped
        if not done:
            return self._park(kept, engine)
        if not kept.planned:
            return self._begin_again(kept)
        return self._finish(kept)

    def _begin_again(self, kept: Kept) -> Waiting | Summary:
        """What was open is landed; now the plan can be made. The lane is ours, so nobody can be faster."""
        self.ledger.read_rest()  # a resume goes on from its own part, in which what other runs made is unknown
        outcome = self._plan_and_work(kept)
        if outcome is None:
            raise LaneHeld(
                f"{self.state.uri('')} was taken over by another run. Set retries to try again later."
            )
        return outcome

    def _engine_for(self, kept: Kept, spool: Spool) -> Engine:
        return Engine(
            client=self.client,
            source=self.source,
            destination=self.destination,
            ledger=self.ledger,
            options=self.options,
            prepared=self._prepared,
            spool=spool,
            deadline=self._ends,
            progress=kept.progress,
            report=partial(self._report, kept),
        )

    def _report(self, kept: Kept, line: str) -> None:
        """One line for the log, and ``progress.json`` beside the manifest for whoever looks from outside."""
        log.info("%s", line)
        now = time.time()
        data = {
            "line": line,
            "at": now,
            "seconds": round(now - kept.began, 1),
            "reasons": kept.counts.reasons,
        }
        with suppress(StorageFailed):  # nobody's night ends over a progress line
            self.state.write(f"{self.folder}/progress.json", json.dumps(data).encode())

    def _park(self, kept: Kept, engine: Engine) -> Waiting:
        """Keep what a resume needs, then let go of the lane. The trigger only waits."""
        jobs = engine.open_jobs
        kept.todo = engine.left
        kept.rows = [
            row
            for row in self.ledger.rows.values()
            if row.state.is_open or row.run == self.run or row.code == JobLost.code
        ]
        kept.bill = self.ledger.bill
        kept.digests = {name: prepared.digest for name, prepared in self._prepared.items()}
        kept.keep_time(None if self._ends is None else self._ends - time.monotonic(), now=time.time())
        kept.head, kept.checkpoint = self.ledger.head + 1, self.ledger.view.checkpoint
        kept.parked = time.time()
        self.state.write(f"{self.folder}/run.json.gz", kept.to_bytes())
        self.ledger.park()
        timeout = max(1.0, engine.next_deadline())
        return Waiting(tuple(jobs), time.time() + timeout, timeout, engine.deferral_line())

    # ---- the end

    def _finish(self, kept: Kept) -> Summary:
        outcome, summary = self._write_manifest(kept)
        if self.ledger.owned:
            self.ledger.checkpoint(release=True)
            self.state.delete(f"{self.folder}/run.json.gz")
        log.info(
            "Done: %s", {name: summary.data[name] for name in ("corrected", "failed", "paid", "unchanged")}
        )
        self._judge(kept, outcome)
        summary.skip = self._why_skip(kept, outcome)
        return summary

    def _write_manifest(self, kept: Kept, left: Iterable[Item] = ()) -> tuple[Outcome, Summary]:
        unbegun = [*left, *kept.progress.unbegun, *kept.later]
        outcome = outcome_of(kept, self.ledger.rows.values(), unbegun, self.run, self.ledger.bill)
        summary = self._summary(kept, outcome)
        self.state.write(f"{self.folder}/manifest.jsonl", manifest(summary.data, outcome, kept))
        return outcome, summary

    def _summary(self, kept: Kept, outcome: Outcome) -> Summary:
        seconds = time.time() - kept.began
        uri = self.state.uri(f"{self.folder}/manifest.jsonl")
        self._said = Summary(summary_of(kept, outcome, seconds=seconds, manifest_uri=uri))
        return self._said

    def _judge(self, kept: Kept, outcome: Outcome) -> None:
        """:raises CatalogFailed: more failed than allowed, or the time was up before all was started."""
        attempted = outcome.corrected + len(outcome.failures)
        cut_short = bool(kept.progress.unbegun)  # what `limit` leaves for later runs is no failure
        if len(outcome.failures) <= self.options.failures_allowed(attempted) and not cut_short:
            return
        message = failure_message(
            outcome,
            destination=self.destination.uri("") if self.destination else "nowhere",
            manifest_uri=self.state.uri(f"{self.folder}/manifest.jsonl"),
            attempted=attempted + outcome.not_started,
        )
        raise CatalogFailed(message, outcome.retry_helps)

    def _why_skip(self, kept: Kept, outcome: Outcome) -> str | None:
        if kept.counts.is_empty and not outcome.lines:
            return "No picture was found." if self.options.if_empty == "skip" else None
        changed = outcome.corrected or outcome.failures
        return "Nothing has changed." if self.options.if_unchanged == "skip" and not changed else None


def _slug(text: str) -> str:
    """A run key as part of a name that every store takes."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "_", text).strip("._")[:120]
