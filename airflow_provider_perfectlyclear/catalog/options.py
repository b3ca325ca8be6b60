"""What a run was asked to do, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_perfectlyclear import limits
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
        if said := limits.problems(vars(self)):
            raise ConfigurationError(" ".join(said))
        self.shard_of()
        if problem := limits.renditions_problem(self.renditions or ()):
            raise ConfigurationError(problem)

    def failures_allowed(self, attempted: int) -> int:
        """
        How many failures the run tolerates.

        :param attempted: how many outputs the run set out to correct; ``"2%"`` is of these, rounded down.
        """
        return limits.share(self.max_failures, attempted) or 0

    def paid_again_allowed(self, known: int) -> int | None:
        """
        How many outputs may be paid for again; None: the redo guard decides.

        :param known: how many the ledger has paid for or stand at the destination; ``"10%"`` is of these.
        """
        most = self.max_paid_again
        return None if most is None else limits.share(most, known)

    def shard_of(self) -> tuple[int, int] | None:
        """Return the shard as (which, of how many), counted from 1; None when the catalog is one."""
        if self.shard is None:
            return None
        if said := limits.shard_problem(self.shard):
            raise ConfigurationError(said)
        return limits.shard_of(self.shard)

    @property
    def pays_for_gone(self) -> bool:
        """Whether an output whose result is gone everywhere is asked for, and paid for, by name."""
        return self.reprocess in ("missing", "always")

    @property
    def corrections(self) -> Mapping[str, Correction]:
        """Rendition name -> correction; a run without renditions has one, named ``""``."""
        return self.renditions or {"": self.correction}
