"""How a run's turn can end: parked, with only waiting left, or finished; and why an output was not made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_perfectlyclear import reasons


@dataclass(frozen=True)
class Parked:
    """
    Only waiting is left.

    :param job_ids: the open jobs, oldest first.
    :param deadline: Unix seconds at which to come back whatever they are doing.
    :param timeout: the same as seconds from now; the smaller of both counts, as clocks jump.
    :param message: what to log before the deferral.
    """

    job_ids: tuple[str, ...]
    deadline: float
    timeout: float
    message: str


@dataclass
class Finished:
    """
    The run is done.

    :param data: what it returns: plain data under 2 kB.
    :param skip: why the task should be shown as skipped, if it should.
    """

    data: dict[str, Any]
    skip: str | None = None


@dataclass
class Failure:
    """
    Why an output was not made in this try.

    :param code: a stable reason code.
    :param reason: in one line.
    """

    output: str
    source: str
    code: str
    reason: str

    @property
    def retry_helps(self) -> bool:
        """Whether a later attempt may mend it by itself."""
        return reasons.retry_helps(self.code)
