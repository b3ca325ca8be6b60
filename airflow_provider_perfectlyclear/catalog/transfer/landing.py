"""
Bytes on their way: a source file to the service, a corrected file to its place. Checked, and published whole.

Everything here moves bytes and runs in a transfer thread. Nothing here pays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client, Downloaded
from airflow_provider_perfectlyclear.api.models import Correction, JobState, JobStatus
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool, reading, writing
from airflow_provider_perfectlyclear.errors import (
    CorruptOutput,
    InvalidSource,
    JobFailed,
    JobRejected,
    PerfectlyClearError,
    ProtocolError,
    TransferFailed,
)
from airflow_provider_perfectlyclear.media import (
    EXTENSIONS,
    HEAD,
    LONG_HEAD,
    Kind,
    dimensions,
    has_end,
    kind_of,
)
from airflow_provider_perfectlyclear.storage import LocalStore, Store, short

#: The largest file that is sent (bytes): what a signed upload takes in one request.
MAX_SOURCE = 5 * 2**30
#: How often one result is fetched before its item fails; fetching is free.
FETCHES = 3

_BLOCK = 2**20
_TAIL = 64 * 1024


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
def staged(source: Store, name: str, size: int, fingerprint: str, spool: Spool) -> Iterator[Staged]:
    """
    Make a source ready to be sent: hashed, its first bytes looked at; a remote one is copied here first.

    :param size: bytes, as listed.
    :param fingerprint: as listed.
    :raises InvalidSource: empty, too large, no picture or video, or not what was listed (``SOURCE_CHANGED``).
    :raises TransferFailed: it cannot be read.
    """
    if size == 0:
        raise InvalidSource("the file is empty")
    if size > MAX_SOURCE:
        raise InvalidSource(f"the file has {size:,} bytes; at most {MAX_SOURCE:,} can be sent")
    with spool.file() as copy:
        local = isinstance(source, LocalStore)
        sha256, head, length = _read_source(source, name, None if local else copy)
        if length != size:
            raise _changed(name)
        kind = kind_of(head)
        if kind is None:
            raise InvalidSource("its first bytes are those of no picture or video")

        def unchanged() -> None:
            if local:
                entry = source.stat(name)
                if entry is None or entry.fingerprint != fingerprint:
                    raise _changed(name)

        path = Path(source.path(name)) if local else copy
        try:
            yield Staged(lambda: open(path, "rb"), length, sha256, kind, unchanged)
        except OSError as error:  # it is read again while it is sent
            raise _unreadable(source, name, error) from None


def _changed(name: str) -> InvalidSource:
    return InvalidSource(f"{name!r} changed or vanished after it was listed", code="SOURCE_CHANGED")


def _read_source(source: Store, name: str, copy: Path | None) -> tuple[str, bytes, int]:
    digest, head, length = hashlib.sha256(), b"", 0
    with writing(copy) if copy else nullcontext() as sink:
        for block in _blocks(source, name):
            head = head or block[:HEAD]
            digest.update(block)
            length += len(block)
            if sink is not None:
                sink.write(block)
    return digest.hexdigest(), head, length


def _blocks(source: Store, name: str) -> Iterator[bytes]:
    try:
        with source.open(name) as file:
            while block := file.read(_BLOCK):
                yield block
    except Exception as error:  # whatever the filesystem's library raises
        raise _unreadable(source, name, error) from None


def _unreadable(source: Store, name: str, error: Exception) -> PerfectlyClearError:
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return _changed(name)
    return TransferFailed(f"{source.uri(name)} cannot be read: {short(error)}")


@dataclass(frozen=True)
class Wanted:
    """
    What a result is held to.

    :param correction: what was explicitly asked for.
    :param source_sha256: of what was sent; an identical result is warned about.
    :param strict: whether a result that differs fails (``verify="fail"``) or is only warned about.
    """

    correction: Correction
    source_sha256: str
    strict: bool = True


@dataclass(frozen=True)
class Landed:
    """
    A result in its place.

    :param size: bytes, None when only data was wanted.
    :param status: the job's final status, with usage and detection data; None of a copy.
    :param warnings: what was odd about it.
    """

    size: int | None
    status: JobStatus | None
    warnings: list[str] = field(default_factory=list)


def land(
    client: Client,
    status: JobStatus,
    *,
    fresh: bool,
    wanted: Wanted,
    destination: Store | None,
    output: str,
    spool: Spool,
) -> Landed:
    """
    Fetch a finished job's result, check it and publish it.

    :param status: the job's status when it was last asked for.
    :param fresh: whether its URL was given just now; otherwise the service is asked for another one.
    :param destination: None when only the job's data is wanted.
    :raises CorruptOutput: not a whole picture of the kind asked for, after it was fetched again.
    :raises JobFailed: or JobRejected, the service's verdict.
    :raises TransferFailed: or ProtocolError: the result could not be had; the job stays open.
    :raises StorageFailed: the destination is full, denied or failing; the job stays open.
    """
    last: PerfectlyClearError | None = None
    for attempt in range(FETCHES):
        if attempt or not fresh:
            status = client.send(calls.status(status.job_id))
        _refuse_unless_completed(status)
        if destination is None:
            return Landed(None, status)
        with spool.file() as path:
            try:
                kind, warnings = _fetch(client, status, path, wanted)
            except (CorruptOutput, TransferFailed, ProtocolError) as error:
                last = error
                continue
            destination.publish(output, path, kind.content_type)
            return Landed(path.stat().st_size, status, [*warnings, *_misnamed(output, kind)])
    raise last or ProtocolError(f"Job {status.job_id} could not be fetched")


def _refuse_unless_completed(status: JobStatus) -> None:
    if status.state is JobState.FAILED:
        raise JobFailed(status.job_id, status.status_text)
    if status.state is JobState.REJECTED:
        raise JobRejected(status.job_id, status.status_text)
    if status.state is not JobState.COMPLETED:
        raise ProtocolError(f"Job {status.job_id} is {status.raw_status}, not COMPLETED")


def _fetch(client: Client, status: JobStatus, path: Path, wanted: Wanted) -> tuple[Kind, list[str]]:
    if status.corrected_file is None:
        raise ProtocolError(f"Job {status.job_id} is COMPLETED but names no correctedFile")
    with writing(path) as sink:
        got = client.download(status.corrected_file, sink)
    return check(path, got, wanted, status)


def check(path: Path, got: Downloaded, wanted: Wanted, status: JobStatus) -> tuple[Kind, list[str]]:
    """
    Hold a fetched file to what was asked for.

    :returns: what it is, and what was odd about it.
    :raises CorruptOutput: it is no picture or video, or (unless only warned about) not as asked for.
    """
    with reading(path) as file:
        head = file.read(LONG_HEAD)
        file.seek(max(0, got.size - _TAIL))
        tail = file.read()
    kind = kind_of(head[:HEAD])
    if kind is None:
        raise CorruptOutput("the corrected file's first bytes are those of no picture or video")
    breaks_off = None if has_end(kind, tail) is not False else "the corrected file breaks off before its end"
    if breaks_off and got.declared is None:
        raise CorruptOutput(f"{breaks_off}, and came without a length")
    differs = breaks_off or _differs(kind, dimensions(kind, head), wanted.correction, status)
    if differs and wanted.strict:
        raise CorruptOutput(differs)
    identical = (
        "the corrected file is identical to the source" if got.sha256 == wanted.source_sha256 else None
    )
    return kind, [warning for warning in (differs, identical) if warning]


def _misnamed(output: str, kind: Kind) -> list[str]:
    extension = output.rpartition(".")[2].lower()
    if extension not in EXTENSIONS or extension in kind.extensions:
        return []
    return [f"the corrected file is a {kind.name}, whatever its name says"]


def _differs(
    kind: Kind, size: tuple[int, int] | None, correction: Correction, status: JobStatus
) -> str | None:
    """What is other than explicitly asked for, if anything."""
    expected = correction.output_type
    if expected is None and correction.remove_background:
        expected = "png"
    if kind.file_type == "image" and expected in ("jpg", "png") and kind.name != expected:
        return f"{expected} was asked for, {kind.name} came"
    if size is None or correction.autocrop:  # a crop decides about the size itself
        return None
    return _size_differs(size, correction, status)


def _size_differs(size: tuple[int, int], correction: Correction, status: JobStatus) -> str | None:
    # A turned picture (EXIF orientation) may have its sides stored the other way round: either may match.
    asked: dict[str, tuple[int | None, tuple[int, ...]]] = {
        "width": (correction.width, size),
        "height": (correction.height, size),
        "long": (correction.long, (max(size),)),
        "short": (correction.short, (min(size),)),
    }
    original = status.original_dimensions
    if correction.scale and original is not None and original.width:
        asked["scaled width"] = (round(original.width * correction.scale / 100), size)
    for name, (value, sides) in asked.items():
        if value is not None and all(abs(side - value) > 2 for side in sides):
            return f"{name} {value} was asked for, {size[0]} x {size[1]} came"
    return None
