"""
One run: claim the lane, land what is open, plan, work, and say what became of it.

A single picture is a catalog of one (``single.py``): one engine, one ledger, one meaning of every state. What differs
is handed in: how it plans and what it reports.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.catalog.corrections import Corrections
from airflow_provider_perfectlyclear.catalog.engine.loop import Engine
from airflow_provider_perfectlyclear.catalog.ledger.claim import Claim
from airflow_provider_perfectlyclear.catalog.ledger.identity import Expected, place_of
from airflow_provider_perfectlyclear.catalog.ledger.journal import Book
from airflow_provider_perfectlyclear.catalog.ledger.other_lanes import CatalogLanes, SingleLanes
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.ledger.segments import read_lane
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.parts import Planner, Reporter
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.plan import notes
from airflow_provider_perfectlyclear.catalog.plan.brakes import within_limit
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan, counts_of
from airflow_provider_perfectlyclear.catalog.plan.planner import CatalogPlanner
from airflow_provider_perfectlyclear.catalog.report.metrics import tally_of
from airflow_provider_perfectlyclear.catalog.report.reporter import CatalogReporter
from airflow_provider_perfectlyclear.catalog.result import Finished, Parked
from airflow_provider_perfectlyclear.catalog.run_state import RunState
from airflow_provider_perfectlyclear.catalog.shards import lane_of
from airflow_provider_perfectlyclear.catalog.transfer import set_aside
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool
from airflow_provider_perfectlyclear.catalog.workspace import Workspace
from airflow_provider_perfectlyclear.errors import LaneHeld, LaneLost, PlanRefused, RunStopped

log = logging.getLogger(__name__)

#: How often a run begins again because another one wrote to its lane meanwhile.
BEGINNINGS = 5


def catalog_run(
    client: Client,
    places: Places,
    options: Options,
    run_key: str,
    files: Iterable[str] | None = None,
    *,
    title: str = "another run",
    expects: Expected | None = None,
) -> CatalogRun:
    """
    Put together a run that corrects what is new or changed in a catalog.

    :param places: where the pictures are, where the corrected ones go, and where the ledger lies.
    :param run_key: names the task instance over all its tries, e.g. dag, run, task and map index.
    :param files: names below the source instead of listing it.
    :param title: the run as a person would name it.
    :param expects: what the last run of the same task said of its ledger, if it is known.
    :raises ConfigurationError: an option or a place is wrong; nothing was sent.
    """
    shard = options.shard_of()
    workspace = Workspace(places, lane_of(shard), run_key, title=title)
    return CatalogRun(
        client,
        workspace,
        options,
        lanes=CatalogLanes(workspace.ledger, shard, root=places.source.place),
        planner=CatalogPlanner(places, options, files, look=workspace.look_up),
        reporter=CatalogReporter(workspace, options),
        expects=expects,
    )


class CatalogRun:
    """
    One task instance's run, over all its tries: it corrects what is new or changed.

    :param client: the service.
    :param workspace: the run's places, its lane of the ledger and its folder.
    :param options: how.
    :param lanes: the lanes beside its own.
    :param planner: decides what is to be made.
    :param reporter: says what became of it.
    :param expects: what the last run of the same task said of its ledger, if it is known.
    """

    def __init__(
        self,
        client: Client,
        workspace: Workspace,
        options: Options,
        *,
        lanes: CatalogLanes | SingleLanes,
        planner: Planner,
        reporter: Reporter,
        expects: Expected | None = None,
    ) -> None:
        self.client = client
        self.places = places = workspace.places
        self.ledger = workspace.ledger
        self.options = options
        self._workspace = workspace
        self._planner = planner
        self._reporter = reporter
        self._claim = Claim(
            places.state,
            workspace.ledger,
            lanes,
            root=places.source.place,
            destination=place_of(places.destination, places.state),
            service=client.settings.base_url,
            options=options,
            expects=expects,
        )
        #: Keeps what the next attempt should expect of the ledger, as plain data; called before anything is paid.
        self.remember: Callable[[dict[str, Any]], None] = lambda said: None
        self._resumed = False
        self._ends: float | None = None  # monotonic seconds at which the whole task has had its time
        self._engine: Engine | None = None
        self._corrections = Corrections(client, places.state, options.corrections)
        self._state: RunState | None = None

    def execute(self) -> Parked | Finished:
        """
        Make a fresh try: the first, a retry, or after a clear.

        :raises CatalogFailed: more failed than allowed; what could be landed has landed.
        :raises RunStopped: nothing more may be started; what was started is in the ledger.
        """
        if self.options.timeout is not None:
            self._ends = time.monotonic() + self.options.timeout
        with self._claim.letting_go():
            return self._begin(RunState(planned=False, began=time.time(), deadline=None))

    def resume(self) -> Parked | Finished:
        """
        Go on from the run's own object, after a deferral and on any machine.

        :raises CatalogFailed: as :meth:`execute`.
        :raises LedgerNotFound: what was parked is not to be seen from here.
        """
        self._resumed = True
        state = self._workspace.read_state()
        if state is None:
            return self.execute()
        self._state = state
        state.woke(time.time())
        if (left := state.time_left(time.time())) is not None:
            self._ends = time.monotonic() + left
        with self._claim.letting_go():
            if self._continues(state) and self.ledger.take():
                if self._claim.catch_up(may_pay=state.may_pay):
                    return self._work(state, state.todo, state.open_rows)
                self.ledger.release()
            log.info("Another run has worked on %s meanwhile; planning again", self._workspace.state.uri(""))
            self._corrections.forget()
            return self._begin(state.fresh())

    def cancel(self) -> None:
        """Start nothing more and end soon. Only sets flags: safe in a signal handler."""
        self._workspace.is_cancelled = True
        if self._engine is not None:
            self._engine.cancel()

    # ---- for programs that watch

    def tally(self) -> dict[str, float]:
        """Return what this try did so far, its deferrals included; empty before it has begun."""
        return tally_of(self._state, self.ledger.bill, now=time.time()) if self._state else {}

    def facts(self) -> dict[str, Any]:
        """Return what this run did over all its tries; empty as long as it has not summed it up."""
        return self._reporter.facts(self.tally())

    def report(self) -> str | None:
        """Return where a person finds what became of each picture, once that is written."""
        return self._reporter.place

    def summary_data(self) -> dict[str, Any] | None:
        """Return what the run would return, as far as it has come; None before it has summed that up."""
        return self._reporter.data

    def ledger_memory(self) -> dict[str, Any] | None:
        """Return what the next run of this task should expect of the ledger, as plain data; None: there is none."""
        return self._claim.memory()

    # ---- claim

    def _begin(self, state: RunState) -> Parked | Finished:
        self._state = state
        self._planner.check_places()
        self._claim.unlock()
        for _ in range(BEGINNINGS):
            self._claim.load(self._workspace.sleep, resumed=self._resumed)
            self._workspace.prepare()
            state.before = state.before or replace(self.ledger.bill)
            self._workspace.sweep()
            self._planner.sweep(self.ledger)
            self._corrections.read(self.ledger)
            outcome = self._land_or_plan(state)
            if outcome is not None:
                return outcome
        raise LaneHeld(
            f"{self._workspace.state.uri('')} is locked by others, which are still running. Set retries to try again "
            "later."
        )

    def _land_or_plan(self, state: RunState) -> Parked | Finished | None:
        """Land open jobs first, free. None: another owner was faster, and what was read is stale."""
        jobs = self._claim.rows(State.STARTED)
        if not jobs or self.options.plan_only:
            return self._plan_and_work(state)
        if not self._claim.take():
            return None
        log.info(
            "%s in progress from earlier attempts or runs: downloading the results first, free",
            counted(len(jobs), "job"),
        )
        return self._work(state, [], jobs, fresh=True)

    def _continues(self, state: RunState) -> bool:
        """Whether the run can go on from where it was parked, with the corrections that were planned."""
        if state.head == 0:
            return False
        if not state.queries:  # written by an earlier version, which kept only their digests
            self._corrections.read(self.ledger)
            if state.digests != self._corrections.digests:
                return False
        self._corrections.use_planned(state.queries, state.digests)
        self._claim.read_identity()
        rows = {row.output: row for row in state.rows}
        return self.ledger.continue_from(rows, state.head, state.checkpoint, state.bill, state.seq)

    # ---- plan

    def _plan_and_work(self, state: RunState) -> Parked | Finished | None:
        """None: another owner was faster, and what was read is stale."""
        ledger, claim = self.ledger, self._claim
        made = self._planner.plan(ledger, self._corrections.digests)
        log.info("%s: %s", self.options.shard or ledger.lane, made.line())
        settled = self._planner.settle(made, ledger)
        state.planned, state.counts = True, counts_of(made, ledger.run)
        if self.options.plan_only:
            return self._planned(state, made)
        self._planner.brake(made, ledger)
        unconfirmed = claim.rows(State.INTENT)
        locked = notes.failures_of_locked(made, ledger.rows, claim.leaves)
        has_work = bool(made.todo or made.refused or locked or any(settled) or unconfirmed)
        if not (has_work or claim.must_be_written or ledger.view.holder or ledger.owned):
            return self._finish(state)
        if not claim.take():
            return None
        if noted := [*notes.of_seen(*settled, claim.leaves), *notes.of_refused(made)]:
            ledger.append(noted)
        state.progress.failures |= notes.failures_of_refused(made) | locked
        todo = within_limit(made.todo, self.options.limit, ledger.bill)
        state.later = made.todo[len(todo) :]
        return self._work(state, todo, unconfirmed)

    def _planned(self, state: RunState, made: Plan) -> Finished:
        """Nothing is started; a brake that would stop the run is what one wants to hear of."""
        try:
            self._planner.brake(made, self.ledger)
        except PlanRefused as refusal:
            log.warning("Without plan_only this run would be refused: %s", refusal)
        return self._reporter.planned(state, made)

    # ---- work

    def _work(
        self, state: RunState, todo: list[Item], rows: list[Row], *, fresh: bool = False
    ) -> Parked | Finished:
        if (said := self._claim.memory()) is not None:
            self.remember(said)
        with Spool() as spool:
            engine = self._engine = self._engine_for(state, spool)
            engine.adopt(rows, fresh=fresh)
            engine.add(todo)
            engine.aside.sizes.update(item.size for item in state.later)
            if self._workspace.is_cancelled:
                engine.cancel()
            done = engine.run()
        state.progress = engine.progress
        if done and engine.stopped is None:
            state.progress.unbegun += engine.left  # nothing is: but a picture that no count has would be lost
        self._reporter.progress(state, engine.progress_line())
        if engine.stopped is not None:
            with suppress(RunStopped):
                if isinstance(engine.stopped, LaneLost):
                    self._read_what_the_next_owner_did(state)
                self._reporter.stopped(state, engine.left)
            raise engine.stopped
        if not done:
            return self._park(state, engine)
        return self._finish(state) if state.planned else self._plan_at_last(state)

    def _read_what_the_next_owner_did(self, state: RunState) -> None:
        """Read the lane anew if another attempt of this run has paid more by now: its manifest has said so."""
        run = self.ledger.run
        now = read_lane(self.ledger.store, self.ledger.lane, run=run)
        if run not in now.bills or now.bills[run].paid <= self.ledger.bill.paid:
            return
        self.ledger.view = now
        failures, rows = state.progress.failures, self.ledger.rows
        for output in [each for each in failures if each in rows and rows[each].state is State.LANDED]:
            del failures[output]

    def _engine_for(self, state: RunState, spool: Spool) -> Engine:
        return Engine(
            self.client,
            self.places,
            Book(self.ledger, state.progress),
            self.options,
            self._corrections.prepared,
            spool,
            deadline=self._ends,
            report=partial(self._reporter.progress, state),
        )

    def _plan_at_last(self, state: RunState) -> Parked | Finished:
        """Plan when what was open is landed. The lane is ours, so no other run can be faster."""
        self._corrections.forget()  # nothing was planned yet: the correction is the one of today
        self._corrections.read(self.ledger)
        outcome = self._plan_and_work(state)
        if outcome is None:
            raise LaneHeld(
                f"{self._workspace.state.uri('')} was taken over by another run. Set retries to try again later."
            )
        return outcome

    def _park(self, state: RunState, engine: Engine) -> Parked:
        """Keep what a resume needs, then let go of the lane. The trigger only waits."""
        jobs, now = engine.open_jobs, time.time()
        state.todo = engine.left
        state.keep_rows(self.ledger, self.ledger.run, self._claim.leaves)
        state.keep_corrections(self._corrections.prepared)
        state.keep_time(None if self._ends is None else self._ends - time.monotonic(), now=now)
        self._workspace.write_state(state)
        self.ledger.park()
        timeout = max(1.0, engine.next_deadline())
        return Parked(tuple(jobs), time.time() + timeout, timeout, engine.deferral_line())

    # ---- finish

    def _finish(self, state: RunState) -> Finished:
        finished = self._reporter.sum_up(state)
        if self.ledger.owned:
            self.ledger.checkpoint(release=True)
            self._workspace.delete_state()
            if not state.has_unfinished:
                set_aside.clear(self._workspace.state, self.ledger.lane)
        return self._reporter.finish(state, finished)
