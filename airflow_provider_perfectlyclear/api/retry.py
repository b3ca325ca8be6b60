"""Decision whether and when to repeat a request. No input or output; callers pass time and randomness."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

#: Maximum wait in seconds, also if a Retry-After asks for more.
LONGEST_WAIT = 120.0

_FIRST_WAIT = 0.5
_LONGEST_BACKOFF = 30.0


class Trouble(Enum):
    """Cause of a missing response, grouped by what it means for a repeat."""

    NOT_SENT = "nothing was sent"  # refused, DNS, no connection in time
    LOST = "something may have been sent"
    TLS = "the certificate could not be verified"


@dataclass(frozen=True)
class Failure:
    """
    A request without a response. Not an exception, because httpx's exceptions contain the whole URL.

    :param trouble: What it means for a repeat.
    :param why: The cause, without any URL.
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
    Decide whether to repeat a failed request.

    :param attempt: Number of repeats so far, from 0.
    :param repeatable: Whether a repeat is harmless after this failure.
    :param max_retries: Maximum number of repeats.
    :param dice: Returns a random number from 0 to 1.
    :param asked: Seconds that the server asks for in Retry-After. Default None.
    :returns: Seconds to wait before the repeat. None: do not repeat.
    """
    if not repeatable or attempt >= max_retries:
        return None
    return max(backoff(attempt, dice), min(asked or 0.0, LONGEST_WAIT))


def backoff(attempt: int, dice: Callable[[], float]) -> float:
    """Return the seconds to wait: doubling from 0.5 to 30, minus a random part of up to half."""
    longest = min(_FIRST_WAIT * 2.0 ** min(attempt, 16), _LONGEST_BACKOFF)
    return longest * (0.5 + 0.5 * dice())


def retry_after(value: str | None, now: float) -> float | None:
    """
    Parse a Retry-After header: seconds or an HTTP date.

    :param value: The header. None: there is none.
    :param now: Unix seconds, for dates.
    :returns: Seconds from 0 to 120. None: no header, or an invalid one.
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
    """Return Unix seconds, for HTTP dates."""
    return datetime.now(UTC).timestamp()
