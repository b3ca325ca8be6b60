"""How a fault changes an answer before it is sent. Pure: an answer in, an answer out."""

from __future__ import annotations

import functools
import gzip
import html
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit
from xml.sax.saxutils import escape

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


def made_up(value: Mapping[str, Any], url: str | None = None) -> Answer:
    """
    Return the answer that an ``answer`` action gives.

    :param url: of the request, for a redirect that leads there again.
    """
    if "json" in value:
        answer = json_answer(value["json"], value["status"])
    else:
        body = value.get("body", "").encode()
        answer = Answer(value["status"], body, {"Content-Type": "text/plain; charset=utf-8"})
    located = {} if url is None else {"Location": f"{url}&hop=1"}
    return _headers(answer, {**value["headers"], **located})


def echo(value: Mapping[str, Any], url: str) -> Answer:
    """
    Return a refusal that tells a signature.

    :param value: of the action.
    :param url: that is signed.
    """
    signature = dict(parse_qsl(urlsplit(url).query)).get("Signature", "")
    body, content_type, headers = _ECHOES[value["as"]](url, signature)
    return Answer(value["status"], body.encode(), {"Content-Type": content_type, **headers})


_Echo = tuple[str, str, dict[str, str]]


def _echo_json(url: str, signature: str) -> _Echo:
    fields = {
        "error": "forbidden",
        "request": {"url": url, "Signature": signature, "X-Amz-Signature": signature},
    }
    return json.dumps(fields), "application/json", {}


def _echo_escaped(url: str, signature: str) -> _Echo:
    signs = ("".join(f"\\u{ord(sign):04x}" for sign in text) for text in (url, signature))
    return '{{"error": "no: {} {}"}}'.format(*signs), "application/json", {}


def _echo_xml(url: str, signature: str) -> _Echo:
    provided = (
        f"<SignatureProvided>{signature}</SignatureProvided><StringToSign>GET {escape(url)}</StringToSign>"
    )
    return f"<Error><Code>SignatureDoesNotMatch</Code>{provided}</Error>", "application/xml", {}


def _echo_html(url: str, signature: str) -> _Echo:
    return f"<p>{html.escape(url)}</p><b>Signature</b>: <i>{signature}</i>", "text/html", {}


_ECHOES: Mapping[str, Callable[[str, str], _Echo]] = {
    "words": lambda url, signature: (f"the signature {signature} of {url} is refused", "text/plain", {}),
    "part": lambda url, signature: (f"the signature {signature[:30]} is refused", "text/plain", {}),
    "json": _echo_json,
    "escaped": _echo_escaped,
    "xml": _echo_xml,
    "html": _echo_html,
    "percent": lambda url, signature: (f"refused: {quote(url, safe='')}", "text/plain", {}),
    "header": lambda url, signature: ("", "text/plain", {"X-Refused": url, "X-Signature": signature}),
}


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
