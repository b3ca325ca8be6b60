"""What the correcting operators do alike: open, run, wait in the trigger, go on, fail in Airflow's words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
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
    from airflow_provider_perfectlyclear.catalog.report.summary import Summary
    from airflow_provider_perfectlyclear.catalog.result import Waiting

#: Airflow's own timeout of a deferral is only a backstop: the trigger ends by itself before (seconds).
BACKSTOP = 600.0


class Run(Protocol):
    """A catalog's run, or one picture's."""

    def execute(self) -> Waiting | Summary:
        """Plan, start, land; return when only waiting is left."""

    def resume(self) -> Waiting | Summary:
        """Go on after a wait."""

    def cancel(self) -> None:
        """Start nothing more. Only sets a flag."""

    def tally(self) -> dict[str, float]:
        """What this try did so far, its deferrals included."""

    def facts(self) -> dict[str, Any]:
        """What this run did over all its tries."""

    def report(self) -> str | None:
        """Where a person can look."""

    def ledger_memory(self) -> dict[str, Any] | None:
        """What the next run should expect of the ledger."""

    def summary_data(self) -> dict[str, Any] | None:
        """What the run would return, as far as it has come."""


class CorrectingOperator(BaseOperator):
    """The life of a run in a task: fresh, deferred, resumed on any machine, killed."""

    perfectlyclear_conn_id: str
    poll_interval: float
    deferrable: bool
    operator_extra_links = (PerfectlyClearReportLink(),)
    _run: Run | None = None
    _killed = False
    _report: str | None = None
    _facts: Mapping[str, Any] = {}

    def execute(self, context: Context) -> Any:
        """Begin, or take up what an earlier try of this run left open."""
        return self._go("execute", context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """
        Go on after the trigger has fired.

        :param event: the trigger's word; only a wake-up: what became of the jobs is asked and recorded here.
        """
        self.log.info("Woken up: %s", _describe(event))
        return self._go("resume", context)

    def prepare_template(self) -> None:
        """While the Dag is parsed: what stands in files is read, checked, and rendered later."""
        self.read_files()

    def read_files(self, context: Context | None = None) -> None:
        """
        Put corrections that stand in files into their places.

        :param context: None while the Dag is parsed. Names that only a run knows, and mapped tasks, wait for one.
        """

    def on_kill(self) -> None:
        """Start nothing more. Runs inside a signal handler, so it only sets flags."""
        self._killed = True
        if self._run is not None:
            self._run.cancel()

    def _make_run(self, client: Client, context: Context) -> Run:
        """Read the arguments, open the stores and put the run together; nothing is sent."""
        raise NotImplementedError

    def _go(self, step: str, context: Context) -> Any:
        self._facts, self._report = {}, ""  # nothing yet: Airflow asks for the link at a deferral too
        with told_to_airflow(), self._opened(context) as run:
            outcome = None
            try:
                outcome = getattr(run, step)()
            finally:
                if not hasattr(outcome, "job_ids"):
                    self._tell(run, context)
                    if outcome is None:  # a red task has landed pictures, too
                        self._keep_summary(run, context)
        if hasattr(outcome, "job_ids"):
            self._defer(outcome)
        if outcome.skip:
            raise AirflowSkipException(outcome.skip)
        if getattr(self, "plan_only", False):
            self.outlets = []  # nothing has changed: no asset event
        fill_events(context, self.outlets or (), self._facts)
        return outcome.data

    def _tell(self, run: Run, context: Context) -> None:
        """However the try ended: say what it did. A deferral is no end."""
        with harmless("The end of the run"):
            ti = context["ti"]
            remember(context, run.ledger_memory())
            self._facts, self._report = run.facts(), run.report() or ""
            count(run.tally(), dag_id=ti.dag_id, task_id=ti.task_id)
            if self._report and not self._killed:  # whoever was killed has no time left for it
                ti.xcom_push(key=REPORT, value=as_url(self._report))

    def _keep_summary(self, run: Run, context: Context) -> None:
        with harmless("The summary of a failed run"):
            if not self._killed and (data := run.summary_data()) is not None:
                context["ti"].xcom_push(key="return_value", value=data)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """
        Name source, destination and counts for OpenLineage; it asks for a failed task too.

        :param task_instance: Airflow's.
        :returns: None without OpenLineage's provider.
        """
        try:
            from airflow_provider_perfectlyclear.adapters.openlineage import lineage_of
        except ImportError:
            return None
        return lineage_of(*self._places(), self._facts)

    def _places(self) -> tuple[Any, Any]:
        """Where pictures come from and go to, as lineage names them."""
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
            if self._killed:  # the signal came before there was a run to tell
                self._run.cancel()
            try:
                yield self._run
            finally:
                self._run = None

    def _check_deferral(self) -> None:
        """Refuse, before anything is paid, what Airflow could not store with a trigger."""
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

    def _defer(self, waiting: Waiting) -> NoReturn:
        self.log.info(waiting.message)
        trigger = self._trigger(list(waiting.job_ids), deadline=waiting.deadline, timeout=waiting.timeout)
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            timeout=timedelta(seconds=waiting.timeout + BACKSTOP),
        )


def _describe(event: dict[str, Any] | None) -> str:
    if not event:
        return "the trigger said nothing"
    reason = f" ({event['reason']})" if event.get("reason") else ""
    jobs = "job" if event.get("done") == 1 else "jobs"
    return f"{event.get('done')} {jobs} final, {event.get('open')} open, {event.get('why')}{reason}"
