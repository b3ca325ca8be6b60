"""A folder of a local or mounted filesystem: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import fsspec

from airflow_provider_perfectlyclear.errors import ConfigurationError, ItemFailed, StorageFailed
from airflow_provider_perfectlyclear.storage.base import Store
from airflow_provider_perfectlyclear.storage.names import STATE_FOLDER, Entry, Look, is_part, short

# What is wrong with one name alone: another file, or a folder, is in its way. Other names can still be written.
_IN_THE_WAY = frozenset({errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY})
# A name that this file system takes from nobody, such as one with a colon, or bytes that are none of its characters.
_NO_NAME = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})
# The file system has no hard links, so nothing can be created there only if it is absent.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class LocalStore(Store):
    """A folder of a local or mounted filesystem: temporary name, fsync, rename, fsync of the folder."""

    def __init__(self, filesystem: fsspec.AbstractFileSystem, root: str) -> None:
        super().__init__(filesystem, root)
        self.root = os.path.abspath(self.root or "/")

    @property
    def protocol(self) -> str:
        return "file"

    def uri(self, name: str) -> str:
        return self.path(name)

    def _place(self) -> tuple[str, str]:
        return "file", os.path.realpath(self.root).rstrip("/")

    def list(self, *, prune: Collection[str] = (), look: Look | None = None) -> Iterator[Entry]:
        """As :meth:`Store.list`; links that lead out of the root, and linked folders, are not followed."""
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.path(folder)) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except FileNotFoundError:
                continue
            except NotADirectoryError:
                raise ConfigurationError(
                    f"{self.path(folder)} is a file: name the folder, or use PerfectlyClearCorrectOperator for one "
                    "picture."
                ) from None
            except OSError as error:
                if folder and look is not None:
                    look.unread.append((folder, _why(error)))
                    continue
                raise StorageFailed(f"{self.path(folder)} cannot be listed: {short(error)}") from None
            if folder and look is not None and any(entry.name == STATE_FOLDER for entry in entries):
                look.destinations.append(folder)
                continue
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if name not in prune and (look is None or not look.passes_over(name)):
                        folders.append(name)
                elif (found_entry := self._scanned(name, entry)) is not None:
                    yield found_entry

    def _scanned(self, name: str, entry: os.DirEntry[str]) -> Entry | None:
        if entry.is_symlink() and not self._stays_inside(entry.path):
            return None
        try:
            return self._stated(name, entry.stat())
        except OSError:  # vanished while listing, or a dangling link
            return None

    def _stays_inside(self, path: str) -> bool:
        root = os.path.realpath(self.root)
        return os.path.realpath(path).startswith(root.rstrip("/") + "/")

    def leads_out(self, folder: str) -> bool:
        return bool(folder) and not self._stays_inside(self.path(folder))

    def parts(self, folder: str) -> Iterator[Entry]:
        try:
            with os.scandir(self.path(folder)) as found:
                names = [
                    f"{folder}/{entry.name}" if folder else entry.name
                    for entry in found
                    if is_part(entry.name)
                ]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise StorageFailed(f"{self.path(folder)} cannot be listed: {short(error)}") from None
        yield from (entry for name in names if (entry := self.stat(name)) is not None)

    @staticmethod
    def _stated(name: str, info: os.stat_result) -> Entry | None:
        if not stat.S_ISREG(info.st_mode):
            return None
        tag = f"{info.st_mtime_ns}-{info.st_ctime_ns}-{info.st_ino}"
        return Entry(name=sys.intern(name), size=info.st_size, tag=tag, modified=info.st_mtime)

    def is_there(self) -> bool:
        return os.path.isdir(self.root)

    def file_in_the_way(self) -> str | None:
        path = self.root
        while not os.path.lexists(path):
            path = os.path.dirname(path)
        return None if os.path.isdir(path) or os.path.islink(path) else path

    def has_folder(self, name: str) -> bool:
        return os.path.isdir(self.path(name))

    def stat(self, name: str) -> Entry | None:
        try:
            if not self._stays_inside(self.path(name)):
                return None
            return self._stated(name, os.stat(self.path(name)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StorageFailed(f"{self.path(name)} cannot be looked up: {short(error)}") from None

    def open(self, name: str) -> BinaryIO:
        return open(self.path(name), "rb")

    def read(self, name: str) -> bytes | None:
        try:
            return Path(self.path(name)).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageFailed(f"{self.path(name)} cannot be read: {short(error)}") from None

    def prepare(self) -> None:
        """
        Make the folder.

        :raises ConfigurationError: a file stands in its place.
        :raises StorageFailed: it cannot be made now.
        """
        try:
            os.makedirs(self.root, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigurationError(f"The folder {self.root} cannot be made: {short(error)}") from None
        except OSError as error:
            raise StorageFailed(f"The folder {self.root} cannot be made: {short(error)}") from None

    def publish(self, name: str, file: str | Path, content_type: str | None = None) -> None:
        """As :meth:`Store.publish`. :raises ItemFailed: only this name cannot be written; others can."""

        def copy(part: BinaryIO) -> None:
            with open(file, "rb") as finished:
                shutil.copyfileobj(finished, part, 2**20)

        try:
            self._place_whole(name, copy, os.replace)
        except OSError as error:
            if error.errno in _IN_THE_WAY:
                said = f"{self.path(name)} cannot be written under this name: {_why(error)}"
                raise ItemFailed(said, code="NAME_TAKEN") from None
            if error.errno in _NO_NAME and self._takes_names():
                said = f"{self.path(name)} is no name that this destination takes: {_why(error)}. Rename the source"
                raise ItemFailed(said, code="NAME_REFUSED") from None
            raise self._failure(name, error) from None

    def _takes_names(self) -> bool:
        """Whether the destination itself is well: a plain name can be written."""
        name = f"probe-{secrets.token_hex(8)}"
        try:
            self.write(name, b"")
        except StorageFailed:
            return False
        self.delete(name)
        return True

    def write(self, name: str, data: bytes, content_type: str | None = None) -> None:
        try:
            self._place_whole(name, lambda part: part.write(data), os.replace)
        except OSError as error:
            raise self._failure(name, error) from None

    def _looks_first(self) -> bool:
        return False  # a link to what is written whole is made or not

    def create(self, name: str, data: bytes) -> bool:
        if self.unlocked:
            return super().create(name, data)
        try:
            self._place_whole(name, lambda part: part.write(data), os.link)
            return True
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise StorageFailed(
                    f"{self.root} has no hard links ({_why(error)}), so a lock cannot work there. Put state_path on "
                    "another file system, or, if runs never overlap, set allow_unlocked_store=True."
                ) from None
            return self._judge(name, data, error)

    def _failure(self, name: str, error: OSError) -> StorageFailed:
        return StorageFailed(f"{self.path(name)} cannot be written: {_why(error)}")

    def _place_whole(
        self, name: str, fill: Callable[[BinaryIO], object], place: Callable[[str, str], None]
    ) -> None:
        """Write a temporary file beside ``name``, make it durable, and give it its name in one step."""
        path = self.path_to_write(name)
        folder = os.path.dirname(path)
        part = os.path.join(folder, f".pfc-{self.part_tag}-{secrets.token_hex(6)}.part")
        self._refuse_leaving(folder)
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

    def _refuse_leaving(self, folder: str) -> None:
        if folder != self.root and not self._stays_inside(folder):
            raise PermissionError(errno.EPERM, "a link in its path leads out of the destination")


def _why(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left"
    return error.strerror or type(error).__name__


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
