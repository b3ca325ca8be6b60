"""
Where pictures and ledgers lie: one folder or prefix of any fsspec filesystem, in a few whole verbs.

A :class:`Store` is a location and what can be done there; :class:`LocalStore` and :class:`ObjectStore` are its two
kinds. Names are relative, with ``/``, and never leave the root. A file under a final name is whole or absent: a file
that is being written carries a name ending in ``.part``.
"""

from __future__ import annotations

from airflow_provider_perfectlyclear.storage.base import STALE_PART, Store, digest_of
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
from airflow_provider_perfectlyclear.storage.object_store import ONE_REQUEST, ObjectStore
from airflow_provider_perfectlyclear.storage.open import open_store

__all__ = [
    "LONGEST_PART",
    "ONE_REQUEST",
    "STALE_PART",
    "STATE_FOLDER",
    "Entry",
    "LocalStore",
    "Look",
    "ObjectStore",
    "Store",
    "check_name",
    "digest_of",
    "is_part",
    "open_store",
    "same_fingerprint",
    "short",
]
