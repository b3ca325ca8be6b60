"""A service in memory, and the client of one process. A paid call arrives whatever becomes of its sender."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO

from greenlet import getcurrent

from airflow_provider_perfectlyclear.api.calls import Call
from airflow_provider_perfectlyclear.api.models import Correction, JobState, JobStatus
from airflow_provider_perfectlyclear.catalog.ledger.records import correction_digest
from airflow_provider_perfectlyclear.errors import NotFound, StartRefused, StartUnknown, Unavailable
from tests.support.histories.clock import Process, Thread

if TYPE_CHECKING:
    from tests.support.histories.world import World

#: A client waits for an answer for so long (seconds).
PATIENCE = 30.0


@dataclass(eq=False)
class Request:
    """
    A ``/pfc`` on the wire.

    :param about: the base URL that it is sent to, and the sender's destination.
    """

    file_key: str
    digest: str
    sender: Process
    about: tuple[str, str]
    answer: str | None = None


@dataclass
class Job:
    """
    :param content: the SHA-256 of what was uploaded.
    :param ends: seconds.
    """

    content: str
    digest: str
    ends: float
    state: JobState
    is_forgotten: bool = False


class Service:
    def __init__(self, world: World) -> None:
        self._world = world
        self.uploads: dict[str, str] = {}
        self.jobs: dict[str, Job] = {}

    def upload(self, content: str) -> str:
        key = f"file{len(self.uploads)}"
        self.uploads[key] = content
        return key

    def arrive(self, request: Request, thread: Thread) -> None:
        """A paid call: refused, or accepted and paid."""
        world, dice = self._world, self._world.dice
        if world.draws(0.03):
            answer = "refused"
        else:
            seconds = dice.uniform(5, 40) if dice.random() < 0.95 else dice.uniform(40, 600)
            state = JobState.FAILED if world.draws(0.02) else JobState.COMPLETED
            answer, content = f"job{len(self.jobs)}", self.uploads[request.file_key]
            job = self.jobs[answer] = Job(content, request.digest, world.clock.now + seconds, state)
            job.is_forgotten = world.draws(0.015)
            world.rules.paid(request, job)
        if world.draws(0.04):
            world.seen["answer lost"] += 1
            return
        request.answer = answer
        world.clock.wake(thread)

    def status(self, job_id: str) -> JobStatus:
        job = self.jobs[job_id]
        if job.is_forgotten:
            raise NotFound(f"no job {job_id}")
        state = job.state if job.ends <= self._world.clock.now else JobState.PROCESSING
        return JobStatus(job_id=job_id, state=state, raw_status=str(state), status_text="drawn")


class Client:
    """The client of one process, as far as a run uses it."""

    def __init__(self, world: World, process: Process, about: tuple[str, str]) -> None:
        self._world, self._process, self._about = world, process, about
        self.settings = SimpleNamespace(base_url=about[0])

    def job(self, job_id: str) -> Job:
        return self._world.service.jobs[job_id]

    def know_file_keys(self, keys: Iterable[str]) -> None: ...

    def cancel(self) -> None: ...

    def upload(self, open_file: Callable[[], BinaryIO], *, size: int, file_type: str) -> str:
        data = open_file().read()
        self._wait(0.5)
        return self._world.service.upload(sha256(data).hexdigest())

    def send(self, call: Call[Any], before: Callable[[], None] | None = None) -> Any:
        self._wait(0.3)
        if call.path == "/pfc":
            assert before is not None
            before()
            return self._start(call)
        if self._world.draws(0.02):
            raise Unavailable("no answer")
        return self._world.service.status(call.path.rpartition("/")[2])

    def _start(self, call: Call[Any]) -> str:
        world, dice, thread = self._world, self._world.dice, getcurrent()
        assert isinstance(thread, Thread)
        self._wait(0.05)  # a process that falls asleep here pays when it wakes up, and nothing can stop it
        query = dict(call.query)
        key = query.pop("fileKey")
        request = Request(key, digest_of_query(query), self._process, self._about)
        delay = dice.uniform(PATIENCE, 300) if world.draws(0.04) else dice.expovariate(1.0)
        world.clock.at(delay, partial(world.service.arrive, request, thread))
        world.clock.wait(PATIENCE)
        if request.answer is None:
            raise StartUnknown(key, "no answer")
        if request.answer == "refused":
            raise StartRefused("drawn")
        return request.answer

    def _wait(self, mean: float) -> None:
        self._world.clock.wait(self._world.dice.expovariate(1 / mean))


_DIGESTS: dict[frozenset[tuple[str, str]], str] = {}


def digest_of_query(query: dict[str, str]) -> str:
    """The digest of a correction, from the parameters that the service was sent."""
    key = frozenset(query.items())
    if key not in _DIGESTS:
        _DIGESTS[key] = correction_digest(Correction.parse(dict(query)).canonical())
    return _DIGESTS[key]
