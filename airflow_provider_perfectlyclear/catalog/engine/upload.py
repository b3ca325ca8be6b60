"""What transfer threads do: a source to the service, a result to its place. Nothing here pays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import JobState, JobStatus
from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.corrections import Prepared
from airflow_provider_perfectlyclear.catalog.engine.twins import Twins
from airflow_provider_perfectlyclear.catalog.ledger.index import ContentIndex
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.plan.model import Item
from airflow_provider_perfectlyclear.catalog.transfer.kept import Kept
from airflow_provider_perfectlyclear.catalog.transfer.landing import Landed, Staged, Wanted, staged
from airflow_provider_perfectlyclear.catalog.transfer.landing import land as _land
from airflow_provider_perfectlyclear.catalog.transfer.reuse import BeforePublish, copy_output
from airflow_provider_perfectlyclear.catalog.transfer.set_aside import SetAside
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool
from airflow_provider_perfectlyclear.errors import (
    ItemFailed,
    JobError,
    JobFailed,
    JobRejected,
    NotFound,
    PerfectlyClearError,
    ResultUnknown,
    RunStopped,
    UrlGone,
)
from airflow_provider_perfectlyclear.media import refuse_other_type
from airflow_provider_perfectlyclear.reasons import Reason
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)


class Past(Enum):
    """What has become of an earlier job, other than a result: asked for free."""

    GONE = "gone"
    OPEN = "open"


@dataclass
class Uploaded:
    """
    What a transfer thread did about one source. Every output is in just one of these.

    :param file_key: the service's ``fileKey``; ``""`` when nothing had to be sent.
    :param needed: outputs that the upload is now to be corrected for.
    :param twins: outputs whose content and correction another output of this run leads for.
    :param same: outputs whose source has the bytes that they were made from.
    :param landed: outputs that stand now: whose result of before could be had, or copied from an equal output.
    :param reopened: outputs whose earlier job goes on, with its id.
    :param gone: outputs whose result is gone, and that are not to be paid for again.
    :param failed: outputs that failed, each with why.
    :param paid_before: of those that are needed, whose content was paid for before, and has no result now.
    """

    file_key: str = ""
    sha256: str = ""
    file_type: str = "image"
    size: int = 0
    needed: list[Item] = field(default_factory=list)
    twins: list[Item] = field(default_factory=list)
    same: list[Item] = field(default_factory=list)
    landed: dict[str, tuple[Landed, str]] = field(default_factory=dict)
    reopened: dict[str, str] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    failed: dict[str, PerfectlyClearError] = field(default_factory=dict)
    paid_before: set[str] = field(default_factory=set)

    def has_settled(self, item: Item) -> bool:
        """Whether nothing is to be sent for an item any more."""
        known = (self.landed, self.reopened, self.gone, self.failed)
        return item in self.same or any(item.output in outputs for outputs in known)


@dataclass(frozen=True)
class Mover:
    """
    Moves bytes between the places of one run. Shared by its transfer threads; keeps no state.

    :param client: the service.
    :param source: where the pictures are.
    :param destination: where the corrected ones go; None when only their data is wanted.
    :param prepared: rendition -> correction.
    :param spool: for files on their way.
    :param index: what the ledger has paid for.
    :param twins: what leads in this run.
    :param run: the run's key.
    :param row_of: what the ledger says of an output now.
    :param declare: records that an output is about to be written over without a paid call.
    :param aside: outputs that are about to be written over.
    :param check_source: refuse a source that is evidently cut short.
    :param kept: where results that fail are kept.
    :param pays_for_gone: the user has asked by name to pay for what is gone everywhere.
    """

    client: Client
    source: Store
    destination: Store | None
    prepared: Mapping[str, Prepared]
    spool: Spool
    index: ContentIndex
    twins: Twins
    run: str
    row_of: Callable[[str], Row | None]
    declare: Callable[[Row], None]
    aside: SetAside
    pays_for_gone: bool = False
    check_source: bool = True
    kept: Kept | None = None

    def upload(self, items: list[Item]) -> Uploaded:
        """Ask for results of before; hash; send what has not been paid for yet."""
        done = Uploaded()
        rest = [item for item in items if not self._is_settled(item, done)]
        if not rest:
            return done
        try:
            self._stage(rest, done)
        except RunStopped:
            raise
        except PerfectlyClearError as error:  # those that wait for these outputs must hear of it
            unsent = (item.output for item in rest if not done.has_settled(item))
            done.failed |= dict.fromkeys(unsent, error)
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
        """Whether the item's content has to be sent, now that it is known."""
        prepared = self.prepared[item.rendition]
        if item.sha256 == file.sha256:
            done.same.append(item)
            return
        refuse_other_type(prepared.correction.file_type, file.kind)
        replaces = self.row_of(item.output)
        if replaces is not None and self.aside.may_be_wanted(replaces, file.sha256, prepared.digest):
            self.aside.keep(replaces)
        while (held := self._held(item, file.sha256, prepared.digest)) is not None:
            if self._reuse(item, held, done):
                return
            self.index.discard(held)  # another output may have the same content
            done.paid_before.add(item.output)
        if self.index.was_replaced(file.sha256, prepared.digest):
            if not item.by_name and self._reuse_set_aside(item, file.sha256, prepared.digest, done):
                return
            done.paid_before.add(item.output)
        if self.twins.lead(file.sha256, prepared.digest):
            done.needed.append(item)
        else:
            done.twins.append(item)

    def _held(self, item: Item, sha256: str, digest: str) -> Row | None:
        """An output of the ledger with this content and correction."""
        # What the user has asked for by name is paid once in a run, however many outputs have that content.
        held = self.index.find(sha256, digest, paid_by=self.run if item.by_name else None)
        if held is None and item.reason == "failed before":  # the same content may stand under another name
            held = self.index.find(sha256, digest, standing=True)
        return held

    # ---- what was paid for before: free, or not at all

    def _is_settled(self, item: Item, done: Uploaded) -> bool:
        """Whether nothing is to be sent for an item: its result of before is there, gone for good, or unknown."""
        if not item.job_id and not item.free_only:
            return False
        try:
            past = self._past(item, item.job_id) if item.job_id else Past.GONE
        except RunStopped:
            raise
        except PerfectlyClearError as error:
            done.failed[item.output] = _unknown(error)
            return True
        if past is Past.GONE and not item.free_only:
            log.info("%s: its earlier result is gone; corrected again", one_line(item.output))
            return False
        self._take(item, past, item.job_id or "", done)
        return True

    def _reuse(self, item: Item, held: Row, done: Uploaded) -> bool:
        """
        Another output of the ledger has this content and correction. False: it is to be paid, as asked by name, or
        because that output is made from something else by now.
        """
        if held.state is State.FAILED:
            done.failed[item.output] = ItemFailed(held.reason or "", held.code)
            return True
        try:
            past = self._copied_or_fetched(item, held)
        except RunStopped:
            raise
        except PerfectlyClearError as error:
            done.failed[item.output] = _unknown(error)
            return True
        if past is Past.GONE and (self.pays_for_gone or self._was_replaced(held)):
            return False
        self._take(item, past, held.job_id or "", done)
        return True

    def _copied_or_fetched(self, item: Item, held: Row) -> Landed | Past:
        """A row of an earlier version does not say what its output's bytes were: its job's result comes first."""

        def declared() -> None:
            self._declare(item, held)

        def copy() -> Landed | None:
            return copy_output(self.destination, held, item.output, self.spool, declared)

        if held.output_sha256:
            copied = copy() or self.aside.copy_to(item.output, held, declared)
            if copied is not None:
                return copied
        past = self._past(item, held.job_id, declared) if held.job_id and not held.gone else Past.GONE
        if past is Past.GONE and not held.output_sha256 and not self._was_replaced(held):
            return copy() or past
        return past

    def _reuse_set_aside(self, item: Item, sha256: str, digest: str, done: Uploaded) -> bool:
        """The output with this content was written over: it may have been set aside before."""
        held = Row(item.output, State.LANDED, sha256=sha256, digest=digest)
        try:
            copied = self.aside.copy_to(item.output, held, lambda: self._declare(item, held))
        except RunStopped:
            raise
        except PerfectlyClearError as error:
            done.failed[item.output] = _unknown(error)
            return True
        if copied is None:
            return False
        self._take(item, copied, "", done)
        return True

    def _was_replaced(self, held: Row) -> bool:
        """Whether an output is made from something else than the ledger said when this run began."""
        now = self.row_of(held.output)
        return now is not None and (now.sha256, now.digest) != (held.sha256, held.digest)

    def _declare(self, item: Item, held: Row) -> None:
        """Nothing may change under a name that the ledger knows, or that has an output, before the ledger says so."""
        if item.existed or self.row_of(item.output) is not None:
            place = replace(held, output=item.output, source=item.source, root=item.root)
            self.declare(replace(place, fingerprint=item.fingerprint))

    @staticmethod
    def _take(item: Item, past: Landed | Past, job_id: str, done: Uploaded) -> None:
        if isinstance(past, Landed):
            done.landed[item.output] = (past, job_id)
        elif past is Past.OPEN:
            done.reopened[item.output] = job_id
        else:
            done.gone.append(item.output)

    def _past(self, item: Item, job_id: str, before: BeforePublish = lambda: None) -> Landed | Past:
        """
        The result of an earlier job. Only a 404 proves that it is gone.

        :raises PerfectlyClearError: the service, or its store, did not say.
        """
        try:
            status = self.client.send(calls.status(job_id))
            if not status.state.is_final:
                return Past.OPEN
            if status.state is not JobState.COMPLETED:
                kind = JobRejected if status.state is JobState.REJECTED else JobFailed
                raise kind(job_id, status.status_text)
            wanted = Wanted(self.prepared[item.rendition].correction, "")
            return self.land(status, item.output, wanted, before=before)
        except (NotFound, UrlGone):
            return Past.GONE

    def land(
        self,
        status: JobStatus,
        output: str,
        wanted: Wanted,
        *,
        fresh: bool = True,
        before: BeforePublish = lambda: None,
    ) -> Landed:
        """Fetch a finished job's result, check it and publish it, after a call of ``before``."""
        return _land(
            self.client,
            status,
            fresh=fresh,
            wanted=wanted,
            destination=self.destination,
            output=output,
            spool=self.spool,
            kept=self.kept,
            before=before,
        )


def _unknown(error: PerfectlyClearError) -> PerfectlyClearError:
    """Why an output is left as it is: nobody can say now whether its result of before is still there."""
    if (
        isinstance(error, JobError) or error.code == Reason.LOCKED
    ):  # the service's verdict on a job taken for lost
        return error
    return ResultUnknown(
        f"Its earlier result could not be asked for ({error.code}). It is not paid for again."
    )
