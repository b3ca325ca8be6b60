"""Uploads: sources are handed to transfer threads, and their outputs sorted by what came of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.engine.backlog import Backlog
from airflow_provider_perfectlyclear.catalog.engine.earlier_results import Free
from airflow_provider_perfectlyclear.catalog.engine.outcomes import Outcomes
from airflow_provider_perfectlyclear.catalog.engine.pools import Pools
from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.engine.sharing import Sharing
from airflow_provider_perfectlyclear.catalog.engine.start_queue import StartQueue
from airflow_provider_perfectlyclear.catalog.engine.uploader import Uploaded, Uploader
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.plan.model import Item

log = logging.getLogger(__name__)

#: The log names this many outputs that are gone; the manifest has all.
GONE_NAMED = 10


class UploadStep:
    """
    Uploads sources. All methods run in the engine's own thread.

    :param pools: move the bytes.
    :param recorder: the run's ledger and progress.
    :param backlog: what is to be made.
    :param queue: takes what is ready to be started.
    :param sharing: gives an output what an equal one has.
    :param outcomes: told of what has landed or failed.
    :param uploader: does the work of a transfer thread.
    """

    def __init__(
        self,
        pools: Pools,
        recorder: Recorder,
        backlog: Backlog,
        queue: StartQueue,
        sharing: Sharing,
        outcomes: Outcomes,
        uploader: Uploader,
    ) -> None:
        self._pools = pools
        self._recorder = recorder
        self._backlog = backlog
        self._queue = queue
        self._sharing = sharing
        self._outcomes = outcomes
        self._uploader = uploader

    def begin(self) -> None:
        """Hand sources to the transfer threads that are free, each with all of its outputs."""
        while self._pools.free("transfers") and self._backlog.may_begin:
            items = self._backlog.begin()
            self._pools.submit(
                "transfers", partial(self._uploader.upload, items), partial(self._ended, items)
            )

    def _ended(self, items: list[Item], future: Future[Uploaded]) -> None:
        now, error = self._recorder.made_a_step(), future.exception()
        if error is not None:
            for item in items:
                self._outcomes.fail(self._row(item), error)
            return
        done = future.result()
        self._recorder.progress.bytes_in += done.size
        rows = {item.output: self._row(item, done) for item in items}
        for item in done.needed:
            self._queue.add(rows[item.output], now)
        for output, failure in done.free.failed.items():
            self._outcomes.fail(rows[output], failure)
            if output in done.leads:
                self._outcomes.fail_followers(rows[output], failure)
        for item in done.twins:
            self._sharing.share(rows[item.output])
        self._settle_free(done.free, rows, now)

    def _settle_free(self, free: Free, rows: Mapping[str, Row], now: float) -> None:
        """Settle the outputs that needed no start."""
        for item in free.same:
            self._backlog.settle(item.output)
            if not self._is_own(item.output):
                self._has_same_bytes(item.output)
            self._recorder.note(records.seen(item.output, item.fingerprint))
        for output, (landed, job_id) in free.landed.items():
            self._backlog.settle(output)
            if rows[output].sha256:
                self._recorder.note(records.joined(rows[output], job_id))
            self._outcomes.landed(rows[output], landed)
        for output, job_id in free.reopened.items():
            self._sharing.join(self._of_before(rows[output]), job_id, now)
        for output in free.gone:
            self._is_gone(output)

    def _is_gone(self, output: str) -> None:
        """Count an output whose result is gone, and that is not paid for again."""
        gone = self._recorder.progress.gone
        self._backlog.settle(output)
        gone.append(output)
        if len(gone) <= GONE_NAMED:
            log.info("%s: its earlier result is gone; it is not paid for again", one_line(output))
        if output in self._recorder.rows:
            self._recorder.note(records.gone(output))

    def _has_same_bytes(self, output: str) -> None:
        """Count an output whose source has not changed as its ledger row says: landed, or a permanent failure."""
        row, progress = self._recorder.row(output), self._recorder.progress
        if row is not None and row.is_known_bad:
            progress.still_bad.append([output.lstrip("/"), row.code or "", row.reason or ""])
            return
        progress.same_bytes += 1
        progress.still_good.append(output)

    def _of_before(self, row: Row) -> Row:
        """Return the row of a reopened job: its source was not read, so the ledger's SHA-256 counts."""
        before = self._recorder.row(row.output)
        return row if row.sha256 or before is None else replace(row, sha256=before.sha256)

    def _row(self, item: Item, uploaded: Uploaded | None = None) -> Row:
        prepared = self._uploader.prepared[item.rendition]
        row = Row(
            output=item.output,
            state=State.INTENT,
            source=item.source,
            root=item.root,
            fingerprint=item.fingerprint,
            digest=prepared.digest,
            paid_before=item.paid_before,
        )
        if uploaded is None:
            return row
        return replace(
            row,
            sha256=uploaded.sha256,
            file_key=uploaded.file_key or None,
            file_type=uploaded.file_type,
            query=prepared.query(uploaded.file_type),
            paid_before=item.paid_before or item.output in uploaded.paid_before,
        )

    def _is_own(self, output: str) -> bool:
        """Return whether this run made the output, which then is not counted as unchanged too."""
        row = self._recorder.row(output)
        return row is not None and row.run == self._recorder.ledger.run
