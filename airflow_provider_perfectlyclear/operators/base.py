"""Base class of the correcting operators: run, defer, resume, and report the end to Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperator

from airflow_provider_perfectlyclear.adapters.events import count, fill_events, harmless
from airflow_provider_perfectlyclear.adapters.ledger_memory import remember
from airflow_provider_perfectlyclear.adapters.task_instance import told_to_airflow
from airflow_provider_perfectlyclear.errors import ConfigurationError
from airflow_provider_perfectlyclear.links.perfectlyclear import REPORT, PerfectlyClearReportLink, as_url

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_perfectlyclear.api.client import Client
    from airflow_provider_perfectlyclear.catalog.result import Finished, Parked

#: Seconds by which Airflow's own timeout of a deferral is later than the trigger's, so that the trigger ends first.
BACKSTOP = 600.0


class Run(Protocol):
    """Run of a catalog or of one picture."""

    #: Takes the ledger's id and position; called before anything is paid.
    remember: Callable[[dict[str, Any]], None]

    def execute(self) -> Parked | Finished:
        """Plan, start jobs and download results. Return when the run is done or can only wait."""

    def resume(self) -> Parked | Finished:
        """Continue after a wait."""

    def cancel(self) -> None:
        """Start no more jobs. Only sets a flag."""

    def tally(self) -> dict[str, float]:
        """Return the counts of this attempt so far, its deferrals included."""

    def facts(self) -> dict[str, Any]:
        """Return the counts of this run over all its attempts."""

    def report(self) -> str | None:
        """Return the address of the manifest or output, None before there is one."""

    def ledger_memory(self) -> dict[str, Any] | None:
        """Return the ledger's id and position for the next run."""

    def summary_data(self) -> dict[str, Any] | None:
        """Return the summary so far, None before there is one."""


class CorrectingOperator(BaseOperator):
    """Task that runs a correction: it begins, defers, resumes on any machine, or is killed."""

    perfectlyclear_conn_id: str
    poll_interval: float
    deferrable: bool
    operator_extra_links = (PerfectlyClearReportLink(),)
    _run: Run | None = None
    _killed = False
    _report: str | None = None
    _facts: Mapping[str, Any] = {}

    def execute(self, context: Context) -> Any:
        """Start the run, or continue from the ledger of an earlier attempt."""
        return self._go("execute", context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """
        Continue after the trigger has fired.

        :param event: The trigger's event. It only wakes the task, which checks the status of the jobs itself.
        """
        self.log.info("Woken up: %s", _describe(event))
        return self._go("resume", context)

    def prepare_template(self) -> None:
        """Read and check JSON files while Airflow parses the Dag. They are rendered later."""
        self.read_files()

    def read_files(self, context: Context | None = None) -> None:
        """
        Replace the names of JSON files by their content.

        :param context: The task's context, to render the files. None while the Dag is parsed: names that are
            templates, and mapped tasks, wait for a run.
        """

    def on_kill(self) -> None:
        """Start no more jobs. Runs inside a signal handler, so it only sets flags."""
        self._killed = True
        if self._run is not None:
            self._run.cancel()

    def _make_run(self, client: Client, context: Context) -> Run:
        """Read the arguments, open the stores and create the run. Sends no request."""
        raise NotImplementedError

    def _go(self, step: str, context: Context) -> Any:
        from airflow_provider_perfectlyclear.catalog.result import Parked

        self._facts, self._report = {}, ""  # empty, because Airflow reads the link at a deferral too
        with told_to_airflow(), self._opened(context) as run:
            outcome = None
            run.remember = partial(
                remember, context
            )  # before anything is paid: a killed worker cannot say it later
            try:
                outcome = getattr(run, step)()
            finally:
                remember(context, run.ledger_memory())
                if not isinstance(outcome, Parked):
                    self._tell(run, context)
                    if outcome is None:  # a failed task has downloaded results, too
                        self._keep_summary(run, context)
        if isinstance(outcome, Parked):
            self._defer(outcome)
        if outcome.skip:
            raise AirflowSkipException(outcome.skip)
        if getattr(self, "plan_only", False):
            self.outlets = []  # nothing has changed, so no asset event
        fill_events(context, self.outlets or (), self._facts)
        return outcome.data

    def _tell(self, run: Run, context: Context) -> None:
        """Report the attempt to Airflow, also after a failure. Not called for a deferral."""
        with harmless("The end of the run"):
            ti = context["ti"]
            self._facts, self._report = run.facts(), run.report() or ""
            count(run.tally(), dag_id=ti.dag_id, task_id=ti.task_id)
            if self._report and not self._killed:  # a killed task has no time for it
                ti.xcom_push(key=REPORT, value=as_url(self._report))

    def _keep_summary(self, run: Run, context: Context) -> None:
        with harmless("The summary of a failed run"):
            if not self._killed and (data := run.summary_data()) is not None:
                context["ti"].xcom_push(key="return_value", value=data)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """
        Return source, destination and counts for OpenLineage, also for a failed task.

        :param task_instance: Airflow's task instance.
        :returns: None without the OpenLineage provider.
        """
        try:
            from airflow_provider_perfectlyclear.adapters.openlineage import lineage_of
        except ImportError:
            return None
        return lineage_of(*self._places(), self._facts)

    def _places(self) -> tuple[Any, Any]:
        """Return source and destination, as OpenLineage shows them."""
        raise NotImplementedError

    @contextmanager
    def _opened(self, context: Context) -> Iterator[Run]:
        from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook

        if not isinstance(self.perfectlyclear_conn_id, str):
            raise ConfigurationError(
                f"perfectlyclear_conn_id is {self.perfectlyclear_conn_id!r}: give a connection id."
            )
        with PerfectlyClearHook(self.perfectlyclear_conn_id) as hook:
            self.read_files(context)
            self._run = self._make_run(hook.get_conn(), context)
            self._check_deferral()
            if self._killed:  # the signal came before the run existed
                self._run.cancel()
            try:
                yield self._run
            finally:
                self._run = None

    def _check_deferral(self) -> None:
        """Refuse, before any paid call, arguments that Airflow cannot store with a trigger."""
        if self.deferrable:
            json.dumps(self._trigger([], deadline=0.0, timeout=0.0).serialize())

    def _trigger(self, job_ids: list[str], *, deadline: float, timeout: float) -> Any:
        from airflow_provider_perfectlyclear.triggers.perfectlyclear import PerfectlyClearJobsTrigger

        return PerfectlyClearJobsTrigger(
            perfectlyclear_conn_id=self.perfectlyclear_conn_id,
            job_ids=job_ids,
            poll_interval=float(self.poll_interval),
            deadline=deadline,
            timeout=timeout,
        )

    def _defer(self, waiting: Parked) -> NoReturn:
        self.log.info(waiting.message)
        trigger = self._trigger(list(waiting.job_ids), deadline=waiting.deadline, timeout=waiting.timeout)
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            timeout=timedelta(seconds=waiting.timeout + BACKSTOP),
        )


def _describe(event: dict[str, Any] | None) -> str:
    if not event:
        return "the trigger sent no event"
    reason = f" ({event['reason']})" if event.get("reason") else ""
    jobs = "job" if event.get("done") == 1 else "jobs"
    return f"{event.get('done')} {jobs} final, {event.get('open')} open, {event.get('why')}{reason}"
