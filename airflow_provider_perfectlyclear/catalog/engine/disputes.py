"""
Job ids that were named for two pictures. Pure.

One of the answers belonged to another question, and nobody can say which: so everybody who was told that id is asked
about again. The job is given to the one that is left when all others have been told another id; to nobody, if two are
told it again. Until then none of them has it: a wrong picture under a name is worse than one that is late.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from airflow_provider_perfectlyclear.catalog.ledger.records import Row


@dataclass
class _Dispute:
    """
    :param job_id: that was named for several.
    :param unheard: outputs that were not asked again yet.
    :param claims: outputs that were told this id again.
    :param is_open_ended: one of them could not be told: the job may be its.
    """

    job_id: str
    unheard: set[str]
    claims: dict[str, Row] = field(default_factory=dict)
    is_open_ended: bool = False


@dataclass(frozen=True)
class Ruling:
    """
    What an answer has settled.

    :param given: output and its job.
    :param nobodys: outputs whose job is still not known.
    """

    given: list[tuple[Row, str]] = field(default_factory=list)
    nobodys: list[Row] = field(default_factory=list)


class Disputes:
    """The open ones, each by the outputs that take part; an output takes part in one."""

    def __init__(self) -> None:
        self._of: dict[str, _Dispute] = {}

    def over(self, output: str) -> str | None:
        """The job id that an output is in dispute about, if it is."""
        return self._of[output].job_id if output in self._of else None

    def has(self, job_id: str) -> bool:
        """Whether there is a dispute about a job."""
        return any(dispute.job_id == job_id for dispute in self._of.values())

    def open(self, job_id: str, rows: Iterable[Row], *, told_twice: Iterable[Row] = ()) -> None:
        """
        A job was named for several outputs.

        :param rows: one for each content and correction that was told its id; they are to be asked about again.
        :param told_twice: those that were asked about again already, and told it again.
        """
        claims = {row.output: row for row in told_twice}
        dispute = _Dispute(job_id, {row.output for row in rows}, claims)
        self._of |= dict.fromkeys([*dispute.unheard, *claims], dispute)

    def answered(self, row: Row, job_id: str) -> Ruling:
        """An output that takes part was asked about again, and told an id that is nobody else's."""
        dispute = self._of[row.output]
        dispute.unheard.discard(row.output)
        if job_id == dispute.job_id:
            dispute.claims[row.output] = row
            return self._rule(dispute)
        del self._of[row.output]
        ruling = self._rule(dispute)
        return Ruling([(row, job_id), *ruling.given], ruling.nobodys)

    def unanswered(self, row: Row) -> Ruling:
        """An output that takes part cannot be asked about, or not any more in this try."""
        dispute = self._of.pop(row.output)
        dispute.unheard.discard(row.output)
        dispute.is_open_ended = True
        return self._rule(dispute)

    def _rule(self, dispute: _Dispute) -> Ruling:
        if dispute.unheard:
            return Ruling()
        claims = list(dispute.claims.values())
        for row in claims:
            self._of.pop(row.output, None)
        if len(claims) == 1 and not dispute.is_open_ended:
            return Ruling([(claims[0], dispute.job_id)])
        return Ruling([], claims)
