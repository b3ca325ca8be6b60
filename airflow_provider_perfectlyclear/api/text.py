"""Text for messages: foreign text made safe to print (one short line without signatures), and counts of things."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

#: Maximum number of characters of foreign text in a message.
QUOTED = 200

# Number of characters that are searched for secrets: far more than are quoted, far fewer than a hostile body has.
_LOOKED_AT = 10 * QUOTED

_ESCAPED = re.compile(r"\\u00([2-7][0-9a-fA-F])")
_USER_INFO = re.compile(r"(?<=:)(//|\\/\\/)[^\s/@\"'<>]*@")
_URL_QUERY = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*:(?://|\\/\\/)[^\s?#\"'<>]*)[?#][^\s\"'<>]*")
_SECRET_WORD = (
    r"(?:signature|credential|security-?token|secret|password|api-?key|hmac|key-pair-id|access-?key(?:-?id)?)"
)
# In a query, JSON, a header, Python or prose: a name, perhaps quoted, then = or : (also percent-encoded, even twice).
_ASSIGNED = re.compile(
    rf"(?i)((?:{_SECRET_WORD}[\w-]{{0,20}}|\b(?:sig|policy|token|authorization))[\"']?\s{{0,3}}"
    r"(?:=|:|%(?:25){0,3}3[ad])\s{0,3}(?:bearer |basic )?[\"']?)[^\s&\"'<>,;}\])]+"
)
# In prose and web pages: text after the name that does not look like a word.
_SAID = re.compile(
    rf"(?i)({_SECRET_WORD}[\w-]{{0,20}}(?:<[^<>]{{0,20}}>|[^A-Za-z0-9<]){{1,8}}(?:is |of )?)[\w+/=.%-]{{16,}}"
)
_TOKEN = re.compile(r"(?=[\w+/=-]{0,60}\d)[\w+/=-]{40,}")
_IN_XML = re.compile(rf"(?i)((?:{_SECRET_WORD}[\w:-]{{0,20}}|<(?:sig|policy|token))>)[^<]+")


def one_line(text: object, limit: int = QUOTED) -> str:
    r"""
    Make foreign text safe for a log line, a message or a page of Airflow.

    Control characters (newlines, ANSI, bidirectional marks, lone surrogates) become spaces. URLs lose their query and
    password. The log-group markers ``::group::`` and ``##[group]`` are removed from the start. Values with the name of
    a secret are removed in every notation: query, JSON, XML, header, prose. JSON escapes (``\u003d``) are decoded
    first, because they would hide a signature.

    :param text: Any object. None: an empty text.
    :param limit: Maximum number of characters of the result. Default 200.
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
    Make the service's own text safe: as :func:`one_line`, and without long tokens.

    A long token may be a signature without a name. Do not use this for file names, which are shown whole.

    :param text: Any object. None: an empty text.
    :param limit: Maximum number of characters of the result. Default 200.
    """
    shown = one_line(text, _LOOKED_AT)
    return one_line(_TOKEN.sub("...", shown), limit)


def counted(number: int, thing: str) -> str:
    """
    Return a count with its noun: ``1 folder``, ``1,412 folders``.

    :param number: The count.
    :param thing: The noun in the singular. Its plural must end in s.
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def are(number: int) -> str:
    """Return ``is`` for one, ``are`` for any other number."""
    return "is" if number == 1 else "are"


def were(number: int) -> str:
    """Return ``was`` for one, ``were`` for any other number."""
    return "was" if number == 1 else "were"


def without_query(url: str) -> str:
    """Return a URL's host and path, for messages. Its query may be a signature."""
    try:
        parts = urlsplit(url)
        return one_line(f"{parts.hostname or ''}{parts.path}")
    except ValueError:
        return "an unreadable URL"
