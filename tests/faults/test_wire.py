"""What the service and the network between do wrong, in one table: how it is injected, and what must come of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import pytest

from tests.faults.nights import NAMES, came_to, ends_well, night
from tests.faults.table import Row
from tests.support.sandbox import Sandbox

#: Requests go one after the other: then it is known which picture has the fault.
ALONE = {"options": {"transfers": 1, "max_in_flight": 1}}
#: A preset is looked up before anything else.
PRESET = {"options": {"correction": {"preset": "Vivid"}}}
#: What says nothing is waited for, but not for long.
IMPATIENT = {"settings": {"timeout": 1.0, "call_deadline": 1.0}}
#: Placeholder of an HTTP date of two seconds from now.
SOON_DATE = "<date>"
HOSTILE = "no\nimage\x1b[31m data\r\n::group:: %s %(x)s {{ 1 }} <script>=cmd()" + "x" * 100_000


@dataclass(frozen=True)
class Way:
    """
    One way to inject a fault.

    :param outcome: as :func:`tests.faults.nights.came_to` reads it.
    :param faults: instructions: which requests, what happens to them, and how often (None: for ever).
    :param more: what the worker is told beside the usual.
    :param says: what its log must say.
    """

    fault: str
    way: str
    outcome: str
    faults: list[tuple[Any, Any, int | None]]
    more: dict[str, Any] = field(default_factory=dict)
    says: str = ""

    @property
    def parameter(self) -> Any:
        marks = pytest.mark.fault(self.fault, self.way, self.outcome)
        return pytest.param(self, marks=marks, id=f"{self.fault}-{self.way}".replace(" ", "-"))


def answer(status: int, body: str = "busy", commit: bool = False, **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"answer": {"status": status, "headers": named, "body": body, "commit": commit}}


def at(route: str, nth: int = 1, **match: Any) -> dict[str, Any]:
    return {"route": route, "nth": nth, **match}


def too_many() -> Iterator[Way]:
    capped = {"constants": {"api.retry.LONGEST_WAIT": 1.0}}
    for value in ("1", SOON_DATE, "-5", "junk", "nan"):
        for route in ("pfc", "status"):
            do = answer(429, Retry_After=value)
            yield Way("F1", f"{value} at {route}", "hidden", [(at(route, 2), do, 1)])
    for route in ("upload", "pfc", "status", "presets"):
        for absurd in ("999999999", "1e400"):
            do = answer(429, Retry_After=absurd)
            yield Way("F1", f"{absurd} at {route}", "hidden", [(route, do, 1)], {**PRESET, **capped})
        yield Way("F2", f"two at {route}", "hidden", [(route, answer(429), 2)], PRESET)
        hopeless = {
            **PRESET,
            "constants": {"api.limiter.HOPELESS": 3, "api.polling.GIVE_UP_AFTER": 0.5},
        }
        yield Way(
            "F2", f"for ever at {route}", "run TOO_MANY_REQUESTS", [(route, answer(429), None)], hopeless
        )


def trouble() -> Iterator[Way]:
    for route in ("upload", "put", "status", "download"):
        for status in (500, 502, 503, 504):
            yield Way("F3", f"{status} twice at {route}", "hidden", [(route, answer(status), 2)])
    for status in (500, 502, 503, 504):
        for commit in (True, False):
            do = answer(status, "<html>", commit)
            way = f"{status} {'and' if commit else 'not'} committed"
            yield Way("F4", way, "1 ambiguous", [(at("pfc", 2), do, 1)])


def transfers() -> Iterator[Way]:
    stingy = {**ALONE, "settings": {"max_retries": 1}}
    unframed = [{"framing": "close"}, {"close": {"when": "answering", "after": 300}}]
    yield Way("F7", "reset in the middle", "hidden", [(at("put", 2), {"reset": "reading"}, 2)])
    yield Way("F7", "closed in the middle", "hidden", [(at("put", 2), {"close": "reading"}, 1)])
    yield Way("F7", "reset each time", "item TRANSFER_FAILED", [("put", {"reset": "reading"}, 2)], stingy)
    yield Way(
        "F8", "stored short", "item FAILED", [(at("put", 2), {"truncate": 400}, 1)], says="store's ETag"
    )
    other = {"headers": {"ETag": '"00000000000000000000000000000000"'}}
    yield Way("F8", "another ETag", "hidden", [(at("put", 2), other, 1)], says="store's ETag")
    encrypted = {"headers": {"ETag": '"not-an-md5-7"'}}
    yield Way("F8", "an ETag that is no MD5", "hidden", [(at("put", 2), encrypted, 1)])
    cut = {"close": {"when": "answering", "after": 300}}
    yield Way("F9", "closed", "hidden", [(at("download", 2), cut, 1)])
    yield Way("F9", "reset", "hidden", [(at("download", 2), {"reset": "answering"}, 2)])
    yield Way("F10", "once", "hidden", [(at("download", 2), unframed, 1)])
    yield Way("F10", "each time", "item CORRUPT_OUTPUT", [("download", unframed, 3)], ALONE)
    for way, do in {
        "the end wrong": {"scramble": 300},
        "all wrong": {"scramble": 0},
        "short, and its length says so": {"truncate": 300},
        "a web page": {"body": {"text": "<html>gone</html>", "content_type": "text/html"}},
    }.items():
        yield Way("F11", f"{way}, once", "hidden", [(at("download", 2), do, 1)])
        yield Way("F11", f"{way}, each time", "item CORRUPT_OUTPUT", [("download", do, 3)], ALONE)


def slowness() -> Iterator[Way]:
    for route in ("upload", "status", "download"):
        yield Way(
            "F12", f"silence at {route}", "hidden", [(at(route, 2), {"silence": "before"}, 1)], IMPATIENT
        )
        drip = {"drip": {"bytes_per_second": 20, "chunk": 1}}
        yield Way("F12", f"byte by byte at {route}", "hidden", [(at(route, 2), drip, 1)], IMPATIENT)
    half = {"silence": {"when": "answering"}}
    yield Way("F12", "silence in the middle", "hidden", [(at("download", 2), half, 1)], IMPATIENT)
    unsaid = {"silence": "committed"}
    yield Way("F12", "silence after /pfc", "1 ambiguous", [(at("pfc", 2), unsaid, 1)], IMPATIENT)


def bad_json() -> Iterator[Way]:
    for garble in ("null", "list", "empty", "cut_json", "huge", "not_utf8", "gzip_bomb"):
        for route in ("upload", "status", "presets"):
            yield Way("F13", f"{garble} at {route}", "hidden", [(route, {"garble": garble}, 1)], PRESET)
        yield Way("F13", f"{garble} at pfc", "1 ambiguous", [(at("pfc", 2), {"garble": garble}, 1)])
    for route in ("upload", "pfc", "status"):
        yield Way("F13", f"utf16 at {route}", "hidden", [(at(route, 2), {"garble": "utf16"}, 1)])
    for way, do in {
        "no upload_url": {"patch": {"upload_url": None}},
        "upload_url a number": {"set": {"upload_url": 5}},
        "fileKey null": {"set": {"fileKey": None}},
        "fileKey an object": {"set": {"fileKey": {"a": 1}}},
    }.items():
        yield Way("F14", f"{way}, once", "hidden", [(at("upload", 2), do, 1)])
        yield Way("F14", f"{way}, each time", "item PROTOCOL_ERROR", [("upload", do, 6)], ALONE)
    for value in (None, 5, [], {}, "", "/"):
        do = {"set": {"statusEndpoint": value}}
        yield Way("F14", f"statusEndpoint {value!r}", "1 ambiguous", [(at("pfc", 2), do, 1)])
    elsewhere = {"set": {"statusEndpoint": "https://status.example/v2/status/0123456789abcdef01234567"}}
    yield Way("F14", "statusEndpoint of no job", "item JOB_LOST", [(at("pfc", 2), elsewhere, 1)])
    for value in (None, 5, [], {}):
        do = {"set": {"status": value}}
        yield Way("F14", f"status {value!r}", "hidden", [(at("status", 2), do, 2)])
    odd = {"set": {"statusText": 5, "faces": "none", "imageCorrectionCount": "many", "correctedFile": 7}}
    yield Way("F14", "all else wrong", "hidden", [(at("status", 2), odd, 2)])
    extra = {"patch": {"new": {"deep": [1, {"er": None}]}, "x" * 300: "y" * 3000}}
    for route in ("upload", "pfc", "status"):
        yield Way("F16", f"at {route}", "hidden", [(route, extra, None)])
    for route in ("upload", "status"):
        page = {"garble": "html"}
        yield Way("F17", f"with 200 at {route}", "hidden", [(at(route, 2), page, 1)])
        yield Way("F17", f"with 502 at {route}", "hidden", [(at(route, 2), answer(502, "<html>"), 1)])
    yield Way("F17", "with 200 at pfc", "1 ambiguous", [(at("pfc", 2), {"garble": "html"}, 1)])
    late = {**IMPATIENT, "options": {"job_timeout": 1.0}}
    yield Way("F17", "always at status", "items TIMEOUT", [("status", {"garble": "html"}, None)], late)


def jobs() -> Iterator[Way]:
    late = {"options": {"job_timeout": 1.5}}
    unknown = "is unknown and taken as still open"
    for word in ("ARCHIVED", "completed", ""):
        do = {"patch": {"status": word}}
        yield Way("F15", f"{word!r} for a while", "hidden", [("status", do, 3)], says=unknown if word else "")
    archived = {"patch": {"status": "ARCHIVED"}}
    yield Way("F15", "for ever", "items TIMEOUT", [("status", archived, None)], late, says=unknown)
    gone = answer(404, '{"error": "unknown job"}')
    yield Way("F19", "for a moment", "hidden", [("status", gone, 3)])
    yield Way("F19", "for good", "item JOB_LOST", [(at("pfc", 2), {"outcome": "lost"}, 1)])
    no_file = {"set": {"correctedFile": None}}
    yield Way("F20", "for a moment", "hidden", [(at("status", 2), no_file, 1)])
    yield Way("F20", "for long", "items PROTOCOL_ERROR", [("status", no_file, None)])
    yield Way("F20", "its file is 404 for a moment", "hidden", [("download", answer(404), 1)])
    yield Way("F20", "its file is 404 for long", "item URL_GONE", [("download", answer(404), 4)], ALONE)
    for status in ("FAILED", "REJECTED"):
        for way, text in {"hostile": HOSTILE, "empty": "", "null": None}.items():
            do = {"outcome": {"status": status, "statusText": text}}
            yield Way("F21", f"{status} with a text that is {way}", f"item {status}", [(at("pfc", 2), do, 1)])
    yield Way("F22", "backwards", "hidden", [(at("pfc", 2), {"outcome": "backwards"}, 1)])
    stuck = {"patch": {"status": "PROCESSING", "correctedFile": None}}
    yield Way("F22", "stuck", "items TIMEOUT", [("status", stuck, None)], late)
    yield Way("F23", "once", "hidden", [(at("upload", 2), {"expired": True}, 1)])
    yield Way("F23", "twice", "item URL_EXPIRED", [("upload", {"expired": True}, 2)], ALONE)
    yield Way("F24", "once", "hidden", [("download", answer(403), 1)])
    yield Way("F24", "several", "hidden", [(at("download", 2), answer(403, "<Code>AccessDenied</Code>"), 2)])
    foreign = {"origin": "https://status.example"}
    yield Way("F27", "every one", "hidden", [("pfc", foreign, None)])


def unsafe_urls() -> Iterator[Way]:
    for url in (
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/x",
        "http://192.168.1.1/x",
        "ftp://127.0.0.1/x",
        "http://user:secret@127.0.0.2/x",
        "https://[fe80::1]/x",
        "//127.0.0.2/x",
        "http://",
        "javascript:alert(1)",
    ):
        upload, status = {"set": {"upload_url": url}}, {"set": {"correctedFile": url}}
        yield Way("F26", f"{url} to upload to", "item UNSAFE_URL", [("upload", upload, 1)], ALONE)
        yield Way("F26", f"{url} to download from", "items UNSAFE_URL", [("status", status, None)], ALONE)


WAYS = [
    way.parameter
    for kind in (too_many, trouble, transfers, slowness, bad_json, jobs, unsafe_urls)
    for way in kind()
]


@pytest.mark.parametrize("way", WAYS)
def test_a_fault_on_the_wire(row: Row, sandbox: Sandbox, way: Way) -> None:
    sandbox.put(*NAMES)
    for match, do, times in way.faults:
        sandbox.emulator.fault(match, dated(do), times=times)

    said = night(sandbox, **way.more)

    row.consumed(sandbox.emulator)
    came_to(sandbox, said, way.outcome, NAMES)
    assert way.says in sandbox.log.read_text()
    ends_well(sandbox, row, NAMES, **way.more)


def dated(do: Any) -> Any:
    """With an HTTP date where one is meant."""
    headers = do.get("answer", {}).get("headers", {}) if isinstance(do, dict) else {}
    if headers.get("Retry-After") == SOON_DATE:
        headers = {**headers, "Retry-After": formatdate(time.time() + 2, usegmt=True)}
        return {"answer": {**do["answer"], "headers": headers}}
    return do
