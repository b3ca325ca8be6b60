"""
Job ids that the service named for two pictures. Pure.

One of the responses belongs to another request, and nothing in it says which. So the service is asked again about every
picture with that job id. One picture gets the job if the service names other jobs for all the others. If it names the
job for two pictures again, none gets it: a late picture is better than a wrong one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from airflow_provider_perfectlyclear.catalog.ledger.rows import Row


@dataclass
class _Dispute:
    """
    One job id that several pictures have.

    :param job_id: the id.
    :param unheard: outputs without a second response.
    :param claims: outputs whose second response names the job again.
    :param is_open_ended: one output will have no second response: the job may belong to it.
    """

    job_id: str
    unheard: set[str]
    claims: dict[str, Row] = field(default_factory=dict)
    is_open_ended: bool = False


@dataclass(frozen=True)
class Ruling:
    """
    Result of a response.

    :param given: outputs, each with its job id.
    :param unsettled: outputs whose job stays unknown.
    """

    given: list[tuple[Row, str]] = field(default_factory=list)
    unsettled: list[Row] = field(default_factory=list)


class Disputes:
    """Open disputes by output. An output is in one dispute at most."""

    def __init__(self) -> None:
        self._of: dict[str, _Dispute] = {}

    def over(self, output: str) -> str | None:
        """Return the job id in dispute for an output, or None."""
        return self._of[output].job_id if output in self._of else None

    def has(self, job_id: str) -> bool:
        """Return whether a job is in dispute."""
        return any(dispute.job_id == job_id for dispute in self._of.values())

    def open(
        self,
        job_id: str,
        rows: Iterable[Row],
        *,
        told_twice: Iterable[Row] = (),
        is_open_ended: bool = False,
    ) -> None:
        """
        Open a dispute.

        :param rows: one output for each content and correction with this job id; the caller asks about them again.
        :param told_twice: outputs whose second response has named the job already.
        :param is_open_ended: whether another output has failed over this job in an earlier attempt.
        """
        claims = {row.output: row for row in told_twice}
        dispute = _Dispute(job_id, {row.output for row in rows}, claims, is_open_ended)
        self._of |= dict.fromkeys([*dispute.unheard, *claims], dispute)

    def answered(self, row: Row, job_id: str) -> Ruling:
        """Take in the second response for an output: the job in dispute, or one that no other picture has."""
        dispute = self._of[row.output]
        dispute.unheard.discard(row.output)
        if job_id == dispute.job_id:
            dispute.claims[row.output] = row
            return self._rule(dispute)
        del self._of[row.output]
        ruling = self._rule(dispute)
        return Ruling([(row, job_id), *ruling.given], ruling.unsettled)

    def unanswered(self, row: Row) -> Ruling:
        """Note that an output has no second response in this attempt."""
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
