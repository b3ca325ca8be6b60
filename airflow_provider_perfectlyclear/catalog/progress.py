"""What an engine is given, and what it has done: plain data that survives a deferral."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.plan import Item
from airflow_provider_perfectlyclear.catalog.records import KNOWN_BAD


@dataclass(frozen=True)
class Prepared:
    """One of the run's corrections: as it is sent, and its digest."""

    correction: Correction
    digest: str


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
    def is_final(self) -> bool:
        """Whether no later try can mend it by itself."""
        return self.code in KNOWN_BAD


@dataclass
class Progress:
    """What an engine did, kept over a deferral in the run's own object."""

    failures: dict[str, Failure] = field(default_factory=dict)
    landed: int = 0
    unbegun: list[Item] = field(default_factory=list)
    same_bytes: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    warnings: dict[str, list[str]] = field(default_factory=dict)
    warned: dict[str, int] = field(default_factory=dict)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    job_seconds: list[float] = field(default_factory=list)
    proved: bool = False
