"""Which job belongs to which picture, as far as the ledger and this attempt know."""

from __future__ import annotations

import itertools
from collections.abc import Collection

from airflow_provider_perfectlyclear.catalog.engine.twins import Key, Twins
from airflow_provider_perfectlyclear.catalog.ledger.index import content_key, job_key
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.errors import JobLost
from airflow_provider_perfectlyclear.reasons import Reason


class KnownJobs:
    """
    Jobs that were named by the service so far.

    :param ledger: knows the jobs of all lanes.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        #: Job id -> row, of the jobs that were open in this attempt.
        self._given: dict[str, Row] = {}
        #: Job id -> row, of all jobs in the ledger. Read before any start is declared: an intent takes the place of
        #: the row that its output had, and a job of the output's content before is another's.
        rows = itertools.chain(ledger.others.values(), ledger.rows.values())
        self._before: dict[str, Row] = {known.job_id: known for known in rows if known.job_id}
        #: Contents and corrections with a start that was given up without a job: it may have been paid.
        self._given_up = {Twins.key(row) for row in ledger.rows.values() if row.code == Reason.START_LOST}
        #: Contents and corrections whose job the service has lost: a start for one of them is a second paid call.
        self._lost = set[Key | None]()

    def read_open(self, rows: Collection[Row]) -> list[Row]:
        """
        Take in the ledger's jobs, once.

        :returns: those that are open, also if they have outlasted their time; none that is lost.
        """
        lost = {row.job_id for row in rows if row.code == JobLost.code}
        self._lost = {Twins.key(row) for row in rows if row.code == JobLost.code}
        return [row for row in rows if row.state is State.STARTED and row.job_id and row.job_id not in lost]

    def given(self, row: Row, job_id: str) -> None:
        """Note that an output has a job."""
        self._given[job_id] = row

    def was_given(self, job_id: str) -> bool:
        """Return whether the job was open in this attempt."""
        return job_id in self._given

    def forget(self, job_id: str) -> None:
        """Forget whose a job is."""
        self._given.pop(job_id, None)
        self._before.pop(job_id, None)

    def holder(self, job_id: str) -> Row | None:
        """Return an output that has the job; None if no response has named it yet."""
        return self._given.get(job_id) or self._before.get(job_id)

    def is_anothers(self, row: Row, job_id: str) -> bool:
        """Return whether the job was made for another content or correction than an output's, now or before."""
        known = self.holder(job_id)
        if known is not None:
            return Twins.key(known) != Twins.key(row)
        made_for = self._ledger.view.replaced_jobs.get(job_key(job_id))
        return made_for is not None and bool(row.sha256) and made_for != content_key(row.sha256, row.digest)

    def was_given_up(self, row: Row) -> bool:
        """Return whether a start of an output's content was given up without a job, for this or another output."""
        before, key = self._ledger.rows.get(row.output), Twins.key(row)
        if before is not None and before.code == Reason.START_LOST and before.sha256 == row.sha256:
            return True
        return key is not None and key in self._given_up

    def was_lost(self, row: Row) -> bool:
        """Return whether the service has lost a job for the content of an output: another start is paid again."""
        if (key := Twins.key(row)) is not None and key in self._lost:
            return True
        before = self._ledger.rows.get(row.output)
        is_asked_again = before is not None and before.state is State.INTENT
        return before is not None and (before.code == JobLost.code or (is_asked_again and before.after_loss))
