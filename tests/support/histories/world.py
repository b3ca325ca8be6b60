"""One random history: tasks, edited pictures, mounts that come and go, processes that sleep or die; then calm."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256

from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.ledger.segments import list_lanes, read_lane
from tests.support.histories.airflow import Airflow, Attempt, Run, Task
from tests.support.histories.clock import Clock, Process
from tests.support.histories.rules import Made, Rules
from tests.support.histories.service import Service, digest_of_query
from tests.support.histories.stand_ins import KEEP, TIME
from tests.support.histories.store import Folder, ModelStore

NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
IN, OTHER = "/in", "/other"
#: So many different pictures there are.
CONTENTS = 5
#: A history ends after this long (seconds), and everything that goes on then in calm after this long.
LONG, CALM = 4000.0, 100_000.0
#: So many rounds of calm runs must be enough.
ROUNDS = 6


@dataclass
class Outside:
    """The stores as no process sees them: without waiting."""

    destination: ModelStore
    state: ModelStore


class World:
    """
    :param seed: of all dice.
    :param shelf: the store of the ledger.
    """

    def __init__(self, seed: int, shelf: type[ModelStore] = ModelStore) -> None:
        self.dice = dice = random.Random(seed)
        random.seed(seed)  # the product's own jitter
        self.shelf = shelf
        self.is_calm = False
        self.seen = Counter[str]()
        self.clock = TIME.clock = Clock(dice, self.harm)
        self.sources = {IN: Folder(), OTHER: Folder()}
        self.state, self.destination = Folder(can_go=True), Folder()
        if dice.random() < 0.5:  # the ledger lies in the destination: both are away together
            self.destination.can_go = True
        nowhere = Process(self.clock)
        self.outside = Outside(
            ModelStore(nowhere, self.destination, "/out"),
            ModelStore(nowhere, self.state, "/out/.perfectlyclear"),
        )
        self.service, self.rules, self.airflow = Service(self), Rules(self), Airflow(self)
        self.attempts: dict[Process, Attempt] = {}
        self.correction = 0
        self.has_task_store = dice.random() < 0.5
        self.by_name = set[str]()
        #: One process at most sleeps until its numbers are cleaned up: a second one would find the segment of the
        #: first in the place of its own.
        self._may_sleep_long = True
        self.gone = set[str]()
        #: What a process has published when it was no owner any more, or two have made at once: nothing prevents that.
        self.late = set[str]()
        self.tasks = self._draw_tasks()
        self.has_shards = any(task.shard for task in self.tasks)

    def draws(self, chance: float) -> bool:
        """Whether something odd happens; nothing does in calm."""
        return not self.is_calm and self.dice.random() < chance

    # ---- what is drawn

    def _draw_tasks(self) -> list[Task]:
        dice = self.dice
        for name in NAMES:
            self.edit(IN, name)
        for name in ("b.jpg", "e.jpg"):
            self.edit(OTHER, name)
        tasks = [Task("catalog", IN)]
        if dice.random() < 0.15:
            tasks += [Task("part1", IN, shard="1/2"), Task("part2", IN, shard="2/2")]
        if dice.random() < 0.3:
            tasks.append(Task("other", OTHER))
        if dice.random() < 0.5:
            tasks.append(Task("single", IN, picture=dice.choice(NAMES)))
        if dice.random() < 0.3:
            tasks.append(Task("other single", OTHER, picture="b.jpg"))
        if dice.random() < 0.1:
            tasks.append(Task("stranger", IN, service="https://elsewhere"))
        if dice.random() < 0.05:
            tasks.append(Task("moved", IN, destination="/elsewhere"))
        return tasks

    def edit(self, source: str, name: str) -> None:
        """A picture gets a new content, an old one, that of another name, or the same once more."""
        data = b"picture %d" % self.dice.randrange(CONTENTS)
        self.sources[source].put(name, data, 0.0)

    def _happen(self) -> None:
        """What people and the next task of the Dag do."""
        dice, chance = self.dice, self.dice.random()
        if chance < 0.35:
            self.edit(dice.choice((IN, IN, OTHER)), dice.choice(NAMES))
        elif chance < 0.45:
            source = dice.choice((IN, OTHER))
            name = dice.choice(sorted(self.sources[source].files))
            self.sources[source].put(name, self.sources[source].files[name][0], 0.0)
        elif chance < 0.6:
            self.correction = dice.randrange(3)
            self.seen["correction edited"] += 1
        elif chance < 0.7 and self.destination.files:
            del self.destination.files[dice.choice(sorted(self.destination.files))]
            self.seen["output moved on"] += 1
        elif chance < 0.75 and self.service.jobs:
            self.service.jobs[dice.choice(list(self.service.jobs))].is_forgotten = True
        elif chance < 0.8 and self.attempts:
            attempt = dice.choice(list(self.attempts.values()))
            if hasattr(attempt, "job"):
                attempt.job.cancel()
                self.seen["cancelled"] += 1
        else:
            self._begin(dice.choice(self.tasks))

    def _begin(self, task: Task) -> None:
        number = self.seen[f"runs of {task.name}"]
        self.seen[f"runs of {task.name}"] += 1
        reprocess = self.dice.choice(("always", "missing", "failed")) if self.draws(0.06) else "changed"
        self.airflow.begin(Run(task, f"night{number}", reprocess))

    # ---- processes

    def harm(self, process: Process) -> None:
        """A process may die or sleep wherever it waits, also in the middle of an operation of a store."""
        if self.is_calm or process not in self.attempts:
            return
        chance = self.dice.random()
        if chance < 0.002:
            self.seen["killed"] += 1
            attempt = self.attempts.pop(process)
            process.kill()
            self.airflow.killed(attempt.run)
        elif chance < 0.006:
            self.seen["slept"] += 1
            seconds = self.dice.choice((5, 60, 100, 300, 3000) if self._may_sleep_long else (5, 60, 100, 300))
            self._may_sleep_long = self._may_sleep_long and seconds < KEEP
            process.asleep_until = self.clock.now + seconds
            if seconds > 90 and self.dice.random() < 0.5:
                self.airflow.killed(self.attempts[process].run)

    def mount(self, process: Process) -> None:
        """
        The mount of a process's machine comes or goes, between two of its steps. It goes only under runs that know of
        their ledger: what the others do then, nothing can prevent.
        """
        attempt = self.attempts[process]
        if process.is_away:
            process.is_away = not self.is_calm and self.dice.random() < 0.7
        elif attempt.must_find_its_ledger or (hasattr(attempt, "job") and attempt.job.ledger.head > 0):
            process.is_away = self.draws(0.05)
            self.seen["mount went"] += process.is_away

    def has_read(self, attempt: Attempt, before: dict[str, Made]) -> None:
        """An attempt has read the ledger."""
        attempt.knows = before
        self.seen["planned again after a resume"] += attempt.is_resumed
        job = attempt.job
        if attempt.must_find_its_ledger and job._claim.identity is None:
            self.rules.wrong.append(f"{attempt.run.task.name} has gone on without its ledger")
        if attempt.run.task.shard:
            return
        picture = attempt.run.task.picture
        leaves = job._claim.leaves if picture is None else lambda output: output != picture
        self.rules.read(before, job.ledger.rows, leaves)

    def published(self, process: Process, output: str, data: bytes) -> None:
        """An output was written."""
        ledger = self.attempts[process].job.ledger
        lane, last = f"lanes/{ledger.lane}/", f"{ledger.head:08d}.jsonl"
        if any(name.rpartition(lane)[2] > last for name in self.state.files if lane in name):
            self.seen["published late"] += 1
            self.late.add(output)

    # ---- the history

    def play(self) -> World:
        dice, now = self.dice, 0.0
        self._begin(self.tasks[0] if dice.random() < 0.8 else dice.choice(self.tasks))
        for _ in range(dice.randint(4, 16)):
            now += dice.expovariate(1 / 60)
            self.clock.at(now, self._happen)
        self.clock.run(until=LONG)
        self.is_calm = True
        self.clock.run(until=CALM)
        if not self.clock.is_idle:
            self.rules.wrong.append("the history has no end")
        self._calm_down()
        return self

    def _calm_down(self) -> None:
        """Runs in peace, one after the other, until a whole round pays nothing."""
        for number in range(ROUNDS):
            paid = self.rules.bill.total()
            for task in self.tasks:
                self.airflow.begin(Run(task, f"calm{number}", "changed"))
                self.clock.run(until=float("inf"))
            if self.rules.bill.total() == paid:
                break
        else:
            self.rules.wrong.append(f"{ROUNDS} runs in peace, and each has paid")
        rows = self.rows()
        self.rules.rows(rows)
        for task in self.tasks:
            if task.service == self.tasks[0].service and task.destination == "/out" and self.is_first:
                self._look_at(task, rows)

    @property
    def is_first(self) -> bool:
        """Whether the ledger is about the first task's destination and service."""
        found = self.state.files.get("ledger.json")
        return found is not None and b"elsewhere" not in found[0]

    def _look_at(self, task: Task, rows: dict[str, Row]) -> None:
        """Each picture of a task has its output, or the ledger says why not."""
        digest = digest_of_query({"width": str(100 + self.correction)})
        for name, (data, _, _) in self.sources[task.source].files.items():
            if task.picture not in (None, name):
                continue
            row = rows.get(name)
            if row is None and name not in self.gone:
                self.rules.wrong.append(f"{name} of {task.name} is not in the ledger")
            elif (
                row is not None
                and row.source_uri == f"memory://{task.source}/{name}"
                and not row.is_known_bad
            ):
                now = sha256(data).hexdigest(), digest, State.LANDED
                is_shared = len({name in folder.files for folder in self.sources.values()}) == 1
                if (
                    is_shared and row.sha256 == now[0]
                ):  # two tasks with equal pictures take it from each other
                    continue
                if (row.sha256, row.digest, row.state) != now and not row.gone:
                    self.rules.wrong.append(f"{name} of {task.name} was never made: {row}")

    def rows(self) -> dict[str, Row]:
        """The newest row of each output, of all lanes."""
        newest = dict[str, Row]()
        for store in (self.outside.state, self.outside.state.child("one")):
            for lane in list_lanes(store):  # type: ignore[arg-type]
                for row in read_lane(store, lane).rows.values():  # type: ignore[arg-type]
                    other = newest.get(row.output)
                    if other is None or row.outranks(other):
                        newest[row.output] = row
                    if other is not None and newest[row.output].seq < max(row.seq, other.seq):
                        # A start that came to nothing hides no row of another lane, not even an older one.
                        self.late.add(row.output)
        return newest


def play(seed: int, shelf: type[ModelStore] = ModelStore, *, tolerant: bool = False) -> World:
    """
    Play one history.

    :param tolerant: a history that breaks off is judged up to there: a ledger without a fence may become unreadable.
    """
    world = World(seed, shelf)
    try:
        return world.play()
    except Exception:
        if not tolerant:
            raise
        return world
