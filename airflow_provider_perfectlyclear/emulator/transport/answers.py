"""An answer as a value, so that a fault can change it before it is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape


@dataclass(frozen=True)
class FilePart:
    """
    A file, or a range of it, as the body of an answer.

    :param path: the file.
    :param start: the first byte.
    :param length: how many bytes.
    """

    path: Path
    start: int
    length: int


@dataclass
class Answer:
    """
    What goes back to the client.

    :param status: the HTTP status.
    :param body: the bytes, or where they are.
    :param headers: without Content-Length, which is the sender's to say.
    """

    status: int = 200
    body: bytes | FilePart = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """How long the body is, in bytes."""
        return self.body.length if isinstance(self.body, FilePart) else len(self.body)


class Refused(Exception):
    """
    The service says no.

    :param status: the HTTP status to say it with.
    :param text: why.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


def json_answer(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Answer with JSON."""
    body = json.dumps(data, ensure_ascii=False).encode()
    return Answer(status, body, {"Content-Type": "application/json; charset=utf-8", **(headers or {})})


def error_answer(status: int, text: str, headers: dict[str, str] | None = None) -> Answer:
    """Refuse as the API does: JSON with an ``error``."""
    return json_answer({"error": text}, status, headers)


def xml_answer(status: int, code: str, message: str) -> Answer:
    """Refuse as an object store does: XML with a code and a message."""
    text = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{text}</Error>'.encode()
    return Answer(status, body, {"Content-Type": "application/xml"})
