"""Jobs that were accepted, the cache of their outputs, and the work itself."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from airflow_provider_perfectlyclear.emulator.service import jobs
from airflow_provider_perfectlyclear.emulator.service.blobs import Blob
from airflow_provider_perfectlyclear.emulator.service.clock import Clock
from airflow_provider_perfectlyclear.emulator.service.jobs import Job, Outcome, Places
from airflow_provider_perfectlyclear.emulator.service.options import Options
from airflow_provider_perfectlyclear.emulator.service.uploads import Uploads

Settings = dict[str, Any]


class Corrections:
    """
    All jobs, by id, and for the cache by what they were asked to make.

    :param options: how the service behaves.
    :param clock: tells what is forgotten.
    :param uploads: where the files are that the jobs correct.
    :param threads: do the work.
    """

    def __init__(self, options: Options, clock: Clock, uploads: Uploads, threads: ThreadPoolExecutor) -> None:
        self._options = options
        self._clock = clock
        self._uploads = uploads
        self._threads = threads
        self._by_id: dict[str, Job] = {}
        self._cached: dict[tuple[int | bytes, int], Job] = {}
        self._settings: dict[tuple[tuple[str, str], ...], Settings] = {}
        self.places = Places(options.jobs, options.job_seconds)

    def get(self, job_id: str) -> Job | None:
        """Return a job that is not forgotten."""
        job = self._by_id.get(job_id)
        return job if job is not None and self._is_kept(job) else None

    def _is_kept(self, job: Job) -> bool:
        return self._options.keeps(job.born, self._clock.now())

    def shared(self, settings: Settings) -> Settings:
        """Return one dict for all jobs that ask for the same: the cache compares it by its id."""
        return self._settings.setdefault(tuple(sorted(settings.items())), settings)

    def cached(self, blob: Blob, settings: Settings) -> Job | None:
        """
        Return the job that made, or makes, the same.

        :param settings: as :meth:`shared` has them.
        """
        job = self._cached.get(self._alike(blob, settings))
        if job is None or not self._is_kept(job) or (job.forced is not None and job.forced.lost):
            return None
        state = job.state(time.monotonic())
        if state in ("FAILED", "REJECTED"):
            return None
        if self._options.cache == "done-only" and state != "COMPLETED":
            return None
        return job

    def _alike(self, blob: Blob, settings: Settings) -> tuple[int | bytes, int]:
        """Return what the cache knows a picture by. Blobs are kept until a reset: their ids are as good as values."""
        return blob.md5 if self._options.same_job else id(blob), id(settings)

    def accept(
        self,
        file_key: str,
        blob: Blob,
        settings: Settings,
        job_id: str | None = None,
        make: Mapping[str, Any] | None = None,
    ) -> Job:
        """
        Start a job.

        :param settings: as :meth:`shared` has them.
        :param job_id: None for a new one.
        :param make: what a fault makes of the result.
        """
        now = time.monotonic()
        starts, ends = self.places.take(now)
        job_id = job_id or secrets.token_hex(12)
        job = Job(job_id, file_key, blob, settings, now, starts, ends, self._clock.now())
        job.make = {"enlarge": self._options.enlarge, **(make or {})}
        self._by_id[job.id] = job
        self._cached[self._alike(blob, settings)] = job
        job.outcome = self._outcome_without_work(job)
        if job.outcome is None:
            self._threads.submit(self._work, job)
        return job

    def _outcome_without_work(self, job: Job) -> Outcome | None:
        if job.blob.size == 0:
            return jobs.EMPTY
        if job.blob.kind is None:
            return jobs.NO_IMAGE
        media = job.blob.kind.media
        if media != job.settings.get("fileType", "image"):
            return jobs.WRONG_TYPE
        return jobs.ECHOED if self._options.echo or media == "video" else None

    def _work(self, job: Job) -> None:
        """Correct a picture in a thread of its own: decoding takes long, and the event loop must not wait."""
        from airflow_provider_perfectlyclear.emulator.service import pictures

        source, target = self._uploads.path(job.blob.name), self._options.folder / "corrected" / job.id
        try:
            made = pictures.correct(source, job.blob, target, job.settings, job.make)
            job.outcome = jobs.ECHOED if made is None else Outcome("COMPLETED", "done", made)
        except pictures.Broken as error:
            job.outcome = Outcome("FAILED", str(error))
        except Exception as error:  # noqa: BLE001  # a job that never ended would only show as a timeout
            job.outcome = Outcome("FAILED", f"internal error: {error!r}")

    def result(self, job: Job) -> tuple[Path, Any, int, bytes]:
        """Return the corrected file: path, kind, size and MD5."""
        made = job.outcome.made if job.outcome else None
        if made is not None:
            return made.path, made.kind, made.size, made.md5
        return self._uploads.path(job.blob.name), job.blob.kind, job.blob.size, job.blob.md5
