"""How the emulated service behaves: the command line's options, by the same names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

CacheReading = Literal["free", "billed", "done-only"]
CACHE_READINGS: tuple[CacheReading, ...] = get_args(CacheReading)

# Names to correct by. The first is the AI's own choice, the same as giving none; the others only differ in
# what the stand-in does with them.
BUILT_IN_PRESETS = ("Universal", "Beautify", "Details", "Vivid")


@dataclass
class Options:
    """
    How the service behaves. The command line's options, by the same names.

    :param folder: where files are kept.
    :param job_seconds: how long a job takes at least.
    :param jobs: how many are worked on at once.
    :param echo: give back the uploaded bytes.
    :param cache: what reusing an output means.
    :param same_job: whether equal bytes under another file key are the same picture to the cache.
    :param enlarge: whether it makes pictures larger than they are.
    :param keep_hours: after how many hours uploads and jobs, and their files, are forgotten.
    :param key: the one key that is accepted; None for any that is not empty.
    :param rate: requests a second that the API allows; None for any number.
    :param url_seconds: how long signed URLs are valid.
    """

    folder: Path
    job_seconds: float = 1.0
    jobs: int = 8
    echo: bool = False
    cache: CacheReading = "free"
    key: str | None = None
    rate: float | None = None
    url_seconds: float = 3600.0
    same_job: bool = False
    enlarge: bool = True
    keep_hours: float = 24.0

    def keeps(self, born: float, now: float) -> bool:
        """
        Tell whether what was made at ``born`` is not forgotten yet.

        :param born: seconds, on the same clock as ``now``.
        """
        return now - born <= self.keep_hours * 3600


#: What may be changed while it runs, until a reset.
CHANGEABLE: Mapping[str, type] = {
    "cache": str,
    "same_job": bool,
    "enlarge": bool,
    "keep_hours": float,
    "job_seconds": float,
}
