"""
Decisions about one call: rate limit, repeats, rotated API key. A generator without input or output.

A client runs the generator, performs the yielded steps (sleep, send, renew the key), sends back their results, and
returns the generator's return value. All decisions are here, so the blocking and the asynchronous client behave alike.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote, urlencode

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import retry
from airflow_provider_perfectlyclear.api.answers import Answer
from airflow_provider_perfectlyclear.api.calls import Call
from airflow_provider_perfectlyclear.api.limiter import HOPELESS, Pace
from airflow_provider_perfectlyclear.api.retry import Failure, Trouble
from airflow_provider_perfectlyclear.api.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Sleep:
    """
    Step: wait. Has no result.

    :param seconds: Seconds to wait.
    """

    seconds: float


@dataclass(frozen=True)
class Ask:
    """
    Step: send the request. The result is its Answer or Failure, or None if ``pace`` was paused before it was sent.

    :param pace: Schedule of the connection.
    """

    pace: Pace


@dataclass(frozen=True)
class Renew:
    """Step: read the connection again. The result is whether it has another API key."""


Step = Sleep | Ask | Renew


@dataclass(frozen=True)
class Clocks:
    """
    Sources of time and randomness.

    :param monotonic: Returns monotonic seconds, for waits. Default: ``time.monotonic``.
    :param wall: Returns Unix seconds, for dates in Retry-After. Default: the system's clock.
    :param dice: Returns a random number from 0 to 1, for jitter. Default: ``random.random``.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = retry.wall_clock
    dice: Callable[[], float] = random.random


def url_of(call: Call[Any], settings: Settings) -> str:
    """Return the call's URL. Spaces are %20, because not every server reads a plus sign as a space."""
    query = f"?{urlencode(call.query, quote_via=quote, safe='')}" if call.query else ""
    return f"{settings.base_url}{call.path}{query}"


@dataclass(frozen=True)
class _Read:
    value: Any


class Conversation(Generic[T]):
    """
    The steps of one call.

    :param call: The call.
    :param settings: The connection.
    :param pace: Schedule of the connection.
    :param clocks: Sources of time and randomness.
    """

    def __init__(self, call: Call[T], settings: Settings, pace: Pace, clocks: Clocks) -> None:
        self._call = call
        self._settings = settings
        self._pace = pace
        self._clocks = clocks
        self._sent = self._since = clocks.monotonic()
        self._repeats = 0
        self._renewed = False

    def steps(self) -> Generator[Step, Any, T]:
        """Yield the next steps, and return the call's result or raise its error."""
        while True:
            yield from self._take_a_place()
            outcome: Answer | Failure | None = yield Ask(self._pace)
            if outcome is None or self._is_slowed_by(outcome) or (yield from self._has_new_key(outcome)):
                continue
            verdict = _judge(self._call, outcome, self._settings.name)
            if self._call.removes and self._repeats and isinstance(verdict, errors.NotFound):
                verdict = _Read(None)
            if isinstance(verdict, _Read):
                return cast(T, verdict.value)
            yield Sleep(self._wait_or_raise(outcome, verdict))

    def _take_a_place(self) -> Generator[Step, Any, None]:
        while (wait := self._pace.reserve(self._clocks.monotonic())) > 0:
            yield Sleep(wait)
            if not self._pace.paused(self._clocks.monotonic()):
                break
        self._sent = self._clocks.monotonic()

    def _is_slowed_by(self, outcome: Answer | Failure) -> bool:
        """Handle a 429: the service did nothing, so every call is sent again as soon as the schedule allows it."""
        now = self._clocks.monotonic()
        if isinstance(outcome, Failure) or outcome.status != 429:
            if isinstance(outcome, Answer):
                self._pace.accepted(now)
            return False
        wait = max(
            retry.backoff(self._pace.refusals + 1, self._clocks.dice), _asked(outcome, self._clocks) or 0.0
        )
        if self._pace.refused(now, sent=self._sent, wait=wait):
            raise errors.TooManyRequests(
                f"Connection {self._settings.name!r}: the service answered 429 (too many requests) {HOPELESS} times "
                "in a row. Lower requests_per_second, or try again later."
            )
        self._since = now + wait
        return True

    def _has_new_key(self, outcome: Answer | Failure) -> Generator[Step, Any, bool]:
        if self._renewed or isinstance(outcome, Failure) or outcome.status != 401:
            return False
        self._renewed = True
        return bool((yield Renew()))

    def _wait_or_raise(self, outcome: Answer | Failure, error: errors.PerfectlyClearError) -> float:
        # Without a response, each attempt takes a whole deadline. After two deadlines there is no further attempt.
        in_time = self._clocks.monotonic() - self._since < 2 * self._settings.call_deadline
        wait = retry.wait_before_repeat(
            self._repeats,
            repeatable=in_time and _may_repeat(self._call, outcome, error),
            max_retries=self._settings.max_retries,
            dice=self._clocks.dice,
            asked=_asked(outcome, self._clocks),
        )
        if wait is None:
            raise error
        self._repeats += 1
        return wait


def _asked(outcome: Answer | Failure, clocks: Clocks) -> float | None:
    if isinstance(outcome, Failure):
        return None
    return retry.retry_after(outcome.headers.get("retry-after"), clocks.wall())


def _judge(call: Call[Any], outcome: Answer | Failure, name: str) -> _Read | errors.PerfectlyClearError:
    """Return the result or the error of a request. Errors are returned so that they are raised without a cause."""
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
        return errors.TlsError(f"{said}.")
    if failure.trouble is Trouble.NOT_SENT:
        return errors.Unavailable(f"{said}; nothing was sent.")
    if call.lost is not None:
        return call.lost(failure.why)
    return errors.Unavailable(f"{said}{'' if call.repeatable else '; the service may have done it'}.")


def _may_repeat(call: Call[Any], outcome: Answer | Failure, error: errors.PerfectlyClearError) -> bool:
    if isinstance(outcome, Failure):
        return outcome.trouble is Trouble.NOT_SENT or (outcome.trouble is Trouble.LOST and call.repeatable)
    redirected = 300 <= outcome.status < 400
    return call.repeatable and not redirected and isinstance(error, errors.Unavailable | errors.ProtocolError)
