"""The service itself: uploads, jobs, presets and the bill. No HTTP."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_provider_perfectlyclear.emulator.service import jobs, parameters
from airflow_provider_perfectlyclear.emulator.service.jobs import Blob, Job, Outcome, Places
from airflow_provider_perfectlyclear.emulator.service.kinds import HEAD_BYTES, kind_of
from airflow_provider_perfectlyclear.emulator.service.options import BUILT_IN_PRESETS, Options
from airflow_provider_perfectlyclear.emulator.transport.answers import Refused


@dataclass(slots=True)
class Upload:
    """A file key, and what was uploaded to it."""

    file_key: str
    file_type: str
    born: float
    blob: Blob | None = None
    blobs: int = 0


@dataclass(slots=True)
class Preset:
    """A custom preset; usable once it has a blob."""

    id: str
    name: str
    description: str
    created: float
    updated: float
    blob: Blob | None = None


@dataclass(slots=True)
class Entry:
    """
    One accepted ``/pfc``, for the bill.

    :param preset: the MD5 of the custom preset's file, as it was then.
    :param preset_sha256: its SHA-256.
    """

    job: Job
    billed: bool
    hit: bool
    preset: str | None = None
    preset_sha256: str | None = None


@dataclass
class State:
    """Everything that a reset forgets."""

    places: Places
    uploads: dict[str, Upload] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    presets: dict[str, Preset] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    cached: dict[tuple[int | bytes, int], Job] = field(default_factory=dict)
    settings: dict[tuple[tuple[str, str], ...], dict[str, Any]] = field(default_factory=dict)
    passed: float = 0.0


class Service:
    """
    Uploads, jobs, presets and the bill.

    :param options: see :class:`Options`.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._given = replace(options)
        # The wall clock minus the monotonic one: times are kept on one clock and shown on the other.
        self._wall = time.time() - time.monotonic()
        self._threads = ThreadPoolExecutor(min(options.jobs, 8), thread_name_prefix="correction")
        self.state = self._blank()

    def _blank(self) -> State:
        for name in ("uploads", "corrected", "presets"):
            (self.options.folder / name).mkdir(parents=True, exist_ok=True)
        return State(Places(self.options.jobs, self.options.job_seconds))

    def reset(self) -> None:
        """Forget everything and delete its files. Jobs that are still being worked on end unseen."""
        for name in ("uploads", "corrected", "presets"):
            shutil.rmtree(self.options.folder / name, ignore_errors=True)
        self.options = replace(self._given, key=self.options.key)
        self.state = self._blank()

    def change(self, options: Mapping[str, Any]) -> None:
        """
        Behave otherwise from now on, until a reset.

        :param options: those of :data:`CHANGEABLE`.
        """
        self.options = replace(self.options, **options)
        self.state.places.seconds = self.options.job_seconds

    def let_pass(self, hours: float) -> None:
        """Forget what would be forgotten if so many hours had passed. No other clock goes on."""
        self.state.passed += hours * 3600

    def _now(self) -> float:
        """The clock that tells what is forgotten: seconds."""
        return time.monotonic() + self.state.passed

    def _is_kept(self, born: float) -> bool:
        return self._now() - born <= self.options.keep_hours * 3600

    def close(self) -> None:
        """Wait for the pictures that are being worked on, and drop the others."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    # Uploads

    def new_upload(self, file_type: str) -> Upload:
        """Hand out a file key."""
        upload = Upload(secrets.token_hex(16), file_type, self._now())
        self.state.uploads[upload.file_key] = upload
        return upload

    def blob_path(self, blob: Blob) -> Path:
        """Where the bytes of an upload are."""
        return self.upload_path(blob.name)

    def upload_path(self, name: str) -> Path:
        """Where an upload of that name is or comes: spread over folders, as there may be 100,000."""
        return self.options.folder / "uploads" / name[:2] / name

    def adopt(self, data: bytes, *, file_key: str, job_id: str | None, settings: dict[str, Any]) -> None:
        """
        Know an upload that another emulator was given, and the job that it had, billed.

        :param data: what was uploaded.
        :param file_key: of the upload.
        :param job_id: of the job; None: it had none.
        :param settings: of the job, as the bill has them.
        """
        upload = Upload(file_key, settings.get("fileType", "image"), self._now(), blobs=1)
        path = self.upload_path(file_key)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        upload.blob = Blob(path.name, len(data), md5, kind_of(data[:HEAD_BYTES]))
        self.state.uploads[file_key] = upload
        if job_id is not None:
            job = self._accept(file_key, upload.blob, self._shared(settings), job_id)
            self.state.entries.append(Entry(job, True, False, *self._preset(settings.get("preset"))))

    # Jobs

    def upload(self, file_key: str) -> Upload | None:
        """An upload that is not forgotten."""
        upload = self.state.uploads.get(file_key)
        return upload if upload is not None and self._is_kept(upload.born) else None

    def job(self, job_id: str) -> Job | None:
        """A job that is not forgotten."""
        job = self.state.jobs.get(job_id)
        return job if job is not None and self._is_kept(job.born) else None

    def uploaded_sha256(self, job: Job | None, file_key: str | None) -> str | None:
        """Of the file of a job, or of a file key."""
        upload = self.upload(file_key) if file_key else None
        blob = job.blob if job else upload.blob if upload else None
        return self._sha256(blob) if blob else None

    def start(self, query: list[tuple[str, str]], make: Mapping[str, Any] | None = None) -> Job:
        """
        Accept a correction, or find the one that has its output.

        :param query: names and values of ``/pfc``.
        :param make: what a fault makes of the result.
        :raises Refused: nothing was started.
        """
        settings = parameters.read(query)
        blob = self._uploaded(settings["fileKey"], settings.get("fileType", "image"))
        preset, preset_sha256 = self._preset(settings.get("preset"))
        file_key = settings.pop("fileKey")
        cache = settings.pop("cache", True)
        settings = self._shared(settings)
        job = self._reusable(blob, settings) if cache else None
        hit = job is not None
        if job is None:
            job = self._accept(file_key, blob, settings, make=make)
        billed = not hit or self.options.cache == "billed"
        self.state.entries.append(Entry(job, billed, hit, preset, preset_sha256))
        return job

    def _uploaded(self, file_key: str, file_type: str) -> Blob:
        upload = self.upload(file_key)
        if upload is None:
            raise Refused(404, f"fileKey {file_key[:100]!r} is unknown")
        if upload.file_type != file_type:
            raise Refused(
                400, f"fileType {file_type} does not match the uploaded file type {upload.file_type}"
            )
        if upload.blob is None:
            raise Refused(409, f"no file was uploaded to fileKey {file_key}")
        return upload.blob

    def _preset(self, name: str | None) -> tuple[str | None, str | None]:
        """The MD5 and SHA-256 of a custom preset's file, None for those that are built in."""
        if name is None or name in ("none", *BUILT_IN_PRESETS):
            return None, None
        preset = self.preset_named(name)
        if preset is None or preset.blob is None:
            raise Refused(400, f"preset {name[:100]!r} is unknown")
        if preset.blob.sha256 is None:
            preset.blob.sha256 = _sha256_of(self.preset_path(preset.blob.name))
        return preset.blob.md5.hex(), preset.blob.sha256

    def _shared(self, settings: dict[str, Any]) -> dict[str, Any]:
        """One dict for all jobs that ask for the same."""
        return self.state.settings.setdefault(tuple(sorted(settings.items())), settings)

    def _reusable(self, blob: Blob, settings: dict[str, Any]) -> Job | None:
        job = self.state.cached.get(self._alike(blob, settings))
        if job is None or not self._is_kept(job.born) or (job.forced is not None and job.forced.lost):
            return None
        state = job.state(time.monotonic())
        if state in ("FAILED", "REJECTED"):
            return None
        if self.options.cache == "done-only" and state != "COMPLETED":
            return None
        return job

    def _alike(self, blob: Blob, settings: dict[str, Any]) -> tuple[int | bytes, int]:
        """By what the cache knows a picture. Blobs live as long as the state: their ids are as good as values."""
        return blob.md5 if self.options.same_job else id(blob), id(settings)

    def _accept(
        self,
        file_key: str,
        blob: Blob,
        settings: dict[str, Any],
        job_id: str | None = None,
        make: Mapping[str, Any] | None = None,
    ) -> Job:
        now = time.monotonic()
        starts, ends = self.state.places.take(now)
        job = Job(job_id or secrets.token_hex(12), file_key, blob, settings, now, starts, ends, self._now())
        job.make = {"enlarge": self.options.enlarge, **(make or {})}
        self.state.jobs[job.id] = job
        self.state.cached[self._alike(blob, settings)] = job
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
        return jobs.ECHOED if self.options.echo or media == "video" else None

    def _work(self, job: Job) -> None:
        """In a thread of its own: decoding takes long, and the event loop must not wait."""
        from airflow_provider_perfectlyclear.emulator.service import pictures

        target = self.options.folder / "corrected" / job.id
        try:
            made = pictures.correct(self.blob_path(job.blob), job.blob, target, job.settings, job.make)
            job.outcome = jobs.ECHOED if made is None else Outcome("COMPLETED", "done", made)
        except pictures.Broken as error:
            job.outcome = Outcome("FAILED", str(error))
        except Exception as error:
            # A job that never ended would only show as a timeout, far from its cause.
            job.outcome = Outcome("FAILED", f"internal error: {error!r}")

    def result(self, job: Job) -> tuple[Path, Any, int, bytes]:
        """The corrected file: path, kind, size and MD5."""
        made = job.outcome.made if job.outcome else None
        if made is not None:
            return made.path, made.kind, made.size, made.md5
        return self.blob_path(job.blob), job.blob.kind, job.blob.size, job.blob.md5

    def iso(self, monotonic: float) -> str:
        """A time as the service writes it."""
        moment = datetime.fromtimestamp(monotonic + self._wall, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    # Presets

    def new_preset(self, name: str, description: str) -> Preset:
        """Create a preset that has no file yet."""
        now = time.monotonic()
        preset = Preset(secrets.token_hex(12), name, description, now, now)
        self.state.presets[preset.id] = preset
        return preset

    def make_presets(self, count: int) -> None:
        """Make so many presets that have a file."""
        for number in range(1, count + 1):
            preset = self.new_preset(f"Preset {number:05}", "")
            data = f"<preset>{number}</preset>".encode()
            name = f"{preset.id}-made"
            self.preset_path(name).write_bytes(data)
            md5 = hashlib.md5(data, usedforsecurity=False).digest()
            preset.blob = Blob(name=name, size=len(data), md5=md5, kind=None)

    def usable_presets(self) -> list[Preset]:
        """Those that have a file, oldest first."""
        return [preset for preset in self.state.presets.values() if preset.blob is not None]

    def preset_named(self, name: str | None) -> Preset | None:
        """The newest usable preset of that name."""
        found = [preset for preset in self.usable_presets() if preset.name == name]
        return found[-1] if found else None

    def preset_path(self, name: str) -> Path:
        """Where a preset's file of that name is or comes."""
        return self.options.folder / "presets" / name

    def delete_preset(self, preset_id: str) -> bool:
        """
        Delete a preset, with or without a file.

        :return: whether there was one.
        """
        preset = self.state.presets.pop(preset_id, None)
        if preset is not None and preset.blob is not None:
            self.preset_path(preset.blob.name).unlink(missing_ok=True)
        return preset is not None

    # The bill

    def bill(self) -> dict[str, int]:
        """How many calls of ``/pfc`` were accepted, are billed, and reused an output."""
        entries = self.state.entries
        return {
            "accepted": len(entries),
            "billed": sum(entry.billed for entry in entries),
            "hits": sum(entry.hit for entry in entries),
        }

    def entries(self, *, results: bool = False) -> Iterator[dict[str, Any]]:
        """
        Every accepted ``/pfc``, in order. Reads uploaded files: not for the event loop.

        :param results: with the digests of the preset's file, and of what each job made.
        """
        now = time.monotonic()
        for entry in tuple(self.state.entries):
            job = entry.job
            yield {
                "job_id": job.id,
                "file_key": job.file_key,
                "sha256": self._sha256(job.blob),
                "settings": job.settings,
                "preset": entry.preset,
                "billed": entry.billed,
                "hit": entry.hit,
                "state": job.state(now),
                **(self._digests(entry) if results else {}),
            }

    def _digests(self, entry: Entry) -> dict[str, str | None]:
        return {"preset_sha256": entry.preset_sha256, "result_sha256": self._result_sha256(entry.job)}

    def _sha256(self, blob: Blob) -> str:
        if blob.sha256 is None:
            blob.sha256 = _sha256_of(self.blob_path(blob))
        return blob.sha256

    def _result_sha256(self, job: Job) -> str | None:
        """None: it has made nothing."""
        outcome = job.outcome
        if outcome is None or outcome.status != "COMPLETED":
            return None
        made = outcome.made
        if made is None:
            return self._sha256(job.blob)
        if made.sha256 is None:
            made.sha256 = _sha256_of(made.path)
        return made.sha256


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
