"""What is done to get a call through, decided without a network and with a clock that only the test moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.answers import Answer
from airflow_provider_perfectlyclear.api.conversation import Ask, Clocks, Conversation, Renew, Sleep
from airflow_provider_perfectlyclear.api.limiter import HOPELESS, Pace
from airflow_provider_perfectlyclear.api.retry import Failure, Trouble
from airflow_provider_perfectlyclear.api.settings import Settings

Outcome = Answer | Failure

STATUS = calls.status("job1")
START = calls.start("key1")
CREATE = calls.create_preset("n")

NOT_SENT = Failure(Trouble.NOT_SENT, "the connection was refused")
LOST = Failure(Trouble.LOST, "the connection broke off")
TLS = Failure(Trouble.TLS, "self-signed certificate")


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    return Answer(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode()
    )


PENDING = answer(200, {"status": "PENDING"})
STARTED = answer(200, {"statusEndpoint": "https://h/j1"})


class Run:
    """Holds a conversation with a service that gives these outcomes; each request takes ``takes`` seconds."""

    def __init__(
        self,
        call: calls.Call[Any],
        *outcomes: Outcome,
        pace: Pace | None = None,
        renew: Callable[[], bool] = lambda: False,
        takes: float = 0.0,
        max_retries: int = 5,
    ) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.asked = self.renewed = 0
        self.result: Any = None
        settings = Settings(api_key="k", name="pc", max_retries=max_retries, call_deadline=60.0)
        clocks = Clocks(lambda: self.now, lambda: 1_800_000_000.0, lambda: 1.0)
        self._hold(Conversation(call, settings, pace or Pace(), clocks).steps(), list(outcomes), renew, takes)

    def _hold(self, steps: Any, outcomes: list[Outcome], renew: Callable[[], bool], takes: float) -> None:
        reply: Any = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                self.result = end.value
                return
            reply = None
            if isinstance(step, Sleep):
                self.slept.append(step.seconds)
                self.now += step.seconds
            elif isinstance(step, Renew):
                self.renewed += 1
                reply = renew()
            elif isinstance(step, Ask):
                self.asked += 1
                self.now += takes
                reply = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]


def test_an_answer_is_read_and_returned() -> None:
    run = Run(STATUS, PENDING)
    assert (run.result.state, run.asked, run.slept) == ("PENDING", 1, [])


@pytest.mark.parametrize(
    "trouble", [answer(500), answer(503), answer(408), LOST, NOT_SENT, answer(200, "nonsense")]
)
def test_what_may_be_repeated_is_repeated_with_growing_waits(trouble: Outcome) -> None:
    run = Run(STATUS, trouble, trouble, trouble, PENDING)
    assert (run.result.state, run.asked, run.slept) == ("PENDING", 4, [0.5, 1.0, 2.0])


@pytest.mark.parametrize("trouble", [answer(500), LOST, NOT_SENT])
def test_after_max_retries_the_service_is_unavailable(trouble: Outcome) -> None:
    run: list[Run] = []
    with pytest.raises(errors.Unavailable) as caught:
        run.append(Run(STATUS, trouble, max_retries=2))
    assert caught.value.__context__ is None


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_refusal_is_final(status: int) -> None:
    with pytest.raises((errors.RequestRefused, errors.NotFound)):
        Run(STATUS, answer(status), PENDING)


def test_a_redirect_is_not_tried_again() -> None:
    with pytest.raises(errors.ProtocolError, match="redirect"):
        Run(calls.list_presets(), answer(302), answer(200, []))


def test_retry_after_of_a_503_is_waited_for() -> None:
    assert Run(STATUS, answer(503, retry_after="7"), PENDING).slept == [7.0]


def test_a_service_that_says_nothing_is_not_asked_six_deadlines_long() -> None:
    with pytest.raises(errors.Unavailable):
        run = Run(STATUS, LOST, LOST, PENDING, takes=60.0)
        pytest.fail(f"asked {run.asked} times")


class TestThePaidCall:
    @pytest.mark.parametrize(
        "trouble", [LOST, answer(500), answer(502), answer(504), answer(200), answer(408)]
    )
    def test_is_never_repeated_once_it_may_have_been_sent(self, trouble: Outcome) -> None:
        with pytest.raises(errors.StartUnknown) as caught:
            Run(START, trouble, STARTED)
        assert caught.value.file_key == "key1"
        assert caught.value.__context__ is None

    def test_is_sent_again_when_nothing_was_sent(self) -> None:
        run = Run(START, NOT_SENT, NOT_SENT, STARTED)
        assert (run.result, run.asked) == ("j1", 3)

    def test_is_unavailable_and_not_unknown_when_nothing_was_ever_sent(self) -> None:
        with pytest.raises(errors.Unavailable, match="nothing was sent"):
            Run(START, NOT_SENT)

    def test_is_sent_again_after_429_as_nothing_was_started(self) -> None:
        run = Run(START, answer(429, retry_after="3"), STARTED)
        assert (run.result, run.asked, run.slept) == ("j1", 2, [3.0])

    def test_is_unknown_when_its_answer_is_lost_after_a_429(self) -> None:
        with pytest.raises(errors.StartUnknown):
            Run(START, answer(429), LOST, STARTED)

    def test_is_refused_once(self) -> None:
        with pytest.raises(errors.StartRefused):
            Run(START, answer(400, {"error": "no"}), STARTED)


def test_creating_a_preset_is_not_repeated_blindly() -> None:
    for trouble in (LOST, answer(500)):
        with pytest.raises(errors.Unavailable):
            Run(CREATE, trouble, answer(200, {"presetId": "p", "uploadUrl": "https://h/"}))


@pytest.mark.parametrize(
    ("outcome", "error"),
    [(answer(402), errors.PaymentRequired), (answer(403), errors.PermissionDenied), (TLS, errors.TlsError)],
)
@pytest.mark.parametrize("call", [STATUS, START])
def test_what_stops_the_run_is_asked_once_and_names_the_connection(
    call: calls.Call[Any], outcome: Outcome, error: type[Exception]
) -> None:
    with pytest.raises(error, match="Connection 'pc'"):
        Run(call, outcome, PENDING)


class TestTheKey:
    def test_a_rotated_key_goes_on(self) -> None:
        run = Run(START, answer(401), STARTED, renew=lambda: True)
        assert (run.result, run.asked, run.renewed) == ("j1", 2, 1)

    def test_the_same_key_stops_after_one_request(self) -> None:
        with pytest.raises(errors.AuthenticationError, match="Connection 'pc'"):
            Run(START, answer(401), STARTED, renew=lambda: False)

    def test_a_new_key_that_is_refused_too_stops(self) -> None:
        with pytest.raises(errors.AuthenticationError):
            Run(STATUS, answer(401), answer(401), PENDING, renew=lambda: True)


class TestTooManyRequests:
    @pytest.mark.parametrize(
        ("header", "least"),
        [("3", 3.0), ("Fri, 15 Jan 2027 08:00:09 GMT", 9.0), ("-5", 0.0), ("junk", 0.0), ("999999", 120.0)],
    )
    def test_the_wait_is_at_least_what_the_service_asks_for(self, header: str, least: float) -> None:
        run = Run(STATUS, answer(429, retry_after=header), PENDING)
        assert least <= run.slept[0] <= max(least, 1.0)

    def test_without_retry_after_the_waits_grow(self) -> None:
        run = Run(STATUS, answer(429), answer(429), answer(429), PENDING)
        assert run.slept == [1.0, 2.0, 4.0]

    def test_429_does_not_use_up_the_retries(self) -> None:
        assert Run(STATUS, *[answer(429)] * 4, answer(500), PENDING, max_retries=1).asked == 6

    def test_after_ten_in_a_row_it_is_hopeless(self) -> None:
        pace = Pace()
        with pytest.raises(errors.TooManyRequests, match="Connection 'pc'"):
            Run(STATUS, answer(429, retry_after="1"), pace=pace)
        assert pace.refusals == HOPELESS

    def test_others_wait_too(self) -> None:
        pace = Pace()
        pace.refused(1000.0, sent=999.0, wait=5.0)
        assert Run(STATUS, PENDING, pace=pace).slept == [5.0]

    def test_a_request_that_was_held_back_asks_for_another_place(self) -> None:
        pace = Pace()
        settings = Settings(api_key="k")
        steps = Conversation(STATUS, settings, pace, Clocks(lambda: 5.0, lambda: 0.0, lambda: 1.0)).steps()
        assert isinstance(next(steps), Ask)
        pace.refused(5.0, sent=4.0, wait=2.0)
        step = steps.send(None)
        assert isinstance(step, Sleep) and step.seconds == 2.0

    def test_a_place_that_a_429_overtook_is_given_up_for_a_later_one(self) -> None:
        now = [10.0]
        pace = Pace(1.0)
        pace.reserve(10.0)
        steps = Conversation(
            STATUS, Settings(api_key="k"), pace, Clocks(lambda: now[0], lambda: 0.0, lambda: 1.0)
        ).steps()
        assert next(steps) == Sleep(1.0)
        pace.refused(10.5, sent=10.0, wait=5.0)
        now[0] = 11.0
        step = steps.send(None)
        assert isinstance(step, Sleep) and step.seconds >= 4.5
