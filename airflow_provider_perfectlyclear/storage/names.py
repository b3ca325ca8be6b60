"""Names, and what a listing says of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_perfectlyclear.errors import InvalidSource

#: The longest part of a name (bytes) that every filesystem takes.
LONGEST_PART = 255


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One listed file.

    :param name: relative to the store's root.
    :param size: bytes.
    :param tag: what changes when the content does: the ETag, or the modification time in nanoseconds.
    :param modified: Unix seconds, if the filesystem says.
    """

    name: str
    size: int
    tag: str | int
    modified: float | None = None

    @property
    def fingerprint(self) -> str:
        """Size and tag: equal means unchanged, different means: look at the bytes."""
        return f"{self.size}-{self.tag}"


def check_name(name: str) -> str:
    """
    Return ``name`` if it stays under its root on every filesystem.

    :raises InvalidSource: (``UNSAFE_NAME``) absolute, ``..``, a drive, a backslash, NUL, empty parts, parts of more
        than 255 bytes, bytes that are no Unicode, a name of our temporary files: found out before anything is paid,
        not when it is to be written.
    """
    try:
        long = any(len(part.encode()) > LONGEST_PART for part in name.split("/"))
    except UnicodeEncodeError:  # how Python shows the bytes of a local name that are not UTF-8
        raise InvalidSource(f"the name {name!r} is not in UTF-8", code="UNSAFE_NAME") from None
    if long:
        raise InvalidSource(
            f"a part of the name {name!r} has more than {LONGEST_PART} bytes", code="UNSAFE_NAME"
        )
    parts = name.split("/")
    drive = len(parts[0]) > 1 and parts[0][1] == ":" and parts[0][0].isalpha()
    if not name or "\0" in name or "\\" in name or drive or any(part in ("", ".", "..") for part in parts):
        raise InvalidSource(f"the name {name!r} is not a plain relative path", code="UNSAFE_NAME")
    if is_part(name):  # never seen again, and swept away after a day
        raise InvalidSource(f"the name {name!r} is one of temporary files", code="UNSAFE_NAME")
    return name


def is_part(name: str) -> bool:
    """Whether a listed name is a temporary file of ours."""
    last = name.rpartition("/")[2]
    return last.startswith(".pfc-") and last.endswith(".part")


def short(error: BaseException) -> str:
    """One line about an error of a filesystem, without the URLs that some of them quote."""
    text = " ".join(str(error).split())
    words = [word.split("?")[0] for word in text.split(" ")]
    return f"{type(error).__name__}: {' '.join(words)}"[:300]


def unix_seconds(value: Any) -> float | None:
    """Unix seconds, in whichever way a filesystem says them."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) else None
