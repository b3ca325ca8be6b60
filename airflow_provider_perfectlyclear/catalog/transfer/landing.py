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
from typing import BinaryIO, cast

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client, Downloaded
from airflow_provider_perfectlyclear.api.models import Correction, JobState, JobStatus
from airflow_provider_perfectlyclear.catalog.transfer.kept import Kept
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool, reading, writing
from airflow_provider_perfectlyclear.catalog.types import Verify
from airflow_provider_perfectlyclear.errors import (
    CorruptOutput,
    InvalidSource,
    JobFailed,
    JobRejected,
    PerfectlyClearError,
    ProtocolError,
    SourceUnreadable,
    TransferFailed,
)
from airflow_provider_perfectlyclear.media import (
    EXTENSIONS,
    HEAD,
    LONG_HEAD,
    Kind,
    dimensions,
    kind_of,
)
from airflow_provider_perfectlyclear.media_walk import Whole
from airflow_provider_perfectlyclear.storage import LocalStore, Store, short

#: The largest file that is sent (bytes): what a signed upload takes in one request.
MAX_SOURCE = 5 * 2**30
#: How often one result is fetched before its item fails; fetching is free.
FETCHES = 3

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
        if check and (missing := _missing(whole, path)):
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
            yield Staged(lambda: open(path, "rb"), length, sha256, kind, unchanged)
        except OSError as error:  # it is read again while it is sent
            raise _unreadable(source, name, error) from None


def _changed(name: str) -> InvalidSource:
    return InvalidSource(f"{name!r} changed or vanished after it was listed", code="SOURCE_CHANGED")


def _missing(whole: Whole, path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            return whole.missing(file)
    except OSError:  # it is read again when it is sent, and that says so
        return None


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
    except Exception as error:  # whatever the filesystem's library raises
        raise _unreadable(source, name, error) from None


def _unreadable(source: Store, name: str, error: Exception) -> PerfectlyClearError:
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return _changed(name)
    return SourceUnreadable(f"{source.uri(name)} cannot be read: {short(error)}")


@dataclass(frozen=True)
class Wanted:
    """
    What a result is held to.

    :param correction: what was explicitly asked for.
    :param source_sha256: of what was sent; an identical result is warned about.
    :param verify: ``"strict"``: a result of another type or size than asked for fails; ``"fail"``: one of another type;
        ``"warn"``: none.
    """

    correction: Correction
    source_sha256: str
    verify: Verify = "fail"


@dataclass(frozen=True)
class Landed:
    """
    A result in its place.

    :param size: bytes, None when only data was wanted.
    :param status: the job's final status, with usage and detection data; None of a copy.
    :param warnings: what was odd about it.
    :param sha256: of its bytes, hex; ``""`` when only data was wanted.
    """

    size: int | None
    status: JobStatus | None
    warnings: list[str] = field(default_factory=list)
    sha256: str = ""


def land(
    client: Client,
    status: JobStatus,
    *,
    fresh: bool,
    wanted: Wanted,
    destination: Store | None,
    output: str,
    spool: Spool,
    kept: Kept | None = None,
    before: Callable[[], None] = lambda: None,
) -> Landed:
    """
    Fetch a finished job's result, check it and publish it.

    :param status: the job's status when it was last asked for.
    :param fresh: whether its URL was given just now; otherwise the service is asked for another one.
    :param destination: None when only the job's data is wanted.
    :param kept: where a result that fails is kept: it was paid for.
    :param before: called before the result is published.
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
                kind, sha256, warnings = _fetch(client, status, path, wanted)
            except (CorruptOutput, TransferFailed, ProtocolError) as error:
                last = error
                if isinstance(error, CorruptOutput) and attempt == FETCHES - 1 and kept is not None:
                    last = CorruptOutput(f"{error}{kept.keep(output, path)}")
                continue
            before()
            destination.publish(output, path, kind.content_type)
            return Landed(path.stat().st_size, status, [*warnings, *_misnamed(output, kind)], sha256)
    raise last or ProtocolError(f"Job {status.job_id} could not be fetched")


def _refuse_unless_completed(status: JobStatus) -> None:
    if status.state is JobState.FAILED:
        raise JobFailed(status.job_id, status.status_text)
    if status.state is JobState.REJECTED:
        raise JobRejected(status.job_id, status.status_text)
    if status.state is not JobState.COMPLETED:
        raise ProtocolError(f"Job {status.job_id} is {status.raw_status}, not COMPLETED")


def _fetch(client: Client, status: JobStatus, path: Path, wanted: Wanted) -> tuple[Kind, str, list[str]]:
    if status.corrected_file is None:
        raise ProtocolError(f"Job {status.job_id} is COMPLETED but names no correctedFile")
    whole = Whole()
    with writing(path) as sink:
        got = client.download(status.corrected_file, cast(BinaryIO, _Fed(sink, whole)))
    kind, warnings = check(path, got, wanted, status, _missing(whole, path))
    return kind, got.sha256, warnings


class _Fed:
    """A file whose bytes are judged as they are written."""

    def __init__(self, sink: BinaryIO, whole: Whole) -> None:
        self._sink = sink
        self._whole = whole

    def write(self, block: bytes) -> int:
        self._whole.feed(block)
        return self._sink.write(block)


def check(
    path: Path, got: Downloaded, wanted: Wanted, status: JobStatus, missing: str | None = None
) -> tuple[Kind, list[str]]:
    """
    Hold a fetched file to what was asked for.

    :param missing: what a walk through it has found to be missing.
    :returns: what it is, and what was odd about it.
    :raises CorruptOutput: it is no picture or video, not whole, or (as ``verify`` has it) not as asked for.
    """
    with reading(path) as file:
        head = file.read(LONG_HEAD)
    kind = kind_of(head[:HEAD])
    if kind is None:
        raise CorruptOutput("the corrected file's first bytes are those of no picture or video")
    if missing:
        raise CorruptOutput(f"the corrected file is cut short: {missing}")
    other_type = _other_type(kind, wanted.correction)
    other_size = _other_size(dimensions(kind, head), wanted.correction, status)
    if other_type and wanted.verify != "warn":
        raise CorruptOutput(other_type)
    if other_size and wanted.verify == "strict":
        raise CorruptOutput(other_size)
    identical = (
        "the corrected file is identical to the source" if got.sha256 == wanted.source_sha256 else None
    )
    return kind, [warning for warning in (other_type, other_size, identical) if warning]


def _misnamed(output: str, kind: Kind) -> list[str]:
    extension = output.rpartition(".")[2].lower()
    if extension not in EXTENSIONS or extension in kind.extensions:
        return []
    return [f"the corrected file is a {kind.name}, whatever its name says"]


def _other_type(kind: Kind, correction: Correction) -> str | None:
    """The type, if it is another than explicitly asked for."""
    expected = correction.output_type
    if expected is None and correction.remove_background:
        expected = "png"
    if kind.file_type == "image" and expected in ("jpg", "png") and kind.name != expected:
        return f"{expected} was asked for, {kind.name} came"
    return None


def _other_size(size: tuple[int, int] | None, correction: Correction, status: JobStatus) -> str | None:
    """The size, if it is another than explicitly asked for."""
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
