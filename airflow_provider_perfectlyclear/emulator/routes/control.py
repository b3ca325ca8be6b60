"""
``/_emulator`` on the API's port: the bill, what was seen, faults, and starting afresh.

It needs no key, is not counted and not limited.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_perfectlyclear.emulator.app import Emulation
from airflow_provider_perfectlyclear.emulator.faults import BadFault
from airflow_provider_perfectlyclear.emulator.service.options import CACHE_READINGS, CHANGEABLE

MOST_PRESETS = 100_000


def control_routes(emulation: Emulation) -> list[Route]:
    """Return the routes of the control plane."""
    control = Control(emulation)
    listed: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("", "GET", control.about),
        ("/bill", "GET", control.bill),
        ("/seen", "GET", control.seen),
        ("/presets", "GET", control.presets),
        ("/presets", "POST", control.make_presets),
        ("/adopt", "POST", control.adopt),
        ("/options", "POST", control.options),
        ("/pass", "POST", control.let_pass),
        ("/reset", "POST", control.reset),
        ("/key", "POST", control.key),
        ("/faults", "POST", control.post_fault),
        ("/faults", "GET", control.faults),
        ("/faults", "DELETE", control.clear_faults),
    ]
    return [Route(f"/_emulator{path}", handler, methods=[method]) for path, method, handler in listed]


class Control:
    """
    The handlers of the control plane.

    :param emulation: what it controls.
    """

    def __init__(self, emulation: Emulation) -> None:
        self.emulation = emulation
        self.service = emulation.service

    async def about(self, request: Request) -> Response:
        """Where the two origins are."""
        return JSONResponse({"base_url": self.emulation.base_url, "storage_url": self.emulation.storage_url})

    async def bill(self, request: Request) -> Response:
        """Every accepted ``/pfc``; with ``?summary=true`` only how many, with ``?results=true`` what each has made."""
        bill: dict[str, Any] = dict(self.service.bill.summary())
        if request.query_params.get("summary") != "true":
            results = request.query_params.get("results") == "true"
            bill["entries"] = await asyncio.to_thread(
                lambda: list(self.service.bill.entries(results=results))
            )
        return JSONResponse(bill)

    async def seen(self, request: Request) -> Response:
        """Tell what each origin was asked, and with which headers."""
        return JSONResponse(
            {"api": self.emulation.seen_api.report(), "storage": self.emulation.seen_storage.report()}
        )

    async def presets(self, request: Request) -> Response:
        """All presets, those without a file too, which the API does not list."""
        listed = [
            {"presetId": preset.id, "name": preset.name, "uploaded": preset.blob is not None}
            for preset in self.service.presets.all()
        ]
        return JSONResponse({"presets": listed})

    async def make_presets(self, request: Request) -> Response:
        """Make usable presets, ``{"count": 10000}``: called ``Preset 00001`` and so on, each with a file of its own."""
        try:
            count = (await request.json())["count"]
        except (ValueError, KeyError, TypeError):
            return _refused('expected {"count": 10000}')
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MOST_PRESETS:
            return _refused(f"count is a whole number up to {MOST_PRESETS}")
        self.service.presets.make(count)
        return JSONResponse({"made": count})

    async def adopt(self, request: Request) -> Response:
        """
        Know an upload, and its job, of another emulator, as its bill has them.

        The body is ``{"base64": "...", "file_key": "...", "job_id": null, "settings": {}}``.
        """
        try:
            given = await request.json()
            data = base64.b64decode(given["base64"], validate=True)
            file_key, settings = str(given["file_key"]), dict(given.get("settings") or {})
            job_id = None if given.get("job_id") is None else str(given["job_id"])
        except (ValueError, KeyError, TypeError):
            return _refused('expected {"base64": "...", "file_key": "...", "job_id": "...", "settings": {}}')
        self.service.adopt(data, file_key=file_key, job_id=job_id, settings=settings)
        return JSONResponse({"adopted": file_key})

    async def options(self, request: Request) -> Response:
        """Behave otherwise until a reset: ``{"cache": "billed", "same_job": true, "enlarge": false}`` and more."""
        given = await _object(request)
        known = given is not None and given.keys() <= CHANGEABLE.keys()
        if (
            given is None
            or not known
            or not all(_is_a(CHANGEABLE[name], value) for name, value in given.items())
        ):
            return _refused(f"expected an object with some of {', '.join(CHANGEABLE)}")
        if given.get("cache", "free") not in CACHE_READINGS:
            return _refused(f"cache is one of {', '.join(CACHE_READINGS)}")
        self.service.change(given)
        return JSONResponse(given)

    async def let_pass(self, request: Request) -> Response:
        """Forget what would be forgotten if time had passed: ``{"hours": 25}``."""
        hours: Any = (await _object(request) or {}).get("hours")
        if not _is_a(float, hours) or hours < 0:
            return _refused('expected {"hours": 25}')
        self.service.clock.let_pass(hours * 3600)
        return JSONResponse({"passed": hours})

    async def reset(self, request: Request) -> Response:
        """Forget everything, faults included."""
        self.emulation.reset()
        return JSONResponse({"reset": True})

    async def key(self, request: Request) -> Response:
        """Demand another key from now on: ``{"key": "..."}``; null for any that is not empty."""
        try:
            key = (await request.json())["key"]
        except (ValueError, KeyError, TypeError):
            return _refused('expected {"key": "..."} or {"key": null}')
        if key is not None and (not isinstance(key, str) or not key):
            return _refused("a key is a string that is not empty, or null")
        self.service.options.key = key
        return JSONResponse({"changed": True})

    async def post_fault(self, request: Request) -> Response:
        """Take a fault instruction."""
        try:
            return JSONResponse({"id": self.emulation.faults.post(await request.json())})
        except BadFault as bad:
            return _refused(str(bad))
        except json.JSONDecodeError:
            return _refused("the body is not JSON")

    async def faults(self, request: Request) -> Response:
        """Which instructions have not happened as told."""
        return JSONResponse(self.emulation.faults.report())

    async def clear_faults(self, request: Request) -> Response:
        """Drop all instructions."""
        self.emulation.faults.clear()
        return JSONResponse({"cleared": True})


async def _object(request: Request) -> dict[str, Any] | None:
    """Return the body, if it is a JSON object."""
    try:
        found = await request.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_a(kind: type, value: Any) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def _refused(text: str) -> Response:
    return JSONResponse({"error": text}, status_code=400)
