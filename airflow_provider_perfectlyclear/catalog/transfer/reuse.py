"""One more name for an output that stands: copied, so that the same content and correction is not paid for twice."""

from __future__ import annotations

from airflow_provider_perfectlyclear.catalog.transfer.landing import Landed
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool, reading, writing
from airflow_provider_perfectlyclear.media import HEAD, kind_of
from airflow_provider_perfectlyclear.storage import Store

_BLOCK = 2**20


def copy_output(
    destination: Store | None, name: str, size: int | None, output: str, spool: Spool
) -> Landed | None:
    """
    Copy an output to another name, whole.

    :param destination: where both stand; None when only data is wanted.
    :param name: the output that the ledger holds.
    :param size: its bytes, as the ledger holds them.
    :param output: the other name.
    :returns: None when it does not stand there as the ledger holds it.
    :raises StorageFailed: the destination is full, denied or failing.
    """
    if destination is None or size is None or name == output:
        return None
    entry = destination.stat(name)
    if entry is None or entry.size != size:
        return None
    with spool.file() as path:
        try:
            with destination.open(name) as file, writing(path) as sink:
                while block := file.read(_BLOCK):
                    sink.write(block)
        except (OSError, ValueError):  # moved on or changed in this moment: then it does not stand
            return None
        if path.stat().st_size != size:
            return None
        with reading(path) as copied:
            kind = kind_of(copied.read(HEAD))
        if kind is None:
            return None
        destination.publish(output, path, kind.content_type)
    return Landed(size, None)
