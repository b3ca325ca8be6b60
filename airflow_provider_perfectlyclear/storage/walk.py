"""The listing of a local folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from airflow_provider_perfectlyclear.errors import ConfigurationError, StorageFailed
from airflow_provider_perfectlyclear.storage.local_files import entry_of_stat, stays_inside, why
from airflow_provider_perfectlyclear.storage.names import STATE_FOLDER, Entry, Look, short


class Walk:
    """
    One pass over a folder. Links that lead out of the root, and linked folders, are not followed.

    :param root: The folder, as an absolute path.
    :param prune: Folders (relative) that are not entered.
    :param look: How a source is listed, and what was found on the way.
    """

    def __init__(self, root: str, prune: Collection[str], look: Look | None) -> None:
        self._root = root
        self._prune = prune
        self._look = look

    def __iter__(self) -> Iterator[Entry]:
        folders = [""]
        while folders:
            folder = folders.pop()
            for entry in self._entries(folder):
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if self._enters(name):
                        folders.append(name)
                elif (found := self._scanned(name, entry)) is not None:
                    yield found

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """
        Return what lies in a folder, by name; nothing of a folder that is passed over.

        :raises ConfigurationError: The root is a file.
        :raises StorageFailed: The folder cannot be listed.
        """
        path = f"{self._root}/{folder}" if folder else self._root
        try:
            with os.scandir(path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise ConfigurationError(
                f"{path} is a file: name the folder, or use PerfectlyClearCorrectOperator for one picture."
            ) from None
        except OSError as error:
            if folder and self._look is not None:
                self._look.unread.append((folder, why(error)))
                return []
            raise StorageFailed(f"{path} cannot be listed: {short(error)}") from None
        if folder and self._look is not None and any(entry.name == STATE_FOLDER for entry in entries):
            self._look.destinations.append(folder)
            return []
        return entries

    def _enters(self, folder: str) -> bool:
        return folder not in self._prune and (self._look is None or not self._look.passes_over(folder))

    def _scanned(self, name: str, entry: os.DirEntry[str]) -> Entry | None:
        if entry.is_symlink() and not stays_inside(self._root, entry.path):
            return None
        try:
            return entry_of_stat(name, entry.stat())
        except OSError:  # vanished while listing, or a dangling link
            return None
