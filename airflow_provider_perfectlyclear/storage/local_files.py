"""Local files: written whole or not at all, and none outside its root."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from airflow_provider_perfectlyclear.storage.names import Entry


def place_whole(
    root: str,
    path: str,
    part_tag: str,
    fill: Callable[[BinaryIO], object],
    place: Callable[[str, str], None],
) -> None:
    """
    Write a temporary file beside ``path``, make it durable, and give it its name in one step.

    :param root: No link may lead out of it.
    :param path: The final name, as an absolute path below the root.
    :param part_tag: Marks the temporary file as one of this run.
    :param fill: Writes the content.
    :param place: ``os.replace``, or ``os.link`` to create only if absent.
    :raises OSError: The file cannot be written, or a link in its path leads out of the root.
    """
    folder = os.path.dirname(path)
    if folder != root and not stays_inside(root, folder):
        raise PermissionError(errno.EPERM, "a link in its path leads out of the destination")
    part = os.path.join(folder, f".pfc-{part_tag}-{secrets.token_hex(6)}.part")
    os.makedirs(folder, exist_ok=True)
    try:
        with open(part, "xb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        place(part, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part)
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def stays_inside(root: str, path: str) -> bool:
    """Tell whether a path lies below the root once all its links are followed."""
    return os.path.realpath(path).startswith(os.path.realpath(root).rstrip("/") + "/")


def entry_of_stat(name: str, info: os.stat_result) -> Entry | None:
    """Return a listed file, or None for what is no plain file."""
    if not stat.S_ISREG(info.st_mode):
        return None
    tag = f"{info.st_mtime_ns}-{info.st_ctime_ns}-{info.st_ino}"
    return Entry(name=sys.intern(name), size=info.st_size, tag=tag, modified=info.st_mtime)


def why(error: OSError) -> str:
    """Return an error of the filesystem in a few words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left"
    return error.strerror or type(error).__name__
