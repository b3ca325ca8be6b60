"""A source file on its way to the service: hashed, looked at, and checked for what is missing. Nothing here pays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool, writing
from airflow_provider_perfectlyclear.catalog.transfer.verify import missing_part
from airflow_provider_perfectlyclear.errors import InvalidSource, PerfectlyClearError, SourceUnreadable
from airflow_provider_perfectlyclear.media import HEAD, Kind, kind_of
from airflow_provider_perfectlyclear.media_walk import Whole
from airflow_provider_perfectlyclear.storage import LocalStore, Store, short

#: The largest file that is sent (bytes): what a signed upload takes in one request.
MAX_SOURCE = 5 * 2**30

_BLOCK = 2**20


@dataclass(frozen=True)
class Staged:
    """
    A source file, ready to be sent.

    :param open: opens its bytes from the start; may be called again.
    :param size: bytes.
    :param sha256: of its bytes, hex.
    :param kind: what its first bytes say.
    :param unchanged: raises InvalidSource when the source is no longer what was hashed.
    """

    open: Callable[[], BinaryIO]
    size: int
    sha256: str
    kind: Kind
    unchanged: Callable[[], None]


@contextmanager
def staged(
    source: Store, name: str, size: int, fingerprint: str, spool: Spool, *, check: bool = True
) -> Iterator[Staged]:
    """
    Make a source ready to be sent: hashed, its first bytes looked at; a remote one is copied here first.

    :param size: bytes, as listed.
    :param fingerprint: as listed.
    :param check: whether a file that is evidently cut short is refused.
    :raises InvalidSource: empty, too large, no picture or video, cut short (``TRUNCATED_SOURCE``), or not what was
        listed (``SOURCE_CHANGED``).
    :raises SourceUnreadable: it cannot be read.
    """
    if size == 0:
        raise InvalidSource("the file is empty")
    if size > MAX_SOURCE:
        raise InvalidSource(f"the file has {size:,} bytes; at most {MAX_SOURCE:,} can be sent")
    with spool.file() as copy:
        local = isinstance(source, LocalStore)
        whole = Whole()
        sha256, head, length = _read_source(source, name, None if local else copy, whole)
        if length != size:
            raise _changed(name)
        kind = kind_of(head)
        if kind is None:
            raise InvalidSource("its first bytes are those of no picture or video", sha256=sha256)
        path = Path(source.path(name)) if local else copy
        if check and (missing := missing_part(whole, path)):
            raise InvalidSource(
                f"the file is cut short: {missing}. Replace it, or send it all the same with check_source=False",
                code="TRUNCATED_SOURCE",
                sha256=sha256,
            )

        def unchanged() -> None:
            if local:
                entry = source.stat(name)
                if entry is None or entry.fingerprint != fingerprint:
                    raise _changed(name)

        try:
            yield Staged(lambda: open(path, "rb"), length, sha256, kind, unchanged)  # noqa: SIM115  (its reader closes it)
        except OSError as error:  # it is read again while it is sent
            raise _unreadable(source, name, error) from None


def _changed(name: str) -> InvalidSource:
    return InvalidSource(f"{name!r} changed or vanished after it was listed", code="SOURCE_CHANGED")


def _read_source(source: Store, name: str, copy: Path | None, whole: Whole) -> tuple[str, bytes, int]:
    digest, head, length = hashlib.sha256(), b"", 0
    with writing(copy) if copy else nullcontext() as sink:
        for block in _blocks(source, name):
            head = head or block[:HEAD]
            digest.update(block)
            whole.feed(block)
            length += len(block)
            if sink is not None:
                sink.write(block)
    return digest.hexdigest(), head, length


def _blocks(source: Store, name: str) -> Iterator[bytes]:
    try:
        with source.open(name) as file:
            while block := file.read(_BLOCK):
                yield block
    except Exception as error:  # noqa: BLE001  (whatever the file system's library raises)
        raise _unreadable(source, name, error) from None


def _unreadable(source: Store, name: str, error: Exception) -> PerfectlyClearError:
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return _changed(name)
    return SourceUnreadable(f"{source.uri(name)} cannot be read: {short(error)}")
