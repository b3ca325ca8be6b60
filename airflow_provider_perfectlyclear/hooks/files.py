"""Between what users hand over (paths, URLs, bytes, open files) and what the client wants."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from airflow_provider_perfectlyclear.airflow_storage import open_file
from airflow_provider_perfectlyclear.errors import InvalidSource

if TYPE_CHECKING:
    from airflow_provider_perfectlyclear.api.client import Client

Source = str | Path | bytes | BinaryIO
Target = str | Path | BinaryIO
Body = tuple[Callable[[], BinaryIO], int]


@contextmanager
def opened(source: Source, name: str | None = None) -> Iterator[Body]:
    """
    Give what an upload needs: a way to open the bytes from their start, more than once, and their number.

    :raises InvalidSource: there is nothing, or it is empty.
    """
    if isinstance(source, bytes):
        yield _filled(lambda: io.BytesIO(source), len(source), name or "the bytes")
    elif isinstance(source, str | Path):
        yield _stored(source)
    else:
        with _copied(source) as path:
            yield _filled(lambda: open(path, "rb"), os.path.getsize(path), name or "the file")


def _filled(open_body: Callable[[], BinaryIO], size: int, name: str) -> Body:
    if not size:
        raise InvalidSource(f"{name} is empty", code="EMPTY")
    return open_body, size


def _stored(source: str | Path) -> Body:
    store, name = open_file(source, argument="source")
    entry = store.stat(name)
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


@contextmanager
def published(destination: Target) -> Iterator[tuple[BinaryIO, Callable[[], str | None]]]:
    """
    Give a temporary file to fill, and what puts it in its place: a path, a URL or an open file.

    The latter returns the place's path or URL, None for an open file.
    """
    with tempfile.NamedTemporaryFile() as spool:

        def publish() -> str | None:
            spool.flush()
            return _put(spool.name, destination)

        yield cast(BinaryIO, spool), publish


def _put(path: str, destination: Target) -> str | None:
    if not isinstance(destination, str | Path):
        with open(path, "rb") as finished:
            shutil.copyfileobj(finished, destination, 2**20)
        return None
    store, name = open_file(destination, argument="destination")
    store.prepare()
    store.publish(name, path)
    return store.uri(name)


def fetch(client: Client, job_id: str, destination: Target) -> str | None:
    """
    Download a finished job's file, check it and put it in its place.

    :raises JobFailed: or JobRejected: there is none.
    :raises CorruptOutput: it is not a whole picture or video.
    """
    if isinstance(destination, str | Path):
        store, name = open_file(destination, argument="destination")
        store.prepare()
        _land(client, job_id, store, name)
        return store.uri(name)
    from airflow_provider_perfectlyclear.storage import Store

    with tempfile.TemporaryDirectory() as folder:
        _land(client, job_id, Store.local(folder), "output")
        return _put(os.path.join(folder, "output"), destination)


def _land(client: Client, job_id: str, store, name: str) -> None:
    from airflow_provider_perfectlyclear.api import calls
    from airflow_provider_perfectlyclear.api.models import Correction
    from airflow_provider_perfectlyclear.catalog.landing import Wanted, land
    from airflow_provider_perfectlyclear.catalog.spool import Spool

    status = client.send(calls.status(job_id))
    with Spool() as spool:
        land(
            client,
            status,
            fresh=True,
            wanted=Wanted(Correction(), source_sha256=""),
            destination=store,
            output=name,
            spool=spool,
        )
