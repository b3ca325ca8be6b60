"""File keys, and the files that were uploaded to them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_perfectlyclear.emulator.service.blobs import Blob, sha256_of, store_blob
from airflow_provider_perfectlyclear.emulator.service.clock import Clock
from airflow_provider_perfectlyclear.emulator.service.options import Options
from airflow_provider_perfectlyclear.emulator.transport.answers import Refused


@dataclass(slots=True)
class Upload:
    """
    A file key, and what was uploaded to it.

    :param born: when it was handed out, on the clock that tells what is forgotten.
    :param blob: what was uploaded last.
    :param blobs: how often something was uploaded.
    """

    file_key: str
    file_type: str
    born: float
    blob: Blob | None = None
    blobs: int = 0


class Uploads:
    """
    All file keys.

    :param options: how the service behaves.
    :param clock: tells what is forgotten.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._by_key: dict[str, Upload] = {}

    def new(self, file_type: str) -> Upload:
        """Hand out a file key."""
        return self._add(secrets.token_hex(16), file_type)

    def adopt(self, data: bytes, file_key: str, file_type: str) -> Blob:
        """Know an upload that another emulator was given."""
        upload = self._add(file_key, file_type)
        path = self.path(file_key)
        path.parent.mkdir(exist_ok=True)
        upload.blobs = 1
        upload.blob = store_blob(path, data)
        return upload.blob

    def _add(self, file_key: str, file_type: str) -> Upload:
        upload = Upload(file_key, file_type, self._clock.now())
        self._by_key[file_key] = upload
        return upload

    def get(self, file_key: str) -> Upload | None:
        """Return an upload that is not forgotten."""
        upload = self._by_key.get(file_key)
        is_kept = upload is not None and self._options.keeps(upload.born, self._clock.now())
        return upload if is_kept else None

    def blob(self, file_key: str, file_type: str) -> Blob:
        """
        Return the file that is to be corrected.

        :raises Refused: there is no such upload, it is of another type, or nothing was uploaded.
        """
        upload = self.get(file_key)
        if upload is None:
            raise Refused(404, f"fileKey {file_key[:100]!r} is unknown")
        if upload.file_type != file_type:
            raise Refused(
                400, f"fileType {file_type} does not match the uploaded file type {upload.file_type}"
            )
        if upload.blob is None:
            raise Refused(409, f"no file was uploaded to fileKey {file_key}")
        return upload.blob

    def path(self, name: str) -> Path:
        """Return where a file of that name is or comes: spread over folders, as there may be 100,000."""
        return self._options.folder / "uploads" / name[:2] / name

    def sha256(self, blob: Blob) -> str:
        """Return the SHA-256 of an upload, which is read once."""
        if blob.sha256 is None:
            blob.sha256 = sha256_of(self.path(blob.name))
        return blob.sha256
