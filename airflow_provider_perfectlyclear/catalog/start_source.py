"""What a single start corrects: its name, its bytes, and how to tell whether they are still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self, cast

from airflow_provider_perfectlyclear.errors import ConfigurationError, InvalidSource, SourceUnreadable
from airflow_provider_perfectlyclear.storage import Store, digest_of, short


class Sent(NamedTuple):
    """
    An uploaded file.

    :param file_key: the service's ``fileKey``.
    :param file_type: the service's ``fileType``.
    :param sha256: of the bytes that were sent, hex; ``""`` when another task uploaded them.
    """

    file_key: str
    file_type: str
    sha256: str = ""


@dataclass(frozen=True)
class StartSource:
    """
    What is to be corrected.

    :param uri: names it.
    :param upload: uploads it, free.
    :param fingerprint: returns what its store says of its content; constant for a file key.
    :param sha256: reads it and returns its SHA-256, hex; None for a file key, whose bytes never change.
    """

    uri: str
    upload: Callable[[], Sent]
    fingerprint: Callable[[], str] = str
    sha256: Callable[[], str] | None = None

    @staticmethod
    def of_file(store: Store, name: str, upload: Callable[[], Sent]) -> StartSource:
        """Return the source for a file in a store; see ``upload`` in the class."""
        return StartSource(
            store.uri(name), upload, lambda: _fingerprint(store, name), lambda: _sha256(store, name)
        )


def _fingerprint(store: Store, name: str) -> str:
    entry = store.stat(name)
    if entry is None:
        if store.has_folder(name):
            raise ConfigurationError(f"source {store.uri(name)} is a folder: name a file.")
        raise InvalidSource(f"there is no file {store.uri(name)}", code="SOURCE_CHANGED")
    return entry.fingerprint


def _sha256(store: Store, name: str) -> str:
    try:
        return digest_of(store, name)[0]
    except Exception as error:  # noqa: BLE001 fsspec's filesystems raise their libraries' own errors
        raise SourceUnreadable(f"{store.uri(name)} cannot be read: {short(error)}") from None


class HashedBody:
    """
    A body that is hashed while it is sent.

    :param open_body: opens the body at its start.
    """

    def __init__(self, open_body: Callable[[], BinaryIO]) -> None:
        self._open_body = open_body
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what was read since the body was last opened, hex."""
        return self._digest.hexdigest()

    def open(self) -> BinaryIO:
        """Open the body at its start; every attempt of an upload does."""
        self._digest = hashlib.sha256()
        return cast(BinaryIO, _Read(self._open_body(), self._digest.update))


class _Read:
    """The part of an open file that an upload uses."""

    def __init__(self, file: BinaryIO, read: Callable[[bytes], None]) -> None:
        self._file = file
        self._was_read = read

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._was_read(block)
        return block
