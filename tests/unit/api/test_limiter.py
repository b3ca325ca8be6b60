"""The pace of a process: tested against services with all kinds of allowances, on a clock of their own."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from airflow_provider_perfectlyclear.api import retry
from airflow_provider_perfectlyclear.api.limiter import HOPELESS, Pace, limiter_for
from airflow_provider_perfectlyclear.api.settings import Settings

Service = Callable[[float], float | None]
"""Takes the time; returns None for yes, or the seconds until it would say yes."""


def bucket(rate: float, burst: float) -> Service:
    state = [0.0, burst]

    def ask(now: float) -> float | None:
        state[1] = min(burst, state[1] + (now - state[0]) * rate)
        state[0] = now
        if state[1] < 1:
            return (1 - state[1]) / rate
        state[1] -= 1
        return None

    return ask


def window(rate: float) -> Service:
    state = [-1, 0]

    def ask(now: float) -> float | None:
        if int(now) != state[0]:
            state[:] = [int(now), 0]
        state[1] += 1
        return None if state[1] <= rate else state[0] + 1 - now

    return ask


def sliding(rate: int) -> Service:
    taken: list[float] = []

    def ask(now: float) -> float | None:
        taken[:] = [at for at in taken if at > now - 1]
        if len(taken) >= rate:
            return taken[0] + 1 - now
        taken.append(now)
        return None

    return ask


class World:
    """So many workers, each asking as fast as the pace lets it."""

    def __init__(
        self, service: Service, pace: Pace, *, workers: int, latency: float, says_when: bool
    ) -> None:
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self.hopeless = False
        self._service, self._pace, self._latency, self._says_when = service, pace, latency, says_when
        self._dice = random.Random(7)
        self._todo: list[tuple[float, int, str, float]] = [
            (0.001 * n, n, "reserve", 0.0) for n in range(workers)
        ]

    def run(self, until: float) -> World:
        while self._todo[0][0] < until:
            now, worker, what, sent = heapq.heappop(self._todo)
            getattr(self, f"_{what}")(now, worker, sent)
        return self

    def share(self, begin: float, end: float, rate: float) -> float:
        return sum(begin <= at < end for at in self.accepted) / (end - begin) / rate

    def refusals(self, begin: float, end: float) -> float:
        refused = sum(begin <= at < end for at in self.refused)
        return refused / (refused + sum(begin <= at < end for at in self.accepted))

    def _next(self, at: float, worker: int, what: str, sent: float = 0.0) -> None:
        heapq.heappush(self._todo, (at, worker, what, sent))

    def _reserve(self, now: float, worker: int, _: float) -> None:
        wait = self._pace.reserve(now)
        self._next(now + wait, worker, "wake" if wait else "send")

    def _wake(self, now: float, worker: int, _: float) -> None:
        self._next(now, worker, "reserve" if self._pace.paused(now) else "send")

    def _send(self, now: float, worker: int, _: float) -> None:
        self._next(now + self._latency * self._dice.uniform(0.3, 0.7), worker, "arrive", now)

    def _arrive(self, now: float, worker: int, sent: float) -> None:
        after = self._service(now)
        if after is None:
            self.accepted.append(now)
            self._pace.accepted(now)
        else:
            self.refused.append(now)
            wait = retry.backoff(self._pace.refusals + 1, self._dice.random)
            wait = max(wait, math.ceil(after)) if self._says_when else wait
            self.hopeless |= self._pace.refused(now, sent=sent, wait=wait)
        self._next(now + self._latency / 2, worker, "reserve")


@pytest.mark.parametrize("says_when", [True, False], ids=["Retry-After", "no Retry-After"])
@pytest.mark.parametrize(("workers", "latency"), [(4, 0.02), (16, 0.1), (32, 0.03)])
@pytest.mark.parametrize(
    "service", [lambda: bucket(50, 5), lambda: bucket(50, 50), lambda: window(50), lambda: sliding(50)],
    ids=["small bucket", "large bucket", "fixed window", "sliding window"],
)  # fmt: skip
def test_an_unknown_limit_is_found_and_used(
    service: Callable[[], Service], workers: int, latency: float, says_when: bool
) -> None:
    world = World(service(), Pace(), workers=workers, latency=latency, says_when=says_when).run(300.0)
    assert world.share(60, 300, 50) >= 0.9
    assert world.refusals(60, 300) < 0.02
    assert not world.hopeless


def test_where_nothing_is_refused_nothing_is_slowed_down() -> None:
    world = World(lambda now: None, Pace(), workers=32, latency=0.01, says_when=False).run(5.0)
    assert len(world.accepted) > 10_000


def test_a_smaller_allowance_is_respected_soon() -> None:
    many, few = bucket(50, 10), bucket(5, 2)
    world = World(
        lambda now: (many if now < 60 else few)(now), Pace(), workers=16, latency=0.05, says_when=True
    ).run(200.0)
    assert world.refusals(120, 200) < 0.05
    assert world.share(120, 200, 5) > 0.8


def test_a_larger_allowance_is_found_again() -> None:
    few, many = bucket(10, 5), bucket(50, 10)
    world = World(
        lambda now: (few if now < 60 else many)(now), Pace(), workers=16, latency=0.05, says_when=True
    ).run(400.0)
    assert world.share(300, 400, 50) > 0.8


def test_one_refusal_out_of_the_blue_is_forgotten_within_a_minute() -> None:
    refusals = iter([1.0])
    world = World(lambda now: next(refusals, None), Pace(), workers=16, latency=0.05, says_when=True).run(
        90.0
    )
    assert world.share(60, 90, 300) > 0.8


def test_a_quiet_day_after_a_refusal_is_no_licence_to_storm() -> None:
    refusals = iter([1.0])
    service = bucket(50, 50)
    pace = Pace()
    World(lambda now: next(refusals, None), pace, workers=1, latency=0.05, says_when=True).run(5.0)
    day = 86_400.0
    world = World(lambda now: service(now - day), pace, workers=0, latency=0.05, says_when=True)
    for worker in range(16):
        world._next(day + 0.001 * worker, worker, "reserve")
    world.run(day + 100)
    assert world.share(day + 20, day + 100, 50) > 0.8
    assert world.refusals(day, day + 100) < 0.02


def test_a_configured_rate_is_never_exceeded() -> None:
    world = World(lambda now: None, Pace(20), workers=16, latency=0.01, says_when=True).run(60.0)
    for second in range(60):
        assert sum(second <= at < second + 1 for at in world.accepted) <= 21
    assert world.share(1, 60, 20) > 0.98


def test_a_service_that_refuses_everything_is_hopeless_after_ten_rounds_however_many_ask() -> None:
    for workers in (1, 16):
        world = World(lambda now: 1.0, Pace(), workers=workers, latency=0.1, says_when=True)
        while not world.hopeless:
            world.run(world._todo[0][0] + 0.001)
        rounds = HOPELESS * workers
        assert HOPELESS <= len(world.refused) <= rounds


def test_requests_on_their_way_are_part_of_the_same_refusal() -> None:
    pace = Pace()
    assert not any(pace.refused(10.0 + n / 100, sent=9.9, wait=1.0) for n in range(50))
    assert pace.refusals == 1


def test_any_other_answer_is_progress() -> None:
    pace = Pace()
    for n in range(HOPELESS - 1):
        pace.refused(float(n), sent=float(n), wait=0.1)
    pace.accepted(100.0)
    assert pace.refusals == 0
    assert not pace.refused(101.0, sent=101.0, wait=0.1)


def test_all_requests_wait_at_least_as_long_as_was_asked_for() -> None:
    pace = Pace()
    pace.refused(10.0, sent=10.0, wait=7.0)
    assert pace.reserve(10.0) >= 7.0
    assert pace.paused(16.9) and not pace.paused(17.0)


def test_no_request_waits_more_than_two_minutes() -> None:
    pace = Pace()
    pace.refused(10.0, sent=10.0, wait=1e9)
    assert pace.reserve(10.0) <= 120.0


def test_after_a_pause_requests_go_one_by_one_and_not_all_at_once() -> None:
    pace = Pace()
    pace.refused(10.0, sent=10.0, wait=1.0)
    places = [pace.reserve(10.0) for _ in range(10)]
    assert all(later - earlier > 0.05 for earlier, later in pairwise(places))


def test_a_process_has_one_pace_per_service_and_key() -> None:
    one = Settings(api_key="limiter-test", base_url="https://one/v2", name="a")
    assert limiter_for(one) is limiter_for(
        Settings(api_key="limiter-test", base_url="https://one/v2", name="b")
    )
    assert limiter_for(one) is not limiter_for(Settings(api_key="other", base_url="https://one/v2"))
    assert limiter_for(one) is not limiter_for(Settings(api_key="limiter-test", base_url="https://two/v2"))
