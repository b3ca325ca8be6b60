"""What the ledger says about one output. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from airflow_provider_perfectlyclear.reasons import PERMANENT, Reason

Record = Mapping[str, Any]


class State(StrEnum):
    """Where one output stands."""

    INTENT = "intent"  # /pfc may have been called: ambiguous until a later record says more
    STARTED = "started"  # paid; its job is asked for until it is final
    LANDED = "landed"
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
        """Whether a job may be running for it."""
        return self in (State.INTENT, State.STARTED)


@dataclass(frozen=True, slots=True)
class Row:
    """
    The last state of one output, and what it was made from.

    :param output: the name at the destination.
    :param state: where it stands.
    :param source: the name at the source, below ``root``.
    :param root: the URI of the folder that ``source`` is relative to; ``""`` in rows of earlier versions.
    :param fingerprint: the source's size and what else a listing says of its content, see ``Entry``.
    :param sha256: of the bytes that were sent, hex.
    :param digest: of the correction, see :func:`correction_digest`.
    :param query: the parameters of ``/pfc``, kept while the answer may still be needed.
    :param file_type: the service's ``fileType``.
    :param run: the run key of the run that wrote last.
    :param paid_by: the run key of the run that declared the paid call, whichever run lands it.
    :param file_key: the service's ``fileKey``.
    :param job_id: the service's job id.
    :param size: bytes of the output.
    :param output_sha256: of the output's bytes, the first 16 hex digits; ``""`` in rows of earlier versions, and when
        only data was wanted.
    :param usage: the service's ``usage`` counters of the job.
    :param code: why it failed, as a stable reason code.
    :param reason: why it failed, in one line.
    :param paid: accepted ``/pfc`` calls for this output under this run key.
    :param twice: calls that were sent again although an earlier one may have been accepted.
    :param after_loss: whether its job replaces one that the service had lost.
    :param gone: neither the output nor the job's result was there when it was last looked for.
    :param at: Unix seconds of the last record; for people, and for rows of earlier versions.
    :param seq: the sequence number of the segment that changed it last; of two rows the higher one is newer.
    :param started_at: Unix seconds of ``started``.
    :param paid_before: its paid call is for what was paid for before, as the user has asked for or confirmed.
    :param doubt: a job id that the service has named for this output and for another one, see ``engine/disputes.py``.
    """

    output: str
    state: State
    source: str = ""
    fingerprint: str = ""
    sha256: str = ""
    digest: str = ""
    query: Mapping[str, str] | None = None
    file_type: str = "image"
    run: str = ""
    file_key: str | None = None
    job_id: str | None = None
    size: int | None = None
    output_sha256: str = ""
    usage: Mapping[str, int] | None = None
    code: str | None = None
    reason: str | None = None
    paid: int = 0
    twice: int = 0
    after_loss: bool = False
    at: float = 0.0
    started_at: float | None = None
    root: str = ""
    paid_by: str = ""
    gone: bool = False
    seq: int = 0
    paid_before: bool = False
    doubt: str = ""

    @property
    def source_uri(self) -> str:
        """The source's full URI; ``""`` in rows of earlier versions, which knew only its name."""
        return source_uri(self.root, self.source) if self.root else ""

    @property
    def age(self) -> tuple[int, float]:
        """What orders two rows of one output: by sequence; rows of earlier versions have none, and go by time."""
        return self.seq, self.at

    def outranks(self, other: Row) -> bool:
        """
        Return whether this row of an output counts, and not that of another lane: the newer one.

        A failure before anything was paid never hides what the other lane has paid for.
        """
        if self._is_no_start != other._is_no_start:
            return other._is_no_start
        return self.age > other.age

    @property
    def _is_no_start(self) -> bool:
        is_start = self.is_known_bad or self.code == Reason.COPY_INTERRUPTED
        return self.state is State.FAILED and self.job_id is None and not is_start

    @property
    def is_paid(self) -> bool:
        """Whether a job was started for it, or shared with another output; what became of the job is another matter."""
        return self.job_id is not None

    @property
    def is_known_bad(self) -> bool:
        """Whether it failed for good."""
        return self.state is State.FAILED and self.code in PERMANENT

    def to_json(self) -> dict[str, Any]:
        """Only what is not the default, so that 100,000 rows stay small."""
        values = ((name, getattr(self, name)) for name in _DEFAULTS)
        data = {name: value for name, value in values if value != _DEFAULTS[name]}
        data.pop("paid_by", None)
        return data if self.paid_by == _payer(data) else {**data, "paid_by": self.paid_by}

    @classmethod
    def from_json(cls, data: Record) -> Row:
        """Unknown names are ignored: a later version of the same schema may add some."""
        known = {name: data[name] for name in data if name in _NAMES}
        known["state"] = State(data["state"])
        known.setdefault("paid_by", _payer(known))
        for name in _SHARED:  # one object for all that are equal: a catalog has 100,000 rows
            known[name] = sys.intern(known.get(name, ""))
        known["output"] = sys.intern(known["output"])  # the object that listings have
        if known.get("source") == known["output"]:
            known["source"] = known["output"]
        return cls(**known)

    def settled(self) -> Row:
        """Without what only the run that made it needs."""
        if self.state is not State.LANDED:
            return self
        return replace(self, file_key=None, usage=None, started_at=None, paid=0, twice=0)


_DEFAULTS = {field.name: field.default for field in fields(Row)}
_NAMES = frozenset(_DEFAULTS)
_SHARED = ("output", "digest", "run", "root", "paid_by")


def _payer(row: Record) -> str:
    """Which run paid, where a row does not say: most jobs are landed by the run that started them."""
    return str(row.get("run", "")) if row.get("job_id") else ""


def source_uri(root: str, name: str) -> str:
    """Return the full URI of a source, however its folder and its name were told apart."""
    return f"{root.rstrip('/')}/{name}"
