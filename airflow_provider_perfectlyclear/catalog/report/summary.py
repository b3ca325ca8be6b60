"""What a run says at its end: the manifest, the summary, and the message when too much failed. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_perfectlyclear.api.text import are, counted, one_line, were
from airflow_provider_perfectlyclear.catalog.ledger.bills import Bill
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan.model import Item
from airflow_provider_perfectlyclear.catalog.result import Failure
from airflow_provider_perfectlyclear.catalog.run_state import RunState
from airflow_provider_perfectlyclear.reasons import PERMANENT, Reason

#: How many failures the summary and the message name; the manifest has all.
NAMED = 5
#: The longest summary (bytes as JSON): it is stored for every run in Airflow's database.
LONGEST = 1999


@dataclass
class Outcome:
    """
    Everything that one run did, over all its tries.

    :param lines: one per output that was not unchanged, each in exactly one state.
    """

    lines: list[dict[str, Any]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    corrected: int = 0
    reused: int = 0
    gone: int = 0
    not_started: int = 0
    paid: int = 0
    paid_again: int = 0
    twice: int = 0
    usage: Counter[str] = field(default_factory=Counter)

    @property
    def retry_helps(self) -> bool:
        """Whether something that failed can change by itself."""
        return self.not_started > 0 or any(failure.retry_helps for failure in self.failures)


def outcome_of(state: RunState, rows: Iterable[Row], left: Iterable[Item], run: str, bill: Bill) -> Outcome:
    """
    Gather what became of every output that was not unchanged.

    :param rows: the ledger's; those of this run count.
    :param left: what was not begun.
    :param run: this run's key.
    :param bill: what it has paid.
    """
    found = Outcome(paid=bill.paid, twice=bill.twice, paid_again=bill.paid_again)
    memory = dict(state.progress.failures)
    left = list(left)
    taken_up = {item.output for item in left} if state.planned else None
    gone = {*state.counts.gone, *state.progress.gone}
    for row in rows:
        if row.run != run or row.output in gone or _is_beside(row.output, state):
            continue
        found.usage.update(row.usage or {})
        failure = memory.pop(row.output, None)
        if failure is None and row.state is State.FAILED and not (row.file_key or row.is_known_bad):
            continue  # an earlier try noted it so that it is tried last; this one did not find its source any more
        if failure is None and row.state is not State.LANDED:
            failure = _of_an_earlier_try(row, taken_up)
        _add_row(found, row, failure, state)
    for failure in memory.values():
        _add_failure(found, failure, {})
    told = {line["output"] for line in found.lines}  # what this run made or failed to make comes first
    for output in _not_yet(state.counts.edited, told):
        found.lines.append({"output": output, "state": "edited_at_destination"})
    for output in _not_yet(sorted(gone), told):
        found.gone += 1
        found.lines.append({"output": output, "state": "gone_from_destination"})
    sources = {item.output: item.source for item in left}
    for output in _not_yet(sources, told):
        found.not_started += 1
        found.lines.append({"output": output, "state": "not_started", "source": sources[output]})
    return found


def _not_yet(outputs: Iterable[str], told: set[str]) -> Iterator[str]:
    """Yield the outputs that have no line yet, and note that they get one."""
    for output in outputs:
        if output not in told:
            told.add(output)
            yield output


def _is_beside(output: str, state: RunState) -> bool:
    """Whether a row says once more, beside what an output was paid for, what is told of the output itself."""
    return output.startswith("/") and output[1:] in state.progress.failures


def _add_row(found: Outcome, row: Row, failure: Failure | None, state: RunState) -> None:
    facts = {"sha256": row.sha256, "job_id": row.job_id, "file_key": row.file_key, "paid": row.paid}
    if failure is not None and failure.source == row.source:
        facts["root"] = row.root
    if failure is None:
        found.corrected += 1
        found.reused += not row.paid and row.paid_by == row.run
        extra = {
            "bytes": row.size,
            "usage": dict(row.usage) if row.usage else None,
            "digest": row.digest,
            "run": row.run,
            "at": row.at,
        }
        warnings = state.progress.warnings.get(row.output)
        details = state.progress.details.get(row.output)
        optional = {"warnings": warnings, "detection_data": details}
        made_from = {"source": row.source, "root": row.root}
        line = {"output": row.output, "state": "corrected", **made_from, **facts, **extra}
        found.lines.append({**line, **{name: value for name, value in optional.items() if value}})
        return
    _add_failure(found, failure, facts)


def _of_an_earlier_try(row: Row, taken_up: Container[str] | None) -> Failure:
    """``taken_up``: the outputs that this try's plan had, of those it did not begin; None: it has made none."""
    code, reason = row.code or "OPEN", row.reason or "its job is still open; the next run asks for it"
    mendable = row.state is State.FAILED and code not in PERMANENT
    if mendable and taken_up is not None and row.output not in taken_up:
        code, reason = (
            Reason.SOURCE_GONE,
            f"{reason}; its source is not there any more, so it is not started again",
        )
    return Failure(row.output, row.source, code, reason)


def _add_failure(found: Outcome, failure: Failure, facts: Mapping[str, Any]) -> None:
    found.failures.append(failure)
    line = {"output": failure.output, "state": "failed", "source": failure.source}
    found.lines.append({**line, "code": failure.code, "reason": failure.reason, **facts})


def summary_of(
    state: RunState, outcome: Outcome, *, seconds: float, manifest_uri: str, ledger: str = ""
) -> dict[str, Any]:
    """
    Return what the operator returns, under 2 kB whatever the pictures and the service's counters are called.

    :param ledger: the ledger's id.
    """
    counts, progress = state.counts, state.progress
    seen = {*counts.own, *counts.edited, *counts.gone}
    beyond = sum(line["output"] not in seen for line in outcome.lines)
    summary: dict[str, Any] = {
        "listed": counts.listed + beyond,
        "ignored": counts.ignored,
        "unchanged": counts.unchanged + progress.same_bytes,
        "known_bad": len(counts.known_bad) + len(progress.still_bad),
        "edited_at_destination": len(counts.edited),
        "gone_from_destination": outcome.gone,
        "corrected": outcome.corrected,
        "reused": outcome.reused,
        "failed": len(outcome.failures),
        "not_started": outcome.not_started,
        "warnings": sum("warnings" in line for line in outcome.lines),
        "paid": outcome.paid,
        "paid_again": outcome.paid_again,
        "possibly_paid_twice": outcome.twice,
        "reasons": counts.reasons,
        "usage": dict(outcome.usage.most_common(20)),
        "bytes_in": progress.bytes_in,
        "bytes_out": progress.bytes_out,
        "seconds": round(seconds, 1),
        "manifest": manifest_uri[:300],
        "ledger": ledger,
        "report": None,
        "failures": [
            {"name": one_line(f.source or f.output, 60), "reason": one_line(f"{f.code}: {f.reason}", 90)}
            for f in outcome.failures[:NAMED]
        ],
    }
    while len(json.dumps(summary)) > LONGEST and summary["failures"]:  # a sign may take twelve bytes
        summary["failures"].pop()
    while len(json.dumps(summary)) > LONGEST and summary["usage"]:
        summary["usage"].popitem()
    return summary


def done_line(summary: Mapping[str, Any], options: Options) -> str:
    """Say in a sentence how a run has ended, with the manifest's place and what ``limit`` has left."""
    left = summary["not_started"]
    later = (
        f" {left:,} {were(left)} left for later runs by limit={options.limit}."
        if left and options.limit is not None
        else ""
    )
    gone = summary["gone_from_destination"]
    moved = (
        f" {gone:,} {are(gone)} gone from the destination and {were(gone)} not paid for again."
        if gone
        else ""
    )
    return (
        f"Done: {summary['corrected']:,} corrected, {summary['unchanged']:,} unchanged, {summary['failed']:,} failed; "
        f"{summary['paid']:,} paid.{later}{moved} Each output is listed in {summary['manifest']}."
    )


def failure_message(
    outcome: Outcome,
    *,
    destination: str,
    manifest_uri: str,
    attempted: int,
    unread: Sequence[Sequence[str]] = (),
) -> str:
    """
    Say what failed.

    For example ``3 of 412 pictures failed; 409 are in ... b/07.jpg REJECTED: no image data; ...``.
    """
    failed = len(outcome.failures)
    landed = f"{outcome.corrected:,} {are(outcome.corrected)} in {destination}"
    text = f"{failed:,} of {counted(attempted, 'picture')} failed; {landed}."
    if outcome.not_started:
        text += f" {outcome.not_started:,} {were(outcome.not_started)} not started."
    if unread:
        folders = "; ".join(one_line(f"{folder}: {why}", 200) for folder, why in unread[:NAMED])
        text += f" {counted(len(unread), 'folder')} of the source could not be read: {folders}."
    named = "; ".join(_named(failure) for failure in outcome.failures[:NAMED])
    more = f"; and {failed - NAMED:,} more" if failed > NAMED else ""
    said = f" {named}{more}." if named else ""
    next_time = "A retry reads these folders again." if unread and not failed else _what_next(outcome)
    return f"{text}{said} All in {manifest_uri}. {next_time}"


def _named(failure: Failure) -> str:
    return one_line(f"{failure.source or failure.output} {failure.code}: {failure.reason}", 300).rstrip(".")


def _what_next(outcome: Outcome) -> str:
    mendable = [failure for failure in outcome.failures if failure.retry_helps]
    open_again = len(mendable) + outcome.not_started
    if open_again:
        names = ", ".join(one_line(failure.source or failure.output, 60) for failure in mendable[:NAMED])
        more = f", and {open_again - NAMED:,} more" if open_again > NAMED and names else ""
        return f"A retry asks only for these {open_again:,}{f': {names}{more}' if names else ''}."
    if outcome.failures and all(failure.code in PERMANENT for failure in outcome.failures):
        return (
            "These failures are permanent: retries do not help and later runs skip them. Use "
            'reprocess="failed" to try again.'
        )
    return "A retry does not help."
