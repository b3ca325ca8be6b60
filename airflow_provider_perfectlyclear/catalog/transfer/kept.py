"""Results that are not as asked for: kept, as they were paid for, but not without bounds."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from airflow_provider_perfectlyclear.errors import PerfectlyClearError
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)

#: So much of an output's own name is part of the kept file's (bytes): local names have 255 at most, ``.part`` included.
NAME_BYTES = 100

#: At most so many results, and so many bytes, are kept in a state folder.
MOST, MOST_BYTES = 50, 2**30

FOLDER = "kept"


class Kept:
    """
    Results that were refused.

    :param state: the state folder.
    """

    def __init__(self, state: Store) -> None:
        self._store = state.child(FOLDER)

    def keep(self, output: str, file: Path) -> str:
        """
        Keep a result that was refused.

        :param output: the name that it was to have.
        :param file: its bytes.
        :returns: where it is, as the end of a message; empty when it is not kept.
        """
        last = output.rpartition("/")[2].encode()[-NAME_BYTES:].decode(errors="ignore")
        name = f"{hashlib.sha256(output.encode()).hexdigest()[:16]}-{last}"
        try:
            entries = list(self._store.list())
            if (
                len(entries) >= MOST
                or sum(entry.size for entry in entries) + file.stat().st_size > MOST_BYTES
            ):
                log.warning("%s has %d results already: no more are kept", self._store.uri(""), len(entries))
                return ""
            self._store.publish(name, file)
        except (PerfectlyClearError, OSError) as error:
            log.warning("A result that failed could not be kept: %s", error)
            return ""
        return f" (kept as {self._store.uri(name)})"
