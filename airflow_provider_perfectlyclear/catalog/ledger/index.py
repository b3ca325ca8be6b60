"""What a ledger has paid for, by content and correction: one more name for the same picture costs nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_perfectlyclear.catalog.ledger.records import Row, State


class ContentIndex:
    """
    Rows by what they were made from. It is built once a run; the rows of the run itself are added as they land.

    :param rows: the ledger's.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._first: dict[str, Row] = {}  # by content; most pictures have one correction
        self._more: dict[str, list[Row]] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Take in a row that has landed or failed for good; others say nothing about what was paid."""
        if not row.sha256 or not (row.state is State.LANDED or row.is_known_bad):
            return
        first = self._first.setdefault(row.sha256, row)
        if first is not row:
            self._more.setdefault(row.sha256, []).append(row)

    def discard(self, row: Row) -> None:
        """Forget an output: it is not copied any more."""
        rows = [*filter(None, [self._first.pop(row.sha256, None)]), *self._more.pop(row.sha256, ())]
        for other in rows:
            if other.output != row.output:
                self.add(other)

    def find(
        self, sha256: str, digest: str, *, paid_by: str | None = None, standing: bool = False
    ) -> Row | None:
        """
        The row that holds a content in a correction: one that has landed before one that failed for good.

        :param sha256: of the source's bytes, hex.
        :param digest: of the correction.
        :param paid_by: only what this run has paid for; None: any run.
        :param standing: only what has landed and is not known to be gone.
        """
        first = self._first.get(sha256)
        if first is None:
            return None
        found = [
            row
            for row in (first, *self._more.get(sha256, ()))
            if row.digest == digest and paid_by in (None, row.paid_by)
        ]
        landed = [row for row in found if row.state is State.LANDED]
        present = [row for row in landed if not row.gone]
        return next(iter(present if standing else (*present, *landed, *found)), None)
