"""A thousand at once: the loop goes on, memory stays flat, nothing is left; and a pace that uses its allowance."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import AsyncClient, Client
from airflow_provider_perfectlyclear.api.limiter import Pace, limiter_for
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook
from airflow_provider_perfectlyclear.triggers import shared_client as clients
from airflow_provider_perfectlyclear.triggers.perfectlyclear import PerfectlyClearJobsTrigger

MANY = 1_000
CONN_ID = "pc_load"

#: Seconds that a job takes: longer than it takes to start them all, so that all are waited for.
JOB_SECONDS = 9.0
#: Maximum seconds for which one task may block the loop.
LONGEST_TURN = 0.2
#: Bytes by which a thousand waits may grow the process, and by which they may go on growing.
MOST_GROWTH = 100 * 2**20
STILL_GROWTH = 8 * 2**20


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The service, which the connection leads to."""
    with running_emulator(job_seconds=JOB_SECONDS, jobs=2 * MANY, echo=True) as emulator:
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", emulator.connection_json())
        yield emulator


@pytest.fixture
def jobs(service: Emulator) -> list[str]:
    """A thousand open jobs."""
    with PerfectlyClearHook(CONN_ID) as hook, ThreadPoolExecutor(8) as pool:
        file_key = hook.upload(b"\xff\xd8\xff\xe0" + bytes(100) + b"\xff\xd9", name="a.jpg")
        return list(pool.map(lambda _: hook.start(file_key, {"cache": False}), range(MANY)))


def without_a_processor() -> float:
    """Seconds for which this thread was ready and others were running; 0 where the system does not count them."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except FileNotFoundError:
        return 0.0


class Meter:
    """
    How long the loop's turns are, and how much memory is held, while something runs in it.

    A turn is the time between two beats of a coroutine that sleeps 10 ms, without the time for which the loop's
    thread could have run but had no processor, as Linux counts it: computing and waiting show in full, the other
    processes of a busy machine do not. What was there before is kept from the garbage collector: a look at all of
    Airflow takes it longer than anything measured here.
    """

    def __init__(self) -> None:
        self.turns: list[float] = []
        self.memory: list[tuple[float, int]] = []
        self._process = psutil.Process()

    async def watch(self, work: Awaitable[Any]) -> Any:
        gc.collect()
        gc.freeze()
        beating = asyncio.create_task(self._beat())
        try:
            return await work
        finally:
            gc.unfreeze()
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            wall, waited = time.monotonic(), without_a_processor()
            await asyncio.sleep(0.01)
            self.turns.append(time.monotonic() - wall - (without_a_processor() - waited))
            if not self.memory or wall - self.memory[-1][0] > 0.25:
                self.memory.append((wall, self._process.memory_info().rss))

    def check_invariants(self, before: int) -> str:
        """Say what was measured, after a look at it."""
        held = [rss for _, rss in self.memory]
        half, end = held[len(held) // 2], max(held[len(held) // 2 :])
        said = (
            f"longest of {len(self.turns)} turns {max(self.turns):.3f} s, memory +{(max(held) - before) / 2**20:.1f} "
            f"MiB, of which {(end - half) / 2**20:.1f} MiB in the second half"
        )
        assert max(self.turns) < LONGEST_TURN, said
        assert max(held) - before < MOST_GROWTH, said
        assert end - half < STILL_GROWTH, said
        return said


async def fired(trigger: PerfectlyClearJobsTrigger) -> list[Any]:
    return [event.payload async for event in trigger.run()]


def wait_for(make: Callable[[], list[PerfectlyClearJobsTrigger]]) -> tuple[list[Any], str]:
    """Run triggers at once in a loop of their own, and see what they leave behind."""
    process = psutil.Process()
    gc.collect()
    sockets, memory = len(process.net_connections("inet")), process.memory_info().rss
    meter = Meter()

    async def run() -> list[Any]:
        triggers = make()
        events = await meter.watch(asyncio.gather(*map(fired, triggers)))
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert clients._SHARED[asyncio.get_running_loop()] == {}
        return list(events)

    events = asyncio.run(run())
    assert len(process.net_connections("inet")) <= sockets
    assert threading.active_count() < 20
    return events, meter.check_invariants(memory)


def a_trigger(job_ids: list[str]) -> PerfectlyClearJobsTrigger:
    return PerfectlyClearJobsTrigger(
        perfectlyclear_conn_id=CONN_ID, job_ids=job_ids, timeout=60.0, wake_early=False
    )


def test_a_thousand_triggers_wait_in_one_loop(
    service: Emulator, jobs: list[str], record_property: Any
) -> None:
    events, said = wait_for(lambda: [a_trigger([job]) for job in jobs])
    assert events == [[{"done": 1, "open": 0, "why": "all_final", "reason": None}]] * MANY
    assert service.bill(summary=True)["accepted"] == MANY
    asked = service.seen()["api"]["routes"]["status"]
    record_property("measured", said)
    print(f"{MANY} triggers: {said}, {asked / MANY:.1f} questions a job")


def test_a_thousand_jobs_wait_in_one_trigger(
    service: Emulator, jobs: list[str], record_property: Any
) -> None:
    (events,), said = wait_for(lambda: [a_trigger(jobs)])
    assert events == [{"done": MANY, "open": 0, "why": "all_final", "reason": None}]
    asked = service.seen()["api"]["routes"]["status"]
    record_property("measured", said)
    print(f"{MANY} jobs: {said}, {asked / MANY:.1f} questions a job")
    assert asked < 3 * MANY


# ---- the pace

RATE = 50
#: How long it is asked (seconds), and from when on the pace has found the allowance: it begins at half of it, after
#: the first refusals, and goes up by a tenth a second.
ASKING, SETTLED = 22.0, 8.0


class Counted:
    """What the answers were and when, as the pace is told."""

    def __init__(self, pace: Pace) -> None:
        self.accepted: list[float] = []
        self.refused: list[float] = []
        accept, refuse = pace.accepted, pace.refused

        def accepted(now: float) -> None:
            self.accepted.append(now)
            accept(now)

        def refused(now: float, *, sent: float, wait: float) -> bool:
            self.refused.append(now)
            return refuse(now, sent=sent, wait=wait)

        vars(pace).update(accepted=accepted, refused=refused)

    def shares(self, began: float) -> tuple[float, float]:
        """Of the allowance that was used, and of the answers that were refusals."""
        begin, end = began + SETTLED, began + ASKING
        accepted = sum(begin <= at < end for at in self.accepted)
        refused = sum(begin <= at < end for at in self.refused)
        return accepted / (RATE * (end - begin)), refused / (accepted + refused)


def ask_by_threads(settings: Settings, until: float) -> None:
    with Client(settings) as client, ThreadPoolExecutor(8) as pool:

        def ask(_: int) -> None:
            while time.monotonic() < until:
                with pytest.raises(errors.NotFound):
                    client.send(calls.status("nowhere"))

        list(pool.map(ask, range(8)))


def ask_on_a_loop(settings: Settings, until: float) -> None:
    async def ask(client: AsyncClient) -> None:
        while time.monotonic() < until:
            with pytest.raises(errors.NotFound):
                await client.send(calls.status("nowhere"))

    async def run() -> None:
        async with AsyncClient(settings) as client:
            await asyncio.gather(*(ask(client) for _ in range(16)))

    asyncio.run(run())


def measured(ask: Callable[[Settings, float], None]) -> list[tuple[float, float]]:
    """Until it is as it should be, three times at most: a machine that is busy elsewhere can only make it worse."""
    found: list[tuple[float, float]] = []
    while len(found) < 3 and not any(map(is_good, found)):
        with running_emulator(rate=RATE) as emulator:
            settings = Settings(api_key=emulator.key, base_url=emulator.base_url)
            counted, began = Counted(limiter_for(settings)), time.monotonic()
            ask(settings, began + ASKING)
            found.append(counted.shares(began))
    return found


def is_good(shares: tuple[float, float]) -> bool:
    used, refused = shares
    return used >= 0.9 and refused < 0.02


def test_an_allowance_is_used_and_hardly_ever_overdrawn(record_property: Any) -> None:
    """Both senders at the same time, each against a service of its own: they mostly wait."""
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(measured, (ask_by_threads, ask_on_a_loop)))
    record_property("measured", said)
    print(f"used and refused, by threads: {said[0]}; on an event loop: {said[1]}")
    assert all(any(map(is_good, found)) for found in said), said
