"""The API origin: every endpoint of the reference under ``/v2``."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from starlette.routing import Route, Router

from airflow_provider_perfectlyclear.emulator.app import ApiDoor, Emulation, ExactRoute
from airflow_provider_perfectlyclear.emulator.faults.exchange import Exchange, Handler
from airflow_provider_perfectlyclear.emulator.routes.control import control_routes
from airflow_provider_perfectlyclear.emulator.service.jobs import OWN, Forced, Job
from airflow_provider_perfectlyclear.emulator.service.presets import Preset
from airflow_provider_perfectlyclear.emulator.service.usage import usage_of
from airflow_provider_perfectlyclear.emulator.transport.answers import Answer, Refused, json_answer

MOST_METADATA_BYTES = 64 * 1024


class Api:
    """
    The handlers of the API.

    :param emulation: what all routes share.
    """

    def __init__(self, emulation: Emulation) -> None:
        self.emulation = emulation
        self.service = emulation.service

    def router(self) -> Router:
        """Paths and methods, exactly as the reference has them."""
        door = self._door
        routes = [
            door("/v2/upload", "GET", "upload", self.upload),
            door("/v2/pfc", "GET", "pfc", self.pfc),
            door("/v2/status/{job_id}", "GET", "status", self.status, needs_key=False),
            door("/v2/presets", "GET", "presets", self.presets),
            door("/v2/presets/", "POST", "preset_create", self.preset_create),
            door("/v2/presets/{preset_id}", "GET", "preset", self.preset),
            door("/v2/presets/{preset_id}", "DELETE", "preset_delete", self.preset_delete),
            *control_routes(self.emulation),
        ]
        unknown = ApiDoor(self.emulation, "unknown", _unknown, needs_key=False)
        return Router(routes, redirect_slashes=False, default=unknown)

    def _door(self, path: str, method: str, route: str, handler: Handler, *, needs_key: bool = True) -> Route:
        return ExactRoute(path, ApiDoor(self.emulation, route, handler, needs_key=needs_key), method)

    # Correcting

    async def upload(self, exchange: Exchange) -> Answer:
        """``GET /upload``."""
        file_type = exchange.query.get("fileType", "image")
        if file_type not in ("image", "video"):
            raise Refused(400, f"fileType must be one of image, video, not {file_type[:100]!r}")
        upload = self.service.uploads.new(file_type)
        url = self.emulation.sign(exchange, "PUT", f"/uploads/{upload.file_key}")
        return json_answer({"fileKey": upload.file_key, "upload_url": url})

    async def pfc(self, exchange: Exchange) -> Answer:
        """``GET /pfc``: from here on it is paid."""
        try:
            exchange.job = self.service.start(exchange.pairs, exchange.faults.given("make"))
        except Refused:
            exchange.faults.misfire("outcome", "/pfc was refused")
            raise
        self._force(exchange)
        return json_answer({"statusEndpoint": f"{self.emulation.base_url}/status/{exchange.job.id}"})

    async def status(self, exchange: Exchange) -> Answer:
        """``GET /status/{jobID}``."""
        self._force(exchange)
        job = exchange.job
        if job is None or (job.forced is not None and job.forced.lost):
            raise Refused(404, f"job {exchange.path['job_id'][:100]!r} is unknown")
        now = time.monotonic()
        view = self._view(job, now)
        url = self._corrected_url(exchange, job) if view["status"].upper() == "COMPLETED" else None
        if job.forced is not None and job.forced.backwards and view["status"] == "COMPLETED":
            job.forced.stuck = "PROCESSING"
        if url is None:
            return json_answer(view)
        view["correctedFile"] = url
        if exchange.query.get("noRedirect") == "true":
            return json_answer(view)
        return json_answer(view, 302, {"Location": url})

    def _force(self, exchange: Exchange) -> None:
        wanted = exchange.faults.given("outcome")
        if wanted is None:
            return
        if exchange.job is None:
            exchange.faults.misfire("outcome", "there is no such job")
            return
        exchange.job.forced = Forced(
            status=wanted.get("status"),
            text=wanted.get("statusText"),
            stuck=wanted.get("stuck"),
            lost=bool(wanted.get("lost")),
            backwards=bool(wanted.get("backwards")),
            corrected_file=wanted.get("correctedFile", OWN),
        )

    def _view(self, job: Job, now: float) -> dict[str, Any]:
        """Return the status, without the corrected file."""
        state = job.state(now)
        view: dict[str, Any] = {"_id": job.id, "status": state, "statusText": self._text(job, state)}
        view["createdAt"] = self.service.clock.iso(job.created)
        view["updatedAt"] = self.service.clock.iso(job.changed(now))
        if state == "FAILED":
            view["code"] = 1
        if state.upper() == "COMPLETED":
            view |= self._details(job)
        return view

    def _text(self, job: Job, state: str) -> str:
        if state in ("PENDING", "PROCESSING"):
            return {"PENDING": "waiting", "PROCESSING": "processing"}[state]
        if job.forced is not None and job.forced.text is not None:
            return job.forced.text
        if job.outcome is not None and job.outcome.status == state:
            return job.outcome.text
        return {"COMPLETED": "done", "FAILED": "The correction failed."}.get(state, "no image data")

    def _details(self, job: Job) -> dict[str, Any]:
        """Return what only a completed job has."""
        made = job.outcome.made if job.outcome else None
        media = job.blob.kind.media if job.blob.kind else "image"
        took = (made.finished if made else job.ends) - job.starts
        details: dict[str, Any] = {"code": 0, "usage": usage_of(job.settings, media, made)}
        details["aiserver"] = job.settings.get("preset", "Universal") == "Universal"
        details["timeTaken"] = round(max(took, 0.0), 2)
        return details | (made.facts if made else {})

    def _corrected_url(self, exchange: Exchange, job: Job) -> str | None:
        """Return a fresh URL at each ask; an old one stays good until it expires."""
        if job.forced is not None and job.forced.corrected_file != OWN:
            return job.forced.corrected_file
        kind = self.service.jobs.result(job)[1]
        extension = kind.extension if kind else ""
        path = f"/corrected/{job.id}/{job.file_key}_corrected{extension}"
        return self.emulation.sign(exchange, "GET", path)

    # Presets

    async def presets(self, exchange: Exchange) -> Answer:
        """``GET /presets``: those that have a file, oldest first."""
        limit, offset = _whole(exchange, "limit", 20), _whole(exchange, "offset", 0)
        found = self.service.presets.usable()[offset : offset + limit]
        return json_answer({"presets": [self._metadata(preset) for preset in found]})

    async def preset_create(self, exchange: Exchange) -> Answer:
        """``POST /presets/``: the first of two steps."""
        metadata = _metadata_of(await _small_body(exchange))
        preset = self.service.presets.new(metadata["name"], metadata.get("description") or "")
        url = self.emulation.sign(exchange, "PUT", f"/presets/{preset.id}.preset")
        return json_answer({"presetId": preset.id, "uploadUrl": url})

    async def preset(self, exchange: Exchange) -> Answer:
        """``GET /presets/{presetId}``: what it is, and a URL of its file."""
        preset = self.service.presets.get(exchange.path["preset_id"])
        if preset is None or preset.blob is None:
            raise _unknown_preset(exchange)
        uri = self.emulation.sign(exchange, "GET", f"/presets/{preset.id}.preset")
        return json_answer(self._metadata(preset) | {"uri": uri})

    async def preset_delete(self, exchange: Exchange) -> Answer:
        """``DELETE /presets/{presetId}``, with or without a file."""
        if not self.service.presets.delete(exchange.path["preset_id"]):
            raise _unknown_preset(exchange)
        return json_answer({"presetId": exchange.path["preset_id"], "message": "deleted"})

    def _metadata(self, preset: Preset) -> dict[str, Any]:
        return {
            "presetId": preset.id,
            "name": preset.name,
            "description": preset.description,
            "createdAt": self.service.clock.iso(preset.created),
            "updatedAt": self.service.clock.iso(preset.updated),
        }


async def _unknown(exchange: Exchange) -> Answer:
    raise Refused(404, f"no such endpoint: {exchange.scope['method']} {exchange.scope['path'][:100]}")


def _unknown_preset(exchange: Exchange) -> Refused:
    return Refused(404, f"preset {exchange.path['preset_id'][:100]!r} is unknown")


def _whole(exchange: Exchange, name: str, default: int) -> int:
    text = exchange.query.get(name, str(default))
    if not re.fullmatch("[0-9]{1,9}", text):
        raise Refused(400, f"{name} must be a whole number, not {text[:100]!r}")
    return int(text)


async def _small_body(exchange: Exchange) -> bytes:
    body = b""
    async for chunk in exchange.body():
        body += chunk
        if len(body) > MOST_METADATA_BYTES:
            raise Refused(413, f"the body is larger than {MOST_METADATA_BYTES} bytes")
    return body


def _metadata_of(body: bytes) -> dict[str, Any]:
    try:
        metadata = json.loads(body)
    except ValueError:
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(metadata, dict):
        raise Refused(400, "the body is not a JSON object")
    name, description = metadata.get("name"), metadata.get("description")
    if not isinstance(name, str) or not name.strip():
        raise Refused(400, "name is required")
    if description is not None and not isinstance(description, str):
        raise Refused(400, "description must be a string")
    return metadata
