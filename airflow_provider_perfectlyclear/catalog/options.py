"""What a run was asked to do, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args, get_type_hints

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.types import (
    Ambiguous,
    IfEmpty,
    IfUnchanged,
    Manifest,
    Reprocess,
    Verify,
)
from airflow_provider_perfectlyclear.errors import ConfigurationError

#: Where None means: without.
OPTIONAL = ("timeout", "limit", "max_new_jobs", "max_paid_again")


@dataclass(frozen=True, kw_only=True)
class Options:
    """
    How a catalog is corrected. The operator's docstring describes each; times are seconds.

    :raises ConfigurationError: names the option, its value and what would do.
    """

    correction: Correction
    renditions: Mapping[str, Correction] | None = None
    reprocess: Reprocess = "changed"
    pattern: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    min_age: float = 0
    name_template: str | None = None
    shard: str | None = None
    plan_only: bool = False
    max_new_jobs: int | None = None
    max_paid_again: int | str | None = None
    limit: int | None = None
    max_failures: int | str = 0
    if_empty: IfEmpty = "fail"
    if_unchanged: IfUnchanged = "succeed"
    timeout: float | None = None
    job_timeout: float = 3600.0
    transfers: int = 4
    max_in_flight: int = 200
    poll_interval: float = 2.0
    verify: Verify = "fail"
    on_ambiguous: Ambiguous = "auto"
    deferrable: bool = False
    allow_unlocked_store: bool = False
    accept_ledger: str | None = None
    manifest: Manifest = "all"
    case_sensitive: bool = False
    check_source: bool = True

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_range("transfers", 1, 64)
        self._check_range("max_in_flight", 1, 1000)
        self._check_range("poll_interval", 0.05, 300)
        self._check_range("job_timeout", 1, 7 * 86_400)
        self._check_range("timeout", 1, 30 * 86_400)
        self._check_range("min_age", 0, 365 * 86_400)
        self._check_range("limit", 0, 10**9)
        self._check_range("max_new_jobs", 0, 10**9)
        self.failures_allowed(0)
        self.paid_again_allowed(0)
        self.shard_of()
        names = [name.casefold() for name in self.renditions or ()]
        if len(names) != len(set(names)) or "" in names:
            raise ConfigurationError(
                f"renditions={list(self.renditions or ())!r} need names that differ, case aside."
            )

    def _check_choices(self) -> None:
        hints = get_type_hints(type(self))
        for name in ("reprocess", "if_empty", "if_unchanged", "verify", "on_ambiguous", "manifest"):
            value, allowed = getattr(self, name), get_args(hints[name])
            if value not in allowed:
                choices = ", ".join(repr(choice) for choice in allowed)
                raise ConfigurationError(f"{name}={value!r} is unknown; it is one of {choices}.")

    def _check_range(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        if value is None and name in OPTIONAL:
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ConfigurationError(f"{name}={value!r} must be a number from {least:g} to {most:g}.")

    def failures_allowed(self, attempted: int) -> int:
        """
        How many failures the run tolerates.

        :param attempted: how many outputs the run set out to correct; ``"2%"`` is of these, rounded down.
        """
        return _share("max_failures", self.max_failures, attempted)

    def paid_again_allowed(self, known: int) -> int | None:
        """
        How many outputs may be paid for again; None: the redo guard decides.

        :param known: how many the ledger has paid for or stand at the destination; ``"10%"`` is of these.
        """
        most = self.max_paid_again
        return None if most is None else _share("max_paid_again", most, known)

    def shard_of(self) -> tuple[int, int] | None:
        """The shard as (which, of how many), counted from 1; None when the catalog is one."""
        if self.shard is None:
            return None
        match = re.fullmatch(r"(\d+)/(\d+)", self.shard.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= 999:
            raise ConfigurationError(f'shard={self.shard!r} must be such as "1/16" to "16/16".')
        return int(match[1]), int(match[2])

    @property
    def pays_for_gone(self) -> bool:
        """Whether an output whose result is gone everywhere is asked for, and paid for, by name."""
        return self.reprocess in ("missing", "always")

    @property
    def corrections(self) -> Mapping[str, Correction]:
        """Rendition name -> correction; a run without renditions has one, named ``""``."""
        return self.renditions or {"": self.correction}


def _share(name: str, value: int | str, of: int) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", str(value))
    if match is None or (match[2] and float(match[1]) > 100) or (not match[2] and "." in match[1]):
        raise ConfigurationError(f'{name}={value!r} must be a count such as 3, or a share such as "2%".')
    return int(of * float(match[1]) / 100) if match[2] else int(match[1])
