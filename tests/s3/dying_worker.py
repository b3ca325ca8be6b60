"""The catalog's worker, killed right before it writes a certain object."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_provider_perfectlyclear.storage import Store  # noqa: E402
from tests.catalog import worker  # noqa: E402


def die_before(verb: str, part: str) -> None:
    """SIGKILL when the store's ``verb`` is about to be done to a path with ``part`` in it."""
    original = getattr(Store, verb)

    def dying(self: Store, name: str, *arguments: Any, **more: Any) -> Any:
        if part in self.path(name):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, name, *arguments, **more)

    setattr(Store, verb, dying)


if __name__ == "__main__":
    die_before(*json.loads(sys.argv[1])["die_before"])
    worker.main()
