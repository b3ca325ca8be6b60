"""
One run over a catalog: claim the lane, land what is open, plan, work, and say what became of it.

A single picture is a catalog of one (``single.py``): one engine, one ledger, one meaning of every state.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.catalog import places
from airflow_provider_perfectlyclear.catalog.corrections import as_planned, prepare
from airflow_provider_perfectlyclear.catalog.engine.loop import Engine
from airflow_provider_perfectlyclear.catalog.engine.progress import Prepared
from airflow_provider_perfectlyclear.catalog.ledger.claim import Claim
from airflow_provider_perfectlyclear.catalog.ledger.identity import Expected, place_of
from airflow_provider_perfectlyclear.catalog.ledger.journal import Book
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.other_lanes import CatalogLanes, SingleLanes
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.ledger.segments import LANES
from airflow_provider_perfectlyclear.catalog.naming import slug
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan import notes
from airflow_provider_perfectlyclear.catalog.plan.brakes import within_limit
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan
from airflow_provider_perfectlyclear.catalog.plan.planner import Survey, counts_of
from airflow_provider_perfectlyclear.catalog.presets import Presets
from airflow_provider_perfectlyclear.catalog.report.metrics import tally_of
from airflow_provider_perfectlyclear.catalog.report.reporter import Reporter
from airflow_provider_perfectlyclear.catalog.report.summary import Summary
from airflow_provider_perfectlyclear.catalog.result import Waiting
from airflow_provider_perfectlyclear.catalog.run_state import Kept
from airflow_provider_perfectlyclear.catalog.shards import lane_of
from airflow_provider_perfectlyclear.catalog.transfer import set_aside
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool, sweep_spools
from airflow_provider_perfectlyclear.errors import (
    Cancelled,
    LaneHeld,
    PlanRefused,
    RunStopped,
)
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)

#: How often a run begins again because somebody else wrote to its lane meanwhile.
BEGINNINGS = 5


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
    :param expects: what the last run of the same task said of its ledger, if it is known.
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
        title: str = "another run",
        expects: Expected | None = None,
    ) -> None:
        self.client = client
        self.source = source
        self.destination = destination
        self.home = state  # of the ledger; a single picture's lane and runs lie in a folder of it
        self.state = self._folder_of_runs()
        self.options = options
        self.run = hashlib.sha256(run_key.encode()).hexdigest()[:16]
        self.folder = f"runs/{slug(run_key)}-{self.run[:8]}"
        self.ledger = Ledger(self.state, self._lane(), run=self.run, title=title)
        self._survey = Survey(source, destination, state, options, files=files, look=self._look_up)
        self._reporter = Reporter(
            state=self.state,
            folder=self.folder,
            source=source,
            destination=destination,
            ledger=self.ledger,
            options=options,
        )
        self._claim = Claim(
            state,
            self.ledger,
            self._lanes_beside(),
            root=source.place,
            destination=place_of(destination, state),
            service=client.settings.base_url,
            options=options,
            expects=expects,
        )
        self._resumed = False
        self._ends: float | None = None  # monotonic seconds at which the whole task has had its time
        self._cancelled = False
        self._engine: Engine | None = None
        self._prepared: dict[str, Prepared] = {}
        self._kept: Kept | None = None
        for store in (self.home, self.state, destination):
            if store is not None:
                store.part_tag = self.run[:8]

    def _folder_of_runs(self) -> Store:
        return self.home

    def _lane(self) -> str:
        return lane_of(self.options.shard_of())

    def _lanes_beside(self) -> CatalogLanes | SingleLanes:
        return CatalogLanes(self.ledger, self.options.shard_of(), root=self.source.place)

    def execute(self) -> Waiting | Summary:
        """
        A fresh try: the first, a retry, or after a clear.

        :raises CatalogFailed: more failed than allowed; what could be landed has landed.
        :raises RunStopped: nothing more may be started; what was started is in the ledger.
        """
        if self.options.timeout is not None:
            self._ends = time.monotonic() + self.options.timeout
        with self._claim.letting_go():
            return self._begin(Kept(planned=False, began=time.time(), deadline=None))

    def resume(self) -> Waiting | Summary:
        """
        After a deferral, on any machine: go on from the run's own object.

        :raises CatalogFailed: as :meth:`execute`.
        :raises LedgerNotFound: what was parked is not to be seen from here.
        """
        self._resumed = True
        packed = self.state.read(f"{self.folder}/run.json.gz")
        kept = Kept.from_bytes(packed) if packed is not None else None
        if kept is None:
            return self.execute()
        self._kept = kept
        kept.woke(time.time())
        if (left := kept.time_left(time.time())) is not None:
            self._ends = time.monotonic() + left
        with self._claim.letting_go():
            if self._continues(kept) and self.ledger.take():
                if self._claim.catch_up(may_pay=kept.may_pay):
                    return self._go_on(kept)
                self.ledger.release()
            log.info("Another run has worked on %s meanwhile; planning again", self.state.uri(""))
            self._prepared = {}
            return self._begin(Kept(False, kept.began, kept.deadline, before=kept.before, waited=kept.waited))

    def _continues(self, kept: Kept) -> bool:
        """Whether the run can go on from where it was parked, with the corrections that were planned."""
        if kept.head == 0:
            return False
        if not kept.queries:  # written by an earlier version, which kept only their digests
            self._prepare()
            if kept.digests != {name: prepared.digest for name, prepared in self._prepared.items()}:
                return False
        self._prepared |= as_planned(kept.queries, kept.digests)
        self._claim.read_identity()
        rows = {row.output: row for row in kept.rows}
        return self.ledger.continue_from(rows, kept.head, kept.checkpoint, kept.bill, kept.seq)

    def cancel(self) -> None:
        """Start nothing more and end soon. Only sets flags: safe in a signal handler."""
        self._cancelled = True
        if self._engine is not None:
            self._engine.cancel()

    # ---- for programs that watch

    def tally(self) -> dict[str, float]:
        """What this try did so far, its deferrals included; empty before it has begun."""
        return tally_of(self._kept, self.ledger.bill, now=time.time()) if self._kept else {}

    def facts(self) -> dict[str, Any]:
        """What this run did over all its tries; empty as long as it has not summed it up."""
        return self._reporter.facts

    def report(self) -> str | None:
        """Where a person finds what became of each picture, once that is written."""
        return self._reporter.place

    def summary_data(self) -> dict[str, Any] | None:
        """What the run would return, as far as it has come; None before it has summed that up."""
        return self._reporter.data

    def ledger_memory(self) -> dict[str, Any] | None:
        """What the next run of this task should expect of the ledger, as plain data; None: there is none."""
        return self._claim.memory()

    # ---- beginning

    def _begin(self, kept: Kept) -> Waiting | Summary:
        self._kept = kept
        self._check_places()
        self._claim.unlock()
        for _ in range(BEGINNINGS):
            self._claim.load(self._sleep, resumed=self._resumed)
            places.prepare(self.destination, self.state)
            kept.before = kept.before or replace(self.ledger.bill)
            self._sweep()
            self._prepare()
            outcome = self._try_to_begin(kept)
            if outcome is not None:
                return outcome
        raise LaneHeld(
            f"{self.state.uri('')} is locked by others, which are still running. Set retries to try again later."
        )

    def _try_to_begin(self, kept: Kept) -> Waiting | Summary | None:
        """None: another owner was faster, and what was read is stale."""
        jobs = self._claim.rows(State.STARTED)
        if jobs and not self.options.plan_only:
            if not self._claim.take():
                return None
            log.info(
                "%s in progress from earlier attempts or runs: downloading the results first, free",
                counted(len(jobs), "job"),
            )
            return self._work(kept, [], jobs, fresh=True)
        return self._plan_and_work(kept)

    def _go_on(self, kept: Kept) -> Waiting | Summary:
        rows = [row for row in kept.rows if row.state.is_open]
        if not kept.planned:
            rows = [row for row in rows if row.state is State.STARTED]
        return self._work(kept, kept.todo, rows)

    def _check_places(self) -> None:
        places.check(self.source, self.destination, self.options)

    def _sweep(self) -> None:
        sweep_spools()
        places.sweep(self.home, self.state, (LANES, f"{LANES}/{self.ledger.lane}", self.folder))

    def _prepare(self) -> None:
        if not self._prepared:
            presets = Presets(self.client, self.home)
            self._prepared = prepare(self.options.corrections, presets, has_worked=self.ledger.has_landed_by)

    def _sleep(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self._look_up()
            time.sleep(0.2)  # a plain flag, looked at: the lock of an Event is no good in a signal handler

    def _look_up(self) -> None:
        """Between the steps of what takes long: is the task still wanted? Does everybody know that it lives?"""
        if self._cancelled:
            raise Cancelled("The task was asked to stop before it began.")
        self.ledger.beat()

    # ---- planning

    def _plan_and_work(self, kept: Kept) -> Waiting | Summary | None:
        made = self._make_plan()
        log.info("%s: %s", self.options.shard or self.ledger.lane, made.line())
        own = {row.output for row in self.ledger.rows.values() if row.run == self.run}
        moved = self._survey.settle_claims(made, self.ledger.rows, own)
        knows_nothing = not self.ledger.rows
        touched = (
            self._survey.settle_touched(made, self.ledger.rows, own)
            if self._survey.may_refuse(made, knows_nothing=knows_nothing)
            else []
        )
        kept.planned, kept.counts = True, counts_of(made, self.run)
        if self.options.plan_only:
            return self._planned(kept, made)
        self._brake(made)
        unsettled = self._claim.rows(State.INTENT)
        locked = notes.failures_of_locked(made, self.ledger.rows, self._claim.leaves)
        busy = made.todo or made.refused or locked or touched or moved or unsettled
        if not (busy or self._claim.must_be_written or self.ledger.view.holder or self.ledger.owned):
            return self._finish(kept)
        if not self._claim.take():
            return None
        if noted := [*notes.of_seen(touched, moved, self._claim.leaves), *notes.of_refused(made)]:
            self.ledger.append(noted)
        kept.progress.failures |= notes.failures_of_refused(made) | locked
        todo = within_limit(made.todo, self.options.limit, self.ledger.bill)
        kept.later = made.todo[len(todo) :]
        return self._work(kept, todo, unsettled)

    def _planned(self, kept: Kept, made: Plan) -> Summary:
        """Nothing is started; a brake that would stop the run is what one wants to hear of."""
        try:
            self._brake(made)
        except PlanRefused as refusal:
            log.warning("Without plan_only this run would be refused: %s", refusal)
        return self._reporter.planned(kept, made)

    def _make_plan(self) -> Plan:
        digests = {rendition: prepared.digest for rendition, prepared in self._prepared.items()}
        return self._survey.plan(self.ledger.rows, digests, run=self.run)

    def _brake(self, made: Plan) -> None:
        self._survey.brake(made, knows_nothing=not self.ledger.rows)

    def _work(
        self, kept: Kept, todo: list[Item], rows: list[Row], *, fresh: bool = False
    ) -> Waiting | Summary:
        with Spool() as spool:
            engine = self._engine = self._engine_for(kept, spool)
            engine.adopt(rows, fresh=fresh)
            engine.add(todo)
            engine.aside.sizes.update(item.size for item in kept.later)
            if self._cancelled:
                engine.cancel()
            done = engine.run()
        kept.progress = engine.progress
        if done and engine.stopped is None:
            kept.progress.unbegun += engine.left  # nothing is: but a picture that no count has would be lost
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
        self._prepared = {}  # nothing was planned yet: the correction is the one of today
        self._prepare()
        outcome = self._plan_and_work(kept)
        if outcome is None:
            raise LaneHeld(
                f"{self.state.uri('')} was taken over by another run. Set retries to try again later."
            )
        return outcome

    def _engine_for(self, kept: Kept, spool: Spool) -> Engine:
        return Engine(
            self.client,
            places.Places(self.source, self.destination, self.home),
            Book(self.ledger, kept.progress),
            self.options,
            self._prepared,
            spool,
            deadline=self._ends,
            report=partial(self._report, kept),
        )

    def _park(self, kept: Kept, engine: Engine) -> Waiting:
        """Keep what a resume needs, then let go of the lane. The trigger only waits."""
        jobs = engine.open_jobs
        kept.todo = engine.left
        kept.keep_rows(self.ledger, self.run, self._claim.leaves)
        kept.digests = {name: prepared.digest for name, prepared in self._prepared.items()}
        kept.queries = {name: prepared.correction.query() for name, prepared in self._prepared.items()}
        kept.keep_time(None if self._ends is None else self._ends - time.monotonic(), now=time.time())
        kept.parked = time.time()
        self.state.write(f"{self.folder}/run.json.gz", kept.to_bytes())
        self.ledger.park()
        timeout = max(1.0, engine.next_deadline())
        return Waiting(tuple(jobs), time.time() + timeout, timeout, engine.deferral_line())

    def _report(self, kept: Kept, line: str) -> None:
        self._reporter.progress(kept, line)

    def _write_manifest(self, kept: Kept, left: Iterable[Item]) -> None:
        self._reporter.manifest(kept, left)

    def _finish(self, kept: Kept) -> Summary:
        self.ledger.read_rest()
        outcome, summary = self._reporter.manifest(kept)
        if self.ledger.owned:
            self.ledger.checkpoint(release=True)
            self.state.delete(f"{self.folder}/run.json.gz")
            if not (kept.progress.failures or kept.progress.unbegun or kept.later):
                set_aside.clear(self.state, self.ledger.lane)
        return self._reporter.finish(kept, outcome, summary)
