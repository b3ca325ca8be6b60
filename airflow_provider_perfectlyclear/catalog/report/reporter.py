"""What a run says of itself: progress while it works, then its manifest, summary and verdict."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan
from airflow_provider_perfectlyclear.catalog.report.manifest import Writer
from airflow_provider_perfectlyclear.catalog.report.metrics import facts_of
from airflow_provider_perfectlyclear.catalog.report.summary import (
    Outcome,
    Summary,
    done_line,
    failure_message,
    outcome_of,
    summary_of,
)
from airflow_provider_perfectlyclear.catalog.run_state import Kept
from airflow_provider_perfectlyclear.errors import CatalogFailed, StorageFailed
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)

#: How many pictures of a plan are named in the log; ``plan.jsonl`` has all.
PLAN_NAMED = 10


class Reporter:
    """
    The reports of a catalog's run.

    :param state: the state folder.
    :param folder: the run's folder in it.
    :param source: where the pictures are.
    :param destination: where the corrected ones go.
    :param ledger: the run's lane.
    :param title: the run as a person would name it.
    """

    def __init__(
        self,
        *,
        state: Store,
        folder: str,
        source: Store,
        destination: Store | None,
        ledger: Ledger,
        options: Options,
    ) -> None:
        self._state = state
        self._folder = folder
        self._writer = Writer(source, destination, ledger, options)
        self._destination = destination
        self._ledger = ledger
        self._options = options
        self._said: Summary | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What the run did over all its tries; empty as long as it has not summed it up."""
        return facts_of(self._said.data) if self._said else {}

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
        return self._state.uri(f"{self._folder}/manifest.jsonl")

    def progress(self, kept: Kept, line: str) -> None:
        """One line for the log, and ``progress.json`` beside the manifest for programs that watch from outside."""
        log.info("%s", line)
        now = time.time()
        data = {
            "line": line,
            "at": now,
            "seconds": round(now - kept.began, 1),
            "reasons": kept.counts.reasons,
        }
        with suppress(StorageFailed):  # nobody's night ends over a progress line
            self._state.write(f"{self._folder}/progress.json", json.dumps(data).encode())

    def planned(self, kept: Kept, made: Plan) -> Summary:
        """A plan that is only looked at: its pictures are named in ``plan.jsonl`` and, the first few, in the log."""
        for item in made.todo[:PLAN_NAMED]:
            log.info("Would correct %s (%s)", one_line(item.output), item.reason)
        if len(made.todo) > PLAN_NAMED:
            log.info("... and %s more", f"{len(made.todo) - PLAN_NAMED:,}")
        with self._writer.plan(made) as file:
            self._state.publish(f"{self._folder}/plan.jsonl", file)
        log.info("The whole plan is in %s", self._state.uri(f"{self._folder}/plan.jsonl"))
        summary = self.summary(kept, Outcome(not_started=len(made.todo)))
        summary.data["manifest"] = None
        summary.data["plan"] = self._state.uri(f"{self._folder}/plan.jsonl")[:300]
        return summary

    def manifest(self, kept: Kept, left: Iterable[Item] = ()) -> tuple[Outcome, Summary]:
        """Write the manifest. ``left``: what was not begun when the run was stopped."""
        unbegun = [*left, *kept.progress.unbegun, *kept.later]
        ledger = self._ledger
        outcome = outcome_of(kept, ledger.rows.values(), unbegun, ledger.run, ledger.bill)
        summary = self.summary(kept, outcome)
        with self._writer.manifest(summary.data, outcome, kept) as file:
            self._state.publish(f"{self._folder}/manifest.jsonl", file)
        return outcome, summary

    def summary(self, kept: Kept, outcome: Outcome) -> Summary:
        """The run in a few numbers."""
        data = summary_of(
            kept,
            outcome,
            seconds=time.time() - kept.began,
            manifest_uri=self._manifest_uri,
            ledger=self._ledger.id,
        )
        self._said = Summary(data)
        return self._said

    def finish(self, kept: Kept, outcome: Outcome, summary: Summary) -> Summary:
        """
        Say how the run has ended.

        :raises CatalogFailed: more failed than allowed, or the time was up before all was started.
        """
        log.info("%s", done_line(summary.data, self._options))
        self._judge(kept, outcome)
        summary.skip = self._why_skip(kept, outcome)
        return summary

    def _judge(self, kept: Kept, outcome: Outcome) -> None:
        attempted = outcome.corrected + len(outcome.failures)
        cut_short = bool(kept.progress.unbegun)  # what `limit` leaves for later runs is no failure
        allowed = len(outcome.failures) <= self._options.failures_allowed(attempted)
        if allowed and not cut_short and not kept.counts.unread:
            return
        message = failure_message(
            outcome,
            destination=self._destination.uri("") if self._destination else "nowhere",
            manifest_uri=self._manifest_uri,
            attempted=attempted + outcome.not_started,
            unread=kept.counts.unread,
        )
        raise CatalogFailed(message, outcome.retry_helps or bool(kept.counts.unread))

    def _why_skip(self, kept: Kept, outcome: Outcome) -> str | None:
        if kept.counts.is_empty and not outcome.lines:
            return "No picture was found." if self._options.if_empty == "skip" else None
        changed = outcome.corrected or outcome.failures
        return "Nothing has changed." if self._options.if_unchanged == "skip" and not changed else None
