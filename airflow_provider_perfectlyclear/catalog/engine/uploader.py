"""What a transfer thread does about one source: hash it, and send it if its correction has to be paid for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.catalog.corrections import Prepared
from airflow_provider_perfectlyclear.catalog.engine.earlier_results import EarlierResults, Free
from airflow_provider_perfectlyclear.catalog.engine.twins import Twins
from airflow_provider_perfectlyclear.catalog.plan.model import Item
from airflow_provider_perfectlyclear.catalog.transfer.source import Staged, staged
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool
from airflow_provider_perfectlyclear.errors import InvalidSource, PerfectlyClearError, RunStopped
from airflow_provider_perfectlyclear.media import refuse_other_type
from airflow_provider_perfectlyclear.storage import Store


@dataclass
class Uploaded:
    """
    What was done about one source. Every output is either needed, or a twin, or free.

    :param file_key: the service's ``fileKey``; ``""`` when nothing had to be sent.
    :param size: bytes that were sent.
    :param needed: outputs that the upload is now to be corrected for.
    :param twins: outputs whose content and correction another output of this run leads for.
    :param free: outputs that need no start.
    :param leads: outputs that lead for their content and correction; also when they have failed since.
    :param paid_before: of those that are needed, whose content was paid for before, and has no result now.
    """

    file_key: str = ""
    sha256: str = ""
    file_type: str = "image"
    size: int = 0
    needed: list[Item] = field(default_factory=list)
    twins: list[Item] = field(default_factory=list)
    free: Free = field(default_factory=Free)
    leads: set[str] = field(default_factory=set)
    paid_before: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Uploader:
    """
    Sends sources. Shared by the transfer threads of a run; keeps no state.

    :param client: the service.
    :param source: where the pictures are.
    :param spool: for files on their way.
    :param prepared: rendition -> correction.
    :param earlier: what need not be paid for.
    :param twins: what leads in this run.
    :param check_source: refuse a source that is evidently cut short.
    """

    client: Client
    source: Store
    spool: Spool
    prepared: Mapping[str, Prepared]
    earlier: EarlierResults
    twins: Twins
    check_source: bool = True

    def upload(self, items: list[Item]) -> Uploaded:
        """Ask for earlier results; hash; send what has not been paid for yet."""
        done = Uploaded()
        rest = [item for item in items if not self.earlier.settle(item, done.free)]
        if not rest:
            return done
        try:
            self._stage(rest, done)
        except RunStopped:
            raise
        except PerfectlyClearError as error:  # those that wait for these outputs must hear of it
            unsent = (item.output for item in rest if not done.free.has(item))
            done.free.failed |= dict.fromkeys(unsent, error)
            done.needed, done.twins = [], []
        return done

    def _stage(self, items: list[Item], done: Uploaded) -> None:
        first = items[0]
        place = (self.source, first.source, first.size, first.fingerprint, self.spool)
        with staged(*place, check=self.check_source) as file:
            done.sha256, done.file_type = file.sha256, file.kind.file_type
            for item in items:
                self._sort(item, file, done)
            if done.needed:
                done.file_key = self.client.upload(file.open, size=file.size, file_type=done.file_type)
                file.unchanged()
                done.size = file.size

    def _sort(self, item: Item, file: Staged, done: Uploaded) -> None:
        """Find out whether the item's content has to be sent, now that it is known."""
        prepared = self.prepared[item.rendition]
        if item.sha256 == file.sha256:
            done.free.same.append(item)
            return
        try:
            refuse_other_type(prepared.correction.file_type, file.kind)
        except InvalidSource as error:  # another rendition may take it
            done.free.failed[item.output] = error
            return
        self.earlier.copier.keep_replaced(item, file.sha256, prepared.digest)
        is_free, was_paid = self.earlier.settle_content(item, file.sha256, prepared.digest, done.free)
        if was_paid:
            done.paid_before.add(item.output)
        if is_free:
            return
        if self.twins.lead(file.sha256, prepared.digest, anew=was_paid):
            done.needed.append(item)
            done.leads.add(item.output)
        else:
            done.twins.append(item)
