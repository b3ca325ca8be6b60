"""
Answers as they should not be: the reference's own, changed by chance. A number always makes the same one.

To look at one that failed::

    python -c "from tests.fuzz.answers import case; print(case('status', 1234))"
"""

from __future__ import annotations

import copy
import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.answers import LARGEST_BODY

SEED = 20261122

#: Has the characters that JSON writers escape.
KEY = "canary+key/0815=x&y"
SIGNATURE = "canarysignature4711"
SIGNED = (
    "https://store.example/out/pfc-1_corrected.jpg?X-Amz-Credential=canarycredential%2F2026"
    f"&X-Amz-Signature={SIGNATURE}"
)
#: Fills what is huge; our own words do not have it.
FILLER = "§"

EVERY_CALL: dict[str, calls.Call[Any]] = {
    "upload": calls.upload_url(),
    "start": calls.start("key1"),
    "status": calls.status("job1"),
    "list": calls.list_presets(),
    "create": calls.create_preset("n"),
    "get": calls.get_preset("abc123"),
    "delete": calls.delete_preset("p1"),
}

_COMPLETED = {
    "_id": "69d694003274e636c06e4384",
    "status": "COMPLETED",
    "statusText": "",
    "code": 0,
    "correctedFile": SIGNED,
    "createdAt": "2025-04-08T17:44:32.164Z",
    "updatedAt": "2025-04-08T17:44:39.004Z",
    "usage": {"size": "MEDIUM", "imageCorrectionCount": 1, "imageResizeCount": 0, "removeGlaresTotalCount": 0},
    "aiserver": True,
    "timeTaken": 1.56,
    "originalDimensions": {"width": 2380, "height": 3597},
    "detectionData": {
        "facesCount": 1,
        "faces": [
            {
                "confidence": 94, "angle": 2, "blink": 8, "smile": 67, "yawAngle": 0,
                "left": 971, "top": 431, "width": 497, "height": 581,
                "leftEye": {"x": 1333.879150390625, "y": 620.4785766601562},
                "rightEye": {"x": 1088.085693359375, "y": 608.4886474609375},
            }
        ],
        "scene": 8,
        "noise": "unknown",
        "redEye": "disabled",
        "warnings": [],
        "message": "",
        "status": "ok",
    },
}  # fmt: skip
_PRESET = {"presetId": "abc123", "name": "Studio 7", "description": "Portrait retouching", "uri": SIGNED}
_REFUSALS: list[Any] = [
    {"error": f"key {KEY} may not do this"},
    {"error": {"code": 7, "message": f"see {SIGNED}"}},
    {"message": f"Signature={SIGNATURE} does not match"},
    {"errors": [{"detail": "no"}, {"url": SIGNED}]},
    {"status": "error", "statusText": f"PUT {SIGNED} failed", "apiKey": KEY},
]

#: What the reference and the notes beside it say that each call is answered.
VALID: dict[str, list[Any]] = {
    "upload": [{"fileKey": "key1", "upload_url": SIGNED}, {"fileKey": "key1", "uploadUrl": SIGNED}],
    "start": [{"statusEndpoint": "https://api.perfectlyclear.io/v2/status/69d694003274e636c06e4384"}],
    "status": [
        _COMPLETED,
        {"status": "PENDING", "_id": "1", "statusText": ""},
        {"status": "PROCESSING", "_id": "1", "statusText": "half way"},
        {"status": "FAILED", "_id": "1", "statusText": f"cannot read {SIGNED}"},
        {"status": "REJECTED", "_id": "1", "statusText": "no image data"},
    ],
    "list": [{"presets": [_PRESET, _PRESET]}, [_PRESET], {"presets": []}],
    "create": [{"presetId": "abc123", "uploadUrl": SIGNED}],
    "get": [_PRESET],
    "delete": [{"message": "deleted"}, {}, None],
}

_STATUSES = [200] * 12 + [100, 201, 202, 204, 206, 302, 302, 303, 400, 401, 402, 403, 404, 404, 408, 409,
                          413, 422, 429, 500, 502, 503, 504, 599]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """
    What comes off the wire.

    :param damaged: a key or signature in it may no longer look like one, so nothing can know it for one.
    """

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)
    damaged: bool = False
    how: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.how} HTTP {self.status} {self.headers} {self.body[:300]!r} ({len(self.body)} bytes)"


def case(call: str, number: int) -> Case:
    """
    One answer.

    :param call: a name in ``EVERY_CALL``.
    :param number: which; 0 is the reference's own answer, unchanged.
    """
    dice = random.Random(f"{SEED}/{call}/{number}")
    if number < len(VALID[call]):
        return Case(200, {}, json.dumps(VALID[call][number]).encode(), how=("valid",))
    made = [copy.deepcopy(_to_begin_with(call, dice))]
    how = []
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3))):
        change = dice.choice(_OF_THE_TREE)
        _change_somewhere(made, change, dice)
        how.append(change.__name__)
    answer = Case(dice.choice(_STATUSES), _headers(dice), _written(made[0], dice), how=tuple(how))
    for _ in range(dice.choice((0, 0, 1, 1, 2))):
        change_bytes = dice.choice(_OF_THE_BYTES)
        answer = change_bytes(answer, dice)
        answer = replace(answer, how=(*answer.how, change_bytes.__name__))
    return answer


def enormous() -> Iterator[Case]:
    """The most of one thing that fits into an answer: what would take a careless reader seconds."""
    for begin, unit, end in (
        ('{"status":"COMPLETED","x":[', "0,", "0]}"),
        ('{"status":"COMPLETED","x":[', "[],", "0]}"),
        ('{"status":"COMPLETED","detectionData":{"faces":[', "{},", "{}]}}"),
        ('{"status":"COMPLETED","detectionData":{"faces":[', '{"left":1,"leftEye":{"x":1}},', "{}]}}"),
        ('{"status":"COMPLETED","detectionData":{"warnings":[', '"",', '""]}}'),
        ('{"status":"FAILED","statusText":[', '"x",', "0]}"),
        ('{"status":"COMPLETED","correctedFile":"', "https://a?b=c,", '"}'),
        ('{"statusEndpoint":"https://h/', "a.b/", 'j"}'),
        ('{"fileKey":"k","upload_url":"https://h/', "a.", '"}'),
        ('{"presets":[', '{"id":"a","name":""},', '{"id":"a","name":""}]}'),
        ('{"presetId":"a","name":"', "a ", '"}'),
        ('{"error":[', "{},", "0]}"),
        ('{"error":"', "a.b:", '"}'),
        ('{"message":"', "://a", '@b"}'),
        ("[", "1e9,", "0]"),
        ('{"a":', "[" * 40, ""),
        ("", '{"a":', ""),
        ("<html>", "<a href='https://h?", "'"),
        ("", " ", ""),
    ):
        count = (LARGEST_BODY - len(begin) - len(end)) // len(unit)
        yield Case(200, {}, (begin + unit * count + end).encode(), how=("enormous", begin, unit))
    for begin in ('{"status":"COMPLETED","usage":{', '{"status":"COMPLETED",', '{"error":{'):
        names = ",".join(f'"{n:06d}":1' for n in range(LARGEST_BODY // 11 - 5))
        body = f"{begin}{names}{'}' * begin.count('{')}"
        yield Case(200, {}, body.encode(), how=("enormous", begin, "names"))
    bomb = gzip.compress(b'{"error":"' + b"x" * 50 * 2**20)
    yield Case(200, {"content-encoding": "gzip"}, bomb, how=("a bomb",))


def _to_begin_with(call: str, dice: random.Random) -> Any:
    """Mostly the call's own answer; now and then a refusal, or what another call is answered."""
    kind = dice.random()
    if kind < 0.75:
        return dice.choice(VALID[call])
    if kind < 0.9:
        return dice.choice(_REFUSALS)
    return dice.choice(VALID[dice.choice(list(VALID))])


def _headers(dice: random.Random) -> dict[str, str]:
    headers = {}
    if dice.random() < 0.4:
        headers["content-type"] = dice.choice(
            ["text/html", "application/json; charset=utf-16", "image/jpeg", "application/json; charset=nonsense",
             "", "multipart/form-data; boundary=x", "\x7f", "application/json;;;"]
        )  # fmt: skip
    if dice.random() < 0.2:
        headers["location"] = dice.choice(_URLS)
    if dice.random() < 0.1:
        headers["retry-after"] = dice.choice(["-1", "1e400", "soon", "Sun, 99 Nov 2026", "nan"])
    return headers


# ---- changes of the tree


def _nested(dice: random.Random) -> Any:
    value: Any = dice.choice(["x", 1, None])
    for _ in range(dice.choice((5, 11, 12, 13, 50, 300, 900))):
        value = [value] if dice.random() < 0.5 else {dice.choice(_NAMES): value}
    return value


_URLS = [
    SIGNED, f"file:///etc/passwd?{SIGNATURE}", f"https://user:{SIGNATURE}@h/x", "https://[::1", "https://", "http:///x",
    f"https:\\\\h\\x?sig={SIGNATURE}", f"//h/x?Signature={SIGNATURE}", "https://h:99999/x", "https://h:-1/",
    f"gopher://h/x?Token={SIGNATURE}", f"javascript:alert(1)?Token={SIGNATURE}", "https://\u202eelpmaxe/x",
    "https://xn--/x", "https://127.0.0.1/x", "http://0x7f000001/", "https://169.254.169.254/latest/meta-data",
    "https://[::ffff:10.0.0.1]/x", "https://h/x\r\nX-API-KEY: y", "https://h/\x00", "https://h/%00%2e%2e/%2e%2e",
    "https://h/" + "a/../" * 500, "https://" + "a." * 300 + "example/x", "https://\ud800/x", "https://ｅｘａｍｐｌｅ/x",  # noqa: RUF001  # fullwidth letters
    "https://h/x#frag?sig=" + SIGNATURE, "data:text/html,<script>", "HTTPS://H/J1", "https://a@b@c/x", " https://h/x",
    f"https://h/go?to=https%3A%2F%2Fstore%2Fx%3FX-Amz-Signature%3D{SIGNATURE}",
    f"/go?to=https%3A%2F%2Fstore%2Fx%3FX-Amz-Signature%3D{SIGNATURE}",
]  # fmt: skip

_TEXTS = [
    "", " ", "\x00", "a\nb", "\r\n::error::x", "::group::", "##[group]x", "\x1b[31mred\x1b[0m", "\u202eedispu",
    "\u2028", "\u2029", "\ufeff", "\ud800", "\udfff\ud800", "\U0010ffff", "🌄" * 150, "e\u0301" * 150, "%s%n%d",
    "{{ 7*7 }}", "<script>alert(1)</script>", "=cmd|'/c calc'!A0", "../../etc/passwd", "..", ".", "null", "NaN",
    f"key {KEY}", KEY, f"api-key={KEY}", f"sig={SIGNATURE}&x=1", f"'{SIGNED}'", f"<{SIGNED}>", f"({SIGNED})",
    json.dumps({"url": SIGNED}), SIGNED.replace("/", "\\/"), "a" * 201, "a b" * 700, "\x85\xa0\xad", "\x7f",
]  # fmt: skip

_NAMES = [
    "status", "statusText", "statusEndpoint", "fileKey", "upload_url", "uploadUrl", "presets", "presetId", "_id", "id",
    "name", "uri", "usage", "detectionData", "faces", "error", "errors", "message", "detail", "correctedFile", "size",
    "", "\x00", "\ud800", "a\nb", "__class__", "self", "model_config", "job_id", "state", "x" * 300, SIGNED, "ключ",
]  # fmt: skip

_LEAVES: list[Callable[[random.Random], Any]] = [
    lambda dice: dice.choice([None, True, False, [], {}, [None], {"": None}]),
    lambda dice: dice.choice(
        [0, -0.0, -1, 1.5, 1e308, -1e308, 1e-320, 2**31, 2**53 + 1, 2**63, 2**64, 10**400]
    ),
    lambda dice: dice.choice([float("nan"), float("inf"), float("-inf")]),
    lambda dice: dice.randint(-(10 ** dice.randrange(1, 4000)), 10 ** dice.randrange(1, 4000)),
    lambda dice: dice.choice(["COMPLETED", "completed", "FAILED", "REJECTED", "PENDING ", "QUEUED", "error"]),
    lambda dice: dice.choice(_TEXTS),
    lambda dice: dice.choice(_URLS),
    lambda dice: "".join(chr(dice.randrange(0x110000)) for _ in range(dice.randrange(1, 40))),
    lambda dice: FILLER * dice.choice((199, 200, 201, 5_000)),
    _nested,
]


def _value(dice: random.Random) -> Any:
    return dice.choice(_LEAVES)(dice)


def _another_value(holder: Any, at: Any, dice: random.Random) -> None:
    holder[at] = _value(dice)


def _another_type(holder: Any, at: Any, dice: random.Random) -> None:
    old = holder[at]
    holder[at] = dice.choice([[old], {"value": old}, str(old), {str(old): old}, [old] * 3, bool(old)])


def _missing(holder: Any, at: Any, dice: random.Random) -> None:
    del holder[at]


def _renamed(holder: Any, at: Any, dice: random.Random) -> None:
    old = holder.pop(at)
    if isinstance(holder, list):
        holder.append({dice.choice(_NAMES): old})
    else:
        holder[dice.choice([*_NAMES, str(at).upper(), f" {at}", f"{at}\x00"])] = old


def _more(holder: Any, at: Any, dice: random.Random) -> None:
    if isinstance(holder, list):
        holder[at:at] = [_value(dice) for _ in range(dice.choice((1, 3, 50)))]
    else:
        holder.update({dice.choice(_NAMES): _value(dice) for _ in range(dice.choice((1, 2, 8)))})


def _huge(holder: Any, at: Any, dice: random.Random) -> None:
    count = 1_000 if dice.random() < 0.05 else 50
    old = holder[at]
    holder[at] = dice.choice([FILLER * count, [old] * count, {str(n): old for n in range(count)}])


_OF_THE_TREE = [
    _another_value,
    _another_value,
    _another_value,
    _another_type,
    _missing,
    _renamed,
    _more,
    _huge,
]


def _change_somewhere(
    root: list[Any], change: Callable[[Any, Any, random.Random], None], dice: random.Random
) -> None:
    """Apply a change to a random place of the tree, its root included."""
    places = list(_places(root))
    if places:
        holder, at = dice.choice(places)
        if holder is root and change in (_missing, _renamed, _more):
            change = _another_value
        change(holder, at, dice)


def _places(holder: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    if depth > 8 or len(holder) > 50:
        return
    for at in list(holder) if isinstance(holder, dict) else range(len(holder)):
        yield holder, at
        if isinstance(holder[at], dict | list):
            yield from _places(holder[at], depth + 1)


# ---- changes of the bytes


def _written(value: Any, dice: random.Random) -> bytes:
    """As one of many JSON writers would write it."""
    gaps = dice.choice(((",", ":"), (", ", ": "), (" ,\r\n", "\t: ")))
    text = json.dumps(value, ensure_ascii=dice.random() < 0.5, separators=gaps)
    if dice.random() < 0.15:
        text = text.replace("/", "\\/")
    if dice.random() < 0.15:
        for character in "+=&<>'":
            text = text.replace(character, f"\\u{ord(character):04{dice.choice('xX')}}")
    return text.encode("utf-8", "surrogatepass")


def _truncated(answer: Case, dice: random.Random) -> Case:
    return replace(answer, body=answer.body[: dice.randrange(len(answer.body) + 1)])


def _flipped(answer: Case, dice: random.Random) -> Case:
    body = bytearray(answer.body)
    for _ in range(dice.choice((1, 1, 3, 30)) if body else 0):
        body[dice.randrange(len(body))] = dice.randrange(256)
    return replace(answer, body=bytes(body), damaged=True)


def _other_charset(answer: Case, dice: random.Random) -> Case:
    text = answer.body.decode("utf-8", "replace")
    charset = dice.choice(
        ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "latin-1", "cp1252", "shift_jis",
         "cp037"]
    )  # fmt: skip
    return replace(answer, body=text.encode(charset, "replace"))


def _named_twice(answer: Case, dice: random.Random) -> Case:
    if not answer.body.startswith(b"{"):
        return answer
    more = b"".join(
        json.dumps({dice.choice(_NAMES): _value(dice)})[1:-1].encode() + b"," for _ in range(dice.randrange(1, 4))
    )  # fmt: skip
    return replace(answer, body=b"{" + more + answer.body[1:])


def _inserted(answer: Case, dice: random.Random) -> Case:
    at = dice.randrange(len(answer.body) + 1)
    what = dice.choice(
        [b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\n", b"//", b",", b'"', b"\\", b"\\u", b"NaN", b"-",
         b"\x1b[0m",
         b"9" * 5_000, b"[" * 2_000, b"<!--", b"{{"]
    )  # fmt: skip
    return replace(answer, body=answer.body[:at] + what + answer.body[at:], damaged=True)


def _wrapped(answer: Case, dice: random.Random) -> Case:
    before, after = dice.choice(
        [(b"\xef\xbb\xbf", b""), (b" \r\n\t" * 100, b""), (b")]}',\n", b""), (b"callback(", b");"),
         (b"<html><pre>", b""),
         (b"\n\n<!DOCTYPE html>", b"</html>"), (b"<?xml version='1.0'?><Error>", b"</Error>"), (b"", b"\x00\x00"),
         (b"", answer.body), (b'"', b'"'), (b"1\r\n", b"\r\n0\r\n\r\n")]
    )  # fmt: skip
    mixed = b"\x00" in answer.body  # two charsets in one
    return replace(answer, body=before + answer.body + after, damaged=answer.damaged or mixed)


def _packed(answer: Case, dice: random.Random) -> Case:
    pack = dice.choice((gzip.compress, zlib.compress))
    said = dice.choice(
        ({}, {"content-encoding": dice.choice(("gzip", " GZip", "deflate", "br", "gzip, gzip", "\x7f"))})
    )
    body = pack(answer.body) if dice.random() < 0.8 else answer.body
    return replace(answer, body=body, headers=answer.headers | said)


def _emptied(answer: Case, dice: random.Random) -> Case:
    return replace(
        answer, body=dice.choice((b"", b" ", b"null", b"0", b'""', b"[]", b"{}", b"-", b"\x00", b"true"))
    )


_OF_THE_BYTES = [_truncated, _flipped, _other_charset, _named_twice, _inserted, _wrapped, _packed, _emptied]
