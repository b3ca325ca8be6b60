"""Between what users hand over (paths, URLs, bytes, open files) and what the client wants."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeGuard

from airflow_provider_perfectlyclear.adapters.object_storage import open_file, open_place, parse_place
from airflow_provider_perfectlyclear.errors import ConfigurationError, InvalidSource, JobTimeout
from airflow_provider_perfectlyclear.limits import is_none

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_perfectlyclear.api.client import Client
    from airflow_provider_perfectlyclear.storage import Store

    Source = str | Path | ObjectStoragePath | bytes | BinaryIO
    Target = str | Path | ObjectStoragePath | BinaryIO

_LANDED = "output"
Body = tuple[Callable[[], BinaryIO], int]


@contextmanager
def opened(
    source: Source, name: str | None = None, *, conn_id: str | None = None, argument: str = "source"
) -> Iterator[Body]:
    """
    Give what an upload needs: a way to open the bytes from their start, more than once, and their number.

    :param source: a path, a URL, an ObjectStoragePath, bytes or an open file.
    :param name: what messages call it, where the source has no name.
    :param conn_id: Airflow's connection for the store of a URL.
    :param argument: what the caller calls it, for messages.
    :raises InvalidSource: there is nothing, or it is empty.
    """
    if isinstance(source, bytes | bytearray):
        yield _filled(lambda: io.BytesIO(source), len(source), name or "the bytes")
    elif _is_readable(source):
        with _copied(source) as path:
            yield _filled(lambda: open(path, "rb"), os.path.getsize(path), name or "the file")
    else:
        yield _stored(source, conn_id, argument)


def _is_readable(source: Source) -> TypeGuard[BinaryIO]:
    return hasattr(source, "read")


def _is_writable(destination: Target) -> TypeGuard[BinaryIO]:
    return hasattr(destination, "write")


def _filled(open_body: Callable[[], BinaryIO], size: int, name: str) -> Body:
    if not size:
        raise InvalidSource(f"{name} is empty", code="EMPTY")
    return open_body, size


def _stored(source: Any, conn_id: str | None, argument: str) -> Body:
    store, name = open_file(source, conn_id=conn_id, argument=argument)
    entry = store.stat(name)
    if store.has_folder(name):
        raise ConfigurationError(f"{argument} {store.uri(name)} is a folder: name a file.")
    if entry is None:
        raise InvalidSource(f"{store.uri(name)} is not there", code="NOT_FOUND")
    return _filled(lambda: store.open(name), entry.size, store.uri(name))


@contextmanager
def _copied(source: BinaryIO) -> Iterator[str]:
    """Copy an open file, from where it stands: a retry must be able to start over, and it may not seek."""
    with tempfile.NamedTemporaryFile() as copy:
        shutil.copyfileobj(source, copy, 2**20)
        copy.flush()
        yield copy.name


def file_type_of(open_body: Callable[[], BinaryIO], wanted: str | None = None) -> str:
    """
    Say by the first bytes whether it is the service's ``image`` or ``video``.

    :param wanted: what it is said to be, which is believed of what we do not know.
    :raises InvalidSource: neither that we know; or the other one than is wanted.
    """
    from airflow_provider_perfectlyclear.media import HEAD, kind_of, refuse_other_type

    with open_body() as file:
        kind, name = kind_of(file.read(HEAD)), _name_of(file)
    if kind is not None:
        refuse_other_type(wanted, kind)
        return kind.file_type
    if wanted is None:
        raise InvalidSource(f"{name}the first bytes are those of no picture or video", code="NO_PICTURE")
    return wanted


def _name_of(file: BinaryIO) -> str:
    """What an open file says of its place, to begin a message with; of bytes nothing."""
    name = getattr(file, "name", None) or getattr(file, "path", None)
    return f"{name}: " if isinstance(name, str) else ""


def fetch_job(client: Client, job_id: str, destination: Target, *, conn_id: str | None = None) -> str | None:
    """
    Download a finished job's file, check it and put it in its place. Under a folder it is named after its job.

    :raises ConfigurationError: there is no job id, or the destination is no place.
    :raises JobFailed: or JobRejected: there is none.
    :raises JobTimeout: there is none yet.
    :raises CorruptOutput: it is not a whole picture or video.
    """
    from airflow_provider_perfectlyclear.storage import LocalStore

    if is_none(job_id):
        raise ConfigurationError("job_id is None: did an upstream task return nothing? Give the job's id.")
    if not _is_writable(destination):  # refused before anything is fetched
        parse_place(destination, conn_id=conn_id, argument="destination")
    with tempfile.TemporaryDirectory() as folder:
        _land(client, job_id, LocalStore(folder))
        return put(os.path.join(folder, _LANDED), destination, job_id, conn_id=conn_id)


def put(path: str, destination: Target, name: str, *, conn_id: str | None = None) -> str | None:
    """
    Put a local file in its place, whole.

    :param destination: a path, a URL, an ObjectStoragePath or an open file; a slash at the end means a folder.
    :param name: its name in a folder, to which the usual extension of its kind is added.
    :returns: the place's path or URL; None for an open file.
    """
    from airflow_provider_perfectlyclear.media import HEAD, kind_of
    from airflow_provider_perfectlyclear.storage import check_name

    with open(path, "rb") as finished:
        kind = kind_of(finished.read(HEAD))
        if _is_writable(destination):
            finished.seek(0)
            shutil.copyfileobj(finished, destination, 2**20)
            return None
    place = parse_place(destination, conn_id=conn_id, argument="destination")
    folder, given = (place, None) if place.is_folder else place.split()
    store = open_place(folder)
    target = given or (f"{name}.{kind.extensions[0]}" if kind else name)
    store.prepare()
    store.publish(check_name(target), path, kind.content_type if kind else None)
    return store.uri(target)


def _land(client: Client, job_id: str, store: Store) -> None:
    from airflow_provider_perfectlyclear.api import calls
    from airflow_provider_perfectlyclear.api.models import Correction
    from airflow_provider_perfectlyclear.catalog.transfer.landing import Lander
    from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool
    from airflow_provider_perfectlyclear.catalog.transfer.verify import Wanted

    status = client.send(calls.status(job_id))
    if not status.state.is_final:
        raise JobTimeout(job_id, f"is {status.raw_status}, and has no corrected file yet: wait for it first")
    with Spool() as spool:
        Lander(client, store, spool).land(status, _LANDED, Wanted(Correction(), source_sha256=""))
