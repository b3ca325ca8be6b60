"""What a ledger has paid for, by content and correction: one more name for the same picture costs nothing. Pure."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping

from airflow_provider_perfectlyclear.catalog.ledger.rows import Record, Row, State
from airflow_provider_perfectlyclear.reasons import REFUSED_HERE

#: A checkpoint names so many replaced contents in one record.
_KEYS_PER_RECORD = 1000


def content_key(sha256: str, digest: str) -> int:
    """
    Return a number of 64 bits for a content in a correction.

    :param sha256: of the source's bytes, hex.
    :param digest: of the correction, hex.
    """
    return int(sha256[:16], 16) ^ int(digest[:16] or "0", 16)


def replaced_content(rows: Mapping[str, Row], record: Record) -> Iterator[int]:
    """
    Yield the key of a paid content that a record takes out of the rows: its output is made from something else now.

    :param rows: output name -> row, before the record is applied.
    """
    if record.get("r") == "replaced":
        yield from (int(key, 16) for key in record["keys"])
    elif (
        record.get("r") in ("intent", "joined", "copying", "failed")
        and (row := rows.get(record["output"])) is not None
    ):
        yield from replaced_row(row, record["sha256"], record["digest"])


def replaced_row(row: Row, sha256: str, digest: str) -> Iterator[int]:
    """Yield the key of a row's content if it was paid for and another content or correction takes its place."""
    if row.job_id and row.sha256 and (row.sha256, row.digest) != (sha256, digest):
        yield content_key(row.sha256, row.digest)


def job_key(job_id: str) -> int:
    """Return a number of 64 bits for a job id."""
    return int(hashlib.sha256(job_id.encode()).hexdigest()[:16], 16)


def replaced_jobs(rows: Mapping[str, Row], record: Record) -> Iterator[tuple[int, int]]:
    """Yield the key of a job that a record takes out of the rows with its content, and the key of that content."""
    if record.get("r") == "replaced_jobs":
        yield from ((int(job, 16), int(key, 16)) for job, key in record["jobs"].items())
        return
    for key in replaced_content(rows, record) if record.get("output") in rows else ():
        yield job_key(str(rows[record["output"]].job_id)), key


def replaced_job_records(jobs: Mapping[int, int]) -> Iterator[Record]:
    """Yield a checkpoint's records of jobs whose content no row holds any more."""
    items = iter(sorted(jobs.items()))
    while some := list(itertools.islice(items, _KEYS_PER_RECORD)):
        yield {"r": "replaced_jobs", "jobs": {f"{job:016x}": f"{key:016x}" for job, key in some}}


def replaced_records(keys: Collection[int]) -> Iterator[Record]:
    """Yield a checkpoint's records of contents that were paid for and that no row holds any more."""
    names = [f"{key:016x}" for key in sorted(keys)]
    for first in range(0, len(names), _KEYS_PER_RECORD):
        yield {"r": "replaced", "keys": names[first : first + _KEYS_PER_RECORD]}


class ContentIndex:
    """
    Rows by what they were made from. It is built once a run; the rows of the run itself are added as they land.

    :param rows: the ledger's.
    :param replaced: keys of paid contents that no row holds any more; the ledger adds to them during the run.
    """

    def __init__(self, rows: Iterable[Row] = (), replaced: Collection[int] = frozenset()) -> None:
        self._replaced = replaced
        self._lock = threading.Lock()
        self._first: dict[str, Row] = {}  # by content; most pictures have one correction
        self._more: dict[str, list[Row]] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Take in a row. For any thread."""
        with self._lock:
            self._add(row)

    def _add(self, row: Row) -> None:
        """Take in a row that has landed or failed for good at the service; others say nothing about what was paid."""
        failed_there = row.is_known_bad and row.code not in REFUSED_HERE
        if not row.sha256 or not (row.state is State.LANDED or failed_there):
            return
        first = self._first.setdefault(row.sha256, row)
        if first is not row:
            self._more.setdefault(row.sha256, []).append(row)

    def discard(self, row: Row) -> None:
        """Forget what an output was made from: nothing is copied from it any more. For any thread."""
        with self._lock:
            rows = [*filter(None, [self._first.pop(row.sha256, None)]), *self._more.pop(row.sha256, ())]
            for other in rows:
                if other.output != row.output:
                    self._add(other)

    def was_replaced(self, sha256: str, digest: str) -> bool:
        """Whether a content in a correction was paid for, and its output is made from something else since."""
        return content_key(sha256, digest) in self._replaced

    def find(
        self, sha256: str, digest: str, *, paid_by: str | None = None, standing: bool = False
    ) -> Row | None:
        """
        Return the row that holds a content in a correction: one that has landed before one that failed for good.

        :param sha256: of the source's bytes, hex.
        :param digest: of the correction.
        :param paid_by: only what this run has paid for; None: any run.
        :param standing: only what has landed and is not known to be gone.
        """
        with self._lock:
            first = self._first.get(sha256)
            rows = [] if first is None else [first, *self._more.get(sha256, ())]
        found = [row for row in rows if row.digest == digest and paid_by in (None, row.paid_by)]
        landed = [row for row in found if row.state is State.LANDED]
        present = [row for row in landed if not row.gone]
        return next(iter(present if standing else (*present, *landed, *found)), None)
