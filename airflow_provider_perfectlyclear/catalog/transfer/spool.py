"""A worker-local folder for files on their way, which a killed process does not leave behind for long."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO

from airflow_provider_perfectlyclear.errors import ConfigurationError, StorageFailed

_PREFIX = "perfectlyclear-spool-"


class Spool:
    """
    A temporary folder, held by a lock that ends with its process. Use as a context manager.

    Folders without their process are removed by the next run on the same machine.

    :raises StorageFailed: this machine's temporary folder cannot be written.
    """

    def __init__(self) -> None:
        with _usable(temporary_folder()):
            sweep_spools()
            self.folder, self._lock = _locked_folder()

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    @contextmanager
    def file(self) -> Iterator[Path]:
        """Yield a path to write to, gone at the end."""
        with _usable(self.folder.parent):
            handle, name = tempfile.mkstemp(dir=self.folder)
            os.close(handle)
        try:
            yield Path(name)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """
    Open a spool file to be written.

    :raises StorageFailed: it is this machine's temporary folder that is full or failing, not a store.
    """
    with _usable(path.parent.parent), open(path, "wb") as sink:
        yield sink


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """
    Open a spool file to be read.

    :raises StorageFailed: as :func:`writing`.
    """
    with _usable(path.parent.parent, "read"), open(path, "rb") as file:
        yield file


@contextmanager
def _usable(folder: Path, verb: str = "written") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"The worker's temporary folder {folder} cannot be {verb}: {error.strerror}"
        ) from None


def temporary_folder() -> Path:
    """
    Return this machine's folder for temporary files.

    :raises ConfigurationError: there is none that can be written, as on a read-only root file system.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        raise ConfigurationError(
            "This worker has no folder for temporary files that can be written. Set TMPDIR to one with room for the "
            "files that are moved at the same time."
        ) from None


def _locked_folder() -> tuple[Path, IO[str]]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            lock = open(folder / "lock", "w")  # noqa: SIM115  (it is held for as long as the process lives)
        except FileNotFoundError:  # another's sweep has been faster
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _holds(lock, folder):  # else another's sweep had it first, and took the folder for abandoned
            return folder, lock
        lock.close()


def sweep_spools() -> None:
    """Remove the folders on this machine whose processes are gone."""
    for folder in temporary_folder().glob(f"{_PREFIX}*"):
        try:
            if not _is_ours(folder):
                continue
            with open(
                folder / "lock", "a", opener=_open_own
            ) as lock:  # it may have been killed before it made one
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _holds(lock, folder):
                    shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # its process lives
            continue


def _is_ours(folder: Path) -> bool:
    """Return whether a folder is this user's: all may write to the folder for temporary files."""
    info = os.lstat(folder)
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid()


def _open_own(path: str, flags: int) -> int:
    """Open a plain file of our own: no link is followed, and no pipe is waited for."""
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid():
        os.close(handle)
        raise PermissionError(errno.EPERM, "not a file of ours")
    return handle


def _holds(lock: IO[str], folder: Path) -> bool:
    """Whether this is the folder's lock still: one that was deleted can be locked as well, and guards nothing."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), os.stat(folder / "lock"))
    except FileNotFoundError:
        return False
