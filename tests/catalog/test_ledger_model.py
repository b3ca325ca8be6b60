"""
A model of owners that fight for a lane: killed, asleep, waking up late, their requests still on the wire.

The ledger is the real class, over an in-memory store, in simulated time. Each
owner follows the engine's rule: take, append the intent, only then pay, append started, landed; what is ambiguous is
asked again only after that was declared. Every payment is judged when it happens.

``LEDGER_SEEDS`` says how many random histories are played.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from airflow_provider_perfectlyclear.catalog.ledger import lane as ledger_module
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.ledger.segments import read_lane
from airflow_provider_perfectlyclear.errors import LaneHeld, LaneLost
from airflow_provider_perfectlyclear.storage import Entry

SEEDS = int(os.environ.get("LEDGER_SEEDS", "2000"))
OUTPUTS = ("a.jpg", "b.jpg", "c.jpg")
Steps = Generator[None, None, None]


class Shelf:
    """The verbs of a store that a ledger uses, in memory."""

    def __init__(self, files: dict[str, bytes] | None = None, prefix: str = "") -> None:
        self.files = {} if files is None else files
        self.prefix = prefix

    def child(self, folder: str) -> Shelf:
        return type(self)(self.files, f"{self.prefix}{folder}/")

    def uri(self, name: str) -> str:
        return f"memory://{self.prefix}{name}"

    def list(self) -> Iterator[Entry]:
        for name in sorted(self.files):
            if name.startswith(self.prefix):
                yield Entry(name[len(self.prefix) :], len(self.files[name]), "tag")

    def stat(self, name: str) -> Entry | None:
        data = self.files.get(self.prefix + name)
        return None if data is None else Entry(name, len(data), "tag")

    def read(self, name: str) -> bytes | None:
        return self.files.get(self.prefix + name)

    def create(self, name: str, data: bytes) -> bool:
        return self.files.setdefault(self.prefix + name, data) is data

    def delete(self, name: str) -> None:
        self.files.pop(self.prefix + name, None)


class OverwritingShelf(Shelf):
    """As an old s3fs: asked to create, it replaces. There is no fence."""

    def create(self, name: str, data: bytes) -> bool:
        self.files[self.prefix + name] = data
        return True


class DeafShelf(Shelf):
    """Who loses a number is not told, and goes on."""

    def create(self, name: str, data: bytes) -> bool:
        self.files.setdefault(self.prefix + name, data)
        return True


@dataclass(eq=False)
class Request:
    """A ``/pfc`` on the wire. It may arrive long after whoever sent it is gone."""

    output: str
    answer: str | None = None


@dataclass(eq=False)
class Process:
    steps: Steps
    run: str
    asleep_until: float = 0.0
    is_running: bool = False


@dataclass(frozen=True)
class Kept:
    """What a run keeps for its resume. ``head``: the number that it is to be parked under."""

    rows: dict[str, Row]
    todo: list[str]
    head: int
    checkpoint: int


@dataclass
class World:
    """One random history."""

    dice: random.Random
    shelf: Shelf
    now: float = 0.0
    processes: list[Process] = field(default_factory=list)
    wire: list[Request] = field(default_factory=list)
    paid: Counter[str] = field(default_factory=Counter)
    silent: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    kept: dict[str, Kept] = field(default_factory=dict)

    # ---- the service

    def arrive(self, request: Request) -> None:
        self.wire.remove(request)
        if self.dice.random() < 0.05:
            request.answer = "refused"
            return
        self.paid[request.output] += 1
        request.answer = f"job{self.paid.total()}"
        if self.paid[request.output] > 1:
            self.seen["paid again"] += 1
            if self.paid[request.output] > 1 + self.declared(request.output):
                self.silent.append(f"{request.output} at {self.now:.0f} s")

    def declared(self, output: str) -> int:
        """How many second calls the log that others read admits to."""
        lines = (line for data in self.shelf.files.values() if data[:1] == b"{" for line in data.splitlines())
        return sum(
            record.get("output") == output
            for line in lines
            if b'"again"' in line
            for record in [json.loads(line)]
        )

    # ---- time and chance

    def sleep(self, seconds: float) -> None:
        """Somebody waits: the others go on meanwhile."""
        self.now += seconds
        if self.dice.random() < 0.3:
            self.step()

    def step(self) -> None:
        """Something happens somewhere."""
        self.now += self.dice.expovariate(1.0)
        if self.wire and self.dice.random() < 0.4:
            self.arrive(self.dice.choice(self.wire))
            return
        if self.kept and self.dice.random() < 0.03:
            run = self.dice.choice(sorted(self.kept))
            self.processes.append(Process(resumed(self, run), run))
        awake = [one for one in self.processes if not one.is_running and one.asleep_until <= self.now]
        if not awake:
            self.now += self.dice.choice((1, 10, 60))
            return
        self.advance(self.dice.choice(awake))

    def advance(self, process: Process, *, unharmed: bool = False) -> None:
        chance = 1.0 if unharmed else self.dice.random()
        if chance < 0.02:
            self.seen["killed"] += 1
            self.processes.remove(process)
            if self.dice.random() < 0.7:  # Airflow tries again
                self.begin(process.run)
            return
        if chance < 0.06:
            self.seen["slept"] += 1
            process.asleep_until = self.now + self.dice.choice((5, 60, 100, 300, 3000))
            return
        process.is_running = True
        try:
            next(process.steps)
        except StopIteration:
            self.processes.remove(process)
        finally:
            process.is_running = False

    # ---- owners

    def begin(self, run: str) -> Process:
        process = Process(owner(self, run), run)
        self.processes.append(process)
        return process

    def play(self) -> None:
        """Two to four runs, some begun late; then everybody wakes up; then one run in peace."""
        late = [f"night{number}" for number in range(self.dice.randint(2, 4))]
        for _ in range(self.dice.randint(40, 250)):
            if late and self.dice.random() < 0.05:
                self.begin(late.pop())
            self.step()
        while self.processes or self.wire:
            for request in list(self.wire):
                self.arrive(request)
            for process in list(self.processes):
                if process in self.processes:  # while one waited, another may have come to its end
                    self.advance(process, unharmed=True)
        for attempt in range(20):
            if self.is_done:
                return
            last = self.begin(f"last{attempt}")
            while last in self.processes:
                self.advance(last, unharmed=True)
                for request in list(self.wire):
                    self.arrive(request)

    @property
    def is_done(self) -> bool:
        rows = read_lane(self.shelf, "all").rows  # type: ignore[arg-type]
        return all(name in rows and rows[name].state is State.LANDED for name in OUTPUTS)


def owner(world: World, run: str) -> Steps:
    """One process of a run, as the engine behaves."""
    ledger = Ledger(world.shelf, "all", run=run, title=run, clock=lambda: world.now)  # type: ignore[arg-type]
    ledger.load()
    try:
        ledger.wait_for_owner(world.sleep)
    except LaneHeld:
        world.seen["held"] += 1
        return
    yield
    if not ledger.take():
        world.seen["beaten"] += 1
        return
    try:
        yield from land(ledger)
        yield from work(world, ledger, [name for name in OUTPUTS if not is_settled(ledger.rows.get(name))])
    except LaneLost:
        world.seen["lost"] += 1


def work(world: World, ledger: Ledger, todo: list[str]) -> Steps:
    yield from land(ledger)
    while todo:
        batch, todo = todo[:2], todo[2:]
        yield from start(world, ledger, [fresh(name) for name in batch], again=False)
        if world.dice.random() < 0.2:
            yield from defer(world, ledger, todo)
            return
        yield from land(ledger)
        if world.dice.random() < 0.1:
            ledger.checkpoint()
    for row in [row for row in ledger.rows.values() if row.state is State.INTENT]:
        yield from rest(ledger)
        if row.run != ledger.run or not row.twice:
            world.seen["asked again"] += 1
            yield from start(world, ledger, [row], again=True)
    yield from land(ledger)
    if world.dice.random() < 0.5:
        ledger.checkpoint(release=True)
    else:
        ledger.release()


def start(world: World, ledger: Ledger, rows: list[Row], *, again: bool) -> Steps:
    """Intents first; the paid calls only when they are written."""
    ledger.append([records.intent(row, again=again) for row in rows])
    pending = []
    for row in rows:
        yield  # whoever falls asleep here pays when it wakes up, and nobody can stop it
        request = Request(row.output)
        world.wire.append(request)
        patience = world.dice.randint(1, 12)
        while request.answer is None and patience:
            patience -= 1
            yield
        if request.answer == "refused":
            pending.append(records.failed(row, "START_REFUSED", "busy"))
        elif request.answer is not None:
            pending.append(records.started(row.output, request.answer))
        if world.dice.random() < 0.5:
            yield
            ledger.append(pending)
            pending = []
    yield
    ledger.append(pending)


def land(ledger: Ledger) -> Steps:
    for row in [row for row in ledger.rows.values() if row.state is State.STARTED]:
        yield from rest(ledger)
        ledger.append([records.landed(row.output, size=1, usage=None)])


def rest(ledger: Ledger) -> Steps:
    yield
    ledger.beat()


def defer(world: World, ledger: Ledger, todo: list[str]) -> Steps:
    """Parked, and resumed by another process from what it kept for itself."""
    world.kept[ledger.run] = Kept(dict(ledger.rows), todo, ledger.head + 1, ledger.view.checkpoint)
    yield  # whoever dies here has kept it, and was never parked
    ledger.park()
    for _ in range(world.dice.randint(1, 20)):
        yield
    yield from resumed(world, ledger.run)


def resumed(world: World, run: str) -> Steps:
    """After a deferral. It may be one too many: an earlier one runs, or its owner died before it had parked."""
    ledger = Ledger(world.shelf, "all", run=run, title=run, clock=lambda: world.now)  # type: ignore[arg-type]
    kept = world.kept[run]
    if not ledger.continue_from(dict(kept.rows), kept.head, kept.checkpoint):
        world.seen["never parked"] += 1
    elif ledger.take():
        try:
            yield from work(world, ledger, kept.todo)
        except LaneLost:
            world.seen["lost"] += 1
    else:
        world.seen["resumed too late"] += 1


def fresh(name: str) -> Row:
    return Row(name, State.INTENT, source=name, fingerprint="1-a", query={}, file_key="k")


def is_settled(row: Row | None) -> bool:
    return row is not None and row.state is not State.FAILED


def play(seed: int, shelf: type[Shelf], monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(random.Random(seed), shelf())
    stand_in = SimpleNamespace(monotonic=lambda: world.now, time=lambda: world.now)
    monkeypatch.setattr(ledger_module, "time", stand_in)
    world.play()
    return world


def test_nothing_is_paid_in_silence_and_no_picture_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, paid, twice = Counter[str](), 0, 0
    for seed in range(SEEDS):
        world = play(seed, Shelf, monkeypatch)
        assert world.silent == [], f"seed {seed}"
        assert world.is_done, f"seed {seed}"
        assert all(world.paid[name] >= 1 for name in OUTPUTS), f"seed {seed}"
        seen += world.seen
        paid += world.paid.total()
        twice += sum(world.declared(name) for name in OUTPUTS)
    print(f"{SEEDS} histories: {paid} paid, {twice} declared; {dict(seen)}")
    for kind in (
        "killed",
        "slept",
        "held",
        "beaten",
        "lost",
        "resumed too late",
        "never parked",
        "asked again",
        "paid again",
    ):
        assert seen[kind] > SEEDS / 100, f"hardly any history has {kind!r}: the model has lost its teeth"


@pytest.mark.parametrize("shelf", [OverwritingShelf, DeafShelf])
def test_without_the_fence_the_model_finds_silent_payments(
    monkeypatch: pytest.MonkeyPatch, shelf: type[Shelf]
) -> None:
    found = sum(bool(play(seed, shelf, monkeypatch).silent) for seed in range(200))
    print(f"{shelf.__name__}: silent payments in {found} of 200 histories")
    assert found > 5
