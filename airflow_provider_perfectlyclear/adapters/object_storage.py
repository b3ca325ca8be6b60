"""
Places of files, as a Dag gives them, and the stores that they open.

Accepted are absolute local paths, ``file://``, ``s3://bucket/prefix`` and every other scheme that Airflow or fsspec
knows, ``s3://conn_id@bucket/prefix``, and ``ObjectStoragePath``. An explicit connection id takes precedence over one in
the URL. Stores are opened in ``execute`` only, because parsing a Dag must not read connections.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from airflow_provider_perfectlyclear import limits
from airflow_provider_perfectlyclear.errors import ConfigurationError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from airflow_provider_perfectlyclear.storage import Store

LOCAL = ("file", "local")
#: Name of the ledger's folder in a destination, if there is no ``state_path``.
STATE_FOLDER = ".perfectlyclear"
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """
    A path or URL, parsed.

    :param scheme: ``file``, ``s3``, ``gs``, ...
    :param path: An absolute path, or bucket and key.
    :param conn_id: Airflow connection to the store. Default None: none was named.
    """

    scheme: str
    path: str
    conn_id: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether the place ends in a slash."""
        return self.path.endswith("/")

    def split(self) -> tuple[Place, str]:
        """Return the folder, and the name of the file in it."""
        folder, _, name = self.path.rpartition("/")
        return Place(self.scheme, folder or "/", self.conn_id), name


def parse_place(value: Any, *, conn_id: str | None = None, argument: str = "path") -> Place:
    """
    Parse a path or URL, without opening a store.

    :param value: A path, a URL or an ``ObjectStoragePath``.
    :param conn_id: Airflow connection to the store. Takes precedence over one in the URL. Default None.
    :param argument: Name of the operator's argument, for messages. Default ``"path"``.
    :raises ConfigurationError: The value is None, empty or a relative local path, or a local path has a connection.
    """
    if limits.is_none(value):
        raise ConfigurationError(
            f"{argument} is None: did an upstream task return nothing? Name a folder or a URL such as "
            "s3://bucket/prefix."
        )
    text = str(value).strip()
    if not text:
        raise ConfigurationError(f"{argument} is empty: name a folder or a URL such as s3://bucket/prefix.")
    conn_id = conn_id or getattr(value, "conn_id", None) or None
    match = _URL.fullmatch(text)
    if match is None or match["scheme"].lower() in LOCAL:
        return _local_place(match["rest"] if match else text, conn_id, argument)
    authority, slash, key = match["rest"].partition("/")
    in_url, _, bucket = authority.rpartition("@")
    if not bucket and not key:
        raise ConfigurationError(f"{argument} {text!r} names no bucket.")
    return Place(match["scheme"].lower(), f"{bucket}{slash}{key}", conn_id or unquote(in_url) or None)


def _local_place(path: str, conn_id: str | None, argument: str) -> Place:
    if conn_id:
        raise ConfigurationError(
            f"{argument} {path!r} is a local path, but connection {conn_id!r} was given for it: write a URL "
            "such as s3://bucket/prefix, or leave the connection out."
        )
    if not os.path.isabs(path):
        raise ConfigurationError(
            f"{argument} {path!r} is a relative path, and every worker has its own working folder: write an "
            "absolute path or a URL such as s3://bucket/prefix."
        )
    return Place("file", path)


def open_place(place: Place) -> Store:
    """
    Open the store of a place.

    :param place: A folder or prefix.
    :raises ConfigurationError: No installed package knows the scheme, or its connection is not defined.
    """
    from airflow_provider_perfectlyclear.storage import LocalStore, open_store

    if place.scheme in LOCAL:
        return LocalStore(place.path)
    return open_store(_filesystem(place), f"{place.scheme}://{place.path}")


def open_folder(value: Any, *, conn_id: str | None = None, argument: str = "path") -> Store:
    """
    Open the store of a folder or prefix.

    :param value: A path, a URL or an ``ObjectStoragePath``.
    :param conn_id: Airflow connection to the store. Takes precedence over one in the URL. Default None.
    :param argument: Name of the operator's argument, for messages. Default ``"path"``.
    :raises ConfigurationError: As :func:`parse_place` and :func:`open_place`.
    """
    return open_place(parse_place(value, conn_id=conn_id, argument=argument))


def open_file(value: Any, *, conn_id: str | None = None, argument: str = "path") -> tuple[Store, str]:
    """
    Open the store of a file's folder, and return it with the file's name. Parameters as :func:`open_folder`.

    :raises ConfigurationError: The place ends in a slash, or as :func:`open_folder`.
    """
    folder, name = parse_place(value, conn_id=conn_id, argument=argument).split()
    if not name:
        raise ConfigurationError(f"{argument} {str(value)!r} is a folder: name a file.")
    return open_place(folder), name


def open_state(state_path: Any, destination: Store | None) -> Store:
    """
    Open the folder of a ledger.

    :param state_path: The operator's argument. None: ``.perfectlyclear`` in the destination.
    :param destination: Store of the outputs. None: the task has no destination.
    :raises ConfigurationError: Neither is given, or ``state_path`` is a file.
    """
    if state_path:
        state = open_folder(state_path, argument="state_path")
        if (file := state.file_in_the_way()) is not None:
            raise ConfigurationError(
                f"state_path {state.uri('')} cannot be a folder: {file} is a file. Name another folder."
            )
        return state
    if destination is None:
        raise ConfigurationError(
            "Without a destination there is no default folder for the ledger. Set state_path."
        )
    return destination.child(STATE_FOLDER)


def names_below(root: Any, files: Sequence[Any]) -> list[str]:
    """
    Return the names of files relative to their common root.

    :param root: Folder that contains all files.
    :param files: Paths, URLs, or names that are already relative to the root.
    :raises ConfigurationError: A file is not in the root.
    """
    base = parse_place(root, argument="source_root")
    prefix = base.path.rstrip("/") + "/"
    return [_name_below(base, prefix, file) for file in files]


def _name_below(base: Place, prefix: str, file: Any) -> str:
    if limits.is_none(file):
        raise ConfigurationError("source has None among its files: did an upstream task return nothing?")
    text = str(file)
    if not _URL.fullmatch(text) and not text.startswith("/"):
        return text
    place = parse_place(file, argument="source")
    if place.scheme != base.scheme or not place.path.startswith(prefix):
        raise ConfigurationError(f"source {text!r} does not lie in source_root {prefix!r}.")
    return place.path.removeprefix(prefix)


def _filesystem(place: Place) -> AbstractFileSystem:
    """Return Airflow's filesystem for the place, without a listings cache."""
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, ObjectStoragePath

    bucket = place.path.partition("/")[0]
    try:
        found = ObjectStoragePath(f"{place.scheme}://{bucket}", conn_id=place.conn_id).fs
        # If a connection is not defined, Amazon's provider uses the machine's own credentials. That is intended for its
        # default connection. For a misspelt id, the credentials may belong to another account.
        if place.conn_id and not place.conn_id.endswith("_default"):
            BaseHook.get_connection(place.conn_id)
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"Connection {place.conn_id!r} of {place.scheme}://{bucket} is not defined: create it, or correct its id."
        ) from None
    except ValueError as unknown:
        if not str(unknown).startswith(("No filesystem registered", "Unsupported filesystem")):
            raise
        found = _without_airflow(place)
    return _uncached(found)


def _without_airflow(place: Place) -> AbstractFileSystem:
    """Return fsspec's own filesystem, for schemes that no installed provider supports."""
    import fsspec

    remedy = f"install the Airflow provider for {place.scheme}://"
    if place.scheme in ("s3", "s3a", "s3n"):
        remedy = "pip install 'airflow-provider-perfectlyclear[s3]'"
    if place.conn_id:
        raise ConfigurationError(
            f"No installed provider opens {place.scheme}:// with a connection: {remedy}."
        )
    try:
        return fsspec.filesystem(place.scheme)
    except (ValueError, ImportError):
        raise ConfigurationError(f"Nothing installed here opens {place.scheme}://: {remedy}.") from None


def _uncached(found: AbstractFileSystem) -> AbstractFileSystem:
    """
    Open the same filesystem again without a listings cache, which would hide changes by other writers.

    The given filesystem stays as it is, because Airflow shares it with other tasks of the process.
    """
    options = {**found.storage_options, "use_listings_cache": False}
    try:
        return type(found)(*found.storage_args, **options, skip_instance_cache=True)
    except TypeError:  # it accepts no options of fsspec's base class, so it has no listings cache
        return found
