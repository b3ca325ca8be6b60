"""A root on any fsspec filesystem: list, stat, open, publish (whole), create (if absent)."""

from __future__ import annotations

import errno
import logging
import os
import posixpath
import secrets
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from airflow_provider_perfectlyclear.errors import StorageFailed
from airflow_provider_perfectlyclear.storage.names import Entry, Look, check_name, short, unix_seconds

log = logging.getLogger(__name__)

#: Objects up to this size (bytes) are published in one request, straight from memory.
ONE_REQUEST = 32 * 2**20
#: What large objects are read and written by (bytes); s3fs would hold 50 MB and more for each step.
BLOCK = 8 * 2**20
#: Temporary files of other runs are removed when they are older than this (seconds): their owner is gone.
STALE_PART = 86_400.0

# How each family of object stores spells the content type of an upload.
_CONTENT_TYPE_ARGUMENT = {
    "s3": "ContentType",
    "s3a": "ContentType",
    "gs": "content_type",
    "gcs": "content_type",
}

# Stores whose keys have at most 1,024 bytes.
_KEYS = frozenset({"s3", "s3a", "s3n", "gs", "gcs"})
# Stores of objects: a name may also be the beginning of other names.
_FLAT = frozenset({"s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"})


def _looks_before_it_writes(filesystem: AbstractFileSystem) -> bool:
    """
    Whether "create" is fsspec's own default for it, which is ``exists()`` and then a write: SMB, SFTP, FTP, HDFS.

    :param filesystem: it, or one that hands on to another.
    """
    while isinstance(inner := getattr(filesystem, "fs", None), AbstractFileSystem):
        filesystem = inner
    return (
        not isinstance(filesystem, AsyncFileSystem)
        and getattr(filesystem.pipe_file, "__func__", None) is AbstractFileSystem.pipe_file
    )


def _knows_no_condition(error: Exception) -> bool:
    """
    Whether a store answers that it has no "only if absent": HTTP 501 and 405, as fsspec's filesystems say them. Who may
    not write is told otherwise, without a number.
    """
    return isinstance(error, NotImplementedError) or (
        isinstance(error, OSError)
        and error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)
    )


class Store:
    """
    A root on an fsspec filesystem. Use :func:`open_store` to get the right kind.

    :param filesystem: any fsspec filesystem, opened without a listings cache.
    :param root: the folder or prefix, as that filesystem spells it.
    """

    def __init__(self, filesystem: fsspec.AbstractFileSystem, root: str) -> None:
        self.fs = filesystem
        self.root = str(filesystem._strip_protocol(root)).rstrip("/")
        #: Marks temporary files as those of one run, so that its next try can remove them.
        self.part_tag = "0"
        #: The store cannot create only if absent, and that is accepted: look first, then write.
        self.unlocked = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri('')!r})"

    @staticmethod
    def local(path: str | Path) -> Store:
        """A folder of this machine."""
        from airflow_provider_perfectlyclear.storage.local import LocalStore

        return LocalStore(LocalFileSystem(), str(path))

    @property
    def protocol(self) -> str:
        """The scheme that the filesystem answers to, e.g. ``s3``."""
        protocol = self.fs.protocol
        return cast(str, protocol if isinstance(protocol, str) else protocol[0])

    def uri(self, name: str) -> str:
        """How a person would write the file's place, e.g. ``s3://media/corrected/a.jpg``."""
        return f"{self.protocol}://{self.path(name)}" if name else f"{self.protocol}://{self.root}"

    def path(self, name: str) -> str:
        """The file's path as the filesystem spells it."""
        return f"{self.root}/{name}" if name else self.root

    def path_to_write(self, name: str) -> str:
        """
        The path of a file that is to be written: whoever made the name, it stays below the root.

        :raises InvalidSource: it is not a plain relative name.
        """
        return self.path(check_name(name))

    def child(self, folder: str) -> Store:
        """The store of a folder below this one."""
        store = type(self)(self.fs, self.path(folder))
        store.part_tag = self.part_tag
        store.unlocked = self.unlocked
        return store

    def relative(self, other: Store) -> str | None:
        """
        Where ``other`` lies inside this store: ``""`` when it is the same place, None when outside.

        Two connections may reach the same bucket by two filesystems, so only protocol and path count.
        """
        mine, theirs = self._place(), other._place()
        if mine[0] != theirs[0]:
            return None
        if mine[1] == theirs[1]:
            return ""
        return theirs[1][len(mine[1]) + 1 :] if theirs[1].startswith(mine[1] + "/") else None

    @property
    def place(self) -> str:
        """The root as an address that stays the same however it is spelled or reached."""
        protocol, path = self._place()
        return f"{protocol}://{path}" if protocol == "file" else f"{protocol}:/{path}"

    def _place(self) -> tuple[str, str]:
        return self.protocol, posixpath.normpath("/" + self.root.lstrip("/")).rstrip("/")

    # ---- reading

    def list(self, *, prune: Collection[str] = (), look: Look | None = None) -> Iterator[Entry]:
        """
        Every file below the root, folders in ``prune`` (relative) left out.

        :param look: how a source is listed; what it passes over is not entered, where there are folders to enter.
        :raises StorageFailed: when the store cannot be listed.
        """
        outside = tuple(f"{folder}/" for folder in prune)
        try:
            for path, info in self._found():
                name = path[len(self.root) + 1 :]
                if name and not name.endswith("/") and not name.startswith(outside):
                    yield self._entry(name, info)
        except FileNotFoundError:
            return
        except Exception as error:  # fsspec's filesystems raise their libraries' own errors
            raise StorageFailed(f"{self.uri('')} cannot be listed: {short(error)}") from None

    def _found(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Path and facts of every file, in the order of their names."""
        if hasattr(self.fs, "call_s3"):  # page by page: `find` holds a kilobyte for each object of the bucket
            yield from self._found_in_pages()
        else:
            found = self.fs.find(self.root, detail=True)
            yield from ((path, found.pop(path)) for path in sorted(found))

    def _found_in_pages(self) -> Iterator[tuple[str, dict[str, Any]]]:
        bucket, _, prefix = self.root.partition("/")
        query = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
        while True:
            page = self.fs.call_s3("list_objects_v2", **query)
            for facts in page.get("Contents", ()):
                yield f"{bucket}/{facts['Key']}", {**facts, "size": facts["Size"]}
            if not page.get("IsTruncated"):
                return
            query["ContinuationToken"] = page["NextContinuationToken"]

    @property
    def has_folders(self) -> bool:
        """Whether a name cannot be a file and a folder at once; in a store of objects it can."""
        return self.protocol not in _FLAT

    def refuses(self, name: str) -> str | None:
        """
        Why the store cannot hold, or would read as another, a file of this name; None: nothing is known against it.

        :param name: relative, with ``/``.
        """
        if self.protocol not in _KEYS:
            return None
        if "?versionid=" in name.lower():
            return f"{name!r} would be read as a version of another object"
        size = len(f"{self.root.partition('/')[2]}/{name}".lstrip("/").encode())
        return f"its key would have {size:,} bytes, and at most 1,024 are taken" if size > 1024 else None

    def is_there(self) -> bool:
        """Whether the folder exists. A prefix of an object store always does."""
        return True

    def file_in_the_way(self) -> str | None:
        """The file that stands where the folder, or one that it lies in, would be; a store of objects has none."""
        return None

    def has_folder(self, name: str) -> bool:
        """Whether a folder stands where a file of this name would go. Stores of objects know no folders."""
        return False

    def stat(self, name: str) -> Entry | None:
        """
        One file, or None when there is none.

        :raises StorageFailed: when the store does not say.
        """
        try:
            info = self.fs.info(self.path(name))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise StorageFailed(f"{self.uri(name)} cannot be looked up: {short(error)}") from None
        return self._entry(name, info) if info.get("type") != "directory" else None

    @staticmethod
    def _entry(name: str, info: dict[str, Any]) -> Entry:
        said = (info.get(k) for k in ("LastModified", "last_modified", "mtime", "updated", "created"))
        modified = next((seconds for value in said if (seconds := unix_seconds(value)) is not None), None)
        tag = next(
            (
                info[k]
                for k in ("ETag", "etag", "e_tag", "md5Hash", "content_md5", "md5", "crc32c")
                if info.get(k)
            ),
            None,
        )
        return Entry(
            name=sys.intern(name),  # listings and ledger name the same 100,000 files
            size=int(info.get("size") or 0),
            tag=str(tag if tag is not None else modified).strip('"'),
            modified=modified,
        )

    def open(self, name: str) -> BinaryIO:
        """Open a file for streaming reads. Raises what the filesystem raises."""
        return cast(BinaryIO, self.fs.open(self.path(name), "rb", block_size=BLOCK))

    def read(self, name: str) -> bytes | None:
        """
        A small file's bytes (the ledger's), or None when there is none.

        :raises StorageFailed: when it cannot be read.
        """
        try:
            return cast(bytes, self.fs.cat_file(self.path(name)))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise StorageFailed(f"{self.uri(name)} cannot be read: {short(error)}") from None

    # ---- writing

    def prepare(self) -> None:
        """Make the root ready to be written to; object stores need nothing."""

    def publish(self, name: str, file: str | Path, content_type: str | None = None) -> None:
        """
        Put a finished local file under its final name, whole, replacing what was there.

        :raises StorageFailed: the store is full, denied or failing; the old content, if any, still stands.
        :raises InvalidSource: the name would leave the root.
        """
        path, extra = self.path_to_write(name), self._content_type(content_type)
        try:
            if os.path.getsize(file) <= ONE_REQUEST:
                self.fs.pipe_file(path, Path(file).read_bytes(), **extra)
            else:
                self.fs.put_file(str(file), path, **extra, **self._parts_of_an_upload())
        except Exception as error:
            raise StorageFailed(f"{self.uri(name)} cannot be written: {short(error)}") from None

    def write(self, name: str, data: bytes, content_type: str | None = None) -> None:
        """
        Put bytes under a name, whole, replacing what was there.

        :raises StorageFailed: as :meth:`publish`.
        """
        path = self.path_to_write(name)
        try:
            self.fs.pipe_file(path, data, **self._content_type(content_type))
        except Exception as error:
            raise StorageFailed(f"{self.uri(name)} cannot be written: {short(error)}") from None

    def leads_out(self, folder: str) -> bool:
        """Whether a folder lies outside the root although its name does not: only a local link can do that."""
        return False

    def parts(self, folder: str) -> Iterator[Entry]:
        """Temporary files right in a folder; object stores have none."""
        yield from ()

    def create(self, name: str, data: bytes) -> bool:
        """
        Put bytes under a name only if nothing is there. ``data`` must be unlike anybody else's.

        After any error the name is read back: an object store's library may repeat a request whose answer
        was lost, and then report our own object as somebody else's.

        :returns: True when it is ours, False when somebody else's stands there.
        :raises StorageFailed: when neither is there.
        """
        if self.unlocked:
            if self.stat(name) is not None:
                return False
            self.write(name, data)
            return True
        path = self.path_to_write(name)
        try:
            self.fs.pipe_file(path, data, mode="create")
            return True
        except Exception as error:
            return self._judge(name, data, error)

    def _judge(self, name: str, data: bytes, error: Exception) -> bool:
        there = self.read(name)
        if there is None and _knows_no_condition(error):
            raise StorageFailed(
                f"{self.uri('')} does not know how to create a file only if it is absent ({short(error)}), so a lock "
                "cannot work there. Put state_path on another store, or, if runs never overlap, set "
                "allow_unlocked_store=True."
            ) from None
        if there is None:
            raise StorageFailed(f"{self.uri(name)} cannot be created: {short(error)}") from None
        return there == data

    def delete(self, name: str) -> None:
        """Remove a record or temporary file of ours, if it can be: nothing depends on it."""
        try:
            self.fs.rm_file(self.path(name))
        except FileNotFoundError:
            pass
        except Exception as error:  # e.g. who may write to a bucket may not always delete from it
            log.info("%s", StorageFailed(f"{self.uri(name)} cannot be removed: {short(error)}"))

    def probe(self, folder: str) -> bool:
        """
        Whether this store really refuses to create what exists: create twice, the second must lose.

        A library that looks first and writes then would pass, as nobody comes between: it is known by its code.

        :param folder: where the probe's object may lie for a moment.
        """
        if self._looks_first():
            return False
        name = f"{folder}/probe-{secrets.token_hex(8)}"
        first, second = secrets.token_bytes(16), secrets.token_bytes(16)
        try:
            return self.create(name, first) and not self.create(name, second)
        finally:
            self.delete(name)

    def _looks_first(self) -> bool:
        return _looks_before_it_writes(self.fs)

    def _parts_of_an_upload(self) -> dict[str, int]:
        """s3fs sends ten parts of 50 MB at once unless told otherwise: a gigabyte of memory for one video."""
        return {"chunksize": BLOCK, "max_concurrency": 3} if hasattr(self.fs, "call_s3") else {}

    def _content_type(self, content_type: str | None) -> dict[str, str]:
        argument = _CONTENT_TYPE_ARGUMENT.get(self.protocol)
        return {argument: content_type} if argument and content_type else {}

    # ---- temporary files

    def sweep(self, entries: Collection[Entry]) -> None:
        """Remove listed temporary files that an earlier try of this run, or any run long ago, left behind."""
        for entry in entries:
            mine = entry.name.rpartition("/")[2].startswith(f".pfc-{self.part_tag}-")
            if mine or (entry.modified is not None and time.time() - entry.modified > STALE_PART):
                self.delete(entry.name)
