"""``manifest.jsonl`` and ``plan.jsonl``: one line for each output, for the next task and for people who search."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.rows import source_uri
from airflow_provider_perfectlyclear.catalog.naming import refusal_key
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.plan.model import Plan
from airflow_provider_perfectlyclear.catalog.report.summary import Outcome
from airflow_provider_perfectlyclear.catalog.run_state import RunState
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool, writing
from airflow_provider_perfectlyclear.errors import RunStopped

#: How many that failed in earlier runs the manifest's first line names.
KNOWN_NAMED = 1000


class Writer:
    """
    Puts lines into a file, one by one: a catalog of 100,000 is never there as a whole.

    :param places: what the ledger knows of no other place lies at the source.
    :param ledger: the run's lane.
    """

    def __init__(self, places: Places, ledger: Ledger, options: Options) -> None:
        self._source = places.source
        self._destination = places.destination
        self._ledger = ledger
        self._options = options

    @contextmanager
    def manifest(self, summary: Mapping[str, Any], outcome: Outcome, state: RunState) -> Iterator[Path]:
        """Write the summary with what is known to be bad, then one line for each output, each in one state."""
        known = [dict(zip(("output", "code", "reason"), row, strict=True)) for row in known_bad(state)]
        first = {"summary": dict(summary), "known_bad": known[:KNOWN_NAMED], "unread": state.counts.unread}
        lines: Iterable[dict[str, Any]] = (self._with_places(line) for line in outcome.lines)
        if self._options.manifest == "all":
            with suppress(RunStopped):  # after a deferral the run knows its own rows only
                if self._ledger.owned:
                    self._ledger.read_rest()
            lines = chain(lines, self._unchanged(state), self._known_bad(state, outcome))
        everything: Iterable[Mapping[str, Any]] = chain((first,), lines)
        with _written(everything) as file:
            yield file

    @contextmanager
    def plan(self, made: Plan) -> Iterator[Path]:
        """Write one line for each output that is to be made or cannot be."""
        todo = (
            {
                "output": item.output,
                "state": "fetch" if item.free_only else "correct",
                "source": item.source,
                "reason": item.reason,
                "bytes": item.size,
            }
            for item in made.todo
        )
        refused = (
            {"output": one.item.output, "state": "refused", "code": one.code, "reason": one.reason}
            for one in made.refused
        )
        with _written(self._with_places(line) for line in chain[dict[str, Any]](todo, refused)) as file:
            yield file

    def _with_places(self, line: dict[str, Any]) -> dict[str, Any]:
        """Add where the output and its source are; of a source that the line does not name, as the ledger has it."""
        output = line["output"]
        if self._destination is not None and not output.startswith("/"):
            line["uri"] = self._destination.uri(output)
        row = self._ledger.rows.get(output)
        source, root = line.get("source"), line.pop("root", "")
        if not source and row is not None:
            source, root = row.source, row.root
        if source:
            line["source_uri"] = source_uri(root or self._source.place, source)
        return line

    def _unchanged(self, state: RunState) -> Iterator[dict[str, Any]]:
        rows = self._ledger.rows
        for output in chain(state.counts.standing, state.progress.still_good):
            row = rows.get(output)
            facts = {}
            if row is not None:
                facts = {
                    "source": row.source,
                    "root": row.root,
                    "bytes": row.size,
                    "digest": row.digest,
                    "run": row.run,
                    "at": row.at,
                }
            yield self._with_places({"output": output, "state": "unchanged", **facts})

    def _known_bad(self, state: RunState, outcome: Outcome) -> Iterator[dict[str, Any]]:
        """Name a refused source by its key in the ledger if the output itself, made from another source, has a line."""
        told = {line["output"] for line in outcome.lines}
        for name, code, reason in known_bad(state):
            output, rows = f"/{name}" if name in told else name, self._ledger.rows
            # The row beside that of an output that was paid for, or the output's own.
            found = (rows.get(key) for key in (refusal_key(name), name))
            row = next((row for row in found if row is not None and row.code == code), None)
            made_from = {} if row is None else {"source": row.source, "root": row.root}
            line = {"output": output, "state": "known_bad", **made_from, "code": code, "reason": reason}
            yield self._with_places(line)


def known_bad(state: RunState) -> list[list[str]]:
    """Return output, code and reason of what failed for good in earlier runs, though its source was touched since."""
    return [*state.counts.known_bad, *state.progress.still_bad]


@contextmanager
def _written(lines: Iterable[Mapping[str, Any]]) -> Iterator[Path]:
    with Spool() as spool, spool.file() as path:
        with writing(path) as file:
            for line in lines:
                file.write(json.dumps(line).encode() + b"\n")
        yield path


def iter_manifest(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the lines of a manifest, the first one being the summary's."""
    for line in data.splitlines():
        yield json.loads(line)
