"""
One pace per process and connection.

Nothing slows a request down until the service answers 429. From then on the pace has a rate: a little below the
one that was refused, creeping back to it, staying there for a while and then trying more (the curve of TCP CUBIC).
An allowance that nobody told us is used to some 95 percent, and asked for more than it gives every minute or so.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import deque

from airflow_provider_perfectlyclear.api.retry import LONGEST_WAIT
from airflow_provider_perfectlyclear.api.settings import Settings

#: After so many rounds of 429 without an accepted request between them, there is no point in going on.
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
    When the next request may go. Knows no clock: every method is told the time; safe to share between threads.

    :param requests_per_second: the most, if the user said so.
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
        Take the next place in the queue.

        :param now: monotonic seconds.
        :return: seconds to wait before sending; ask ``paused`` again afterwards.
        """
        with self._lock:
            place = max(now, self._next, self._paused_until)
            self._next = place + 1.0 / self._rate(place)
            return place - now

    def paused(self, now: float) -> bool:
        """Say whether a 429 came while a request waited for its place: it must take another one."""
        with self._lock:
            return now < self._paused_until

    def accepted(self, now: float) -> None:
        """Count an answer that was not 429."""
        with self._lock:
            self._refusals = 0
            self._accepted.append(now)
            while self._accepted[0] < now - _WINDOW:
                self._accepted.popleft()

    def refused(self, now: float, *, sent: float, wait: float) -> bool:
        """
        Count a 429: everybody pauses, and goes on more slowly.

        Requests that were on their way when it came are part of the same refusal, and slow nobody twice.

        :param now: monotonic seconds.
        :param sent: when the refused request was sent.
        :param wait: the seconds to pause.
        :return: whether it is hopeless: refused again and again, with nothing accepted in between.
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
        """How many times running the service has said 429."""
        return self._refusals

    def _rate(self, at: float) -> float:
        """Requests per second at a time."""
        if self._refused_rate is None:
            return self._most
        since = max(at - max(self._cut_at, self._paused_until), 0.0)
        grown = (
            self._cut_to * _SEARCH ** min(since, _LONGEST_PLATEAU) if self._searching else self._curve(since)
        )
        return min(max(grown, _SLOWEST), self._most)

    def _curve(self, since: float) -> float:
        """From the cut back to the rate that was refused, then beyond it: slow around it, faster farther away."""
        refused = self._refused_rate or 0.0
        way = since / self._plateau - 1.0
        return refused + (refused - self._cut_to if way < 0 else refused * _STEEPNESS) * way**3

    def _cut(self, now: float) -> None:
        soon = now - max(self._cut_at, self._paused_until) < _SOON
        rate, guess = self._rate(now), self._accepted_lately(now)
        # A rate that nobody used, because there was little to do, says nothing about what is allowed.
        self._searching = self._refused_rate is None or (not soon and rate > _UNUSED * guess)
        self._refused_rate = max(guess if self._searching else rate, _SLOWEST)
        self._cut_to = max(self._refused_rate * (_HARD_CUT if soon else _CUT), _SLOWEST)
        self._cut_at = now

    def _accepted_lately(self, now: float) -> float:
        """Requests per second that the service took; at least 10, as a few are too few to tell."""
        lately = sum(at >= now - _WINDOW for at in self._accepted)
        return min(max(lately / _WINDOW, 10.0), self._most)


_paces: dict[tuple[str, str], Pace] = {}
_paces_lock = threading.Lock()


def limiter_for(settings: Settings) -> Pace:
    """
    Return the one pace of this process for a connection's service and key, whoever asks.

    :param settings: the connection; a changed ``requests_per_second`` starts a new pace.
    """
    key = hashlib.sha256(f"{settings.api_key}\0{settings.requests_per_second}".encode()).hexdigest()
    with _paces_lock:
        return _paces.setdefault((settings.base_url, key), Pace(settings.requests_per_second))
