"""State of a run across a deferral: nothing is listed or planned again after one."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_provider_perfectlyclear.catalog.corrections import Prepared
from airflow_provider_perfectlyclear.catalog.ledger.bills import Bill
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.plan.model import Counts, Item
from airflow_provider_perfectlyclear.catalog.progress import Progress
from airflow_provider_perfectlyclear.catalog.result import Failure
from airflow_provider_perfectlyclear.errors import JobLost

#: Its layout, and the older ones that are still read. With any other the run plans afresh, in the time that is left.
LAYOUT, READ = 2, (1, 2)


@dataclass
class RunState:
    """
    A run between two workers.

    :param planned: whether the plan was made; before, only the jobs that were found open are landed.
    :param began: Unix seconds of this try's start.
    :param deadline: Unix seconds at which the whole task has had its time, or None; by the clock of the parking.
    :param left: the same as seconds from the parking on; the smaller of both counts, as clocks jump.
    :param counts: what the plan found.
    :param progress: what was done so far.
    :param todo: what is still to be begun.
    :param later: what ``limit`` leaves for later runs.
    :param rows: this run's rows, and those that are open.
    :param bill: what this run has paid so far.
    :param digests: rendition -> digest of its correction.
    :param queries: rendition -> its correction, as the parameters of ``/pfc``: what was planned is what is sent.
    :param head: the number of the ledger's segment at which the lane was parked.
    :param checkpoint: the number of the ledger's newest checkpoint.
    :param seq: the sequence number that the ledger had reached.
    :param before: what the run had paid when this try began; None before the ledger was read.
    :param parked: Unix seconds of the last deferral.
    :param waited: seconds between this try's deferrals and resumptions.
    """

    planned: bool
    began: float
    deadline: float | None
    left: float | None = None
    counts: Counts = field(default_factory=Counts)
    progress: Progress = field(default_factory=Progress)
    todo: list[Item] = field(default_factory=list)
    later: list[Item] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    bill: Bill = field(default_factory=Bill)
    digests: dict[str, str] = field(default_factory=dict)
    queries: dict[str, dict[str, str]] = field(default_factory=dict)
    head: int = 0
    checkpoint: int = 0
    seq: int = 0
    before: Bill | None = None
    parked: float | None = None
    waited: float = 0.0

    @property
    def open_rows(self) -> list[Row]:
        """The rows that a resume goes on with; before the plan is made, only the jobs that run."""
        if self.planned:
            return [row for row in self.rows if row.state.is_open]
        return [row for row in self.rows if row.state is State.STARTED]

    @property
    def has_unfinished(self) -> bool:
        """Whether something is left that a later try or run may still make."""
        return bool(self.progress.failures or self.progress.unbegun or self.later)

    @property
    def may_pay(self) -> bool:
        """Whether a resume may start a job, and not only land open ones."""
        return not self.planned or bool(self.todo) or any(row.state is State.INTENT for row in self.rows)

    def fresh(self) -> RunState:
        """Return the same try with nothing planned: another run has changed what it was planned from."""
        return RunState(False, self.began, self.deadline, before=self.before, waited=self.waited)

    def woke(self, now: float) -> None:
        """Take note that the wait since the last deferral is over, by the wall clock of the worker that goes on."""
        if self.parked is not None:
            self.waited += max(0.0, now - self.parked)
            self.parked = None

    def keep_rows(
        self, ledger: Ledger, run: str, leaves: Callable[[str], bool] = lambda output: False
    ) -> None:
        """
        Keep what a resume needs of the ledger, which is parked with its next segment.

        :param run: the run's key.
        :param leaves: whether an output is left to a task for this picture alone, with its open job.
        """
        self.rows = [
            row
            for row in ledger.rows.values()
            if (row.state.is_open or row.run == run or row.code == JobLost.code)
            and not (row.state.is_open and leaves(row.output))
        ]
        self.bill, self.checkpoint = ledger.bill, ledger.view.checkpoint
        self.head, self.seq = ledger.head + 1, ledger.seq + 1

    def keep_corrections(self, prepared: Mapping[str, Prepared]) -> None:
        """Keep the corrections as they were planned: an edited Dag must not change what the resume sends."""
        self.digests = {name: one.digest for name, one in prepared.items()}
        self.queries = {name: one.correction.query() for name, one in prepared.items()}

    def keep_time(self, left: float | None, *, now: float) -> None:
        """Park at ``now`` (Unix seconds) with ``left`` seconds of the run's time, or None for no end."""
        self.parked, self.left = now, left
        self.deadline = None if left is None else now + left

    def time_left(self, now: float) -> float | None:
        """Seconds that the whole task still has at ``now`` (Unix seconds), or None for no end."""
        if self.deadline is None:
            return None
        by_the_clock = self.deadline - now
        return by_the_clock if self.left is None else min(by_the_clock, self.left)

    def to_bytes(self) -> bytes:
        """Compressed JSON."""
        data: dict[str, Any] = {
            "layout": LAYOUT,
            **{
                name: getattr(self, name)
                for name in (
                    *("planned", "began", "deadline", "left", "digests", "queries", "head", "checkpoint"),
                    *("seq", "parked", "waited"),
                )
            },
            "counts": asdict(self.counts),
            "progress": asdict(self.progress),
            "todo": self.todo,
            "later": self.later,
            "rows": [row.to_json() for row in self.rows],
            "bill": asdict(self.bill),
            "before": asdict(self.before) if self.before else None,
        }
        return gzip.compress(json.dumps(data, separators=(",", ":")).encode(), 3)

    @classmethod
    def from_bytes(cls, packed: bytes) -> RunState | None:
        """
        Read what :meth:`to_bytes` wrote.

        :returns: of another version only its times, with nothing planned: the run plans afresh, which is safe. None
            when nothing of it can be read.
        """
        try:
            data = json.loads(gzip.decompress(packed))
        except (ValueError, OSError, EOFError, zlib.error):
            return None
        try:
            if data.pop("layout") in READ:
                return cls._from_json(data)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        return cls._times_of(data)

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> RunState:
        data = dict(data)
        progress, before = dict(data.pop("progress")), data.pop("before", None)
        failures = {name: Failure(**failure) for name, failure in progress.pop("failures").items()}
        unbegun = [Item(*item) for item in progress.pop("unbegun")]
        return cls(
            counts=Counts(**data.pop("counts")),
            progress=Progress(failures=failures, unbegun=unbegun, **progress),
            todo=[Item(*item) for item in data.pop("todo")],
            later=[Item(*item) for item in data.pop("later")],
            rows=[Row.from_json(row) for row in data.pop("rows")],
            bill=Bill(**data.pop("bill")),
            before=Bill(**before) if before else None,
            **data,
        )

    @classmethod
    def _times_of(cls, data: Any) -> RunState | None:
        try:
            deadline, left = data["deadline"], data.get("left")
            kept = cls(False, float(data["began"]), None if deadline is None else float(deadline))
            kept.left = None if left is None else float(left)
            return kept
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
