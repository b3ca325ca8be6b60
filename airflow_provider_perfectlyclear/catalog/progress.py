"""What an engine is given, and what it has done: plain data that survives a deferral."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_perfectlyclear.catalog.plan.model import Item
from airflow_provider_perfectlyclear.catalog.result import Failure

#: What is typical is told from so many jobs.
RECENT = 50


@dataclass
class Progress:
    """
    What an engine did, kept over a deferral in the run's own object.

    :param proved: the service has accepted a start: key, credit, preset and permissions are good.
    :param still_bad: output, code and reason of what failed for good before, and has the same bytes as then.
    :param heard: the service has known one of the run's jobs.
    :param refused: output, SHA-256 and words of each start that was refused before one was accepted.
    """

    failures: dict[str, Failure] = field(default_factory=dict)
    landed: int = 0
    unbegun: list[Item] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    same_bytes: int = 0
    still_good: list[str] = field(default_factory=list)
    still_bad: list[list[str]] = field(default_factory=list)
    bytes_in: int = 0
    bytes_out: int = 0
    warnings: dict[str, list[str]] = field(default_factory=dict)
    warned: dict[str, int] = field(default_factory=dict)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    job_seconds: list[float] = field(default_factory=list)
    longest_job: float | None = None
    proved: bool = False
    heard: bool = False
    refused: list[list[str]] = field(default_factory=list)

    @property
    def settled(self) -> int:
        """How many outputs are done with, well or not."""
        return self.landed + len(self.failures) + self.same_bytes + len(self.still_bad)

    def saw_job(self, seconds: float) -> None:
        """Take note of how long a job took."""
        self.longest_job = max(self.longest_job or 0.0, seconds)
        self.job_seconds = [*self.job_seconds[-(RECENT - 1) :], round(seconds, 1)]

    @property
    def typical_job(self) -> float | None:
        """The median of the last jobs (seconds), None before the first."""
        return statistics.median(self.job_seconds) if self.job_seconds else None
