"""A root on any fsspec filesystem but the local one: object stores, and shares that fsspec reaches by itself."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from fsspec.asyn import AsyncFileSystem
from fsspec.spec import AbstractFileSystem

from airflow_provider_perfectlyclear.errors import StorageFailed
from airflow_provider_perfectlyclear.storage.base import Store
from airflow_provider_perfectlyclear.storage.names import Entry, Look, entry_of, short

log = logging.getLogger(__name__)

#: Objects up to this size (bytes) are published in one request, straight from memory.
ONE_REQUEST = 32 * 2**20
#: What large objects are read and written by (bytes); s3fs would hold 50 MB and more for each step.
BLOCK = 8 * 2**20

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


class ObjectStore(Store):
    """
    A prefix of an object store, or a folder of a share.

    :param filesystem: Any fsspec filesystem, opened without a listings cache.
    :param root: The folder or prefix, with or without its scheme.
    """

    def __init__(self, filesystem: AbstractFileSystem, root: str) -> None:
        self.fs = filesystem
        protocol = filesystem.protocol
        super().__init__(
            protocol if isinstance(protocol, str) else protocol[0],
            # fsspec's filesystems override it, and callers of theirs use it: private by its name alone
            str(filesystem._strip_protocol(root)).rstrip("/"),  # noqa: SLF001
        )
        self.has_folders = self.protocol not in _FLAT

    def _at(self, root: str) -> Self:
        return type(self)(self.fs, root)

    def refuses(self, name: str) -> str | None:
        """As :meth:`Location.refuses`: a key that is too long, or that s3fs would take for a version."""
        if self.protocol not in _KEYS:
            return None
        if "?versionid=" in name.lower():
            return f"{name!r} would be read as a version of another object"
        size = len(f"{self.root.partition('/')[2]}/{name}".lstrip("/").encode())
        return f"its key would have {size:,} bytes, and at most 1,024 are taken" if size > 1024 else None

    # ---- reading

    def list(self, *, prune: Collection[str] = (), look: Look | None = None) -> Iterator[Entry]:
        """As :meth:`Store.list`, in the order of the names."""
        outside = tuple(f"{folder}/" for folder in prune)
        try:
            for path, info in self._found():
                name = path[len(self.root) + 1 :]
                if name and not name.endswith("/") and not name.startswith(outside):
                    yield entry_of(name, info)
        except FileNotFoundError:
            return
        except Exception as error:  # noqa: BLE001  # fsspec's filesystems raise their libraries' own errors
            raise StorageFailed(f"{self.uri('')} cannot be listed: {short(error)}") from None

    def _found(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Return path and facts of every file, in the order of their names."""
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

    def stat(self, name: str) -> Entry | None:
        """As :meth:`Store.stat`."""
        try:
            info = self.fs.info(self.path(name))
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001  # as in `list`
            raise StorageFailed(f"{self.uri(name)} cannot be looked up: {short(error)}") from None
        return entry_of(name, info) if info.get("type") != "directory" else None

    def open(self, name: str) -> BinaryIO:
        """As :meth:`Store.open`."""
        return cast(BinaryIO, self.fs.open(self.path(name), "rb", block_size=BLOCK))

    def read(self, name: str) -> bytes | None:
        """As :meth:`Store.read`."""
        try:
            return cast(bytes, self.fs.cat_file(self.path(name)))
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001  # as in `list`
            raise StorageFailed(f"{self.uri(name)} cannot be read: {short(error)}") from None

    # ---- writing

    def publish(self, name: str, file: str | Path, content_type: str | None = None) -> None:
        """As :meth:`Store.publish`: in one request if the file is small, else in parts."""
        path, extra = self.path_to_write(name), self._content_type(content_type)
        try:
            if os.path.getsize(file) <= ONE_REQUEST:
                self.fs.pipe_file(path, Path(file).read_bytes(), **extra)
            else:
                self.fs.put_file(str(file), path, **extra, **self._parts_of_an_upload())
        except Exception as error:  # noqa: BLE001  # as in `list`
            raise self._not_written(name, error) from None

    def write(self, name: str, data: bytes, content_type: str | None = None) -> None:
        """As :meth:`Store.write`."""
        path = self.path_to_write(name)
        try:
            self.fs.pipe_file(path, data, **self._content_type(content_type))
        except Exception as error:  # noqa: BLE001  # as in `list`
            raise self._not_written(name, error) from None

    def _not_written(self, name: str, error: Exception) -> StorageFailed:
        return StorageFailed(f"{self.uri(name)} cannot be written: {short(error)}")

    def _content_type(self, content_type: str | None) -> dict[str, str]:
        argument = _CONTENT_TYPE_ARGUMENT.get(self.protocol)
        return {argument: content_type} if argument and content_type else {}

    def _parts_of_an_upload(self) -> dict[str, int]:
        """Keep s3fs from sending ten parts of 50 MB at once: a gigabyte of memory for one video."""
        return {"chunksize": BLOCK, "max_concurrency": 3} if hasattr(self.fs, "call_s3") else {}

    def _try_to_create(self, name: str, data: bytes) -> Exception | None:
        path = self.path_to_write(name)
        try:
            self.fs.pipe_file(path, data, mode="create")
        except Exception as error:  # noqa: BLE001  # as in `list`; the name is read back after any of them
            return self._without_condition(error) if _knows_no_condition(error) else error
        return None

    def _without_condition(self, error: Exception) -> StorageFailed:
        return StorageFailed(
            f"{self.uri('')} does not know how to create a file only if it is absent ({short(error)}), so a lock "
            "cannot work there. Put state_path on another store, or, if runs never overlap, set "
            "allow_unlocked_store=True."
        )

    def _looks_first(self) -> bool:
        return _looks_before_it_writes(self.fs)

    def delete(self, name: str) -> None:
        """As :meth:`Store.delete`: a key that may write to a bucket may not always delete from it."""
        try:
            self.fs.rm_file(self.path(name))
        except FileNotFoundError:
            pass
        except Exception as error:  # noqa: BLE001  # as in `list`
            log.info("%s", StorageFailed(f"{self.uri(name)} cannot be removed: {short(error)}"))


def _looks_before_it_writes(filesystem: AbstractFileSystem) -> bool:
    """
    Tell whether "create" is fsspec's own default for it, which is ``exists()`` and then a write: SMB, SFTP, FTP, HDFS.

    :param filesystem: The filesystem, or one that hands on to another.
    """
    while isinstance(inner := getattr(filesystem, "fs", None), AbstractFileSystem):
        filesystem = inner
    return (
        not isinstance(filesystem, AsyncFileSystem)
        and getattr(filesystem.pipe_file, "__func__", None) is AbstractFileSystem.pipe_file
    )


def _knows_no_condition(error: Exception) -> bool:
    """
    Tell whether a store answers that it has no "only if absent": HTTP 501 and 405, as fsspec's filesystems say them.

    A key that may not write gets another error, which has no number.
    """
    return isinstance(error, NotImplementedError) or (
        isinstance(error, OSError)
        and error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)
    )
