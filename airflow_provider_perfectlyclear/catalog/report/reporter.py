"""What a run says of itself: progress while it works, then its manifest, summary and verdict."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan
from airflow_provider_perfectlyclear.catalog.report.manifest import Writer
from airflow_provider_perfectlyclear.catalog.report.metrics import facts_of
from airflow_provider_perfectlyclear.catalog.report.summary import (
    Outcome,
    done_line,
    failure_message,
    outcome_of,
    summary_of,
)
from airflow_provider_perfectlyclear.catalog.result import Finished
from airflow_provider_perfectlyclear.catalog.run_state import RunState
from airflow_provider_perfectlyclear.catalog.workspace import Workspace
from airflow_provider_perfectlyclear.errors import CatalogFailed, StorageFailed

log = logging.getLogger(__name__)

#: How many pictures of a plan are named in the log; ``plan.jsonl`` has all.
PLAN_NAMED = 10


class CatalogReporter:
    """The reports of a catalog's run."""

    def __init__(self, workspace: Workspace, options: Options) -> None:
        self._workspace = workspace
        self._store = workspace.state
        self._ledger = workspace.ledger
        self._options = options
        self._writer = Writer(workspace.places, workspace.ledger, options)
        self._said: Finished | None = None
        self._outcome = Outcome()

    @property
    def data(self) -> dict[str, Any] | None:
        """The summary as plain data; None as long as there is none."""
        return self._said.data if self._said else None

    @property
    def place(self) -> str | None:
        """Where a person finds what became of each picture, once that is written."""
        return self._manifest_uri if self._said is not None and self._said.data["manifest"] else None

    @property
    def _manifest_uri(self) -> str:
        return self._store.uri(self._workspace.name_of("manifest.jsonl"))

    def facts(self, tally: Mapping[str, float]) -> dict[str, Any]:
        """Return what the run did over all its tries; empty as long as it has not summed it up."""
        return facts_of(self._said.data) if self._said else {}

    def progress(self, state: RunState, line: str) -> None:
        """Log one line, and write ``progress.json`` beside the manifest for programs that watch from outside."""
        log.info("%s", line)
        now = time.time()
        data = {
            "line": line,
            "at": now,
            "seconds": round(now - state.began, 1),
            "reasons": state.counts.reasons,
        }
        with suppress(StorageFailed):  # no run ends over a progress line
            self._store.write(self._workspace.name_of("progress.json"), json.dumps(data).encode())

    def planned(self, state: RunState, made: Plan) -> Finished:
        """Name the pictures of a plan in ``plan.jsonl`` and, the first few, in the log."""
        for item in made.todo[:PLAN_NAMED]:
            log.info("Would correct %s (%s)", one_line(item.output), item.reason)
        if len(made.todo) > PLAN_NAMED:
            log.info("... and %s more", f"{len(made.todo) - PLAN_NAMED:,}")
        name = self._workspace.name_of("plan.jsonl")
        with self._writer.plan(made) as file:
            self._store.publish(name, file)
        log.info("The whole plan is in %s", self._store.uri(name))
        finished = self._summary(state, Outcome(not_started=len(made.todo)))
        finished.data["manifest"] = None
        finished.data["plan"] = self._store.uri(name)[:300]
        return finished

    def stopped(self, state: RunState, left: Iterable[Item]) -> None:
        """
        Write the manifest of a run that was stopped.

        :param left: what was not begun.
        """
        self._manifest(state, left)

    def sum_up(self, state: RunState) -> Finished:
        """Write the manifest while the lane is still owned: it names what other runs have made, too."""
        self._ledger.read_rest()
        return self._manifest(state, ())

    def finish(self, state: RunState, finished: Finished) -> Finished:
        """
        Say how the run has ended.

        :raises CatalogFailed: more failed than allowed, or the time was up before all was started.
        """
        log.info("%s", done_line(finished.data, self._options))
        self._judge(state)
        finished.skip = self._why_skip(state)
        return finished

    def _manifest(self, state: RunState, left: Iterable[Item]) -> Finished:
        unbegun = [*left, *state.progress.unbegun, *state.later]
        ledger = self._ledger
        self._outcome = outcome_of(state, ledger.rows.values(), unbegun, ledger.run, ledger.bill)
        finished = self._summary(state, self._outcome)
        with self._writer.manifest(finished.data, self._outcome, state) as file:
            self._store.publish(self._workspace.name_of("manifest.jsonl"), file)
        return finished

    def _summary(self, state: RunState, outcome: Outcome) -> Finished:
        """Keep the run in a few numbers."""
        data = summary_of(
            state,
            outcome,
            seconds=time.time() - state.began,
            manifest_uri=self._manifest_uri,
            ledger=self._ledger.id,
        )
        self._said = Finished(data)
        return self._said

    def _judge(self, state: RunState) -> None:
        outcome = self._outcome
        attempted = outcome.corrected + len(outcome.failures)
        cut_short = bool(state.progress.unbegun)  # what `limit` leaves for later runs is no failure
        allowed = len(outcome.failures) <= self._options.failures_allowed(attempted)
        if allowed and not cut_short and not state.counts.unread:
            return
        message = failure_message(
            outcome,
            destination=self._workspace.places.destination_uri,
            manifest_uri=self._manifest_uri,
            attempted=attempted + outcome.not_started,
            unread=state.counts.unread,
        )
        raise CatalogFailed(message, outcome.retry_helps or bool(state.counts.unread))

    def _why_skip(self, state: RunState) -> str | None:
        outcome = self._outcome
        if state.counts.is_empty and not outcome.lines:
            return "No picture was found." if self._options.if_empty == "skip" else None
        changed = outcome.corrected or outcome.failures
        return "Nothing has changed." if self._options.if_unchanged == "skip" and not changed else None
