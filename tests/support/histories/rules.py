"""
Looks at every segment as it is written, at every paid call, and at what each run reads.

It shares no code with the ledger: it reads the lines themselves.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from tests.support.histories.stand_ins import exists_as_made

if TYPE_CHECKING:
    from tests.support.histories.clock import Process
    from tests.support.histories.service import Job, Request
    from tests.support.histories.world import Attempt, World

#: Output, content, correction.
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Made:
    """
    What an output was made from, by the last records about it.

    :param source: the source's URI.
    :param lane: where it was written.
    :param at: seconds.
    :param replaces: another output of this name has landed before, and may still exist.
    :param is_declared: a record has said that it is to be made from this.
    """

    key: Key
    source: str
    lane: str
    at: float
    job_id: str = ""
    has_landed: bool = False
    is_again: bool = False
    is_declared: bool = True
    replaces: bool = False
    by: str = ""


class Rules:
    """
    :param world: whose history it is.

    ``wrong`` has what must not happen, in words.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.wrong: list[str] = []
        self.made: dict[str, Made] = {}
        self._unsure = set[str]()
        self._in_lane: dict[tuple[str, str], Made] = {}
        #: By file key: the last intent that was written with it.
        self.intents: dict[str, Made] = {}
        self.allowed = Counter[Key]()
        self.bill = Counter[Key]()
        self._asked = set[tuple[str, Key]]()
        self._about = set[tuple[str, str]]()

    def _say(self, what: str) -> None:
        self.wrong.append(f"{what} at {self._world.clock.now:.0f} s")

    # ---- what is written

    def segment(self, process: Process, name: str, data: bytes) -> None:
        """A segment was written. One that follows no other is never read: its owner was fenced, and has to know it."""
        lane, _, number = name.rpartition("/")
        if not number.endswith(".jsonl"):
            return
        before = f"{lane}/{int(number[:8]) - 1:08d}.jsonl"
        if not number.startswith("00000001.") and before not in self._world.state.files:
            return
        first, *lines = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).splitlines()
        header = json.loads(first)
        for line in lines:
            record = json.loads(line)
            self._world.seen["collision"] += (
                record.get("code") == "NAME_COLLISION" and record["r"] == "failed"
            )
            if record.get("output", "/")[0] != "/":
                self._record(process, lane, header["run"], record)

    def _record(self, process: Process, lane: str, run: str, record: dict[str, Any]) -> None:
        output, kind = record["output"], record["r"]
        before = self._in_lane.get((lane, output)) or self.made.get(output)
        if kind == "row":  # a checkpoint says again what is known, and takes in what other lanes know
            key = output, record.get("sha256", ""), record.get("digest", "")
            job_id, has_landed = record.get("job_id") or "", record["state"] == "landed"
            self._in_lane[lane, output] = Made(
                key, _uri(record), lane, self._world.clock.now, job_id, has_landed, by=record.get("run", "")
            )
            return
        if kind in ("intent", "joined", "copying"):
            made = self._declare(process, lane, run, record)
        elif before is None:
            return
        elif kind == "started":
            made = replace(before, job_id=record["job_id"], lane=lane)
        elif kind == "landed":
            made = replace(before, has_landed=True, at=self._world.clock.now, lane=lane)
        elif kind == "failed":
            key = output, record["sha256"], record["digest"]
            is_declared = before.is_declared and before.key == key
            made = replace(before, key=key, has_landed=False, is_declared=is_declared)
            if (
                before.replaces
            ):  # hides no row of another lane, not even an older one than that of the existing output
                self._unsure.add(output)
        elif kind == "seen" and record.get("root"):
            made = replace(before, source=_uri(record))
        else:
            return
        self._look_for_another(process, lane, output)
        self._in_lane[lane, output] = self.made[output] = made

    def _look_for_another(self, process: Process, lane: str, output: str) -> None:
        """
        A copy, or a place in a job that was paid for, is recorded when it is made: no look at the other lane comes
        between, as there does before a paid call. So a catalog and a single task that begins meanwhile may both make
        an output, and the last one counts.
        """
        attempt, made = self._world.attempts.get(process), self.made.get(output)
        if attempt is None or made is None or made.lane == lane or attempt.knows is None:
            return
        if attempt.knows.get(output) != made and not attempt.job._claim.leaves(output):
            self._world.seen["made by two at once"] += 1
            self._world.late.add(output)

    def _declare(self, process: Process, lane: str, run: str, record: dict[str, Any]) -> Made:
        before = self.made.get(record["output"])
        key, again = (record["output"], record["sha256"], record["digest"]), bool(record.get("again"))
        new = Made(
            key, _uri(record), lane, self._world.clock.now, record.get("job_id", ""), is_again=again, by=run
        )
        knows = getattr(self._world.attempts.get(process), "knows", None) or {}
        is_known = before is not None and knows.get(key[0]) == before and key[0] not in self._world.late
        if is_known and before.has_landed and before.source != new.source and before.key[1] != key[1]:
            self._say(f"{key[0]} of {before.source} is to be overwritten by {new.source}")
        if (
            before is not None and before.by != run
        ):  # the ledger no longer says that the run before has paid for it
            self._asked.discard((before.by, before.key))
        self._world.seen["joined or copied"] += record["r"] == "joined"
        if record["r"] == "intent":
            self.intents[record["file_key"]] = new
            # What a name showed before is not known any more: put back, it is another payment, and no secret.
            is_new = before is None or before.key != key or not before.is_declared
            self._world.seen["put back"] += is_new and self.allowed[key] > 0
            self.allowed[key] += is_new or not self.allowed[key]
            self.allowed[key] += again
            self._world.seen["asked again"] += again
            if run in self._world.by_name and (run, key) not in self._asked:
                self._asked.add((run, key))
                self.allowed[key] += 1
        return replace(new, replaces=before is not None and (before.has_landed or before.replaces))

    # ---- what is paid

    def paid(self, request: Request, job: Job) -> None:
        """The service has accepted a paid call."""
        self._about.add(request.about)
        if len(self._about) > 1:
            self._say(f"one ledger, paid for {sorted(self._about)}")
        intent = self.intents.get(request.file_key)
        if intent is None or intent.key[1:] != (job.content, job.digest):
            self._say(f"{request.file_key} was paid, and no intent in the ledger says so")
            return
        self.bill[intent.key] += 1
        if self.bill[intent.key] > 1:
            self._world.seen["paid again"] += 1
        if self.bill[intent.key] > self.allowed[intent.key]:
            self._say(f"{intent.key[0]} was paid in silence for the {self.bill[intent.key]}. time")
        held = self._held(intent, self._world.attempts.get(request.sender))
        if held is not None:
            self._say(f"{intent.key[0]} was paid, and {held} has its content and correction")

    def _held(self, intent: Made, attempt: Attempt | None) -> str | None:
        """Another output with the same content and correction that the run knew of, and could have copied."""
        if intent.is_again or attempt is None or attempt.knows is None or self._world.has_shards:
            return None
        if intent.by in self._world.by_name:
            return None
        for output, made in attempt.knows.items():
            same = made.key[1:] == intent.key[1:] and made.has_landed and made.lane == "lanes/all"
            if (
                same
                and output != intent.key[0]
                and output not in self._world.late
                and self.made[output] == made
                and exists_as_made(self._world.outside.destination, output, *made.key[1:])
            ):
                return output
        return None

    # ---- what is read

    def read(self, before: dict[str, Made], rows: dict[str, Row], ignores: Callable[[str], bool]) -> None:
        """
        A run has read the ledger.

        :param before: what stood there when it began to read.
        :param ignores: whether it leaves an output alone.
        """
        for output, made in before.items():
            if (
                not made.has_landed
                or self.made[output] != made
                or output in self._world.late
                or ignores(output)
            ):
                continue
            row = rows.get(output)
            if row is None or row.state is not State.LANDED or (row.sha256, row.digest) != made.key[1:]:
                self._say(f"{output} has landed by {made.job_id}, and a run has read {row}")

    def rows(self, rows: dict[str, Row]) -> None:
        """The end: each output is its own job's."""
        for output, row in rows.items():
            job = self._world.service.jobs.get(row.job_id or "")
            if row.state is not State.LANDED or job is None:
                continue
            if (job.content, job.digest) != (row.sha256, row.digest):
                self._say(f"{output} has the job {row.job_id} of another picture or correction")
            standing = (
                output in self._world.destination.files and output not in self._world.late | self._unsure
            )
            if standing and not exists_as_made(
                self._world.outside.destination, output, row.sha256, row.digest
            ):
                self._say(f"{output} shows another picture or correction than the ledger says: {row}")


def _uri(record: dict[str, Any]) -> str:
    return f"{record.get('root', '').rstrip('/')}/{record.get('source', '')}"
