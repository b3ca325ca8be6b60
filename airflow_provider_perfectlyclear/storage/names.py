"""Names, and what a listing says of them. Pure."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_provider_perfectlyclear.errors import InvalidSource

#: The longest part of a name (bytes) that every filesystem takes.
LONGEST_PART = 255
#: The folder in a destination that holds its ledger.
STATE_FOLDER = ".perfectlyclear"

_SIZE_AND_TIME = re.compile(r"\d+-\d+")
_LOCAL = re.compile(r"\d+-\d+-\d+-\d+")


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One listed file.

    :param name: relative to the store's root.
    :param size: bytes.
    :param tag: what changes when the content does: the ETag; or, of a local file, its times of modification and of
        change in nanoseconds, and its inode: a file may have the size and time of the one whose name it got.
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


@dataclass
class Look:
    """
    How a source is listed, and what was found on the way.

    :param skips: whether a folder, by its relative name, is not entered.
    :param unread: folders that could not be read, each with why.
    :param skipped: how many folders were not entered, by their last name.
    :param destinations: folders that are the destination of another catalog: its outputs are no originals.
    """

    skips: Callable[[str], bool] = lambda name: False
    unread: list[tuple[str, str]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    destinations: list[str] = field(default_factory=list)

    def passes_over(self, folder: str) -> bool:
        """Whether a folder is not entered; counted, but for hidden ones."""
        if not self.skips(folder):
            return False
        last = folder.rpartition("/")[2]
        if not last.startswith("."):
            self.skipped[last] += 1
        return True


def entry_of(name: str, info: Mapping[str, Any]) -> Entry:
    """
    Return a listed file from what an fsspec filesystem says of it.

    :param name: Relative to the store's root.
    :param info: As ``info`` and ``find`` of the filesystem return it.
    """
    said = (info.get(k) for k in ("LastModified", "last_modified", "mtime", "updated", "created"))
    modified = next((seconds for value in said if (seconds := unix_seconds(value)) is not None), None)
    tags = ("ETag", "etag", "e_tag", "md5Hash", "content_md5", "md5", "crc32c")
    tag = next((info[k] for k in tags if info.get(k)), None)
    return Entry(
        name=sys.intern(name),  # listings and ledger name the same 100,000 files
        size=int(info.get("size") or 0),
        tag=str(tag if tag is not None else modified).strip('"'),
        modified=modified,
    )


def same_fingerprint(recorded: str, listed: str) -> bool:
    """
    Whether a recorded fingerprint is that of a listed file.

    :param recorded: by this version, or by an earlier one, which knew of a local file only its size and time.
    :param listed: as :attr:`Entry.fingerprint` has it now.
    """
    return recorded == listed or (
        _SIZE_AND_TIME.fullmatch(recorded) is not None
        and _LOCAL.fullmatch(listed) is not None
        and listed.startswith(f"{recorded}-")
    )


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
