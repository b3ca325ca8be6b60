"""Sensor that waits for jobs of other tasks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_perfectlyclear import limits
from airflow_provider_perfectlyclear.adapters.connection import DEFAULT_CONN_ID
from airflow_provider_perfectlyclear.adapters.task_instance import told_to_airflow
from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.errors import ConfigurationError, PerfectlyClearError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_perfectlyclear.api.models import JobStatus
    from airflow_provider_perfectlyclear.api.polling import Watch
    from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook

#: Pause (seconds) between repeated checks within one poke, where no later poke would continue them.
AGAIN = 2.0
#: Seconds by which Airflow's own timeout of a deferral is later than the trigger's, so that the trigger ends first.
BACKSTOP = 600.0


class PerfectlyClearJobSensor(BaseSensorOperator):
    """
    Task that waits until jobs are final and returns their ids, so that downloads can follow. Status checks are free.

    If a job is FAILED, REJECTED or lost, or the time is up, the sensor fails and Airflow does not retry it. Ten
    minutes with nothing but failed status checks also fail it, but then Airflow retries it. With ``soft_fail`` or
    ``never_fail`` it skips instead.

    Poking and deferring have the same result. In the mode ``"reschedule"`` the sensor does not count failed status
    checks and continues until its time is up.

    Airflow's own ``timeout``, ``soft_fail``, ``never_fail``, ``poke_interval`` and ``mode`` apply.

    :param job_ids: One job id of the service, or a list.
    :param perfectlyclear_conn_id: Airflow connection to the service. Default ``"perfectlyclear_default"``.
    :param poll_interval: Initial seconds between status checks of a job while deferred. Default 2.0.
    :param deferrable: Wait in the triggerer instead of in the worker. Requires a running triggerer. Default: Airflow's
        ``default_deferrable``.
    """

    template_fields: Sequence[str] = ("job_ids", "perfectlyclear_conn_id")
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        job_ids: str | Sequence[str],
        perfectlyclear_conn_id: str = DEFAULT_CONN_ID,
        poll_interval: float = 2.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_ids = job_ids
        self.perfectlyclear_conn_id = perfectlyclear_conn_id
        self.poll_interval = poll_interval
        self.deferrable = deferrable
        self._forget()
        self._check_when_parsed()

    def poke(self, context: Context) -> PokeReturnValue:
        """Check the jobs, oldest first, up to the first that is in progress."""
        with self._skipping_if_soft():
            with told_to_airflow(), self._hook() as hook:
                done = self._look(hook)
                # A rescheduled poke is another process, which does not know what this one has seen.
                while self.reschedule and self._watch.missing and not done:
                    done = self._look_again(hook)
                self._watch.give_up(time.monotonic())
            if done:
                self._fail_unless_completed()
        return PokeReturnValue(is_done=done, xcom_value=self._result() if done else None)

    def execute(self, context: Context) -> Any:
        """Wait in the worker, or check once and defer to the trigger."""
        self._forget()
        if not self.deferrable:
            with self._skipping_if_never():
                return super().execute(context)
        first = self.poke(context)
        if not first.is_done:
            self._defer()
        return first.xcom_value

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """
        Check once more after the trigger has fired.

        :param event: The trigger's event.
        """
        self._forget()
        with self._skipping_if_soft():
            return self._woken_up(event or {})

    def _forget(self) -> None:
        """Drop what is known of the jobs: Airflow copies an operator for each run, and copies share its attributes."""
        self._watching: Watch | None = None

    @property
    def _watch(self) -> Watch:
        """The state of the jobs, as far as it is known."""
        from airflow_provider_perfectlyclear.api.polling import Watch

        if self._watching is None:
            self._watching = Watch(dict.fromkeys(self._ids(), 0.0), now=time.monotonic())
        return self._watching

    def _woken_up(self, event: dict[str, Any]) -> Any:
        why, reason = event.get("why"), event.get("reason")
        with told_to_airflow(), self._hook() as hook:
            done = self._look(hook)
            while why == "all_final" and (self._watch.missing or self._watch.is_failing) and not done:
                self._watch.give_up(time.monotonic())
                done = self._look_again(hook)
        if done:
            self._fail_unless_completed()
            return self._result()
        if why == "deadline":
            raise AirflowSensorTimeout(
                f"Jobs are still in progress after {self.timeout:g} s. Later status checks are free."
            )
        raise AirflowException(
            f"The trigger stopped waiting: {reason or 'it saw final jobs that are in progress now'}"
        )

    def _ids(self) -> list[str]:
        many = [self.job_ids] if isinstance(self.job_ids, str) else self.job_ids
        ids = list(many) if isinstance(many, Iterable) else [many]
        if not all(isinstance(one, str) and one and not limits.is_none(one) for one in ids):
            why = " Did an upstream task return nothing?" if any(map(limits.is_none, ids)) else ""
            raise ConfigurationError(f"job_ids is {self.job_ids!r}: give a job id, or a list of them.{why}")
        return ids

    def _check_poll_interval(self) -> None:
        if said := limits.problems({"poll_interval": self.poll_interval}):
            raise ConfigurationError(" ".join(said))

    def _check_when_parsed(self) -> None:
        """Refuse arguments that are wrong for every run. Mapped sensors are checked in ``execute``, on a worker."""
        if getattr(self, "_BaseOperator__from_mapped", False):
            return
        values = {"poll_interval": self.poll_interval, "deferrable": self.deferrable}
        if said := limits.parse_problems(values, self.template_fields):
            raise ConfigurationError(f"Task {self.task_id!r}: {' '.join(said)}")

    def _result(self) -> str | list[str]:
        return self.job_ids if isinstance(self.job_ids, str) else self._ids()

    def _hook(self) -> PerfectlyClearHook:
        from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook

        return PerfectlyClearHook(self.perfectlyclear_conn_id)

    def _look(self, hook: PerfectlyClearHook) -> bool:
        """Check jobs up to the first that is in progress. Skip final jobs, and continue past unknown ones (404)."""
        for job_id in self._watch.open:
            answer: JobStatus | PerfectlyClearError
            try:
                answer = hook.status(job_id)
            except PerfectlyClearError as error:
                answer = error
            self._watch.report(job_id, answer, now=time.monotonic())
            if self._watch.is_failing:
                self.log.warning(
                    "A status check of job %s failed, which says nothing about the job: %s", job_id, answer
                )
                return False
            if job_id in self._watch.open and job_id not in self._watch.missing:
                return False
        return not self._watch.open

    def _look_again(self, hook: PerfectlyClearHook) -> bool:
        time.sleep(min(AGAIN, self.poke_interval))
        return self._look(hook)

    def _fail_unless_completed(self) -> None:
        final = self._watch.final
        failed = [
            f"{job_id} {final[job_id].state}: {final[job_id].status_text or 'no reason given'}"
            if job_id in final
            else f"{job_id} JOB_LOST"
            for job_id in dict.fromkeys(self._ids())
            if job_id not in final or final[job_id].state != "COMPLETED"
        ]
        if failed:
            named = "; ".join(failed[:5])
            jobs = counted(len(set(self._ids())), "job")
            raise AirflowFailException(f"{len(failed)} of {jobs} without a corrected file: {named}")

    @contextmanager
    def _skipping_if_soft(self) -> Iterator[None]:
        """Skip instead of failing, alike in all versions of Airflow, which differ in when they do it."""
        try:
            yield
        except AirflowException as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipping because of soft_fail or never_fail: {error}") from None
            raise

    @contextmanager
    def _skipping_if_never(self) -> Iterator[None]:
        """Skip when a poking sensor reaches its timeout. Airflow does this for other failures only."""
        try:
            yield
        except AirflowSensorTimeout as error:
            if self.never_fail:
                raise AirflowSkipException(f"Skipping because of never_fail: {error}") from None
            raise

    def _defer(self) -> None:
        from airflow_provider_perfectlyclear.triggers.perfectlyclear import PerfectlyClearJobsTrigger

        with told_to_airflow():
            self._check_poll_interval()
        self.defer(
            trigger=PerfectlyClearJobsTrigger(
                perfectlyclear_conn_id=self.perfectlyclear_conn_id,
                job_ids=self._watch.open,
                poll_interval=float(self.poll_interval),
                deadline=time.time() + self.timeout,
                timeout=self.timeout,
                wake_early=False,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout + BACKSTOP),
        )
