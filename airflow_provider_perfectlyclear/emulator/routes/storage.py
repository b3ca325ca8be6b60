"""The storage origin: an object store that knows nothing but signed URLs."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.routing import Route, Router

from airflow_provider_perfectlyclear.emulator.app import Emulation, ExactRoute, StorageDoor
from airflow_provider_perfectlyclear.emulator.faults.exchange import Exchange, Handler
from airflow_provider_perfectlyclear.emulator.service.blobs import Blob
from airflow_provider_perfectlyclear.emulator.service.kinds import HEAD_BYTES, kind_of
from airflow_provider_perfectlyclear.emulator.transport.answers import Answer, FilePart, xml_answer

_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})")


class Storage:
    """
    The handlers of the storage.

    :param emulation: what all routes share.
    """

    def __init__(self, emulation: Emulation) -> None:
        self.emulation = emulation
        self.service = emulation.service

    def router(self) -> Router:
        """Paths and methods."""
        routes = [
            self._door("/uploads/{file_key}", "PUT", "put", self.put),
            self._door("/corrected/{job_id}/{name}", "GET", "download", self.download),
            self._door("/presets/{preset_id}.preset", "PUT", "preset_put", self.preset_put),
            self._door("/presets/{preset_id}.preset", "GET", "preset_get_file", self.preset_get_file),
        ]
        unknown = StorageDoor(self.emulation, "unknown", _unknown, method=None)
        return Router(routes, redirect_slashes=False, default=unknown)

    def _door(self, path: str, method: str, route: str, handler: Handler) -> Route:
        return ExactRoute(path, StorageDoor(self.emulation, route, handler, method=method), method)

    async def put(self, exchange: Exchange) -> Answer:
        """Store a picture or a video. A second one replaces it for the jobs to come."""
        refusal = _unmeasured(exchange)
        upload = self.service.uploads.get(exchange.path["file_key"])
        if refusal is not None or upload is None:
            return refusal or xml_answer(404, "NoSuchKey", "There is no such upload.")
        name = f"{upload.file_key}-{upload.blobs}" if upload.blobs else upload.file_key
        upload.blobs += 1
        # Only a whole upload counts: one that is cut leaves the key as it was.
        upload.blob = await _receive(exchange.body(), self.service.uploads.path(name))
        return Answer(headers={"ETag": _etag(upload.blob.md5)})

    async def preset_put(self, exchange: Exchange) -> Answer:
        """Store a preset's file, from when on it can be used."""
        refusal = _unmeasured(exchange)
        preset = self.service.presets.get(exchange.path["preset_id"])
        if refusal is not None or preset is None:
            return refusal or xml_answer(404, "NoSuchKey", "There is no such preset.")
        path = self.service.presets.path(f"{preset.id}-{secrets.token_hex(4)}")
        preset.blob = await _receive(exchange.body(), path)
        preset.updated = time.monotonic()
        return Answer(headers={"ETag": _etag(preset.blob.md5)})

    async def download(self, exchange: Exchange) -> Answer:
        """Send a corrected file."""
        job = exchange.job
        if job is None or job.outcome is None or (job.forced is not None and job.forced.lost):
            return xml_answer(404, "NoSuchKey", "There is no such file.")
        path, kind, size, md5 = self.service.jobs.result(job)
        content_type = kind.content_type if kind else "application/octet-stream"
        return _file_answer(exchange, path, size, content_type, md5)

    async def preset_get_file(self, exchange: Exchange) -> Answer:
        """Send a preset's file."""
        preset = self.service.presets.get(exchange.path["preset_id"])
        if preset is None or preset.blob is None:
            return xml_answer(404, "NoSuchKey", "There is no such preset.")
        path = self.service.presets.path(preset.blob.name)
        return _file_answer(exchange, path, preset.blob.size, "application/octet-stream", preset.blob.md5)


async def _unknown(exchange: Exchange) -> Answer:
    return xml_answer(404, "NoSuchKey", "There is no such object.")


def _unmeasured(exchange: Exchange) -> Answer | None:
    """Refuse a body whose length is not known beforehand, as object stores do."""
    if exchange.header("transfer-encoding"):
        return xml_answer(
            501, "NotImplemented", "A header you provided implies functionality: Transfer-Encoding"
        )
    if not exchange.header("content-length"):
        return xml_answer(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    return None


async def _receive(body: AsyncIterator[bytes], path: Path) -> Blob:
    """
    Stream a body to a file of its own, which is there whole or not at all.

    Writing to the page cache is faster than asking a thread to do it.
    """
    path.parent.mkdir(exist_ok=True)
    digest, size, head = hashlib.md5(usedforsecurity=False), 0, b""
    try:
        with path.open("wb", buffering=0) as file:
            async for chunk in body:
                head += chunk[: HEAD_BYTES - len(head)]
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
    except BaseException:
        path.unlink(missing_ok=True)  # noqa: ASYNC240  # as fast as the writing
        raise
    return Blob(path.name, size, digest.digest(), kind_of(head))


def _etag(md5: bytes) -> str:
    return f'"{md5.hex()}"'


def _file_answer(exchange: Exchange, path: Path, size: int, content_type: str, md5: bytes) -> Answer:
    headers = {"Content-Type": content_type, "ETag": _etag(md5), "Accept-Ranges": "bytes"}
    wanted = _RANGE.fullmatch(exchange.header("range"))
    if wanted is None:
        return Answer(200, FilePart(path, 0, size), headers)
    start, last = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
    if start > last:
        return Answer(416, b"", headers | {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{last}/{size}"
    return Answer(206, FilePart(path, start, last - start + 1), headers)
