"""What transfer threads do: a source to the service, a result to its place. Nothing here pays."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import JobState, JobStatus
from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.engine.progress import Prepared
from airflow_provider_perfectlyclear.catalog.plan.model import Item
from airflow_provider_perfectlyclear.catalog.transfer.landing import Landed, Wanted, staged
from airflow_provider_perfectlyclear.catalog.transfer.landing import land as _land
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool
from airflow_provider_perfectlyclear.errors import PerfectlyClearError, RunStopped
from airflow_provider_perfectlyclear.media import refuse_other_type
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Uploaded:
    """
    What a transfer thread did about one source.

    :param file_key: the service's ``fileKey``; ``""`` when nothing had to be sent.
    :param needed: the outputs that it is now to be corrected for.
    :param fetched: outputs whose earlier job still had their result.
    """

    file_key: str = ""
    sha256: str = ""
    file_type: str = "image"
    size: int = 0
    needed: tuple[Item, ...] = ()
    fetched: Mapping[str, Landed] = field(default_factory=dict)


@dataclass(frozen=True)
class Mover:
    """
    Moves bytes between the places of one run. Shared by its transfer threads; keeps no state.

    :param client: the service.
    :param source: where the pictures are.
    :param destination: where the corrected ones go; None when only their data is wanted.
    :param prepared: rendition -> correction.
    :param spool: for files on their way.
    """

    client: Client
    source: Store
    destination: Store | None
    prepared: Mapping[str, Prepared]
    spool: Spool

    def upload(self, items: list[Item]) -> Uploaded:
        """In a transfer thread: hash, and send what is not known to be the same."""
        fetched = {item.output: landed for item in items if (landed := self._fetch_again(item))}
        rest = [item for item in items if item.output not in fetched]
        if not rest:
            return Uploaded(fetched=fetched)
        first = rest[0]
        with staged(self.source, first.source, first.size, first.fingerprint, self.spool) as file:
            needed = tuple(item for item in rest if item.sha256 != file.sha256)
            if not needed:
                return Uploaded(sha256=file.sha256, fetched=fetched)
            for item in needed:
                refuse_other_type(self.prepared[item.rendition].correction.file_type, file.kind)
            file_type = file.kind.file_type
            key = self.client.upload(file.open, size=file.size, file_type=file_type)
            file.unchanged()
            return Uploaded(key, file.sha256, file_type, file.size, needed, fetched)

    def _fetch_again(self, item: Item) -> Landed | None:
        """The result of an output's last job, if the service still has it: free."""
        if item.job_id is None:
            return None
        try:
            status = self.client.send(calls.status(item.job_id))
            if status.state is not JobState.COMPLETED:
                return None
            return self.land(status, item.output, Wanted(self.prepared[item.rendition].correction, ""))
        except RunStopped:
            raise
        except PerfectlyClearError as error:
            gone = "%s: its earlier result is gone (%s); corrected again"
            log.info(gone, one_line(item.output), error.code)
            return None

    def land(self, status: JobStatus, output: str, wanted: Wanted, *, fresh: bool = True) -> Landed:
        return _land(
            self.client,
            status,
            fresh=fresh,
            wanted=wanted,
            destination=self.destination,
            output=output,
            spool=self.spool,
        )
