"""The bill: every accepted call of ``/pfc``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_perfectlyclear.emulator.service.blobs import sha256_of
from airflow_provider_perfectlyclear.emulator.service.jobs import Job
from airflow_provider_perfectlyclear.emulator.service.presets import Digests
from airflow_provider_perfectlyclear.emulator.service.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One accepted ``/pfc``.

    :param billed: whether it costs something.
    :param hit: whether it reused an output.
    :param preset: the custom preset's file, as it was then.
    """

    job: Job
    billed: bool
    hit: bool
    preset: Digests = field(default_factory=Digests)


class Bill:
    """
    What was accepted, in order.

    :param uploads: where the files are whose digests it tells.
    """

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._entries: list[Entry] = []

    def note(self, entry: Entry) -> None:
        """Add an accepted call."""
        self._entries.append(entry)

    def summary(self) -> dict[str, int]:
        """Count the calls of ``/pfc`` that were accepted, are billed, and reused an output."""
        return {
            "accepted": len(self._entries),
            "billed": sum(entry.billed for entry in self._entries),
            "hits": sum(entry.hit for entry in self._entries),
        }

    def entries(self, *, results: bool = False) -> Iterator[dict[str, Any]]:
        """
        Tell every accepted ``/pfc``, in order. Reads uploaded files: not for the event loop.

        :param results: with the digests of the preset's file, and of what each job made.
        """
        now = time.monotonic()
        for entry in tuple(self._entries):
            job = entry.job
            yield {
                "job_id": job.id,
                "file_key": job.file_key,
                "sha256": self._uploads.sha256(job.blob),
                "settings": job.settings,
                "preset": entry.preset.md5,
                "billed": entry.billed,
                "hit": entry.hit,
                "state": job.state(now),
                **(self._digests(entry) if results else {}),
            }

    def _digests(self, entry: Entry) -> dict[str, str | None]:
        return {"preset_sha256": entry.preset.sha256, "result_sha256": self._result_sha256(entry.job)}

    def _result_sha256(self, job: Job) -> str | None:
        """Return the SHA-256 of what a job has made; None if it has made nothing."""
        outcome = job.outcome
        if outcome is None or outcome.status != "COMPLETED":
            return None
        made = outcome.made
        if made is None:
            return self._uploads.sha256(job.blob)
        if made.sha256 is None:
            made.sha256 = sha256_of(made.path)
        return made.sha256
