"""Which job to ask about next, on a clock that only the test moves."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api.models import JobState, JobStatus
from airflow_provider_perfectlyclear.api.polling import Watch
from airflow_provider_perfectlyclear.errors import NotFound, PerfectlyClearError, Unavailable


def status(state: str = "PROCESSING", job_id: str = "a", raw: str = "") -> JobStatus:
    return JobStatus(job_id=job_id, state=JobState(state), raw_status=raw or state)


def watch(*jobs: str, age: float = 0.0, poll_interval: float = 2.0) -> Watch:
    return Watch(dict.fromkeys(jobs, age), poll_interval=poll_interval, now=0.0, dice=lambda: 0.0)


def test_a_new_job_is_asked_about_after_one_interval() -> None:
    one = watch("a")
    assert one.due(0.0, 8) == []
    assert one.next_due(0.0) == 2.0
    assert one.due(2.0, 8) == ["a"]


def test_a_job_is_not_asked_about_again_before_it_was_reported_on() -> None:
    one = watch("a")
    assert one.due(2.0, 8) == ["a"]
    assert one.due(10.0, 8) == []
    one.report("a", status(), now=10.0)
    assert one.due(11.9, 8) == []
    assert one.due(12.0, 8) == ["a"]


def test_a_check_without_a_report_is_repeated_after_five_minutes() -> None:
    one = watch("a")
    one.due(2.0, 8)
    assert one.due(303.0, 8) == ["a"]


@pytest.mark.parametrize(("age", "interval"), [(0, 2), (10, 2), (50, 5), (200, 20), (300, 30), (90_000, 30)])
def test_the_interval_is_a_tenth_of_the_age_within_bounds(age: float, interval: float) -> None:
    one = watch("a", age=float(age))
    now = one.next_due(0.0) or 0.0
    for _ in range(5):  # often enough for it to be a straggler, whose interval is its age's alone
        assert one.due(now, 1) == ["a"]
        one.report("a", status(), now=now)
        wait = one.next_due(now)
        assert wait is not None
        now += wait
    assert wait == pytest.approx(min(max((now - wait + age) / 10, 2), 30))
    assert interval <= wait <= interval * 1.5 + 2


def test_jitter_makes_intervals_longer_and_never_shorter() -> None:
    one = Watch({"a": 100.0}, now=0.0, dice=lambda: 1.0)
    one.due(0.0, 1)
    one.report("a", Unavailable(""), now=0.0)
    assert one.next_due(0.0) == pytest.approx(2.0 * 1.2)


def test_an_old_job_is_asked_about_at_once() -> None:
    assert watch("a", age=60.0).due(0.0, 8) == ["a"]


def test_the_oldest_is_asked_about_first() -> None:
    one = Watch({"young": 10.0, "old": 90.0, "middle": 50.0}, now=0.0)
    assert one.open == ["old", "middle", "young"]
    assert one.due(0.0, 8) == ["old"]


def test_while_the_oldest_is_open_the_younger_are_left_alone() -> None:
    one = watch("a", "b", "c")
    assert one.due(2.0, 8) == ["a"]
    one.report("a", status(), now=2.0)
    assert one.due(2.0, 8) == []


def test_a_final_job_lets_the_next_be_asked_about_at_once() -> None:
    one = watch("a", "b", "c")
    one.due(2.0, 8)
    assert one.report("a", status("COMPLETED"), now=2.1)
    assert one.due(2.1, 8) == ["b"]


def test_the_more_are_final_the_more_are_asked_about_at_once() -> None:
    one = watch(*[f"j{n:03}" for n in range(200)])
    sizes = []
    while due := one.due(2.0, 100):
        sizes.append(len(due))
        for job_id in due:
            one.report(job_id, status("COMPLETED"), now=2.0)
    assert sum(sizes) == 200
    assert sizes[0] == 1 and max(sizes) > 20 and len(sizes) < 20


def test_no_more_are_due_than_are_wanted() -> None:
    one = watch("a", "b", age=60.0)
    assert one.due(0.0, 0) == []
    assert len(one.due(0.0, 1)) == 1


def test_one_stuck_job_does_not_keep_the_others_waiting_for_long() -> None:
    one = watch("stuck", "b", "c")
    now = 0.0
    while len(one.final) < 2:
        now += one.next_due(now) or 0.0
        for job_id in one.due(now, 8):
            one.report(job_id, status("PROCESSING" if job_id == "stuck" else "COMPLETED"), now=now)
    assert now < 10.0
    assert one.open == ["stuck"]


def test_nothing_is_due_when_nothing_is_open() -> None:
    one = watch("a")
    one.due(2.0, 1)
    one.report("a", status("FAILED"), now=2.0)
    assert one.next_due(2.0) is None
    assert one.due(100.0, 8) == []


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "REJECTED"])
def test_the_first_final_status_wins(state: str) -> None:
    one = watch("a")
    assert one.report("a", status(state), now=1.0)
    for later in ("COMPLETED", "FAILED", "PENDING"):
        assert not one.report("a", status(later), now=2.0)
    assert one.final["a"].state == state
    assert one.open == []


def test_an_unknown_word_is_open_and_told_once_per_word() -> None:
    one = watch("a", "b", "c")
    assert not one.report("a", status("UNKNOWN", raw="QUEUED"), now=1.0)
    assert not one.report("b", status("UNKNOWN", raw="QUEUED"), now=1.0)
    assert not one.report("c", status("UNKNOWN", raw="paused"), now=1.0)
    assert one.newly_unknown == {"a": "QUEUED", "c": "paused"}
    one.newly_unknown.clear()
    one.report("a", status("UNKNOWN", raw="QUEUED"), now=2.0)
    assert one.newly_unknown == {}
    assert one.open == ["a", "b", "c"]


def test_a_job_is_lost_after_a_minute_of_404_and_not_before() -> None:
    one = watch("a")
    assert not one.report("a", NotFound(""), now=2.0)
    assert not one.report("a", NotFound(""), now=61.9)
    assert one.report("a", NotFound(""), now=62.0)
    assert (one.lost, one.open) == ({"a"}, [])


def test_an_answer_in_between_ends_the_404s() -> None:
    one = watch("a")
    one.report("a", NotFound(""), now=2.0)
    one.report("a", status(), now=30.0)
    assert not one.report("a", NotFound(""), now=63.0)
    assert one.report("a", NotFound(""), now=123.0)


def test_404_at_once_after_a_start_is_no_loss_even_for_an_old_job() -> None:
    assert not watch("a", age=5000.0).report("a", NotFound(""), now=0.0)


def test_a_poll_that_fails_is_not_a_job_that_fails() -> None:
    one = watch("a")
    one.report("a", Unavailable(""), now=2.0)
    assert one.open == ["a"]
    assert one.due(4.0, 1) == ["a"]


def test_ten_minutes_of_nothing_but_failure_are_enough() -> None:
    one = watch("a", "b")
    one.report("a", Unavailable(""), now=100.0)
    one.report("b", Unavailable(""), now=699.0)
    assert not one.given_up(699.0)
    assert one.given_up(700.0)


@pytest.mark.parametrize("how", ["open", "final", "404"])
def test_any_answer_resets_the_ten_minutes(how: str) -> None:
    one = watch("a", "b")
    one.report("a", Unavailable(""), now=100.0)
    if how == "404":
        one.report("b", NotFound(""), now=600.0)
    else:
        one.report("b", status("PENDING" if how == "open" else "COMPLETED"), now=600.0)
    one.report("a", Unavailable(""), now=650.0)
    assert not one.given_up(1249.0)
    assert one.given_up(1250.0)


def test_a_forgotten_job_is_nowhere() -> None:
    one = watch("a", "b", "c")
    one.report("b", status("COMPLETED"), now=1.0)
    one.report("c", NotFound(""), now=0.0)
    one.report("c", NotFound(""), now=60.0)
    for job_id in ("a", "b", "c", "d"):
        one.forget(job_id)
    assert (one.open, one.final, one.lost) == ([], {}, set())
    one.report("a", status(), now=1.0)
    one.report("a", Unavailable(""), now=1.0)
    assert not one.report("a", NotFound(""), now=1.0)


def test_a_job_is_added_once() -> None:
    one = watch("a")
    one.report("a", status("COMPLETED"), now=1.0)
    one.add("a", now=2.0)
    one.add("b", now=2.0)
    one.add("b", now=50.0)
    assert one.open == ["b"]
    assert one.due(4.0, 8) == ["b"]


@dataclass
class Service:
    """Works on ``at_once`` jobs at a time, in the order in which they come, each for a while by the dice."""

    at_once: int
    seconds: float
    spread: float
    dice: random.Random
    done: dict[str, float] = field(default_factory=dict)
    free: list[float] = field(default_factory=list)

    def start(self, job_id: str, now: float, *, stuck: bool) -> None:
        self.free = self.free or [0.0] * self.at_once
        begin = max(now, heapq.heappop(self.free))
        end = begin + self.seconds * self.dice.uniform(1 - self.spread, 1 + self.spread)
        heapq.heappush(self.free, end)
        self.done[job_id] = float("inf") if stuck else end


@dataclass
class Result:
    asks_per_job: float
    delay: float
    overtime: float


def correct_500(
    *,
    at_once: int = 20,
    seconds: float = 2.0,
    spread: float = 0.5,
    rate: float = 40.0,
    stuck: int = 0,
    poll: float = 2.0,
) -> Result:
    """Start 500 jobs as an engine does (at most 200 in flight), ask by the watch, and measure."""
    dice = random.Random(11)
    service = Service(at_once, seconds, spread, dice)
    one = Watch({}, poll_interval=poll, now=0.0, dice=dice.random)
    now, asks, started, delays = 0.0, 0, 0, list[float]()
    answers: list[tuple[float, str]] = []
    while len(one.final) < 500 - stuck:
        while started < 500 and started / rate <= now and started - len(one.final) < 200:
            service.start(f"j{started}", now, stuck=started < stuck)
            one.add(f"j{started}", now=now)
            started += 1
        while answers and answers[0][0] <= now:
            at, job_id = heapq.heappop(answers)
            is_done = service.done[job_id] <= at - 0.015
            if one.report(job_id, status("COMPLETED" if is_done else "PROCESSING"), now=now):
                delays.append(now - service.done[job_id])
        for job_id in one.due(now, 8 - len(answers)):
            heapq.heappush(answers, (now + 0.03, job_id))
            asks += 1
        now += 0.02
        assert now < 5000
    ends = [end for end in service.done.values() if end != float("inf")]
    return Result(asks / 500, sum(delays) / len(delays), now - max(ends))


@pytest.mark.parametrize("at_once", [4, 20, 50, 1000])
@pytest.mark.parametrize("spread", [0.0, 0.5, 0.9])
def test_500_jobs_cost_at_most_one_and_a_half_questions_each_and_little_time(
    at_once: int, spread: float
) -> None:
    result = correct_500(at_once=at_once, spread=spread)
    assert result.asks_per_job <= 1.5
    assert result.delay <= 2.0
    assert result.overtime <= 5.0


def test_a_slow_trickle_costs_no_more() -> None:
    result = correct_500(rate=5.0)
    assert result.asks_per_job <= 1.5
    assert result.delay <= 2.0


def test_a_few_stuck_jobs_cost_little() -> None:
    result = correct_500(stuck=5)
    assert result.asks_per_job <= 1.6
    assert result.delay <= 8.0


def test_many_stuck_jobs_at_the_head_are_passed_within_two_minutes() -> None:
    result = correct_500(stuck=50)
    assert result.asks_per_job <= 3.0
    assert result.delay <= 60.0


@pytest.mark.parametrize(
    "failure", [errors.Unavailable, errors.ProtocolError, errors.RequestRefused, errors.TooManyRequests]
)
def test_what_says_nothing_about_a_job_ends_the_wait_only_after_ten_minutes(
    failure: type[PerfectlyClearError],
) -> None:
    one = watch("a")
    for now in (0.0, 599.0):
        assert not one.report("a", failure("no"), now=now)
        one.give_up(now)
    assert one.open == ["a"] and one.is_failing
    one.report("a", failure("no"), now=600.0)
    busy = failure is errors.TooManyRequests
    with pytest.raises(errors.TooManyRequests if busy else errors.Unavailable) as end:
        one.give_up(600.0)
    assert end.value.retry_helps and "Nothing but failures for 10 minutes: no" in str(end.value)


@pytest.mark.parametrize(
    "failure",
    [
        errors.AuthenticationError,
        errors.PermissionDenied,
        errors.PaymentRequired,
        errors.TlsError,
        errors.ConfigurationError,
        errors.Cancelled,
    ],
)
def test_what_no_question_can_be_answered_after_ends_the_wait_at_once(
    failure: type[PerfectlyClearError],
) -> None:
    with pytest.raises(failure):
        watch("a").report("a", failure("no"), now=1.0)
