"""What a run of one picture says at its end: its result, or the error that its picture failed with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.picture import Picture
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan
from airflow_provider_perfectlyclear.catalog.result import Failure, Finished
from airflow_provider_perfectlyclear.catalog.run_state import RunState
from airflow_provider_perfectlyclear.catalog.workspace import Workspace


class SingleReporter:
    """
    The reports of one picture. It has no manifest: its result says it all.

    :param client: asked for the data of a job that an earlier try has landed.
    """

    def __init__(self, client: Client, workspace: Workspace, options: Options, picture: Picture) -> None:
        self._client = client
        self._destination = workspace.places.destination
        self._ledger = workspace.ledger
        self._options = options
        self._picture = picture

    @property
    def data(self) -> dict[str, Any] | None:
        """None: a picture that failed has no result."""
        return None

    @property
    def place(self) -> str | None:
        """Where the corrected picture is, once it is there."""
        row = self._row
        is_there = row is not None and row.state is State.LANDED
        return self._destination.uri(self._picture.output) if self._destination and is_there else None

    def facts(self, tally: Mapping[str, float]) -> dict[str, Any]:
        """
        Return what the run did over all its tries.

        :param tally: what this try did.
        """
        row, bill = self._row, self._ledger.bill
        is_there = row is not None and row.state is State.LANDED
        is_ours = row is not None and row.run == self._ledger.run
        return {
            "corrected": int(is_there and is_ours),
            "failed": int(tally.get("failed", 0)),
            "unchanged": int(is_there and not is_ours),
            "paid": bill.paid,
            "possibly_paid_twice": bill.twice,
            "bytes_in": tally.get("bytes_in", 0),
            "bytes_out": tally.get("bytes_out", 0),
            "seconds": round(tally.get("seconds", 0.0), 1),
            "destination": self.place,
        }

    def progress(self, state: RunState, line: str) -> None:
        """Say nothing: one picture is there or it is not."""

    def planned(self, state: RunState, made: Plan) -> Finished:
        """Return what is there; a plan of one picture is not worth a file."""
        return self._result(state)

    def stopped(self, state: RunState, left: Iterable[Item]) -> None:
        """Write nothing: the error says it all."""

    def sum_up(self, state: RunState) -> Finished:
        """Return the result, as far as there is one."""
        self._ask_for_details(state)
        return self._result(state)

    def finish(self, state: RunState, finished: Finished) -> Finished:
        """
        Return the result.

        :raises PerfectlyClearError: the picture failed.
        """
        row = self._row
        for failure in state.progress.failures.values():
            raise self._picture.error_of(failure, row)
        for _, code, reason in state.progress.still_bad:
            raise self._picture.error_of(Failure(self._picture.output, self._picture.name, code, reason), row)
        if state.progress.unbegun:
            raise errors.JobTimeout(
                "(not started)", "the time was up before it was started; nothing was paid"
            )
        return finished

    @property
    def _row(self) -> Row | None:
        return self._ledger.rows.get(self._picture.output)

    def _result(self, state: RunState) -> Finished:
        row, output = self._row, self._picture.output
        if row is None:
            return Finished({})
        left_alone = {
            "edited_at_destination": bool(state.counts.edited),
            "gone_from_destination": bool(state.counts.gone or state.progress.gone),
        }
        return Finished(
            {
                "destination": None if self._destination is None else self._destination.uri(output),
                "job_id": row.job_id,
                "file_key": row.file_key,
                "bytes": row.size,
                "usage": dict(row.usage) if row.usage else None,
                "detection_data": state.progress.details.get(output),
                **{name: True for name, value in left_alone.items() if value},
            }
        )

    def _ask_for_details(self, state: RunState) -> None:
        """Ask again, free, for the detection data of a job that an earlier try has landed."""
        row, details = self._row, state.progress.details
        wanted = self._options.correction.include_detection_data and self._picture.output not in details
        if not wanted or row is None or row.state is not State.LANDED or row.job_id is None:
            return
        try:
            status = self._client.send(calls.status(row.job_id))
        except errors.NotFound:
            return
        details[self._picture.output] = status.public()["detection_data"]
