"""Text for messages: other people's made safe to print (one line, short, without signatures), and numbers of things."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

#: The most characters of other people's text that a message quotes.
QUOTED = 200

# What is looked at before it is shortened: far more than is quoted, far less than a hostile body.
_LOOKED_AT = 10 * QUOTED

_ESCAPED = re.compile(r"\\u00([2-7][0-9a-fA-F])")
_USER_INFO = re.compile(r"(?<=:)(//|\\/\\/)[^\s/@\"'<>]*@")
_URL_QUERY = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*:(?://|\\/\\/)[^\s?#\"'<>]*)[?#][^\s\"'<>]*")
_SECRET_WORD = (
    r"(?:signature|credential|security-?token|secret|password|api-?key|hmac|key-pair-id|access-?key(?:-?id)?)"
)
# As a query, JSON, a header, Python or words: a name, maybe in quotes, then = or : (also percent-encoded, even twice).
_ASSIGNED = re.compile(
    rf"(?i)((?:{_SECRET_WORD}[\w-]{{0,20}}|\b(?:sig|policy|token|authorization))[\"']?\s{{0,3}}"
    r"(?:=|:|%(?:25){0,3}3[ad])\s{0,3}(?:bearer |basic )?[\"']?)[^\s&\"'<>,;}\])]+"
)
# In words and in pages: what follows the name and looks like no word.
_SAID = re.compile(
    rf"(?i)({_SECRET_WORD}[\w-]{{0,20}}(?:<[^<>]{{0,20}}>|[^A-Za-z0-9<]){{1,8}}(?:is |of )?)[\w+/=.%-]{{16,}}"
)
_TOKEN = re.compile(r"(?=[\w+/=-]{0,60}\d)[\w+/=-]{40,}")
_IN_XML = re.compile(rf"(?i)((?:{_SECRET_WORD}[\w:-]{{0,20}}|<(?:sig|policy|token))>)[^<]+")


def one_line(text: object, limit: int = QUOTED) -> str:
    """
    Make a text from the service safe for a log line, a message or a page of Airflow.

    Control characters (newlines, ANSI, bidirectional marks, lone surrogates) become spaces, a URL keeps its path
    but not its query or password, and the log-group markers ``::group::`` and ``##[group]`` cannot open a line.
    What a JSON writer has escaped (``\\u003d``) is read first, or it would hide a signature. What a name calls a secret
    is cut out in every notation: query, JSON, XML, header, words.

    :param text: anything; None is empty.
    :param limit: the most characters of the result.
    """
    if text is None:
        return ""
    shown = str(text)[:_LOOKED_AT]
    shown = _ESCAPED.sub(lambda code: chr(int(code[1], 16)), shown)
    shown = "".join(c if c.isprintable() else " " for c in shown)
    shown = _USER_INFO.sub(r"\1", shown)
    shown = _URL_QUERY.sub(r"\1?...", shown)
    shown = _IN_XML.sub(r"\1...", shown)
    shown = _ASSIGNED.sub(r"\1...", shown)
    shown = _SAID.sub(r"\1...", shown)
    shown = " ".join(shown.split()).lstrip(":# ")
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def service_words(text: object, limit: int = QUOTED) -> str:
    """
    Make the service's own words safe: as :func:`one_line`, and without long tokens, which may be signatures that no
    name tells. Names of files are no words of the service: they are shown whole.

    :param text: anything; None is empty.
    :param limit: the most characters of the result.
    """
    shown = one_line(text, _LOOKED_AT)
    return one_line(_TOKEN.sub("...", shown), limit)


def counted(number: int, thing: str) -> str:
    """
    Write how many of a thing there are: ``1 folder``, ``1,412 folders``.

    :param thing: in the singular; its plural ends in s.
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def are(number: int) -> str:
    """Return ``is`` for one, ``are`` for any other number."""
    return "is" if number == 1 else "are"


def were(number: int) -> str:
    """Return ``was`` for one, ``were`` for any other number."""
    return "was" if number == 1 else "were"


def without_query(url: str) -> str:
    """Name a URL by its host and path, for messages: its query may be a signature."""
    try:
        parts = urlsplit(url)
        return one_line(f"{parts.hostname or ''}{parts.path}")
    except ValueError:
        return "an unreadable URL"
