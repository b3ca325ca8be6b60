"""What an engine writes down: records for the ledger, gathered for a moment, and its progress."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.rows import Record, Row, State
from airflow_provider_perfectlyclear.catalog.naming import refusal_key
from airflow_provider_perfectlyclear.catalog.progress import Progress
from airflow_provider_perfectlyclear.catalog.result import Failure
from airflow_provider_perfectlyclear.catalog.transfer.landing import Landed
from airflow_provider_perfectlyclear.errors import (
    InvalidSource,
    JobError,
    JobLost,
    PerfectlyClearError,
    ResultUnknown,
    TransferFailed,
)
from airflow_provider_perfectlyclear.reasons import PERMANENT, Reason

log = logging.getLogger(__name__)

#: What happened is in the ledger after at most this long (seconds).
FLUSH = 0.5
#: This many pictures with the same oddity are logged; the manifest has all.
WARNED = 5
#: This many failures for the same reason are logged one by one, then each time that they have doubled; the manifest
#: has all.
FAILURES_NAMED = 10
#: So many different costs are remembered at a time.
USAGES = 1000


class Book:
    """
    What is to be written, and what was done so far.

    :param ledger: an owned lane.
    :param progress: what earlier engines of this run did.
    """

    def __init__(self, ledger: Ledger, progress: Progress) -> None:
        self.ledger = ledger
        self.progress = progress
        self._pending: list[Record] = []
        self._pending_since = 0.0
        #: Whether the service has known none of several jobs: that one is lost again proves nothing then.
        self.service_forgets = False
        self._streak = ("", 0)
        self._failures: Counter[str] = Counter()
        self._usages: dict[frozenset[tuple[str, int]], Mapping[str, int]] = {}

    @property
    def is_behind(self) -> bool:
        """Whether something is not in the ledger yet."""
        return bool(self._pending)

    @property
    def streak(self) -> int:
        """How many failures in a row had the same reason."""
        return self._streak[1]

    def note(self, record: Record) -> None:
        """Write a record with the next segment."""
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending.append(record)

    def append(self, *more: Record) -> None:
        """
        Write a segment now, with all that was noted before.

        :raises RunStopped: the lane is lost or cannot be written to. Start nothing more.
        """
        self.ledger.append([*self._pending, *more])
        self._pending = []

    def tend(self) -> None:
        """
        Write what has waited long enough; show that this owner lives; checkpoint a long log.

        :raises RunStopped: as :meth:`append`.
        """
        if self._pending and time.monotonic() - self._pending_since >= FLUSH:
            self.append()
        self.ledger.beat()
        if self.ledger.wants_checkpoint:
            self.flush()
            self.ledger.checkpoint()

    def flush(self) -> None:
        """
        Write what was noted, if the lane is still ours.

        :raises RunStopped: as :meth:`append`.
        """
        if self._pending and self.ledger.owned:
            self.append()

    def landed(self, output: str, done: Landed) -> None:
        """Note that an output stands in its place."""
        status = done.status
        usage = self._shared(status.usage.counters()) if status and status.usage else None
        self.note(records.landed(output, size=done.size, usage=usage, sha256=done.sha256))
        self._streak = ("", 0)
        self.progress.landed += 1
        self.progress.bytes_out += done.size or 0
        self.progress.failures.pop(output, None)
        if status is not None and status.detection_data is not None:
            self.progress.details[output] = status.public()["detection_data"]
        for warning in done.warnings:
            self._warn(output, warning)

    def _shared(self, usage: Mapping[str, int]) -> Mapping[str, int]:
        """One object for all jobs that cost the same: a run remembers its rows, and most cost the same."""
        if len(self._usages) > USAGES:
            self._usages.clear()
        return self._usages.setdefault(frozenset(usage.items()), usage)

    def _warn(self, output: str, warning: str) -> None:
        self.progress.warned[warning] = count = self.progress.warned.get(warning, 0) + 1
        if count <= WARNED:
            last = " (no more of these are logged)" if count == WARNED else ""
            log.warning("%s: %s%s", one_line(output), warning, last)
        self.progress.warnings.setdefault(output, []).append(warning)

    def failed(self, row: Row, error: PerfectlyClearError, *, close: bool = False) -> None:
        """
        Note that an output failed.

        :param row: which, and what it was to be made from.
        :param close: the ledger is told that it is over; otherwise a job stays open there, to be asked again.
        """
        reason = getattr(error, "reason", None) or str(error)
        code = self._code_of(row, error)
        is_unsent = self._is_unsent(row, error)
        beside = (is_unsent or (error.costs_nothing and code in PERMANENT)) and self._knows_more(row)
        if isinstance(error, InvalidSource) and error.sha256:
            row = replace(row, sha256=error.sha256)
            if (before := self._refused_before(row, code, beside)) is not None:
                self.note(records.seen(before.output, row.fingerprint))
                self.progress.still_bad.append([row.output, before.code or "", before.reason or ""])
                return
        is_worth_noting = error.costs_nothing and not self._knows_more(row)
        if close or code in PERMANENT or is_unsent or is_worth_noting:
            noted = replace(row, output=refusal_key(row.output)) if beside else row
            self.note(records.failed(noted, code, reason))
        self.failure(Failure(row.output, row.source, code, reason))
        if not error.costs_nothing:  # which says nothing about the next
            self._count_streak(f"{error.code} {reason}" if isinstance(error, JobError) else error.code)

    def _refused_before(self, row: Row, code: str, beside: bool) -> Row | None:
        """Return the row of the same bytes of the same source if an earlier run has refused them alike."""
        before = self.ledger.rows.get(refusal_key(row.output) if beside else row.output)
        if before is None or before.run == self.ledger.run:
            return None
        is_same = (before.code, before.sha256, before.source_uri) == (code, row.sha256, row.source_uri)
        return before if is_same and before.is_known_bad else None

    def _is_unsent(self, row: Row, error: PerfectlyClearError) -> bool:
        """
        Return whether a source failed before its start: it is tried last the next time.

        The result of an earlier job that cannot be had says nothing about the source.
        """
        before = self.ledger.rows.get(row.output)
        is_about_source = error.costs_nothing and not isinstance(error, ResultUnknown)
        is_begun = before is not None and before.state.is_open
        return (is_about_source or isinstance(error, TransferFailed)) and not is_begun

    def _knows_more(self, row: Row) -> bool:
        """
        Return whether the ledger knows what must not be forgotten: the output was paid for, or is another source's.

        What is wrong with a source is then noted beside it.
        """
        before = self.ledger.rows.get(row.output)
        if before is None:
            return False
        is_paid = before.state is not State.FAILED or before.job_id is not None
        return is_paid or bool(before.root and row.root and before.source_uri != row.source_uri)

    def _code_of(self, row: Row, error: PerfectlyClearError) -> str:
        """Return the reason: a job that is lost twice is lost for good, unless the service knew no job at all."""
        before = self.ledger.rows.get(row.output)
        again = isinstance(error, JobLost) and before is not None and before.after_loss
        return Reason.JOB_LOST_AGAIN if again and not self.service_forgets else error.code

    def failure(self, failure: Failure) -> None:
        """Count an output that failed in this try; the ledger has, or needs, no more about it."""
        self._failures[failure.code] += 1
        count = self._failures[failure.code]
        if count <= FAILURES_NAMED:
            log.warning("%s: %s %s", one_line(failure.output), failure.code, one_line(failure.reason))
        elif count & (count - 1) == 0:  # a power of two
            log.warning("%s so far: %s, such as %s", failure.code, f"{count:,}", one_line(failure.output))
        self.progress.failures[failure.output] = failure

    def _count_streak(self, same: str) -> None:
        self._streak = (same, self._streak[1] + 1 if self._streak[0] == same else 1)
