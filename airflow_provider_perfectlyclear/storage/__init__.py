"""
Where pictures and records lie: one folder or prefix of any fsspec filesystem, in a few whole verbs.

A :class:`Store` is a filesystem and a root. Names are relative, with ``/``, and never leave the root.
A file under a final name is whole or absent: what is being written carries a name ending in ``.part``.
"""

from __future__ import annotations

import hashlib

import fsspec
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_perfectlyclear.storage.base import ONE_REQUEST, STALE_PART, Store
from airflow_provider_perfectlyclear.storage.local import LocalStore
from airflow_provider_perfectlyclear.storage.names import (
    LONGEST_PART,
    STATE_FOLDER,
    Entry,
    Look,
    check_name,
    is_part,
    same_fingerprint,
    short,
)

__all__ = [
    "LONGEST_PART",
    "STATE_FOLDER",
    "Look",
    "same_fingerprint",
    "ONE_REQUEST",
    "STALE_PART",
    "Entry",
    "LocalStore",
    "Store",
    "check_name",
    "digest_of",
    "is_part",
    "open_store",
    "short",
]


def open_store(filesystem: fsspec.AbstractFileSystem, root: str) -> Store:
    """
    The store of a root on a filesystem: a local folder gets the local verbs, everything else fsspec's.

    :param filesystem: any fsspec filesystem, opened with ``use_listings_cache=False``.
    :param root: the folder or prefix, with or without its scheme.
    """
    kind = LocalStore if isinstance(filesystem, LocalFileSystem) else Store
    return kind(filesystem, root)


def digest_of(store: Store, name: str) -> tuple[str, int]:
    """The SHA-256 (hex) and the size in bytes of a file, read once in blocks."""
    digest, size = hashlib.sha256(), 0
    with store.open(name) as file:
        while block := file.read(2**20):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size
