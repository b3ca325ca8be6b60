"""The service itself: uploads, jobs, presets and the bill. No HTTP."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from airflow_provider_perfectlyclear.emulator.service import parameters
from airflow_provider_perfectlyclear.emulator.service.bill import Bill, Entry
from airflow_provider_perfectlyclear.emulator.service.clock import Clock
from airflow_provider_perfectlyclear.emulator.service.corrections import Corrections
from airflow_provider_perfectlyclear.emulator.service.jobs import Job
from airflow_provider_perfectlyclear.emulator.service.options import Options
from airflow_provider_perfectlyclear.emulator.service.presets import Presets
from airflow_provider_perfectlyclear.emulator.service.uploads import Uploads

_FOLDERS = ("uploads", "corrected", "presets")


class Service:
    """
    Uploads, jobs, presets and the bill, and what needs several of them.

    :param options: see :class:`Options`.
    """

    def __init__(self, options: Options) -> None:
        self._given = replace(options)
        self._threads = ThreadPoolExecutor(min(options.jobs, 8), thread_name_prefix="correction")
        self.clock = Clock()
        self._begin(options)

    def _begin(self, options: Options) -> None:
        """Know nothing yet."""
        for name in _FOLDERS:
            (options.folder / name).mkdir(parents=True, exist_ok=True)
        self.options = options
        self.uploads = Uploads(options, self.clock)
        self.jobs = Corrections(options, self.clock, self.uploads, self._threads)
        self.presets = Presets(options)
        self.bill = Bill(self.uploads)

    def reset(self) -> None:
        """Forget everything and delete its files. Jobs that are still being worked on end unseen."""
        for name in _FOLDERS:
            shutil.rmtree(self.options.folder / name, ignore_errors=True)
        self.clock.reset()
        self._begin(replace(self._given, key=self.options.key))

    def change(self, options: Mapping[str, Any]) -> None:
        """
        Behave otherwise from now on, until a reset.

        :param options: those of :data:`CHANGEABLE`.
        """
        for name, value in options.items():
            setattr(self.options, name, value)
        self.jobs.places.seconds = self.options.job_seconds

    def close(self) -> None:
        """Wait for the pictures that are being worked on, and drop the others."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def start(self, query: list[tuple[str, str]], make: Mapping[str, Any] | None = None) -> Job:
        """
        Accept a correction, or find the one that has its output.

        :param query: names and values of ``/pfc``.
        :param make: what a fault makes of the result.
        :raises Refused: nothing was started.
        """
        settings = parameters.read(query)
        blob = self.uploads.blob(settings["fileKey"], settings.get("fileType", "image"))
        preset = self.presets.digests(settings.get("preset"))
        file_key = settings.pop("fileKey")
        cache = settings.pop("cache", True)
        settings = self.jobs.shared(settings)
        job = self.jobs.cached(blob, settings) if cache else None
        hit = job is not None
        if job is None:
            job = self.jobs.accept(file_key, blob, settings, make=make)
        billed = not hit or self.options.cache == "billed"
        self.bill.note(Entry(job, billed, hit, preset))
        return job

    def adopt(self, data: bytes, *, file_key: str, job_id: str | None, settings: dict[str, Any]) -> None:
        """
        Know an upload that another emulator was given, and the job that it had, billed.

        :param data: what was uploaded.
        :param file_key: of the upload.
        :param job_id: of the job; None: it had none.
        :param settings: of the job, as the bill has them.
        """
        blob = self.uploads.adopt(data, file_key, settings.get("fileType", "image"))
        if job_id is not None:
            job = self.jobs.accept(file_key, blob, self.jobs.shared(settings), job_id)
            self.bill.note(Entry(job, True, False, self.presets.digests(settings.get("preset"))))

    def uploaded_sha256(self, job: Job | None, file_key: str | None) -> str | None:
        """Return the SHA-256 of the file of a job, or of a file key."""
        upload = self.uploads.get(file_key) if file_key else None
        blob = job.blob if job else upload.blob if upload else None
        return self.uploads.sha256(blob) if blob else None
