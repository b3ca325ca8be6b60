"""The emulator's clocks: one that tells what is forgotten, one that is shown."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """Monotonic time, which tests may let pass, and the wall clock's time of a moment."""

    def __init__(self) -> None:
        # The wall clock minus the monotonic one: times are kept on one clock and shown on the other.
        self._wall = time.time() - time.monotonic()
        self._passed = 0.0

    def now(self) -> float:
        """Return the time by which uploads and jobs are forgotten, in seconds."""
        return time.monotonic() + self._passed

    def let_pass(self, seconds: float) -> None:
        """Move the time by which uploads and jobs are forgotten. No other clock goes on."""
        self._passed += seconds

    def reset(self) -> None:
        """Take back what was let pass."""
        self._passed = 0.0

    def iso(self, monotonic: float) -> str:
        """Return a time as the service writes it."""
        moment = datetime.fromtimestamp(monotonic + self._wall, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
