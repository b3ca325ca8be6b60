"""What of a source is listed at all: not what network drives and other catalogs leave in its folders. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase

from airflow_provider_perfectlyclear.storage import STATE_FOLDER, Entry, Look

#: Folders that network drives, systems and archives make by themselves.
JUNK = frozenset(
    {
        *(
            "@eaDir",
            "@Recycle",
            "#recycle",
            "#snapshot",
            "$RECYCLE.BIN",
            "RECYCLER",
            "System Volume Information",
        ),
        *(
            "~snapshot",
            ".snapshot",
            ".snapshots",
            ".Trashes",
            ".Spotlight-V100",
            ".fseventsd",
            ".AppleDouble",
        ),
        *("lost+found", "__MACOSX", "Network Trash Folder", "Temporary Items"),
    }
)


def look_for(exclude: Iterable[str]) -> Look:
    """
    Make up how a source is listed.

    :param exclude: patterns; a folder all of whose files one excludes is not entered.
    """
    whole = tuple(pattern.rstrip("*").rstrip("/") for pattern in exclude if pattern.endswith(("/*", "/**")))
    return Look(skips=lambda folder: _is_junk(folder) or any(fnmatchcase(folder, name) for name in whole))


def _is_junk(folder: str) -> bool:
    last = folder.rpartition("/")[2]
    return last in JUNK or last.startswith(".")


def originals(entries: Collection[Entry], look: Look) -> Iterator[Entry]:
    """
    Leave out, of a flat listing, what lies in folders that are passed over, or in another catalog's destination.

    :param entries: as a store of objects lists them; a folder has been looked at on the way.
    """
    mark = f"/{STATE_FOLDER}/"
    owned = {entry.name.partition(mark)[0] for entry in entries if mark in entry.name}
    owned -= set(look.destinations)
    look.destinations += sorted(owned)
    outside = tuple(f"{folder}/" for folder in owned)
    passed = dict[str, bool]()
    for entry in entries:
        if entry.name.startswith(outside) or _lies_in_junk(entry.name, look, passed):
            continue
        yield entry


def _lies_in_junk(name: str, look: Look, passed: dict[str, bool]) -> bool:
    folder = name.rpartition("/")[0]
    if folder not in passed:
        inside = bool(folder) and (
            _lies_in_junk(folder, look, passed)
            or (not folder.rpartition("/")[2].startswith(".") and look.passes_over(folder))
        )
        passed[folder] = inside
    return passed[folder]
