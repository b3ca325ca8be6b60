"""Wait for threads of a plan, and show meanwhile that the run lives."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

#: The run is looked after this often (seconds).
LOOK_EVERY = 1.0


def wait_for(*futures: Future[Any], look: Callable[[], None]) -> None:
    """
    Wait in the deciding thread: the lane's owner must be seen to live, and to stop when it is told to.

    :param look: called about once a second; may raise to end the wait.
    """
    try:
        while wait(futures, timeout=LOOK_EVERY).not_done:
            look()
    except BaseException:
        for future in futures:
            future.cancel()
        raise
