"""The choice of a store for a root on a filesystem."""

from __future__ import annotations

from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from airflow_provider_perfectlyclear.storage.base import Store
from airflow_provider_perfectlyclear.storage.local import LocalStore
from airflow_provider_perfectlyclear.storage.object_store import ObjectStore


def open_store(filesystem: AbstractFileSystem, root: str) -> Store:
    """
    Return the store of a root: a :class:`LocalStore` for local folders, an :class:`ObjectStore` for all else.

    :param filesystem: Any fsspec filesystem, opened with ``use_listings_cache=False``.
    :param root: The folder or prefix, with or without its scheme.
    """
    if isinstance(filesystem, LocalFileSystem):
        # fsspec's filesystems override it, and callers of theirs use it: private by its name alone
        return LocalStore(str(filesystem._strip_protocol(root)))  # noqa: SLF001
    return ObjectStore(filesystem, root)
