"""
What is done to get one call through: pace, repeats, a rotated key. Pure: a generator that says what to do next.

A sender runs it, does what it yields (sleep, ask, renew the key), sends back what came of it, and returns what it
returns. So the blocking and the asynchronous sender decide alike, as nothing is decided in them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlencode

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import retry
from airflow_provider_perfectlyclear.api.answers import Answer
from airflow_provider_perfectlyclear.api.calls import Call
from airflow_provider_perfectlyclear.api.limiter import Pace
from airflow_provider_perfectlyclear.api.retry import Failure, Trouble
from airflow_provider_perfectlyclear.api.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Sleep:
    """
    Wait; nothing is sent back.

    :param seconds: how long.
    """

    seconds: float


@dataclass(frozen=True)
class Ask:
    """Send the request; its Answer or Failure is sent back."""


@dataclass(frozen=True)
class Renew:
    """Look the connection up again; whether there is another key is sent back."""


Step = Sleep | Ask | Renew


@dataclass(frozen=True)
class Clocks:
    """
    Where time and chance come from.

    :param monotonic: seconds, for waits.
    :param wall: Unix seconds, for dates in Retry-After.
    :param dice: a random number from 0 to 1, for jitter.
    """

    monotonic: Callable[[], float]
    wall: Callable[[], float] = retry.wall_clock
    dice: Callable[[], float] = random.random


def url_of(call: Call[Any], settings: Settings) -> str:
    """Return the call's URL, with spaces as %20: not every server reads a plus sign as one."""
    query = f"?{urlencode(call.query, quote_via=quote, safe='')}" if call.query else ""
    return f"{settings.base_url}{call.path}{query}"


def converse(
    call: Call[T], *, name: str, pace: Pace, max_retries: int, clocks: Clocks
) -> Generator[Step, Any, T]:
    """
    Get one call through.

    :param call: the call.
    :param name: the connection's id, for messages.
    :param pace: the pace of its connection.
    :param max_retries: how often it may be repeated, 429 and a renewed key not counted.
    :param clocks: time and chance.
    """
    repeats, renewed = 0, False
    while True:
        yield from _take_a_place(pace, clocks)
        sent = clocks.monotonic()
        outcome: Answer | Failure = yield Ask()
        if isinstance(outcome, Answer):
            if outcome.status == 429:
                _slow_down(pace, outcome, sent=sent, name=name, clocks=clocks)
                continue
            pace.accepted(clocks.monotonic())
            if outcome.status == 401 and not renewed:
                renewed = True
                if (yield Renew()):
                    continue
        verdict = _judge(call, outcome, name)
        if isinstance(verdict, _Read):
            return cast(T, verdict.value)
        wait = retry.wait_before_repeat(
            repeats,
            repeatable=_may_repeat(call, outcome, verdict),
            max_retries=max_retries,
            dice=clocks.dice,
            asked=_asked(outcome, clocks),
        )
        if wait is None:
            raise verdict
        repeats += 1
        yield Sleep(wait)


@dataclass(frozen=True)
class _Read:
    value: Any


def _take_a_place(pace: Pace, clocks: Clocks) -> Generator[Step, Any, None]:
    while (wait := pace.reserve(clocks.monotonic())) > 0:
        yield Sleep(wait)
        if not pace.paused(clocks.monotonic()):
            return


def _slow_down(pace: Pace, answer: Answer, *, sent: float, name: str, clocks: Clocks) -> None:
    asked = _asked(answer, clocks)
    wait = retry.backoff(pace.refusals + 1, clocks.dice)
    hopeless = pace.refused(clocks.monotonic(), sent=sent, wait=max(wait, asked) if asked else wait)
    if hopeless:
        raise errors.TooManyRequests(
            f"Connection {name!r}: the service answered 429 (too many requests) again and again and let nothing "
            "through. Lower requests_per_second, or try again later."
        )


def _asked(outcome: Answer | Failure, clocks: Clocks) -> float | None:
    if isinstance(outcome, Failure):
        return None
    return retry.retry_after(outcome.headers.get("retry-after"), clocks.wall())


def _judge(call: Call[Any], outcome: Answer | Failure, name: str) -> _Read | errors.PerfectlyClearError:
    """Say what came of a request; an error is returned, so that it is raised with nothing chained to it."""
    if isinstance(outcome, Failure):
        return _no_answer(call, outcome, name)
    try:
        return _Read(call.read(outcome))
    except errors.RunStopped as stop:
        return type(stop)(f"Connection {name!r}: {stop}")
    except errors.PerfectlyClearError as error:
        return error


def _no_answer(call: Call[Any], failure: Failure, name: str) -> errors.PerfectlyClearError:
    said = f"Connection {name!r}: {call.name}: {failure.why}"
    if failure.trouble is Trouble.TLS:
        return errors.TlsError(f"{said}. Put the CA that signed it into the connection's 'verify'.")
    if failure.trouble is Trouble.NOT_SENT:
        return errors.Unavailable(f"{said}; nothing was sent.")
    return call.lost(said if call.repeatable else failure.why)


def _may_repeat(call: Call[Any], outcome: Answer | Failure, error: errors.PerfectlyClearError) -> bool:
    if isinstance(outcome, Failure):
        return outcome.trouble is Trouble.NOT_SENT or (outcome.trouble is Trouble.LOST and call.repeatable)
    redirected = 300 <= outcome.status < 400
    return call.repeatable and not redirected and isinstance(error, errors.Unavailable | errors.ProtocolError)
