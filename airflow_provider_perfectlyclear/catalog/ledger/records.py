"""
What the ledger says about one output: rows, and the records that change them. Pure.

A row's meaning is that of make: output name -> last state, with what it was made from. Records are plain
JSON objects; the later one wins. Try numbers, keys, connection ids and URLs are no part of any of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from hashlib import sha256
from typing import Any

from airflow_provider_perfectlyclear.reasons import PERMANENT

#: The layout of segments. A newer one is refused with a clear message.
SCHEMA = 1
#: Goes into every digest, so that a change of its meaning would be a decision, not an accident.
DIGEST_SCHEMA = 1
#: So many hex digits of an output's SHA-256 are kept: enough to tell two pictures apart, for 100,000 rows in memory.
OUTPUT_DIGITS = 16

Record = Mapping[str, Any]


class State(StrEnum):
    """Where one output stands."""

    INTENT = "intent"  # /pfc may have been called: ambiguous until a later record says more
    STARTED = "started"  # paid; its job is asked for until it is final
    LANDED = "landed"
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
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
        Whether this row of an output counts, and not that of another lane: the newer one. A failure before anything
        was paid never hides what the other lane has paid for.
        """
        if self._is_no_start != other._is_no_start:
            return other._is_no_start
        return self.age > other.age

    @property
    def _is_no_start(self) -> bool:
        return self.state is State.FAILED and not self.is_known_bad and self.job_id is None

    @property
    def is_paid(self) -> bool:
        """Whether a job was started for it, or shared with another output; what became of the job is another matter."""
        return self.job_id is not None

    @property
    def is_known_bad(self) -> bool:
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
    """The full URI of a source, however its folder and its name were told apart."""
    return f"{root.rstrip('/')}/{name}"


def intent(row: Row, *, again: bool = False, after_loss: bool = False) -> dict[str, Any]:
    """
    What must be written before ``/pfc`` is called.

    :param again: an earlier call may have been accepted.
    :param after_loss: its job was lost.
    """
    return {
        "r": "intent",
        **_made_from(row),
        "query": dict(row.query or {}),
        "file_type": row.file_type,
        "file_key": row.file_key,
        **({"again": True} if again or after_loss else {}),
        **({"after_loss": True} if after_loss else {}),
        **({"paid_before": True} if row.paid_before else {}),
    }


def joined(row: Row, job_id: str) -> dict[str, Any]:
    """
    An output shares a job that was started for the same content and correction: nothing is paid for it.

    :param row: the output, with its source, content, correction and the query of that job.
    :param job_id: the service's job id.
    """
    return {
        "r": "joined",
        **_made_from(row),
        "query": dict(row.query or {}),
        "file_type": row.file_type,
        "file_key": row.file_key,
        "job_id": job_id,
    }


def _made_from(row: Row) -> dict[str, Any]:
    return {
        "output": row.output,
        "source": row.source,
        **({"root": row.root} if row.root else {}),
        "fingerprint": row.fingerprint,
        "sha256": row.sha256,
        "digest": row.digest,
    }


def started(output: str, job_id: str, *, paid_before: bool = False) -> dict[str, Any]:
    """``/pfc`` was accepted; ``paid_before`` as in the row."""
    again = {"paid_before": True} if paid_before else {}
    return {"r": "started", "output": output, "job_id": job_id, **again}


def landed(
    output: str, *, size: int | None, usage: Mapping[str, int] | None, sha256: str = ""
) -> dict[str, Any]:
    """The corrected file stands at the destination (``size`` None: only its data was wanted)."""
    content = {"sha256": sha256[:OUTPUT_DIGITS]} if sha256 else {}
    return {"r": "landed", "output": output, "size": size, "usage": usage or None, **content}


def seen(output: str, fingerprint: str, *, root: str = "", source: str = "") -> dict[str, Any]:
    """
    The source's fingerprint or place changed, its bytes did not: nothing is to be done.

    :param root: where the source lies now, with ``source``; ``""``: where it was.
    """
    moved = {"root": root, "source": source} if root else {}
    return {"r": "seen", "output": output, "fingerprint": fingerprint, **moved}


def gone(output: str) -> dict[str, Any]:
    """The output is gone from the destination, and the service has its result no more (404): not asked again."""
    return {"r": "gone", "output": output}


def failed(row: Row, code: str, reason: str) -> dict[str, Any]:
    """It failed; ``row`` says for which content and correction."""
    return {"r": "failed", **_made_from(row), "code": code, "reason": reason}


def apply(rows: dict[str, Row], record: Record, *, run: str, at: float, seq: int = 0) -> None:
    """
    Let one record change the rows. Records that are about a lane, not an output, change nothing.

    :param rows: output name -> row, changed in place.
    :param record: as the functions above make them, or a checkpoint's ``row``.
    :param run: the run key of the segment's writer.
    :param at: the segment's Unix time.
    :param seq: the segment's sequence number, 0 in segments of earlier versions.
    """
    kind, output = record.get("r"), record.get("output", "")
    if kind == "row":
        rows[output] = Row.from_json(record)
    elif kind == "forgotten":
        rows.pop(output, None)
    elif kind in ("seen", "gone"):  # nothing was made: it stays the row of the run that made it
        if output in rows:
            rows[output] = _noted(rows[output], record, seq)
    elif kind in _CHANGES:
        before = rows.get(output) or Row(output, State.FAILED)
        if before.run != run:  # what an earlier run paid is not this run's bill
            before = replace(before, run=run, paid=0, twice=0)
        rows[output] = replace(_CHANGES[kind](before, record, at), at=at, seq=seq)


def _noted(row: Row, record: Record, seq: int) -> Row:
    if record["r"] == "gone":
        return replace(row, gone=True, seq=seq)
    moved = {name: record[name] for name in ("root", "source") if name in record}
    return replace(row, fingerprint=record["fingerprint"], seq=seq, **moved)


def _from(row: Row, record: Record, state: State) -> Row:
    """A row that begins anew: what an output is to be made from."""
    return Row(
        output=row.output,
        state=state,
        source=record["source"],
        root=sys.intern(record.get("root", "")),
        fingerprint=record["fingerprint"],
        sha256=record["sha256"],
        digest=sys.intern(record["digest"]),
        query=record["query"],
        file_type=record["file_type"],
        file_key=record["file_key"],
        run=row.run,
        paid=row.paid,
        twice=row.twice,
    )


def _intent(row: Row, record: Record, at: float) -> Row:
    again, after_loss = bool(record.get("again")), bool(record.get("after_loss"))
    new = _from(row, record, State.INTENT)
    paid_before = bool(record.get("paid_before"))
    twice = row.twice + again
    return replace(new, paid_by=row.run, twice=twice, after_loss=after_loss, paid_before=paid_before)


def _joined(row: Row, record: Record, at: float) -> Row:
    new = _from(row, record, State.STARTED)
    return replace(new, paid_by=row.run, job_id=record["job_id"], started_at=at)


def _started(row: Row, record: Record, at: float) -> Row:
    return replace(row, state=State.STARTED, job_id=record["job_id"], paid=row.paid + 1, started_at=at)


def _landed(row: Row, record: Record, at: float) -> Row:
    return replace(
        row,
        state=State.LANDED,
        size=record["size"],
        output_sha256=record.get("sha256", ""),
        usage=record["usage"],
        query=None,
        code=None,
        reason=None,
        gone=False,
    )


def _failed(row: Row, record: Record, at: float) -> Row:
    return replace(
        row,
        state=State.FAILED,
        source=record["source"],
        root=record.get("root", ""),
        fingerprint=record["fingerprint"],
        sha256=record["sha256"],
        digest=record["digest"],
        code=record["code"],
        reason=record["reason"],
        query=None,
    )


_CHANGES = {
    "intent": _intent,
    "started": _started,
    "joined": _joined,
    "landed": _landed,
    "failed": _failed,
}


def correction_digest(parameters: Mapping[str, Any], *, preset_sha256: str | None = None) -> str:
    """
    The digest that says whether a correction is still the same.

    :param parameters: what was explicitly asked for, normalised (``Correction.canonical()``).
    :param preset_sha256: of a custom preset's file, so that an edited preset is another correction.
    """
    body = {"schema": DIGEST_SCHEMA, "correction": dict(parameters)}
    if preset_sha256 is not None:
        body["preset"] = preset_sha256
    return sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]
