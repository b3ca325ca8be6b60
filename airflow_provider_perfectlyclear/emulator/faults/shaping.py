"""How a fault changes an answer before it is sent. Pure: an answer in, an answer out."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from airflow_provider_perfectlyclear.emulator.faults.actions import Action
from airflow_provider_perfectlyclear.emulator.transport.answers import Answer, json_answer

HUGE_BYTES = 10 * 1024 * 1024
BOMB_BYTES = 100 * 1024 * 1024
_HTML = b"<!DOCTYPE html>\n<html><head><title>Gateway</title></head><body><h1>It works</h1></body></html>\n"


class Misfire(Exception):
    """The action cannot be done to this answer."""


def shape(answer: Answer, action: Action) -> Answer:
    """
    Change an answer.

    :param answer: the service's own, or what earlier actions made of it.
    :param action: of any kind; those that change no answer are ignored.
    :raises Misfire: it cannot be done.
    """
    shaper = _SHAPERS.get(action.name)
    return answer if shaper is None else shaper(answer, action.value)


def made_up(value: Mapping[str, Any]) -> Answer:
    """The answer that an ``answer`` action gives."""
    if "json" in value:
        answer = json_answer(value["json"], value["status"])
    else:
        body = value.get("body", "").encode()
        answer = Answer(value["status"], body, {"Content-Type": "text/plain; charset=utf-8"})
    return _headers(answer, value["headers"])


def _fields_of(answer: Answer) -> dict[str, Any]:
    fields = None
    if isinstance(answer.body, bytes) and "json" in answer.headers.get("Content-Type", ""):
        with suppress(ValueError):  # an earlier action may have made anything of it
            fields = json.loads(answer.body)
    if not isinstance(fields, dict):
        raise Misfire("the answer is not a JSON object")
    return fields


def _with_fields(answer: Answer, fields: Any) -> Answer:
    return json_answer(fields, answer.status, answer.headers)


def merge(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396)."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def _patch(answer: Answer, value: Mapping[str, Any]) -> Answer:
    return _with_fields(answer, merge(_fields_of(answer), value))


def _set(answer: Answer, value: Mapping[str, Any]) -> Answer:
    return _with_fields(answer, {**_fields_of(answer), **value})


def _remove(answer: Answer, names: list[str]) -> Answer:
    fields = _fields_of(answer)
    missing = [name for name in names if name not in fields]
    if missing:
        raise Misfire(f"the answer has no {', '.join(missing)}")
    return _with_fields(answer, {name: value for name, value in fields.items() if name not in names})


def _origin(answer: Answer, origin: str) -> Answer:
    fields = _fields_of(answer)
    moved = {name: _moved(value, origin) for name, value in fields.items()}
    if moved == fields:
        raise Misfire("the answer names no URL")
    return _with_fields(answer, moved)


def _moved(value: Any, origin: str) -> Any:
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        return value
    _, _, path = value.partition("://")[2].partition("/")
    return f"{origin}/{path}"


def _headers(answer: Answer, value: Mapping[str, str | None]) -> Answer:
    changed = {name.lower() for name in value}
    kept = {name: text for name, text in answer.headers.items() if name.lower() not in changed}
    return replace(answer, headers=kept | {name: text for name, text in value.items() if text is not None})


def _body(answer: Answer, value: Mapping[str, Any]) -> Answer:
    if "json" in value:
        body = json.dumps(value["json"]).encode()
    else:
        body = value["base64"] if "base64" in value else value["text"].encode()
    headers = dict(answer.headers)
    if value.get("content_type"):
        headers["Content-Type"] = value["content_type"]
    return replace(answer, body=body, headers=headers)


def _garble(answer: Answer, name: str) -> Answer:
    if name == "html":
        return replace(
            answer, body=_HTML, headers=answer.headers | {"Content-Type": "text/html; charset=utf-8"}
        )
    if name == "gzip_bomb":
        return replace(answer, body=_bomb(), headers=answer.headers | {"Content-Encoding": "gzip"})
    if name == "huge":
        return _with_fields(answer, {**_fields_of(answer), "padding": "x" * HUGE_BYTES})
    return replace(answer, body=_garbled(answer, name))


def _garbled(answer: Answer, name: str) -> bytes:
    if name in ("null", "list", "empty"):
        return {"null": b"null", "list": b"[]", "empty": b""}[name]
    if not isinstance(answer.body, bytes):
        raise Misfire(f"{name!r} is for answers that are not files")
    if name == "cut_json":
        return answer.body[: len(answer.body) // 2]
    return answer.body.decode().encode("utf-16") if name == "utf16" else b'{"\xff\xfe": "\xc3\x28"}'


@functools.cache
def _bomb() -> bytes:
    return gzip.compress(bytes(BOMB_BYTES), compresslevel=9)


_SHAPERS: Mapping[str, Callable[[Answer, Any], Answer]] = {
    "patch": _patch,
    "set": _set,
    "remove": _remove,
    "origin": _origin,
    "http_status": lambda answer, value: replace(answer, status=value),
    "headers": _headers,
    "body": _body,
    "garble": _garble,
}
