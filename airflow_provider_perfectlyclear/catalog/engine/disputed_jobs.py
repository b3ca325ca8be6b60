"""Jobs that the service named for two pictures: both are asked about again, and get what the second response says."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace

from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.corrections import Prepared
from airflow_provider_perfectlyclear.catalog.engine.disputes import Disputes, Ruling
from airflow_provider_perfectlyclear.catalog.engine.known_jobs import KnownJobs
from airflow_provider_perfectlyclear.catalog.engine.open_jobs import OpenJobs
from airflow_provider_perfectlyclear.catalog.engine.outcomes import Outcomes
from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.engine.sharing import Sharing
from airflow_provider_perfectlyclear.catalog.engine.start_queue import Unconfirmed
from airflow_provider_perfectlyclear.catalog.engine.twins import Twins
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.errors import ItemFailed
from airflow_provider_perfectlyclear.reasons import Reason

log = logging.getLogger(__name__)


class DisputedJobs:
    """
    The disputes of a run, acted on: outputs are asked about again, given their job, or given up.

    :param recorder: the run's ledger and progress.
    :param prepared: rendition -> correction.
    :param known: whose each job is.
    :param jobs: the open jobs.
    :param unconfirmed: starts that are asked about again.
    :param twins: which output leads for which content.
    :param sharing: gives outputs their jobs.
    :param outcomes: told of outputs that fail.
    """

    def __init__(
        self,
        recorder: Recorder,
        prepared: Mapping[str, Prepared],
        known: KnownJobs,
        jobs: OpenJobs,
        unconfirmed: Unconfirmed,
        twins: Twins,
        sharing: Sharing,
        outcomes: Outcomes,
    ) -> None:
        self._recorder = recorder
        self._prepared = prepared
        self._known = known
        self._jobs = jobs
        self._unconfirmed = unconfirmed
        self._twins = twins
        self._sharing = sharing
        self._outcomes = outcomes
        self._disputes = Disputes()
        #: Job id -> other outputs for which it was named while its own outputs were landing.
        self._after_landing: dict[str, list[tuple[Row, bool]]] = {}

    def over(self, output: str) -> str | None:
        """Return the job id in dispute for an output, or None."""
        return self._disputes.over(output)

    def reopen(self) -> None:
        """Go on with disputes of an earlier attempt, once its unconfirmed starts are adopted."""
        rows = [row for row in self._recorder.rows.values() if row.doubt]
        elsewhere = {row.doubt for row in self._recorder.ledger.others.values()}
        for job_id in {row.doubt for row in rows if row.state is State.INTENT}:
            asked = {
                Twins.key(row): row for row in rows if row.doubt == job_id and row.output in self._unconfirmed
            }
            has_failed = any(row.doubt == job_id and row.state is State.FAILED for row in rows)
            self._disputes.open(job_id, asked.values(), is_open_ended=has_failed or job_id in elsewhere)

    # ---- what a response says

    def is_anothers(self, row: Row, job_id: str) -> bool:
        """
        Return whether a response names another picture's job.

        Outputs share a job by content and correction alone: any other repeated id answers another question.
        """
        if self._disputes.over(row.output) == job_id:
            return False
        return self._disputes.has(job_id) or self._known.is_anothers(row, job_id)

    def named_for_another(self, row: Row, job_id: str, again: bool) -> None:
        """Handle a response that names another picture's job: one of the two belongs to another request."""
        said = f"the response names job {job_id}, which is another picture's"
        log.warning("%s: %s", one_line(row.output), said)
        self.unanswered(row)
        if self._jobs.is_landing(job_id):  # a landing that has begun cannot be called back
            self._after_landing.setdefault(job_id, []).append((row, again))
        else:
            self._dispute(job_id, [(row, again)])

    def answered(self, row: Row, job_id: str, now: float) -> None:
        """Take in the second response for an output."""
        self._rule(self._disputes.answered(row, job_id), now)

    def unanswered(self, row: Row) -> None:
        """Note that an output has no second response in this attempt, if it is in dispute."""
        if self._disputes.over(row.output):
            self._rule(self._disputes.unanswered(row), time.monotonic())

    def job_ended(self, job_id: str) -> None:
        """Open the dispute that waited for the landings of a job."""
        if rows := self._after_landing.pop(job_id, None):
            self._dispute(job_id, rows)

    def give_up(self, row: Row) -> None:
        """Fail an output for which the service names another picture's job again; a retry uploads it anew."""
        error = ItemFailed(
            "the service names another picture's job for it, also when it is asked again; a retry uploads it anew",
            code=Reason.START_LOST,
        )
        self._recorder.note(records.failed(row, error.code, str(error)))
        self._outcomes.fail(row, error)
        self._outcomes.fail_followers(row, error, is_closed=True)

    def _rule(self, ruling: Ruling, now: float) -> None:
        for row, job_id in ruling.given:
            self._sharing.accept(row, job_id, now)
        for row in ruling.unsettled:
            self.give_up(row)

    # ---- a new dispute

    def _dispute(self, job_id: str, others: list[tuple[Row, bool]]) -> None:
        """Ask again about every output with this job id, those that have landed included."""
        now = time.monotonic()
        # An output that had landed before the others were uploaded is not in doubt.
        is_new = self._known.was_given(job_id) or any(
            self._unconfirmed.was_adopted(row.output) for row, _ in others
        )
        holders = self._holders(job_id) if is_new and not self._disputes.has(job_id) else []
        if holders:
            leads = {Twins.key(row): row for row in reversed(holders)}
            told_again = {Twins.key(row): row for row, again in others if again}
            asked = leads | {Twins.key(row): row for row, again in others if not again}
            self._disputes.open(job_id, asked.values(), told_twice=told_again.values())
            self._known.forget(job_id)
            if self._jobs.is_open(job_id):
                self._jobs.end_all(job_id)
            for row in holders:
                self._take_back(row, job_id, now, leads=leads[Twins.key(row)] is row)
        for row, again in others:
            if again and not holders:
                self.give_up(row)
                continue
            if holders:
                self._recorder.note(records.intent(row, doubt=job_id))
            if not again:
                self._unconfirmed.lost(self._recorder.rows.get(row.output, row), now)
        self._recorder.flush()

    def _take_back(self, row: Row, job_id: str, now: float, *, leads: bool) -> None:
        """Take an output's job away, and ask about it again."""
        self._recorder.note(records.intent(row, doubt=job_id))  # a later attempt asks about it, too
        self._outcomes.recall(self._recorder.rows[row.output])
        log.warning("%s: its job %s was named for another picture, too", one_line(row.output), job_id)
        if leads:
            self._twins.adopt(row)
            self._unconfirmed.lost(row, now)
        else:
            self._twins.wait(row)

    def _holders(self, job_id: str) -> list[Row]:
        """
        Return the outputs of this lane that have the job, as they were before the start.

        :returns: none if the service cannot be asked about them again.
        """
        if not self._recorder.flush():
            return []
        planned = {prepared.digest: prepared for prepared in self._prepared.values()}
        found = list[Row]()
        for row in self._recorder.rows.values():
            if row.job_id == job_id and row.digest in planned and row.sha256:
                query = row.query or planned[row.digest].query(row.file_type)
                found.append(replace(row, state=State.INTENT, job_id=None, query=query))
        # One output for each content and correction is asked about: the one with the upload.
        found.sort(key=lambda row: row.file_key is None)
        leads = {Twins.key(row): row for row in reversed(found)}
        return found if all(row.file_key for row in leads.values()) else []
