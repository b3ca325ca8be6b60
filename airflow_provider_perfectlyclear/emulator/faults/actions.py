"""The actions of a fault instruction, checked when they are posted, not when they happen."""

from __future__ import annotations

import base64
import binascii
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

BEFORE, READING, COMMITTED, ANSWERING, ANSWERED = MOMENTS = (
    "before",
    "reading",
    "committed",
    "answering",
    "answered",
)
GARBLES = ("html", "null", "list", "empty", "cut_json", "huge", "not_utf8", "utf16", "gzip_bomb")
FRAMINGS = ("length", "chunked", "close")
_OUTCOMES: Mapping[str, Mapping[str, Any]] = {
    "FAILED": {"status": "FAILED"},
    "REJECTED": {"status": "REJECTED"},
    "stuck": {"stuck": "PROCESSING"},
    "lost": {"lost": True},
    "backwards": {"backwards": True},
    "no_file": {"correctedFile": None},
}
_BYTE_ROUTES = ("put", "preset_put", "download", "preset_get_file")
_BODY_ROUTES = ("put", "preset_put", "preset_create", "any")
_JOB_ROUTES = ("pfc", "status")
_URL_ROUTES = ("upload", "status", "preset", "preset_create")
_ANSWER_ROUTES = ("upload", "pfc", "status")
ECHOES = ("words", "part", "json", "escaped", "xml", "html", "percent", "header")
#: Where a redirect leads that leads to the very same URL.
SELF = "self"


class BadFault(ValueError):
    """An instruction that cannot be meant."""


@dataclass(frozen=True)
class Action:
    """
    One thing that happens to a request.

    :param name: its key in the fault language.
    :param value: what it is given, checked and filled up.
    :param when: the moment, for those that have one.
    :param after: bytes, for ``reading`` and ``answering``; None for half.
    """

    name: str
    value: Any
    when: str | None = None
    after: int | None = None


def expect(condition: bool, text: str) -> None:
    """Raise :class:`BadFault` with a text unless a condition holds."""
    if not condition:
        raise BadFault(text)


def read_actions(do: Any, route: str) -> tuple[Action, ...]:
    """
    Check the ``do`` of an instruction.

    :param do: a list of actions, or one.
    :param route: that the instruction is about.
    :raises BadFault: naming what is unknown.
    """
    listed = [do] if isinstance(do, Mapping) else do
    expect(isinstance(listed, list) and bool(listed), "'do' is a list of actions")
    return tuple(_read_action(action, route) for action in listed)


def _read_action(action: Any, route: str) -> Action:
    expect(
        isinstance(action, Mapping) and len(action) == 1,
        f"an action is an object with one key, not {action!r}",
    )
    ((name, value),) = action.items()
    expect(name in _READERS, f"unknown action {name!r}; known: {', '.join(_READERS)}")
    read = _READERS[name](name, value)
    expect(read.when != READING or route in _BODY_ROUTES, f"'reading' is for {', '.join(_BODY_ROUTES)}")
    routes = _ONLY_FOR.get(name)
    expect(routes is None or route in routes, f"{name!r} is for {', '.join(routes or ())}, not for {route!r}")
    return read


def _object(name: str, value: Any, *keys: str) -> dict[str, Any]:
    expect(isinstance(value, Mapping), f"{name!r} takes an object, not {value!r}")
    unknown = set(value) - set(keys)
    expect(
        not unknown,
        f"unknown key {', '.join(map(repr, sorted(unknown)))} in {name!r}; known: {', '.join(keys)}",
    )
    return dict(value)


def _moment(name: str, value: Any, default: str | None = None) -> str:
    moment = value if value is not None else default
    expect(moment in MOMENTS, f"{name!r} has an unknown moment {moment!r}; known: {', '.join(MOMENTS)}")
    return str(moment)


def _number(name: str, value: Any, least: float = 0) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    expect(is_number and value >= least, f"{name!r} takes a number from {least}, not {value!r}")
    return float(value)


def _count(name: str, value: Any) -> int:
    expect(type(value) is int and value >= 0, f"{name!r} takes a number of bytes, not {value!r}")
    return int(value)


def _status(name: str, value: Any) -> int:
    expect(
        type(value) is int and 200 <= value <= 599,
        f"{name!r}: an HTTP status is from 200 to 599, not {value!r}",
    )
    return int(value)


def _headers(name: str, value: Any) -> dict[str, str | None]:
    expect(isinstance(value, Mapping), f"{name!r} takes an object of headers")
    for key, text in value.items():
        expect(
            text is None or isinstance(text, str),
            f"{name!r}: header {key!r} is a string or null, not {text!r}",
        )
        sendable = all(" " <= character <= "\xff" for character in text or "")
        expect(sendable, f"{name!r}: header {key!r} has a character that no header can have")
    return dict(value)


def _ending(name: str, value: Any) -> Action:
    if isinstance(value, str):
        value = {"when": value}
    given = _object(name, value, "when", "after")
    return Action(name, None, _moment(name, given.get("when")), _after(name, given))


def _after(name: str, given: Mapping[str, Any]) -> int | None:
    if given.get("after") is None:
        return None
    timed = given.get("when") in (READING, ANSWERING)
    expect(timed, f"{name!r}: 'after' goes with 'reading' and 'answering' only")
    return _count(name, given["after"])


def _kill(name: str, value: Any) -> Action:
    if isinstance(value, str):
        value = {"when": value}
    given = _object(name, value, "pid", "signal", "when", "after")
    pid = given.get("pid", "peer")
    if pid == "peer":
        _need_psutil()
    else:
        # 0 and negative numbers are whole process groups, 1 is the system's.
        expect(type(pid) is int and pid > 1, f"'kill' takes a process id or \"peer\", not {pid!r}")
        expect(pid != os.getpid(), "'kill': the emulator does not kill itself")
    order = {"pid": pid, "signal": _signal(given.get("signal", "SIGKILL"))}
    return Action(name, order, _moment(name, given.get("when")), _after(name, given))


def _need_psutil() -> None:
    try:
        import psutil  # noqa: F401
    except ImportError:
        raise BadFault("'kill' of \"peer\" needs psutil: pip install psutil, or give a process id") from None


def _signal(value: Any) -> signal.Signals:
    try:
        return signal.Signals[value] if isinstance(value, str) else signal.Signals(value)
    except (KeyError, ValueError):
        raise BadFault(f"'kill': unknown signal {value!r}") from None


def _delay(name: str, value: Any) -> Action:
    if not isinstance(value, Mapping):
        value = {"seconds": value}
    given = _object(name, value, "seconds", "when", "after")
    moment = _moment(name, given.get("when"), BEFORE)
    return Action(name, _number(name, given.get("seconds")), moment, _after(name, given))


def _drip(name: str, value: Any) -> Action:
    if not isinstance(value, Mapping):
        value = {"bytes_per_second": value}
    given = _object(name, value, "bytes_per_second", "chunk")
    speed = _number(name, given.get("bytes_per_second"), 0.001)
    chunk = _count(name, given.get("chunk", 1))
    expect(chunk > 0, "'drip': a chunk has at least 1 byte")
    return Action(name, (speed, chunk))


def _answer(name: str, value: Any) -> Action:
    given = _object(name, value, "status", "headers", "body", "json", "commit")
    expect(not ("body" in given and "json" in given), "'answer' takes 'body' or 'json'")
    expect(isinstance(given.get("body", ""), str), "'answer': 'body' is a string")
    expect(isinstance(given.get("commit", False), bool), "'answer': 'commit' is true or false")
    given["status"] = _status(name, given.get("status", 200))
    given["headers"] = _headers(name, given.get("headers", {}))
    return Action(name, given)


def _redirect(name: str, value: Any) -> Action:
    if isinstance(value, str):
        value = {"to": value}
    given = _object(name, value, "to", "status", "commit")
    expect(isinstance(given.get("to"), str), "'redirect' takes a URL")
    itself = given["to"] == SELF
    headers = {} if itself else _headers(name, {"Location": given["to"]})
    status, commit = _status(name, given.get("status", 302)), bool(given.get("commit"))
    return Action("answer", {"status": status, "headers": headers, "commit": commit, "self": itself})


def _fields(name: str, value: Any) -> Action:
    expect(isinstance(value, Mapping), f"{name!r} takes an object of fields")
    return Action(name, dict(value))


def _remove(name: str, value: Any) -> Action:
    names = [value] if isinstance(value, str) else value
    expect(
        isinstance(names, list) and all(isinstance(one, str) for one in names),
        "'remove' takes names of fields",
    )
    return Action(name, names)


def _body(name: str, value: Any) -> Action:
    if isinstance(value, str):
        value = {"text": value}
    given = _object(name, value, "text", "json", "base64", "content_type")
    kinds = [key for key in ("text", "json", "base64") if key in given]
    expect(len(kinds) == 1, "'body' takes one of 'text', 'json' and 'base64'")
    expect(kinds[0] == "json" or isinstance(given[kinds[0]], str), f"'body': {kinds[0]!r} is a string")
    if kinds == ["base64"]:
        try:
            given["base64"] = base64.b64decode(given["base64"], validate=True)
        except binascii.Error:
            raise BadFault("'body': not base64") from None
    return Action(name, given)


def _choice(*choices: str) -> Callable[[str, Any], Action]:
    def read(name: str, value: Any) -> Action:
        expect(value in choices, f"{name!r} takes one of {', '.join(choices)}, not {value!r}")
        return Action(name, value)

    return read


def _origin(name: str, value: Any) -> Action:
    expect(isinstance(value, str) and "://" in value, f"{name!r} takes scheme, host and port, not {value!r}")
    return Action(name, value.rstrip("/"))


def _outcome(name: str, value: Any) -> Action:
    if isinstance(value, str):
        expect(value in _OUTCOMES, f"unknown outcome {value!r}; known: {', '.join(_OUTCOMES)}, or an object")
        return Action(name, dict(_OUTCOMES[value]))
    given = _object(name, value, "status", "statusText", "correctedFile", "stuck", "lost", "backwards")
    for key in ("status", "statusText", "correctedFile", "stuck"):
        expect(given.get(key) is None or isinstance(given[key], str), f"'outcome': {key!r} is a string")
    return Action(name, given)


def _another(name: str, value: Any) -> Action:
    given = {} if value is True else _object(name, value, "commit")
    expect(isinstance(given.get("commit", True), bool), "'another': 'commit' is true or false")
    return Action(name, {"commit": given.get("commit", True)})


def _echo(name: str, value: Any) -> Action:
    given = {"as": value} if isinstance(value, str) else _object(name, value, "as", "status")
    kind = given.get("as")
    expect(kind in ECHOES, f"{name!r} takes one of {', '.join(ECHOES)}, not {kind!r}")
    return Action(name, {"as": kind, "status": _status(name, given.get("status", 403))})


def _make(name: str, value: Any) -> Action:
    given = _object(name, value, "enlarge", "scale", "type")
    expect(isinstance(given.get("enlarge", True), bool), "'make': 'enlarge' is true or false")
    expect(
        given.get("type") in (None, "jpg", "png", "webp", "tiff"), "'make': 'type' is jpg, png, webp or tiff"
    )
    if "scale" in given:
        given["scale"] = _number(name, given["scale"], 1)
    return Action(name, given)


def _true(name: str, value: Any) -> Action:
    expect(value is True, f"{name!r} takes true")
    return Action(name, value)


_READERS: Mapping[str, Callable[[str, Any], Action]] = {
    "delay": _delay,
    "drip": _drip,
    "answer": _answer,
    "redirect": _redirect,
    "patch": _fields,
    "set": _fields,
    "remove": _remove,
    "origin": _origin,
    "http_status": lambda name, value: Action(name, _status(name, value)),
    "headers": lambda name, value: Action(name, _headers(name, value)),
    "body": _body,
    "garble": _choice(*GARBLES),
    "another": _another,
    "repeat": _true,
    "echo": _echo,
    "make": _make,
    "framing": _choice(*FRAMINGS),
    "reset": _ending,
    "close": _ending,
    "silence": _ending,
    "kill": _kill,
    "truncate": lambda name, value: Action(name, _count(name, value)),
    "scramble": lambda name, value: Action(name, _count(name, value)),
    "expired": _true,
    "outcome": _outcome,
}
_ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "truncate": _BYTE_ROUTES,
    "scramble": _BYTE_ROUTES,
    "expired": _URL_ROUTES,
    "outcome": _JOB_ROUTES,
    "another": _ANSWER_ROUTES,
    "make": ("pfc",),
}
