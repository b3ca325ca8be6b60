"""
What the ledger says about one output: rows, and the records that change them. Pure.

A row's meaning is that of make: output name -> last state, with what it was made from. Records are plain
JSON objects; the later one wins. Try numbers, keys, connection ids and URLs are no part of any of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from airflow_provider_perfectlyclear.catalog.ledger.rows import Record, Row, State
from airflow_provider_perfectlyclear.reasons import Reason

#: The layout of segments. A newer one is refused with a clear message.
SCHEMA = 1
#: Goes into every digest, so that a change of its meaning would be a decision, not an accident.
DIGEST_SCHEMA = 1
#: So many hex digits of an output's SHA-256 are kept: enough to tell two pictures apart, for 100,000 rows in memory.
OUTPUT_DIGITS = 16


def intent(row: Row, *, again: bool = False, after_loss: bool = False, doubt: str = "") -> dict[str, Any]:
    """
    Return what must be written before ``/pfc`` is called.

    :param again: an earlier call may have been accepted.
    :param after_loss: its job was lost.
    :param doubt: as in the row.
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
        **({"doubt": doubt} if doubt else {}),
    }


def joined(row: Row, job_id: str) -> dict[str, Any]:
    """
    Say that an output shares a job that was started for the same content and correction: nothing is paid for it.

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


def copying(row: Row) -> dict[str, Any]:
    """
    Say that a copy, or an earlier job's result, is about to be published over an output: either may stand there now.

    :param row: the output with its new source, content and correction, and the job whose result it gets.
    """
    return {"r": "copying", **_made_from(row), "job_id": row.job_id}


def landed(
    output: str, *, size: int | None, usage: Mapping[str, int] | None, sha256: str = ""
) -> dict[str, Any]:
    """Say that the corrected file stands at the destination (``size`` None: only its data was wanted)."""
    content = {"sha256": sha256[:OUTPUT_DIGITS]} if sha256 else {}
    return {"r": "landed", "output": output, "size": size, "usage": usage or None, **content}


def seen(output: str, fingerprint: str, *, root: str = "", source: str = "") -> dict[str, Any]:
    """
    Say that the source's fingerprint or place changed, and its bytes did not: nothing is to be done.

    :param root: where the source lies now, with ``source``; ``""``: where it was.
    """
    moved = {"root": root, "source": source} if root else {}
    return {"r": "seen", "output": output, "fingerprint": fingerprint, **moved}


def gone(output: str) -> dict[str, Any]:
    """Say that the output is gone from the destination, and its result from the service (404): not asked again."""
    return {"r": "gone", "output": output}


def merged(lane: str, head: int) -> dict[str, Any]:
    """Say that what another lane says up to the segment of this number is part of this one."""
    return {"r": "merged", "lane": lane, "head": head}


def failed(row: Row, code: str, reason: str) -> dict[str, Any]:
    """Say that it failed; ``row`` says for which content and correction."""
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
    if moved:
        return replace(row, fingerprint=record["fingerprint"], seq=seq, **moved)
    # Nothing was made: the row stays as old as it is, or it would hide what a single task has landed meanwhile.
    return replace(row, fingerprint=record["fingerprint"])


def _from(row: Row, record: Record, state: State) -> Row:
    """Return a row that begins anew: what an output is to be made from."""
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
    twice, doubt = row.twice + again, record.get("doubt", "")
    return replace(
        new, paid_by=row.run, twice=twice, after_loss=after_loss, paid_before=paid_before, doubt=doubt
    )


def _joined(row: Row, record: Record, at: float) -> Row:
    new = _from(row, record, State.STARTED)
    return replace(new, paid_by=row.run, job_id=record["job_id"], started_at=at)


def _copying(row: Row, record: Record, at: float) -> Row:
    made_from = {name: record.get(name, "") for name in ("source", "root", "fingerprint", "sha256", "digest")}
    return Row(
        row.output,
        State.FAILED,
        **made_from,
        job_id=record["job_id"],
        code=Reason.COPY_INTERRUPTED,
        reason="the worker was ended while it copied another output to this name",
        run=row.run,
        paid=row.paid,
        twice=row.twice,
    )


def _started(row: Row, record: Record, at: float) -> Row:
    job = {"job_id": record["job_id"], "started_at": at, "doubt": ""}
    return replace(row, state=State.STARTED, paid=row.paid + 1, **job)


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
    if (row.sha256, row.digest) != (
        record["sha256"],
        record["digest"],
    ):  # the job was that of another content
        row = Row(row.output, State.FAILED, run=row.run, paid=row.paid, twice=row.twice)
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
    "copying": _copying,
    "landed": _landed,
    "failed": _failed,
}


def correction_digest(parameters: Mapping[str, Any], *, preset_sha256: str | None = None) -> str:
    """
    Return the digest that says whether a correction is still the same.

    :param parameters: what was explicitly asked for, normalised (``Correction.canonical()``).
    :param preset_sha256: of a custom preset's file, so that an edited preset is another correction.
    """
    body = {"schema": DIGEST_SCHEMA, "correction": dict(parameters)}
    if preset_sha256 is not None:
        body["preset"] = preset_sha256
    return sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]
