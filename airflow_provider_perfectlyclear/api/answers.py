"""Response of the service, and the error that an unsuccessful one means. No input or output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api.text import service_words

#: Maximum number of bytes of a JSON response. Parsing more would block an event loop for too long.
LARGEST_BODY = 2**20

_NOT_JSON = object()

# Fields that contain the cause of a refusal, the most reliable first.
_REASONS = ("error", "errors", "message", "statusText", "detail", "msg", "reason", "title")


@dataclass(frozen=True)
class Answer:
    """
    One response to a request.

    :param status: The HTTP status.
    :param headers: The headers, with names in lower case.
    :param body: The body, at most ``LARGEST_BODY`` bytes.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @cached_property
    def is_html(self) -> bool:
        """Whether the body is a web page. The headers are ignored."""
        return self.body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")

    @cached_property
    def data(self) -> Any:
        """The body as JSON. It is parsed once, because a large one blocks the event loop."""
        try:
            return json.loads(self.body, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            return _NOT_JSON

    def quoted(self) -> str:
        """Return the start of the body for a message: at most 200 safe characters."""
        return service_words(self.body[:4000].decode("utf-8", "replace")) or "an empty body"


def parsed(answer: Answer, what: str) -> Any:
    """
    Return the body as JSON.

    :param answer: The response.
    :param what: The request, for messages.
    :raises ProtocolError: The body is not JSON.
    """
    if answer.is_html:
        raise errors.ProtocolError(f"{what}: HTML, not JSON (HTTP {answer.status}): {answer.quoted()}")
    if answer.data is _NOT_JSON:
        raise errors.ProtocolError(f"{what}: not JSON (HTTP {answer.status}): {answer.quoted()}")
    return answer.data


def parsed_or_none(answer: Answer) -> Any:
    """Return the body as JSON. None: it is not JSON."""
    try:
        return parsed(answer, "")
    except errors.ProtocolError:
        return None


def json_object(answer: Answer, what: str) -> dict[str, Any]:
    """Return the JSON object of a successful response, or raise the error that the response means."""
    check(answer, what)
    data = parsed(answer, what)
    if not isinstance(data, dict):
        raise unexpected(answer, what, "a JSON object was expected")
    return data


def unexpected(answer: Answer, what: str, why: str) -> errors.ProtocolError:
    """Return the error for a response that is JSON but differs from the API reference."""
    return errors.ProtocolError(f"{what}: {why} (HTTP {answer.status}): {answer.quoted()}")


def check(answer: Answer, what: str) -> None:
    """Raise the error that an unsuccessful response (other than 2xx) means."""
    if not 200 <= answer.status < 300:
        raise stopped(answer, what) or _failed(answer, what)


def stopped(answer: Answer, what: str) -> errors.RunStopped | None:
    """Return the error of a response after which other requests would fail the same way. None: another response."""
    match answer.status:
        case 401:
            return errors.AuthenticationError(f"{what}: the API key is refused (HTTP 401): {reason(answer)}")
        case 402:
            return errors.PaymentRequired(
                f"{what}: the service asks for payment (HTTP 402): {reason(answer)}"
            )
        case 403:
            return errors.PermissionDenied(
                f"{what}: the service denies access to this API key or address (HTTP 403): {reason(answer)}"
            )
        case 429:
            return errors.TooManyRequests(f"{what}: too many requests (HTTP 429)")
    return None


def _failed(answer: Answer, what: str) -> errors.PerfectlyClearError:
    said = f"{what}: HTTP {answer.status}: {reason(answer)}"
    if answer.status == 404:
        return errors.NotFound(said)
    if answer.status == 408 or answer.status >= 500:
        return errors.Unavailable(said)
    if 300 <= answer.status < 400:
        return errors.ProtocolError(
            f"{what}: HTTP {answer.status}: a redirect, which the client never follows with the API key"
        )
    return errors.RequestRefused(said) if answer.status >= 400 else errors.ProtocolError(said)


def reason(answer: Answer) -> str:
    """Return the service's own message of a refusal, as one safe line."""
    if answer.is_html:
        return f"HTML, not JSON: {answer.quoted()}"
    return refusal(parsed_or_none(answer)) or answer.quoted()


def refusal(data: Any, *, nested: bool = False) -> str:
    """Return the error message of a JSON response. Empty if it has none."""
    if not isinstance(data, dict):
        return ""
    for name in _REASONS:
        value = data.get(name)
        if isinstance(value, str) and value.strip():
            return service_words(value)
        if isinstance(value, dict | list) and value:
            return ("" if nested else refusal(value, nested=True)) or service_words(_short_json(value))
    return ""


def _short_json(value: Any) -> str:
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return "an unreadable error"
