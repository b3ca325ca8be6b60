"""Two small pools of threads whose results are handled by one thread, which so needs no lock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Literal

Name = Literal["transfers", "calls"]


class Pools:
    """
    *transfers* move bytes, *calls* ask the service.

    :param transfers: threads that move bytes.
    :param calls: threads that ask.
    """

    def __init__(self, *, transfers: int, calls: int) -> None:
        self._threads = {"transfers": transfers, "calls": calls}
        self._busy = {"transfers": 0, "calls": 0}
        self._executors = {
            name: ThreadPoolExecutor(count, thread_name_prefix=f"perfectlyclear-{name}")
            for name, count in self._threads.items()
        }
        self._results: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def __enter__(self) -> Pools:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is left is waited for, also when the run is stopped early: were it dropped, its results would be lost.
        for executor in self._executors.values():
            executor.shutdown(wait=True)

    def busy(self, name: Name) -> int:
        """Return how many pieces of work were submitted whose result is not handled yet."""
        return self._busy[name]

    def free(self, name: Name) -> int:
        """Return how many more pieces of work would begin at once."""
        return max(0, self._threads[name] - self._busy[name])

    def submit(self, name: Name, work: Callable[[], Any], then: Callable[[Future[Any]], None]) -> None:
        """Do ``work`` in a pool, then ``then`` in the thread that calls :meth:`handle`."""
        self._busy[name] += 1

        def done(future: Future[Any]) -> None:
            def after() -> None:
                self._busy[name] -= 1
                if not future.cancelled():
                    then(future)

            self._results.put(after)

        self._executors[name].submit(work).add_done_callback(done)

    def post(self, act: Callable[[], None]) -> None:
        """Do ``act`` in the thread that calls :meth:`handle`. For any thread."""
        self._results.put(act)

    def wake(self) -> None:
        """End a :meth:`handle` that waits. Safe in a signal handler."""
        self._results.put(None)

    def handle(self, patience: float) -> None:
        """
        Handle what has come, waiting for the first result.

        :param patience: seconds to wait at most.
        """
        if self._handle_one(patience):
            while self._handle_one(0.0):
                pass

    def _handle_one(self, patience: float) -> bool:
        try:
            after = self._results.get(timeout=patience) if patience > 0 else self._results.get_nowait()
        except Empty:
            return False
        if after is not None:
            after()
        return True
