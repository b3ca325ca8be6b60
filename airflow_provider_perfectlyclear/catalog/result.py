"""How a run can end its turn: done, or only waiting is left."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Waiting:
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
