"""Custom presets, and their files."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_perfectlyclear.emulator.service.blobs import Blob, sha256_of, store_blob
from airflow_provider_perfectlyclear.emulator.service.options import BUILT_IN_PRESETS, Options
from airflow_provider_perfectlyclear.emulator.transport.answers import Refused


@dataclass(slots=True)
class Preset:
    """A custom preset; usable once it has a blob."""

    id: str
    name: str
    description: str
    created: float
    updated: float
    blob: Blob | None = None


@dataclass(frozen=True, slots=True)
class Digests:
    """
    The file of a preset, as it was when a correction was accepted; None for presets that are built in.

    :param md5: hexadecimal digits, as the ETag has them.
    :param sha256: hexadecimal digits.
    """

    md5: str | None = None
    sha256: str | None = None


class Presets:
    """
    All custom presets.

    :param options: how the service behaves.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._by_id: dict[str, Preset] = {}

    def new(self, name: str, description: str) -> Preset:
        """Create a preset that has no file yet."""
        now = time.monotonic()
        preset = Preset(secrets.token_hex(12), name, description, now, now)
        self._by_id[preset.id] = preset
        return preset

    def make(self, count: int) -> None:
        """Make so many presets that have a file."""
        for number in range(1, count + 1):
            preset = self.new(f"Preset {number:05}", "")
            preset.blob = store_blob(self.path(f"{preset.id}-made"), f"<preset>{number}</preset>".encode())

    def get(self, preset_id: str) -> Preset | None:
        """Return a preset, with or without a file."""
        return self._by_id.get(preset_id)

    def all(self) -> list[Preset]:
        """Return all presets, oldest first."""
        return list(self._by_id.values())

    def usable(self) -> list[Preset]:
        """Return those that have a file, oldest first."""
        return [preset for preset in self._by_id.values() if preset.blob is not None]

    def digests(self, name: str | None) -> Digests:
        """
        Return what the newest usable preset of a name consists of.

        :param name: as asked for; None if it was not.
        :raises Refused: there is no such preset.
        """
        if name is None or name in ("none", *BUILT_IN_PRESETS):
            return Digests()
        found = [preset.blob for preset in self.usable() if preset.name == name]
        blob = found[-1] if found else None
        if blob is None:
            raise Refused(400, f"preset {name[:100]!r} is unknown")
        if blob.sha256 is None:
            blob.sha256 = sha256_of(self.path(blob.name))
        return Digests(blob.md5.hex(), blob.sha256)

    def path(self, name: str) -> Path:
        """Return where a preset's file of that name is or comes."""
        return self._options.folder / "presets" / name

    def delete(self, preset_id: str) -> bool:
        """
        Delete a preset, with or without a file.

        :return: whether there was one.
        """
        preset = self._by_id.pop(preset_id, None)
        if preset is not None and preset.blob is not None:
            self.path(preset.blob.name).unlink(missing_ok=True)
        return preset is not None
