"""Conversion between the hook's arguments (paths, URLs, bytes, open files) and the client's."""

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
    Yield a function that opens the bytes at their start, and their number. An upload may open them more than once.

    :param source: A path, a URL, an ``ObjectStoragePath``, bytes or an open binary file.
    :param name: Name for messages, if the source has none. Default None.
    :param conn_id: Airflow connection to the store. Takes precedence over one in the URL. Default None.
    :param argument: Name of the caller's argument, for messages. Default ``"source"``.
    :raises InvalidSource: The file does not exist, or is empty.
    :raises ConfigurationError: The source is a folder, or not a place.
    """
    if isinstance(source, bytes | bytearray):
        yield _filled(lambda: io.BytesIO(source), len(source), name or "the bytes")
    elif _is_readable(source):
        with _copied(source) as path:
            size = os.path.getsize(path)
            yield _filled(lambda: open(path, "rb"), size, name or "the file")  # noqa: SIM115  # the caller closes it
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
    """Copy an open file from its position, so that a repeat can start over. The file may not be seekable."""
    with tempfile.NamedTemporaryFile() as copy:
        shutil.copyfileobj(source, copy, 2**20)
        copy.flush()
        yield copy.name


def file_type_of(open_body: Callable[[], BinaryIO], wanted: str | None = None) -> str:
    """
    Return the service's ``fileType``, ``image`` or ``video``, by the first bytes.

    :param open_body: Opens the bytes at their start.
    :param wanted: The requested ``fileType``. It is returned for unknown bytes. Default None: not requested.
    :raises InvalidSource: The bytes are unknown and no type is requested, or the bytes have the other type.
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
    """Return an open file's path as the start of a message. Empty if it has none."""
    name = getattr(file, "name", None) or getattr(file, "path", None)
    return f"{name}: " if isinstance(name, str) else ""


def fetch_job(client: Client, job_id: str, destination: Target, *, conn_id: str | None = None) -> str | None:
    """
    Download a finished job's result, check it and publish it whole.

    :param client: Client of the connection.
    :param job_id: The service's job id.
    :param destination: A path, a URL, an ``ObjectStoragePath``, or a file open for writing bytes. If it ends in ``/``,
        the file is named after its job.
    :param conn_id: Airflow connection to the store. Takes precedence over one in the URL. Default None.
    :returns: The file's path or URL. None for an open file.
    :raises ConfigurationError: The job id is missing, or the destination is not a place.
    :raises JobFailed: or JobRejected: The job has no result.
    :raises JobTimeout: The job is still in progress.
    :raises CorruptOutput: The result is not a whole picture or video.
    """
    from airflow_provider_perfectlyclear.storage import LocalStore

    if is_none(job_id):
        raise ConfigurationError("job_id is None: did an upstream task return nothing? Give the job's id.")
    if not _is_writable(destination):  # refuse it before the download
        parse_place(destination, conn_id=conn_id, argument="destination")
    with tempfile.TemporaryDirectory() as folder:
        _land(client, job_id, LocalStore(folder))
        return put(os.path.join(folder, _LANDED), destination, job_id, conn_id=conn_id)


def put(path: str, destination: Target, name: str, *, conn_id: str | None = None) -> str | None:
    """
    Copy a local file to its destination, whole.

    :param path: Path of the local file.
    :param destination: A path, a URL, an ``ObjectStoragePath``, or a file open for writing bytes. If it ends in ``/``,
        it is a folder.
    :param name: The file's name in a folder, to which the usual extension of its type is added.
    :param conn_id: Airflow connection to the store. Takes precedence over one in the URL. Default None.
    :returns: The file's path or URL. None for an open file.
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
        raise JobTimeout(job_id, f"is {status.raw_status} and has no result yet: wait for the job first")
    with Spool() as spool:
        Lander(client, store, spool).land(status, _LANDED, Wanted(Correction(), source_sha256=""))
