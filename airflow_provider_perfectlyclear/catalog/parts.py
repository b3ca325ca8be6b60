"""What a run is handed: a planner and a reporter, for a catalog or for one picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan, Settled
from airflow_provider_perfectlyclear.catalog.result import Finished
from airflow_provider_perfectlyclear.catalog.run_state import RunState


class Planner(Protocol):
    """Decides what is to be made, before anything is paid."""

    def check_places(self) -> None:
        """
        Check that nothing can be overwritten that must not be.

        :raises ConfigurationError: it could.
        """

    def sweep(self, ledger: Ledger) -> None:
        """Remove temporary files that a killed attempt has left at the destination."""

    def plan(self, ledger: Ledger, digests: Mapping[str, str]) -> Plan:
        """
        Decide about every picture.

        :param digests: rendition -> digest of its correction.
        """

    def settle(self, made: Plan, ledger: Ledger) -> Settled:
        """Compare bytes where names and times say too little, and take what is unchanged out of the plan."""

    def brake(self, made: Plan, ledger: Ledger) -> None:
        """
        Stop before the first paid call where the plan is hardly meant.

        :raises PlanRefused: says how many jobs are needed, why, and what lets them pass.
        """


class Reporter(Protocol):
    """Says how far a run is, and what became of it."""

    @property
    def data(self) -> dict[str, Any] | None:
        """The result so far as plain data; None as long as there is none."""

    @property
    def place(self) -> str | None:
        """Where a person finds what became of it, once that is written."""

    def facts(self, tally: Mapping[str, float]) -> dict[str, Any]:
        """
        Return what the run did over all its tries.

        :param tally: what this try did.
        """

    def progress(self, state: RunState, line: str) -> None:
        """Say how far the run is."""

    def planned(self, state: RunState, made: Plan) -> Finished:
        """Report a plan that is only looked at."""

    def stopped(self, state: RunState, left: Iterable[Item]) -> None:
        """
        Report what became of each picture when the run was stopped.

        :param left: what was not begun.
        """

    def sum_up(self, state: RunState) -> Finished:
        """Report what became of each picture, while the lane is still owned."""

    def finish(self, state: RunState, finished: Finished) -> Finished:
        """
        Say how the run has ended, once its lane is free.

        :raises PerfectlyClearError: more failed than allowed.
        """
