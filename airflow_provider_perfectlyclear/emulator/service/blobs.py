"""Bytes that were uploaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_perfectlyclear.emulator.service.kinds import HEAD_BYTES, Kind, kind_of


@dataclass(slots=True)
class Blob:
    """
    Bytes that were uploaded. A second upload to the same file key is another blob.

    :param name: of the file in its folder.
    :param size: bytes.
    :param md5: what the ETag is made of.
    :param kind: by its first bytes; None for no picture or video.
    :param sha256: computed when the bill is first asked for.
    """

    name: str
    size: int
    md5: bytes
    kind: Kind | None
    sha256: str | None = None


def store_blob(path: Path, data: bytes) -> Blob:
    """Write bytes to a file, as if they had been uploaded."""
    path.write_bytes(data)
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    return Blob(path.name, len(data), md5, kind_of(data[:HEAD_BYTES]))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
