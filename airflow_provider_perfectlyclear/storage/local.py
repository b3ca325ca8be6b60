"""A folder of a local or mounted filesystem: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from airflow_provider_perfectlyclear.errors import ConfigurationError, ItemFailed, StorageFailed
from airflow_provider_perfectlyclear.storage.base import Store
from airflow_provider_perfectlyclear.storage.local_files import entry_of_stat, place_whole, stays_inside, why
from airflow_provider_perfectlyclear.storage.location import LocalLocation
from airflow_provider_perfectlyclear.storage.names import Entry, Look, is_part, short
from airflow_provider_perfectlyclear.storage.walk import Walk

log = logging.getLogger(__name__)

# What is wrong with one name alone: another file, or a folder, is in its way. Other names can still be written.
_IN_THE_WAY = frozenset({errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY})
# A name that this file system never takes, such as one with a colon, or bytes that are none of its characters.
_NO_NAME = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})
# The file system has no hard links, so nothing can be created there only if it is absent.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class LocalStore(LocalLocation, Store):
    """
    A folder of this machine: files are written under a temporary name, made durable, and renamed.

    :param path: The folder.
    """

    def _at(self, root: str) -> Self:
        return type(self)(root)

    # ---- reading

    def list(self, *, prune: Collection[str] = (), look: Look | None = None) -> Iterator[Entry]:
        """As :meth:`Store.list`; links that lead out of the root, and linked folders, are not followed."""
        yield from Walk(self.root, prune, look)

    def stat(self, name: str) -> Entry | None:
        """As :meth:`Store.stat`."""
        path = self.path(name)
        try:
            return entry_of_stat(name, os.stat(path)) if stays_inside(self.root, path) else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StorageFailed(f"{path} cannot be looked up: {short(error)}") from None

    def open(self, name: str) -> BinaryIO:
        """As :meth:`Store.open`."""
        return open(self.path(name), "rb")

    def read(self, name: str) -> bytes | None:
        """As :meth:`Store.read`."""
        try:
            return Path(self.path(name)).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageFailed(f"{self.path(name)} cannot be read: {short(error)}") from None

    def is_there(self) -> bool:
        """As :meth:`Store.is_there`."""
        return os.path.isdir(self.root)

    def file_in_the_way(self) -> str | None:
        """As :meth:`Store.file_in_the_way`. A link is none: it may lead to a folder that is not mounted now."""
        path = self.root
        while not os.path.lexists(path):
            path = os.path.dirname(path)
        return None if os.path.isdir(path) or os.path.islink(path) else path

    def has_folder(self, name: str) -> bool:
        """As :meth:`Store.has_folder`."""
        return os.path.isdir(self.path(name))

    def leads_out(self, folder: str) -> bool:
        """As :meth:`Store.leads_out`."""
        return bool(folder) and not stays_inside(self.root, self.path(folder))

    def parts(self, folder: str) -> Iterator[Entry]:
        """
        As :meth:`Store.parts`.

        :raises StorageFailed: The folder cannot be listed.
        """
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

    # ---- writing

    def prepare(self) -> None:
        """As :meth:`Store.prepare`: make the folder."""
        try:
            os.makedirs(self.root, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigurationError(f"The folder {self.root} cannot be made: {short(error)}") from None
        except OSError as error:
            raise StorageFailed(f"The folder {self.root} cannot be made: {short(error)}") from None

    def publish(self, name: str, file: str | Path, content_type: str | None = None) -> None:
        """As :meth:`Store.publish`."""

        def copy(part: BinaryIO) -> None:
            with open(file, "rb") as finished:
                shutil.copyfileobj(finished, part, 2**20)

        try:
            place_whole(self.root, self.path_to_write(name), self.part_tag, copy, os.replace)
        except OSError as error:
            if error.errno in _IN_THE_WAY:
                said = f"{self.path(name)} cannot be written under this name: {why(error)}"
                raise ItemFailed(said, code="NAME_TAKEN") from None
            if error.errno in _NO_NAME and self._takes_names():
                said = f"{self.path(name)} is no name that this destination takes: {why(error)}. Rename the source"
                raise ItemFailed(said, code="NAME_REFUSED") from None
            raise self._not_written(name, error) from None

    def _takes_names(self) -> bool:
        """Tell whether the destination itself is well: a plain name can be written."""
        name = f"probe-{secrets.token_hex(8)}"
        try:
            self.write(name, b"")
        except StorageFailed:
            return False
        self.delete(name)
        return True

    def write(self, name: str, data: bytes, content_type: str | None = None) -> None:
        """As :meth:`Store.write`."""
        try:
            self._put(name, data, os.replace)
        except OSError as error:
            raise self._not_written(name, error) from None

    def _put(self, name: str, data: bytes, place: Callable[[str, str], None]) -> None:
        path = self.path_to_write(name)
        place_whole(self.root, path, self.part_tag, lambda part: part.write(data), place)

    def _not_written(self, name: str, error: OSError) -> StorageFailed:
        return StorageFailed(f"{self.path(name)} cannot be written: {why(error)}")

    def _try_to_create(self, name: str, data: bytes) -> Exception | None:
        try:
            self._put(name, data, os.link)
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise StorageFailed(
                    f"{self.root} has no hard links ({why(error)}), so a lock cannot work there. Put state_path on "
                    "another file system, or, if runs never overlap, set allow_unlocked_store=True."
                ) from None
            return error
        return None

    def _looks_first(self) -> bool:
        return False  # a link to what is written whole is made or not

    def delete(self, name: str) -> None:
        """As :meth:`Store.delete`."""
        try:
            os.remove(self.path(name))
        except FileNotFoundError:
            pass
        except OSError as error:
            log.info("%s", StorageFailed(f"{self.path(name)} cannot be removed: {short(error)}"))
