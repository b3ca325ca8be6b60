"""
What was paid for before is had free, or not at all: results of earlier jobs, and outputs with the same content.

All this is the work of transfer threads. Nothing here pays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import JobState
from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.corrections import Prepared
from airflow_provider_perfectlyclear.catalog.ledger.index import ContentIndex
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.plan.model import Item
from airflow_provider_perfectlyclear.catalog.transfer.landing import BeforePublish, Landed, Lander
from airflow_provider_perfectlyclear.catalog.transfer.reuse import copy_output
from airflow_provider_perfectlyclear.catalog.transfer.set_aside import SetAside
from airflow_provider_perfectlyclear.catalog.transfer.verify import Wanted
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
from airflow_provider_perfectlyclear.reasons import Reason

log = logging.getLogger(__name__)


class Past(Enum):
    """What has become of an earlier job, other than a result."""

    GONE = "gone"
    OPEN = "open"


@dataclass
class Free:
    """
    Outputs that need no start, each with why. An output is in one of these at most.

    :param same: their sources have the bytes that they were made from.
    :param landed: they stand now: their earlier results could be had, or were copied from equal outputs; with job ids.
    :param reopened: their earlier jobs go on; with job ids.
    :param gone: their results are gone, and they are not to be paid for again.
    :param failed: they failed.
    """

    same: list[Item] = field(default_factory=list)
    landed: dict[str, tuple[Landed, str]] = field(default_factory=dict)
    reopened: dict[str, str] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    failed: dict[str, PerfectlyClearError] = field(default_factory=dict)

    def has(self, item: Item) -> bool:
        """Return whether nothing is to be sent for an item any more."""
        known = (self.landed, self.reopened, self.gone, self.failed)
        return item in self.same or any(item.output in outputs for outputs in known)

    def take(self, item: Item, past: Landed | Past, job_id: str) -> None:
        """Sort an item by what its past has come to."""
        if isinstance(past, Landed):
            self.landed[item.output] = (past, job_id)
        elif past is Past.OPEN:
            self.reopened[item.output] = job_id
        else:
            self.gone.append(item.output)


@dataclass(frozen=True)
class EarlierJobs:
    """
    Jobs of before, asked for their results.

    :param client: the service.
    :param lander: fetches a result and publishes it.
    :param prepared: rendition -> correction.
    """

    client: Client
    lander: Lander
    prepared: Mapping[str, Prepared]

    def result(self, item: Item, job_id: str, before: BeforePublish = lambda: None) -> Landed | Past:
        """
        Bring an earlier job's result to its place. Only a 404 proves that it is gone.

        :param before: called before it is published.
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
            return self.lander.land(status, item.output, wanted, before=before)
        except (NotFound, UrlGone):
            return Past.GONE


@dataclass(frozen=True)
class Copier:
    """
    Copies outputs to outputs with the same content and correction.

    :param lander: knows the destination and the place for files on their way.
    :param aside: outputs that are about to be written over.
    :param row_of: what the ledger says of an output now.
    :param declare: records that an output is about to be written over without a paid call.
    :param refuse_overtaken: raises an error once another run, or a task for an output alone, has begun to make it.
    """

    lander: Lander
    aside: SetAside
    row_of: Callable[[str], Row | None]
    declare: Callable[[Row], None]
    refuse_overtaken: Callable[[str], None]

    def keep_replaced(self, item: Item, sha256: str, digest: str) -> None:
        """Set an output aside that another source of the run may need, before something else takes its name."""
        replaces = self.row_of(item.output)
        if replaces is not None and self.aside.may_be_wanted(replaces, sha256, digest):
            self.aside.keep(replaces)

    def copy(self, item: Item, held: Row) -> Landed | None:
        """Copy the output of a row, None if it does not stand any more."""
        declared = self.declaring(item, held)
        return copy_output(self.lander.destination, held, item.output, self.lander.spool, declared)

    def copy_set_aside(self, item: Item, held: Row) -> Landed | None:
        """Copy what was set aside of a row's content, None if there is no such copy."""
        return self.aside.copy_to(item.output, held, self.declaring(item, held))

    def declaring(self, item: Item, held: Row) -> BeforePublish:
        """
        Return what is to be done before an output is published that was paid for as another one.

        Nothing may change under a name that the ledger knows, or that has an output, before the ledger says so.
        """

        def declare() -> None:
            if item.existed or self.row_of(item.output) is not None:
                place = replace(held, output=item.output, source=item.source, root=item.root)
                self.declare(replace(place, fingerprint=item.fingerprint))

        return declare

    def was_replaced(self, held: Row) -> bool:
        """Return whether an output is made from something else than the ledger said when this run began."""
        now = self.row_of(held.output)
        return now is not None and (now.sha256, now.digest) != (held.sha256, held.digest)


@dataclass(frozen=True)
class EarlierResults:
    """
    What a run need not pay for. For any thread; keeps no state.

    :param jobs: jobs of before.
    :param copier: copies outputs.
    :param index: what the ledger has paid for.
    :param run: the run's key.
    :param pays_for_gone: the user has asked by name to pay for what is gone everywhere.
    :param tries_failed: the user has asked by name to try again what has failed for good.
    """

    jobs: EarlierJobs
    copier: Copier
    index: ContentIndex
    run: str
    pays_for_gone: bool = False
    tries_failed: bool = False

    def settle(self, item: Item, free: Free) -> bool:
        """Return whether nothing is to be sent for an item: its earlier result is there, gone for good, or unknown."""
        if not item.job_id and not item.free_only:
            return False
        try:
            check = partial(self.copier.refuse_overtaken, item.output)
            past = self.jobs.result(item, item.job_id, check) if item.job_id else Past.GONE
        except RunStopped:
            raise
        except PerfectlyClearError as error:
            free.failed[item.output] = _unknown(error)
            return True
        if past is Past.GONE and not item.free_only:
            log.info("%s: its earlier result is gone; corrected again", one_line(item.output))
            return False
        free.take(item, past, item.job_id or "")
        return True

    def settle_content(self, item: Item, sha256: str, digest: str, free: Free) -> tuple[bool, bool]:
        """
        Look for an output with the content and correction of an item.

        :returns: whether nothing is to be sent for the item; and whether its content was paid for before.
        """
        paid_before = False
        while (held := self._held(item, sha256, digest)) is not None:
            if held.state is State.FAILED and self.tries_failed and held.run != self.run:
                return False, True  # a verdict of before, which is asked for anew
            if self._reuse(item, held, free):
                return True, paid_before
            self.index.discard(held)  # another output may have the same content
            paid_before = True
        if self.index.was_replaced(sha256, digest):
            if not item.by_name and self._reuse_set_aside(item, sha256, digest, free):
                return True, paid_before
            paid_before = True
        return False, paid_before

    def _held(self, item: Item, sha256: str, digest: str) -> Row | None:
        """Return an output of the ledger with this content and correction."""
        # What the user has asked for by name is paid once in a run, however many outputs have that content.
        held = self.index.find(sha256, digest, paid_by=self.run if item.by_name else None)
        if held is None and item.reason == "failed before":  # the same content may stand under another name
            held = self.index.find(sha256, digest, standing=True)
        return held

    def _reuse(self, item: Item, held: Row, free: Free) -> bool:
        """
        Make an item from an output of the ledger with its content and correction.

        :returns: False: it is to be paid, as asked by name, or because that output is made from something else by now.
        """
        if held.state is State.FAILED:
            free.failed[item.output] = ItemFailed(held.reason or "", held.code)
            return True
        try:
            past = self._copied_or_fetched(item, held)
        except RunStopped:
            raise
        except PerfectlyClearError as error:
            free.failed[item.output] = _unknown(error)
            return True
        if past is Past.GONE and (self.pays_for_gone or self.copier.was_replaced(held)):
            return False
        free.take(item, past, held.job_id or "")
        return True

    def _copied_or_fetched(self, item: Item, held: Row) -> Landed | Past:
        """Copy an output, or fetch its job's result: first, if the row of an earlier version has no SHA-256 of it."""
        if held.output_sha256:
            copied = self.copier.copy(item, held) or self.copier.copy_set_aside(item, held)
            if copied is not None:
                return copied
        past: Landed | Past = Past.GONE
        if held.job_id and not held.gone:
            past = self.jobs.result(item, held.job_id, self.copier.declaring(item, held))
        if past is Past.GONE and not held.output_sha256 and not self.copier.was_replaced(held):
            return self.copier.copy(item, held) or past
        return past

    def _reuse_set_aside(self, item: Item, sha256: str, digest: str, free: Free) -> bool:
        """Make an item from an output that was written over, if it was set aside before."""
        held = Row(item.output, State.LANDED, sha256=sha256, digest=digest)
        try:
            copied = self.copier.copy_set_aside(item, held)
        except RunStopped:
            raise
        except PerfectlyClearError as error:
            free.failed[item.output] = _unknown(error)
            return True
        if copied is None:
            return False
        free.take(item, copied, "")
        return True


def _unknown(error: PerfectlyClearError) -> PerfectlyClearError:
    """Return why an output is left as it is: it is not known now whether its earlier result is still there."""
    # A JobError is the service's verdict on a job that was taken for lost.
    if isinstance(error, JobError) or error.code == Reason.LOCKED:
        return error
    return ResultUnknown(
        f"Its earlier result could not be asked for ({error.code}). It is not paid for again."
    )
