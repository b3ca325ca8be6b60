"""Jobs and their outputs: of equal content and correction one is started, the others join its job."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from functools import partial

from airflow_provider_perfectlyclear.catalog.engine.backlog import Backlog
from airflow_provider_perfectlyclear.catalog.engine.known_jobs import KnownJobs
from airflow_provider_perfectlyclear.catalog.engine.open_jobs import OpenJobs
from airflow_provider_perfectlyclear.catalog.engine.outcomes import Outcomes
from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.engine.refusals import Refusals
from airflow_provider_perfectlyclear.catalog.engine.twins import Twins
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.catalog.transfer.landing import BeforePublish
from airflow_provider_perfectlyclear.errors import PerfectlyClearError


class Sharing:
    """
    Gives outputs their jobs.

    :param recorder: the run's ledger and progress.
    :param backlog: what is still to be made.
    :param twins: which output leads for which content.
    :param jobs: the open jobs.
    :param known: whose each job is.
    :param outcomes: told of outputs that fail with the one that leads for them.
    :param refusals: settled by the first accepted start.
    """

    def __init__(
        self,
        recorder: Recorder,
        backlog: Backlog,
        twins: Twins,
        jobs: OpenJobs,
        known: KnownJobs,
        outcomes: Outcomes,
        refusals: Refusals,
    ) -> None:
        self._recorder = recorder
        self._backlog = backlog
        self._twins = twins
        self._jobs = jobs
        self._known = known
        self._outcomes = outcomes
        self._refusals = refusals
        self._joined = set[str]()  # outputs whose share in a job may not be written yet
        self._shares = set[str]()  # all outputs that have joined a job in this attempt

    def lead_from_open(self, rows: Collection[Row]) -> None:
        """
        Let equal outputs join the jobs that are open.

        :param rows: all that the ledger has.
        """
        for row in self._known.read_open(rows):
            self._lead(row, str(row.job_id))

    def resume(self, row: Row, job_id: str, since: float) -> None:
        """
        Go on with a job of an earlier attempt or run: equal outputs join it.

        :param since: when it was started (monotonic seconds).
        """
        self._lead(row, job_id)
        self._follow(row, job_id, since)

    def _lead(self, row: Row, job_id: str) -> None:
        self._twins.adopt(row)
        self._known.given(row, job_id)

    def _follow(self, row: Row, job_id: str, since: float) -> None:
        self._known.given(row, job_id)
        self._jobs.follow(replace(row, job_id=job_id), job_id, since)

    def accept(self, row: Row, job_id: str, now: float) -> None:
        """Take in the job of an output that was started, for itself and for those that wait for it."""
        recorder = self._recorder
        self._known.given(row, job_id)
        recorder.note(records.started(row.output, job_id, paid_before=row.paid_before))
        if not recorder.progress.proved:  # the others wait for it anyway: no crash shall make it ambiguous
            recorder.flush()
            recorder.progress.proved = True
            self._refusals.are_final()
        self._follow(row, job_id, now)
        for twin in self._twins.started(row, job_id):
            self.join(twin, job_id, now)

    def join(self, row: Row, job_id: str, now: float) -> None:
        """Let an output share a job that was paid for already, unless a task for it alone has begun."""
        try:
            self._recorder.refuse_contested(row.output)
        except PerfectlyClearError as error:
            self._outcomes.fail(row, error)
            return
        self._backlog.declared(row.output)
        self._recorder.note(records.joined(row, job_id))
        self._joined.add(row.output)
        self._shares.add(row.output)
        self._follow(row, job_id, now)

    def share(self, row: Row) -> None:
        """Let an output have what the one has that leads for its content and correction."""
        leader = self._twins.find(row)
        if leader is None:  # the time was up for it
            self._backlog.leave(row.output)
        elif leader.landed:
            self._backlog.requeue(row.output)
        elif leader.error is not None:
            self._outcomes.fail(row, leader.error)
        elif leader.job_id is not None:
            self.join(row, leader.job_id, time.monotonic())
        else:
            self._twins.wait(row)

    def record_before_landing(self, output: str) -> bool:
        """
        Write that an output shares a job, if that is not written yet: its name may show another picture until it lands.

        :returns: False: the ledger cannot be written, and nothing may be published.
        """
        if output not in self._joined:
            return True
        self._joined.clear()
        return self._recorder.flush()

    def before_publishing(self, output: str) -> BeforePublish:
        """Return what is checked right before an output is published."""
        if output in self._shares:  # it may have joined its job long after that began
            return partial(self._recorder.refuse_overtaken, output)
        return self._recorder.refuse_late
