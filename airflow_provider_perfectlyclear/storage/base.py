"""The interface of a store: list, stat, open, publish (whole), create (if absent)."""

from __future__ import annotations

import hashlib
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from airflow_provider_perfectlyclear.errors import StorageFailed
from airflow_provider_perfectlyclear.storage.location import Location
from airflow_provider_perfectlyclear.storage.names import Entry, Look, short

#: Temporary files of other runs are removed when they are older than this (seconds): their owner is gone.
STALE_PART = 86_400.0


class Store(Location, ABC):
    """
    A location and what can be done there. :func:`open_store` returns the right kind.

    What is said here of folders and temporary files holds for a store of objects, which has neither.
    """

    #: Marks temporary files as those of one run, so that its next attempt can remove them.
    part_tag = "0"
    #: The store cannot create only if absent, and that is accepted: look first, then write.
    unlocked = False

    def child(self, folder: str) -> Self:
        """Return the store of a folder below this one."""
        store = self._at(self.path(folder))
        store.part_tag = self.part_tag
        store.unlocked = self.unlocked
        return store

    @abstractmethod
    def _at(self, root: str) -> Self:
        """Return the store of another root on the same filesystem."""

    # ---- reading

    @abstractmethod
    def list(self, *, prune: Collection[str] = (), look: Look | None = None) -> Iterator[Entry]:
        """
        List every file below the root, except for folders in ``prune`` (relative).

        :param look: How a source is listed. Folders that it passes over are not entered, where a store has folders.
        :raises StorageFailed: The store cannot be listed.
        """

    @abstractmethod
    def stat(self, name: str) -> Entry | None:
        """
        Look one file up. Return None when there is none.

        :raises StorageFailed: The store does not say.
        """

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Open a file for streaming reads. Raises what the filesystem raises."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """
        Return the bytes of a small file (the ledger's), or None when there is none.

        :raises StorageFailed: The file cannot be read.
        """

    def is_there(self) -> bool:
        """Tell whether the folder exists. A prefix of an object store always does."""
        return True

    def file_in_the_way(self) -> str | None:
        """Return the file that stands where the root, or a folder that it lies in, would be."""
        return None

    def has_folder(self, name: str) -> bool:
        """Tell whether a folder stands where a file of this name would go."""
        return False

    def leads_out(self, folder: str) -> bool:
        """Tell whether a folder lies outside the root although its name does not: only a local link can do that."""
        return False

    def parts(self, folder: str) -> Iterator[Entry]:
        """List the temporary files right in a folder."""
        yield from ()

    # ---- writing

    def prepare(self) -> None:  # an object store needs nothing
        """
        Make the root ready to be written to.

        :raises ConfigurationError: A file stands in its place.
        :raises StorageFailed: It cannot be made now.
        """

    @abstractmethod
    def publish(self, name: str, file: str | Path, content_type: str | None = None) -> None:
        """
        Put a finished local file under its final name, whole, replacing what was there.

        :raises StorageFailed: The store is full, denied or failing. The old content, if any, still stands.
        :raises InvalidSource: The name would leave the root.
        :raises ItemFailed: Only this name cannot be written; others can.
        """

    @abstractmethod
    def write(self, name: str, data: bytes, content_type: str | None = None) -> None:
        """
        Put bytes under a name, whole, replacing what was there.

        :raises StorageFailed: As :meth:`publish`.
        """

    def create(self, name: str, data: bytes) -> bool:
        """
        Put bytes under a name only if nothing is there. ``data`` must differ from what any other run writes.

        After any error the name is read back: an object store's library may repeat a request whose response
        was lost, and then report our own object as another run's.

        :returns: True when the file is ours, False when another run's stands there.
        :raises StorageFailed: Neither is there.
        """
        if self.unlocked:
            if self.stat(name) is not None:
                return False
            self.write(name, data)
            return True
        error = self._try_to_create(name, data)
        if error is None:
            return True
        there = self.read(name)
        if there is not None:
            return there == data
        if isinstance(error, StorageFailed):
            raise error
        raise StorageFailed(f"{self.uri(name)} cannot be created: {short(error)}")

    @abstractmethod
    def _try_to_create(self, name: str, data: bytes) -> Exception | None:
        """
        Ask the filesystem to create a file. Return its error, after which the file may be there all the same.

        :returns: A :class:`StorageFailed` is raised as it is, if the file is not there.
        :raises StorageFailed: There is no need to look whether the file is there.
        """

    def probe(self, folder: str) -> bool:
        """
        Tell whether this store really refuses to create what exists: create twice, the second must lose.

        A library that looks first and writes then would pass, as no other run comes between: its code gives it away.

        :param folder: Where the probe's object may lie for a moment.
        """
        if self._looks_first():
            return False
        name = f"{folder}/probe-{secrets.token_hex(8)}"
        first, second = secrets.token_bytes(16), secrets.token_bytes(16)
        try:
            return self.create(name, first) and not self.create(name, second)
        finally:
            self.delete(name)

    @abstractmethod
    def _looks_first(self) -> bool:
        """Tell whether the library's "create" is two steps, between which another run may come."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove a ledger file or temporary file of ours, if that is allowed: nothing depends on it."""

    def sweep(self, entries: Collection[Entry]) -> None:
        """Remove listed temporary files that an earlier attempt of this run, or any run long ago, left behind."""
        for entry in entries:
            mine = entry.name.rpartition("/")[2].startswith(f".pfc-{self.part_tag}-")
            if mine or (entry.modified is not None and time.time() - entry.modified > STALE_PART):
                self.delete(entry.name)


def digest_of(store: Store, name: str) -> tuple[str, int]:
    """Return the SHA-256 (hex) and the size in bytes of a file, read once in blocks."""
    digest, size = hashlib.sha256(), 0
    with store.open(name) as file:
        while block := file.read(2**20):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size
