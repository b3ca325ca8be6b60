"""Copies of outputs that stand, so that the same content and correction is not paid for twice."""

from __future__ import annotations

import hashlib

from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.catalog.transfer.landing import BeforePublish, Landed
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool, reading, writing
from airflow_provider_perfectlyclear.media import HEAD, kind_of
from airflow_provider_perfectlyclear.storage import Store

_BLOCK = 2**20


def copy_output(
    destination: Store | None, held: Row, output: str, spool: Spool, before: BeforePublish
) -> Landed | None:
    """
    Copy an output to another name, whole, if it is still the one that the ledger holds.

    Its name may be another picture's by now, of the same length.

    :param destination: where both stand; None when only data is wanted.
    :param held: what the ledger says of it.
    :param output: the other name.
    :param before: called before the copy is published.
    :returns: None when it does not stand there as the ledger holds it.
    :raises StorageFailed: the destination is full, denied or failing.
    """
    if destination is None or held.output == output:
        return None
    return copy_file((destination, held.output), (destination, output), held, spool, before)


def copy_file(
    source: tuple[Store, str],
    target: tuple[Store, str],
    held: Row,
    spool: Spool,
    before: BeforePublish = lambda: None,
) -> Landed | None:
    """
    Copy a file if it has the size and the content of an output in the ledger.

    :param source: the store and the name of the file.
    :param target: the store and the name of the copy.
    :param held: what the ledger says of the output.
    :param before: called before the copy is published.
    :returns: None when the file is another one, or is not there.
    :raises StorageFailed: one of the stores is full, denied or failing.
    """
    place, name = source
    entry = place.stat(name) if held.size is not None else None
    if entry is None or entry.size != held.size:
        return None
    digest = hashlib.sha256()
    with spool.file() as path:
        try:
            with place.open(name) as file, writing(path) as sink:
                while block := file.read(_BLOCK):
                    digest.update(block)
                    sink.write(block)
        except (OSError, ValueError):  # moved on or changed in this moment: then it does not stand
            return None
        if path.stat().st_size != held.size or not digest.hexdigest().startswith(held.output_sha256):
            return None
        with reading(path) as copied:
            kind = kind_of(copied.read(HEAD))
        if kind is None:
            return None
        before()
        target[0].publish(target[1], path, kind.content_type)
    return Landed(held.size, None, sha256=digest.hexdigest())
