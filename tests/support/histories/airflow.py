"""Tasks, their runs and attempts: what Airflow begins, retries, defers and resumes, and remembers of a ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.ledger.identity import Expected
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.result import Parked
from airflow_provider_perfectlyclear.catalog.run import CatalogRun, catalog_run
from airflow_provider_perfectlyclear.catalog.single import single_run
from airflow_provider_perfectlyclear.catalog.workspace import Workspace
from airflow_provider_perfectlyclear.errors import LedgerMismatch, LedgerNotFound, PerfectlyClearError
from tests.support.histories.clock import Process
from tests.support.histories.rules import Made
from tests.support.histories.service import Client
from tests.support.histories.store import ModelStore

if TYPE_CHECKING:
    from tests.support.histories.world import World

#: So often a run is tried.
TRIES = 6


@dataclass(eq=False)
class Task:
    """
    A task of a Dag.

    :param name: unlike any other's.
    :param source: the folder that its pictures lie in.
    :param picture: the one that it corrects; None: the whole folder.
    :param shard: the part of the folder.
    :param service: the base URL of its connection.
    :param destination: the address of its destination.
    :param said: what its last attempt said of the ledger.
    """

    name: str
    source: str
    picture: str | None = None
    shard: str | None = None
    service: str = "https://api"
    destination: str = "/out"
    said: dict[str, Any] | None = None


@dataclass(eq=False)
class Run:
    """
    One task in one Dag run.

    :param said: what an earlier attempt said of the ledger, where Airflow has a store that survives retries.
    """

    task: Task
    name: str
    reprocess: Any
    tries: int = 0
    said: dict[str, Any] | None = None

    def expects(self) -> Expected | None:
        said = self.said or self.task.said
        if said is None:
            return None
        same = self.said is not None
        return Expected(said["ledger"], said["place"], said["outputs"], said["seq"], same)


@dataclass(eq=False)
class Attempt:
    """
    One process of a run.

    :param knows: what stood in the ledger when it began to read; None before.
    """

    world: World
    run: Run
    process: Process
    is_resumed: bool = False
    job: CatalogRun = field(init=False)
    expects: Expected | None = field(init=False)
    knows: dict[str, Made] | None = None

    def __post_init__(self) -> None:
        self.expects = self.run.expects()

    def live(self) -> None:
        """The process's main thread."""
        outcome: Any = None
        try:
            self.job = self._make()
            outcome = self.job.resume() if self.is_resumed else self.job.execute()
        except PerfectlyClearError as error:
            outcome = error
            self.world.seen[type(error).__name__] += 1
        del self.world.attempts[self.process]
        if isinstance(outcome, Parked):
            self.world.seen["parked"] += 1
            self.world.airflow.parked(self.run)
            return
        if (said := self.job.ledger_memory()) is not None:
            self.run.task.said = said
            self.run.said = said if self.world.has_task_store else None
        self.world.airflow.ended(self.run, outcome)

    @property
    def must_find_its_ledger(self) -> bool:
        """Whether the run knows of its ledger, so that an empty folder in its place must stop it."""
        expects = self.expects
        return self.is_resumed or (expects is not None and bool(expects.outputs or expects.same_run))

    def _make(self) -> CatalogRun:
        world, task = self.world, self.run.task
        destination = ModelStore(self.process, world.destination, task.destination, world.published)
        given: dict[str, Any] = {
            "client": Client(world, self.process, (task.service, task.destination)),
            "places": Places(
                ModelStore(self.process, world.sources[task.source], task.source),
                destination,
                world.shelf(self.process, world.state, "/out/.perfectlyclear", world.rules.segment),
            ),
            "run_key": f"{task.name}/{self.run.name}",
            "title": f"{task.name} {self.run.name}",
            "expects": self.expects,
            "options": Options(
                correction=Correction.parse({"width": 100 + world.correction}),
                reprocess=self.run.reprocess,
                deferrable=world.dice.random() < 0.6,
                shard=task.shard,
            ),
        }
        job = catalog_run(**given) if task.picture is None else single_run(**given, name=task.picture)
        workspace = job._workspace
        workspace.sleep = partial(self._sleep, workspace)  # type: ignore[method-assign]
        claim, load = job._claim, job._claim.load

        def judged(sleep: Any, *, resumed: bool) -> None:
            before = dict(world.rules.made)
            load(sleep, resumed=resumed)
            world.has_read(self, before)

        claim.load = judged  # type: ignore[method-assign]
        catch_up = claim.catch_up

        def judged_catch_up(*, may_pay: bool) -> bool:
            before = dict(world.rules.made)
            caught_up = catch_up(may_pay=may_pay)
            self.knows = before
            return caught_up

        claim.catch_up = judged_catch_up  # type: ignore[method-assign]
        if self.run.reprocess != "changed":
            world.by_name.add(job.ledger.run)
        return job

    def _sleep(self, workspace: Workspace, seconds: float) -> None:
        """A long wait of the run, simulated."""
        self.world.mount(self.process)
        self.process.clock.wait(seconds)
        workspace.look_up()


class Airflow:
    """Begins attempts."""

    def __init__(self, world: World) -> None:
        self._world = world

    def begin(self, run: Run, *, is_resumed: bool = False) -> None:
        world = self._world
        if world.is_calm and not run.name.startswith("calm") and not is_resumed:
            return
        run.tries += not is_resumed
        process = Process(world.clock)
        attempt = world.attempts[process] = Attempt(world, run, process, is_resumed)
        world.mount(process)
        process.spawn(attempt.live)

    def parked(self, run: Run) -> None:
        """The trigger fires; rarely twice."""
        dice = self._world.dice
        resume = partial(self.begin, run, is_resumed=True)
        self._world.clock.at(dice.uniform(1, 90), resume)
        if self._world.draws(0.08):
            self._world.clock.at(dice.uniform(1, 300), resume)

    def ended(self, run: Run, outcome: Any) -> None:
        """An attempt has come to its end, well or not."""
        self._world.gone.update(getattr(outcome, "gone", ()))
        if isinstance(outcome, LedgerNotFound | LedgerMismatch):
            self._again(run, 0.5)
        elif isinstance(outcome, PerfectlyClearError) or getattr(outcome, "failures", None):
            self._again(run, 0.7)

    def killed(self, run: Run) -> None:
        """The process is gone, or is taken for gone as it sleeps."""
        self._again(run, 0.8)

    def _again(self, run: Run, chance: float) -> None:
        if run.tries < TRIES and self._world.draws(chance):
            self._world.clock.at(self._world.dice.uniform(1, 100), partial(self.begin, run))
