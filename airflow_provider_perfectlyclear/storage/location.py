"""Where a store lies, and how the names below it are spelt. Only links are looked up here, no files."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from airflow_provider_perfectlyclear.storage.names import check_name


class Location:
    """
    A root on a filesystem, and the addresses below it.

    :param protocol: The scheme that the filesystem answers to, e.g. ``s3``.
    :param root: The folder or prefix, as the filesystem spells it.
    """

    #: Whether a name cannot be a file and a folder at once; in a store of objects it can.
    has_folders: bool

    def __init__(self, protocol: str, root: str) -> None:
        self.protocol = protocol
        self.root = root

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri('')!r})"

    def path(self, name: str) -> str:
        """Return the file's path as the filesystem spells it."""
        return f"{self.root}/{name}" if name else self.root

    def path_to_write(self, name: str) -> str:
        """
        Return the path of a file that is to be written. No name leads out of the root, wherever it came from.

        :raises InvalidSource: The name is not a plain relative name.
        """
        return self.path(check_name(name))

    def uri(self, name: str) -> str:
        """Return the file's address as a person would write it, e.g. ``s3://media/corrected/a.jpg``."""
        return f"{self.protocol}://{self.path(name)}"

    @property
    def place(self) -> str:
        """The root as an address that stays the same however it is spelled or reached."""
        protocol, path = self._address()
        return f"{protocol}:/{path}"

    def relative(self, other: Location) -> str | None:
        """
        Return where ``other`` lies inside this location: ``""`` when it is the same place, None when outside.

        Two connections may reach the same bucket by two filesystems, so only protocol and path count.
        """
        mine, theirs = self._address(), other._address()
        if mine[0] != theirs[0]:
            return None
        if mine[1] == theirs[1]:
            return ""
        return theirs[1][len(mine[1]) + 1 :] if theirs[1].startswith(mine[1] + "/") else None

    def refuses(self, name: str) -> str | None:
        """
        Return why the store cannot hold a file of this name, or would read it as another; None if nothing is known.

        :param name: Relative, with ``/``.
        """
        return None

    def _address(self) -> tuple[str, str]:
        """Return the protocol, and the root as an absolute path."""
        return self.protocol, posixpath.normpath("/" + self.root.lstrip("/")).rstrip("/")


class LocalLocation(Location):
    """
    A folder of this machine. Its files are called by their paths, and links to it lead to the same place.

    :param path: The folder.
    """

    has_folders = True

    def __init__(self, path: str | Path) -> None:
        super().__init__("file", os.path.abspath(path))

    def uri(self, name: str) -> str:
        """Return the file's path: a person writes no scheme before it."""
        return self.path(name)

    @property
    def place(self) -> str:
        """The root as an address that stays the same however it is spelled or reached."""
        return f"file://{self._address()[1]}"

    def _address(self) -> tuple[str, str]:
        return "file", os.path.realpath(self.root).rstrip("/")
