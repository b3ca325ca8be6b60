"""A lane's heartbeat for an owner whose only thread uploads, waits or sends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.owners import LOOK
from airflow_provider_perfectlyclear.catalog.ledger.rows import Record
from airflow_provider_perfectlyclear.errors import LaneLost, PerfectlyClearError

log = logging.getLogger(__name__)

#: Between two looks at the clock of a heartbeat that is due (seconds).
_SOON = 0.1
#: How long the end of a work waits for a heartbeat that is being written (seconds).
_LAST = 5.0


class Heartbeat:
    """
    A thread that shows that the owner of a lane lives. Use as a context manager.

    As long as it runs, the lane is written through it.

    :param ledger: the lane, owned.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat {ledger.lane}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_LAST)

    def append(self, records: Sequence[Record]) -> None:
        """Write records. :raises LaneLost: another owner has come, which this thread may have heard of before."""
        with self._lock:
            self._ledger.append(records)

    def release(self) -> None:
        """Let go of the lane, if it is still owned."""
        with self._lock:
            self._ledger.release()

    def _beat(self) -> None:
        pause = self._ledger.next_beat
        while not self._over.wait(max(pause, _SOON)):
            try:
                with self._lock:
                    self._ledger.beat()
                pause = self._ledger.next_beat
            except LaneLost:
                return
            except PerfectlyClearError as error:  # the owner sends nothing once it was silent for too long
                log.debug("%s", error)
                pause = LOOK
