"""Simulated time. Processes and their threads take turns, and can be stopped or killed wherever they wait."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

from greenlet import getcurrent, greenlet  # Airflow's SQLAlchemy requires it

#: Simulated seconds begin here, as Unix seconds.
EPOCH = 1_000_000.0


class Killed(BaseException):
    """A process was killed. From now on it changes nothing, whatever its handlers try."""


class Process:
    """
    One process of a worker.

    :param asleep_until: seconds; until then the process is stopped (SIGSTOP, a machine that swaps).
    :param is_away: the mount of its machine is away: it sees an empty folder, one of ``own``.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.threads: list[Thread] = []
        self.is_dead = False
        self.asleep_until = 0.0
        self.is_away = False
        self.own: dict[int, Any] = {}

    def spawn(self, work: Callable[[], None]) -> Thread:
        """Start a thread."""
        thread = Thread(self, work)
        self.threads.append(thread)
        self.clock.wake(thread)
        return thread

    def kill(self) -> None:
        """End all threads where they wait."""
        self.is_dead = True
        for thread in self.threads:
            if thread:  # it has begun, and not ended
                thread.throw(Killed)


class Thread(greenlet):
    """One thread of a process. ``turn`` counts how often it went on: an older alarm does not wake it."""

    def __init__(self, process: Process, work: Callable[[], None]) -> None:
        super().__init__(self._live, process.clock.hub)
        self.process = process
        self.turn = 0
        self._work = work

    def _live(self) -> None:
        with suppress(Killed):
            self._work()


class Clock:
    """
    The order of all that happens.

    :param harm: called before a thread of a process goes on; may kill the process or put it to sleep.
    """

    def __init__(self, dice: random.Random, harm: Callable[[Process], None]) -> None:
        self.dice = dice
        self.now = 0.0
        self.hub = getcurrent()
        self._harm = harm
        self._number = count()
        self._alarms: list[tuple[float, int, Thread | None, int, Callable[[], None] | None]] = []

    def at(self, seconds: float, act: Callable[[], None]) -> None:
        """Let something happen after so many seconds, whatever becomes of the process that asked for it."""
        heapq.heappush(self._alarms, (self.now + seconds, next(self._number), None, 0, act))

    def wake(self, thread: Thread, seconds: float = 0.0) -> None:
        """Let a thread go on after so many seconds, if it has not gone on before."""
        heapq.heappush(self._alarms, (self.now + seconds, next(self._number), thread, thread.turn, None))

    def wait(self, seconds: float) -> None:
        """Let the current thread wait. Others go on meanwhile."""
        thread = getcurrent()
        if not isinstance(thread, Thread):  # the end of a history is looked at from outside of all processes
            return
        if thread.process.is_dead:
            raise Killed
        self.wake(thread, seconds)
        self.hub.switch()

    def run(self, until: float) -> None:
        """Go on until nothing is left to happen, or until the time is up."""
        while self._alarms and self._alarms[0][0] <= until:
            when, _, thread, turn, act = heapq.heappop(self._alarms)
            if act is not None:
                self.now = max(self.now, when)
                act()
            elif thread is not None and not thread.dead and thread.turn == turn:
                self._go_on(thread, when)

    def _go_on(self, thread: Thread, when: float) -> None:
        process = thread.process
        if process.asleep_until <= when:
            self._harm(process)
        if process.is_dead:
            return
        if process.asleep_until > when:
            heapq.heappush(
                self._alarms, (process.asleep_until, next(self._number), thread, thread.turn, None)
            )
            return
        self.now = max(self.now, when)
        thread.turn += 1
        thread.switch()

    @property
    def is_idle(self) -> bool:
        return not self._alarms
