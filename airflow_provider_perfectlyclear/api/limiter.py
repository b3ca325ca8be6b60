"""
Request rate of each connection in this process.

Requests are not delayed until the service answers 429. From then on there is a rate: a little below the refused one,
slowly back to it, constant for a while, and then higher (the curve of TCP CUBIC). Of an unknown rate limit this uses
about 95 percent, and it exceeds the limit about once a minute.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import deque

from airflow_provider_perfectlyclear.api.retry import LONGEST_WAIT
from airflow_provider_perfectlyclear.api.settings import Settings

#: Number of consecutive rounds of 429 after which the client gives up.
HOPELESS = 10

_SEARCH = 1.1  # growth per second from a guess to the next 429
_UNUSED = 4.0  # a rate is taken as unused when it is so many times what was accepted lately
_CUT = 0.94  # what is left of a rate that was refused
_HARD_CUT = 0.6  # what is left of one that was refused again soon
_SOON = 5.0  # seconds
_PLATEAU = 30.0  # seconds from a cut back to the rate that was refused
_PLATEAU_PER_PAUSE = 10.0  # more of it for each second of a pause: what costs more is tried less often
_LONGEST_PLATEAU = 120.0
_STEEPNESS = 0.06  # how much more (as a share) is tried one plateau later
_SLOWEST = 0.2  # requests per second
_WINDOW = 2.0  # seconds over which the accepted requests are counted for a guess


class Pace:
    """
    Schedule of requests. Threads may share it. It has no clock: callers pass the time.

    :param requests_per_second: Maximum rate. Default None: no maximum.
    """

    def __init__(self, requests_per_second: float | None = None) -> None:
        self._most = requests_per_second or math.inf
        self._lock = threading.Lock()
        self._refused_rate: float | None = None  # the rate at which the last 429 came
        self._cut_at = -math.inf
        self._cut_to = math.inf
        self._plateau = _PLATEAU
        self._searching = False  # after a 429 whose rate was a guess
        self._paused_until = -math.inf
        self._next = -math.inf
        self._refusals = 0
        self._accepted: deque[float] = deque()

    def reserve(self, now: float) -> float:
        """
        Reserve the next place in the queue.

        :param now: Monotonic seconds.
        :returns: Seconds to wait before sending. Check ``paused`` afterwards.
        """
        with self._lock:
            place = max(now, self._next, self._paused_until)
            self._next = place + 1.0 / self._rate(place)
            return place - now

    def paused(self, now: float) -> bool:
        """Return whether a 429 came while a request waited for its place. It must then reserve another place."""
        with self._lock:
            return now < self._paused_until

    def accepted(self, now: float) -> None:
        """Count a response other than 429."""
        with self._lock:
            self._refusals = 0
            self._accepted.append(now)
            while self._accepted[0] < now - _WINDOW:
                self._accepted.popleft()

    def refused(self, now: float, *, sent: float, wait: float) -> bool:
        """
        Count a 429: pause all requests, then continue at a lower rate.

        Other 429 responses to requests that were sent before this one arrived belong to the same round. They do not
        lower the rate again.

        :param now: Monotonic seconds.
        :param sent: Monotonic seconds at which the refused request was sent.
        :param wait: Seconds to pause.
        :returns: Whether to give up: there were ``HOPELESS`` rounds without an accepted request in between.
        """
        with self._lock:
            if sent >= self._cut_at:
                self._refusals += 1
                self._cut(now)
                self._plateau = min(_PLATEAU + _PLATEAU_PER_PAUSE * wait, _LONGEST_PLATEAU)
            self._paused_until = max(self._paused_until, now + min(wait, LONGEST_WAIT))
            self._next = max(self._next, self._paused_until)
            return self._refusals >= HOPELESS

    @property
    def refusals(self) -> int:
        """Number of consecutive rounds of 429."""
        return self._refusals

    def _rate(self, at: float) -> float:
        """Return the requests per second at a time."""
        if self._refused_rate is None:
            return self._most
        since = max(at - max(self._cut_at, self._paused_until), 0.0)
        grown = (
            self._cut_to * _SEARCH ** min(since, _LONGEST_PLATEAU) if self._searching else self._curve(since)
        )
        return min(max(grown, _SLOWEST), self._most)

    def _curve(self, since: float) -> float:
        """Return the rate so long after a cut: slowly up to the refused rate, then beyond it at a growing speed."""
        refused = self._refused_rate or 0.0
        way = since / self._plateau - 1.0
        return refused + (refused - self._cut_to if way < 0 else refused * _STEEPNESS) * way**3

    def _cut(self, now: float) -> None:
        soon = now - max(self._cut_at, self._paused_until) < _SOON
        rate, guess = self._rate(now), self._accepted_lately(now)
        # An unused rate, when there were few requests, says nothing about the limit.
        self._searching = self._refused_rate is None or (not soon and rate > _UNUSED * guess)
        self._refused_rate = max(guess if self._searching else rate, _SLOWEST)
        self._cut_to = max(self._refused_rate * (_HARD_CUT if soon else _CUT), _SLOWEST)
        self._cut_at = now

    def _accepted_lately(self, now: float) -> float:
        """Return the accepted requests per second. At least 10, because fewer say nothing about the limit."""
        lately = sum(at >= now - _WINDOW for at in self._accepted)
        return min(max(lately / _WINDOW, 10.0), self._most)


_paces: dict[tuple[str, str], Pace] = {}
_paces_lock = threading.Lock()


def limiter_for(settings: Settings) -> Pace:
    """
    Return the schedule that all clients of this process share for a connection's service and API key.

    :param settings: The connection. A changed ``requests_per_second`` gets a new schedule.
    """
    key = hashlib.sha256(f"{settings.api_key}\0{settings.requests_per_second}".encode()).hexdigest()
    with _paces_lock:
        return _paces.setdefault((settings.base_url, key), Pace(settings.requests_per_second))
