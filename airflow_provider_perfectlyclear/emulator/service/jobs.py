"""
A job, and its state as a function of the clock.

No timer runs for a job. When it is accepted, the times at which it starts and ends are computed from when a
place is free; asked for its state, it compares them with the clock. So 100,000 open jobs cost nothing but
their memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_perfectlyclear.emulator.service.blobs import Blob
from airflow_provider_perfectlyclear.emulator.service.kinds import Kind


@dataclass(slots=True)
class Made:
    """
    A file that a job made.

    :param path: where it is.
    :param kind: what it is.
    :param size: bytes.
    :param md5: what the ETag is made of.
    :param finished: on the monotonic clock.
    :param facts: fields of the status that were found while making it.
    :param usage: what to count, beside the correction itself.
    :param sha256: computed when the bill is first asked for results.
    """

    path: Path
    kind: Kind
    size: int
    md5: bytes
    finished: float
    facts: dict[str, Any]
    usage: dict[str, Any]
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    How a job ends.

    :param status: COMPLETED, FAILED or REJECTED.
    :param text: the ``statusText``.
    :param made: the corrected file; None if the uploaded bytes themselves are the result.
    """

    status: str
    text: str
    made: Made | None = None


ECHOED = Outcome("COMPLETED", "done")
EMPTY = Outcome("REJECTED", "The file is empty.")
NO_IMAGE = Outcome("REJECTED", "no image data")
WRONG_TYPE = Outcome("REJECTED", "The file is not of the fileType that was asked for.")


@dataclass(slots=True)
class Forced:
    """
    What a fault makes of a job. See ``outcome`` in the fault language.

    :param status: said verbatim once the job is over.
    :param text: the ``statusText`` to say once it is over.
    :param stuck: say this for ever.
    :param lost: 404.
    :param backwards: COMPLETED once, PROCESSING afterwards.
    :param corrected_file: a URL to give, or None to give none; :data:`OWN` for the real one.
    """

    status: str | None = None
    text: str | None = None
    stuck: str | None = None
    lost: bool = False
    backwards: bool = False
    corrected_file: str | None = "own"


OWN = "own"


@dataclass(slots=True)
class Job:
    """
    One accepted correction.

    :param id: 24 hexadecimal digits.
    :param file_key: of the upload.
    :param blob: what was there when the job was accepted.
    :param settings: as asked for; shared by all jobs that ask for the same.
    :param created: when it was accepted; this and the following on the monotonic clock.
    :param starts: when a place is free for it.
    :param ends: the earliest that it can be over.
    :param born: when it was accepted, on the clock that tells what is forgotten.
    :param make: what a fault makes of its result.
    :param outcome: None while it is still being worked on.
    :param forced: what a fault makes of it.
    """

    id: str
    file_key: str
    blob: Blob
    settings: dict[str, Any]
    created: float
    starts: float
    ends: float
    born: float = 0.0
    make: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None
    forced: Forced | None = None

    def state(self, now: float) -> str:
        """
        Return the status that the service would say, faults included.

        :param now: on the monotonic clock.
        """
        forced = self.forced
        if forced is not None and forced.stuck is not None:
            return forced.stuck
        if now < self.starts:
            return "PENDING"
        if now < self.ends or self.outcome is None:
            return "PROCESSING"
        if forced is not None and forced.status is not None:
            return forced.status
        return self.outcome.status

    def changed(self, now: float) -> float:
        """Return when the state changed last, on the monotonic clock."""
        if now < self.starts:
            return self.created
        if now < self.ends or self.outcome is None:
            return self.starts
        made = self.outcome.made
        return self.ends if made is None else max(self.ends, made.finished)


class Places:
    """
    How many jobs are worked on at once, as arithmetic.

    :param count: places.
    :param seconds: how long a job keeps one.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self.seconds = seconds
        self._free_at = [0.0] * count

    def take(self, now: float) -> tuple[float, float]:
        """Give the next free place to a job: when it starts and ends."""
        starts = max(now, self._free_at[0])
        heapq.heapreplace(self._free_at, starts + self.seconds)
        return starts, starts + self.seconds
