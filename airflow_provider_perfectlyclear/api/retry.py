"""Whether and when a request is sent again: pure, with the dice passed in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

#: The longest wait in seconds, whatever a Retry-After asks for.
LONGEST_WAIT = 120.0

_FIRST_WAIT = 0.5
_LONGEST_BACKOFF = 30.0


class Trouble(Enum):
    """What kept a request from its answer, by what it means for sending it again."""

    NOT_SENT = "nothing was sent"  # refused, DNS, no connection in time: as if nobody had asked
    LOST = "something may have been sent"
    TLS = "the certificate could not be verified"


@dataclass(frozen=True)
class Failure:
    """
    A request without an answer. A value, not an exception: httpx's exceptions hold the whole URL.

    :param trouble: what it means for sending the request again.
    :param why: what happened, in words of ours.
    """

    trouble: Trouble
    why: str


def wait_before_repeat(
    attempt: int,
    *,
    repeatable: bool,
    max_retries: int,
    dice: Callable[[], float],
    asked: float | None = None,
) -> float | None:
    """
    Decide about sending a request again after it failed.

    :param attempt: how often it was repeated already, from 0.
    :param repeatable: whether a repeat does no harm after what has happened.
    :param max_retries: how many repeats are allowed.
    :param dice: a random number from 0 to 1.
    :param asked: the seconds that the server asked for, if it did.
    :return: the seconds to wait; None to give up.
    """
    if not repeatable or attempt >= max_retries:
        return None
    return max(backoff(attempt, dice), min(asked or 0.0, LONGEST_WAIT))


def backoff(attempt: int, dice: Callable[[], float]) -> float:
    """Return the seconds to wait: doubling from 0.5 to 30, of which the dice take up to half."""
    longest = min(_FIRST_WAIT * 2.0 ** min(attempt, 16), _LONGEST_BACKOFF)
    return longest * (0.5 + 0.5 * dice())


def retry_after(value: str | None, now: float) -> float | None:
    """
    Read a Retry-After header: seconds or an HTTP date.

    :param value: the header; None when there was none.
    :param now: Unix seconds, for dates.
    :return: seconds from 0 to 120; None for junk.
    """
    if value is None:
        return None
    seconds = _seconds(value.strip())
    if seconds is None:
        seconds = _until(value.strip(), now)
    if seconds is None or math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _until(text: str, now: float) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def wall_clock() -> float:
    """Return Unix seconds: HTTP dates are wall-clock times."""
    return datetime.now(UTC).timestamp()
