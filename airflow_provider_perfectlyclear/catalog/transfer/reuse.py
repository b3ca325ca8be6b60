"""One more name for an output that stands: copied, so that the same content and correction is not paid for twice."""

from __future__ import annotations

import hashlib

from airflow_provider_perfectlyclear.catalog.ledger.records import Row
from airflow_provider_perfectlyclear.catalog.transfer.landing import Landed
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool, reading, writing
from airflow_provider_perfectlyclear.media import HEAD, kind_of
from airflow_provider_perfectlyclear.storage import Store

_BLOCK = 2**20


def copy_output(destination: Store | None, held: Row, output: str, spool: Spool) -> Landed | None:
    """
    Copy an output to another name, whole, if it is still the one that the ledger holds: its name may be another
    picture's by now, of the same length.

    :param destination: where both stand; None when only data is wanted.
    :param held: what the ledger says of it.
    :param output: the other name.
    :returns: None when it does not stand there as the ledger holds it.
    :raises StorageFailed: the destination is full, denied or failing.
    """
    if destination is None or held.size is None or held.output == output:
        return None
    entry = destination.stat(held.output)
    if entry is None or entry.size != held.size:
        return None
    digest = hashlib.sha256()
    with spool.file() as path:
        try:
            with destination.open(held.output) as file, writing(path) as sink:
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
        destination.publish(output, path, kind.content_type)
    return Landed(held.size, None, sha256=digest.hexdigest())
