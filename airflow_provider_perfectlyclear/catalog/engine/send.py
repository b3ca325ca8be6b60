"""Uploads: handed to transfer threads, and sorted by their results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.engine.upload import Uploaded
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.plan.model import Item

if TYPE_CHECKING:
    from airflow_provider_perfectlyclear.catalog.engine.loop import Engine

log = logging.getLogger(__name__)

#: The log names this many outputs that are gone; the manifest has all.
GONE_NAMED = 10


class Sender:
    """
    Uploads of one engine. All methods run in the engine's own thread.

    :param engine: the engine whose ledger, pools and progress are used.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def upload(self, items: list[Item]) -> None:
        """Hand the outputs of one source to a transfer thread."""
        work = partial(self._engine.mover.upload, items)
        self._engine.pools.submit("transfers", work, self._after_upload(items))

    def _after_upload(self, items: list[Item]) -> Callable[[Future[Uploaded]], None]:
        def then(future: Future[Uploaded]) -> None:
            engine = self._engine
            engine.moved = time.monotonic()
            error = future.exception()
            if error is not None:
                for item in items:
                    engine.fail(self._row(item), error)
                return
            done = future.result()
            engine.progress.bytes_in += done.size
            rows = {item.output: self._row(item, done) for item in items}
            for item in done.needed:
                engine.start.queue.add(rows[item.output], engine.moved)
            for output, failure in done.failed.items():
                engine.fail(rows[output], failure)
                engine.start.ended(rows[output], failure)
            for item in done.twins:
                engine.start.twin(rows[item.output])
            self._take_free(done, rows)

        return then

    def _take_free(self, done: Uploaded, rows: Mapping[str, Row]) -> None:
        """Settle the outputs that needed no start."""
        for item in done.same:
            self._engine.settle(item.output)
            if not self._is_own(item.output):
                self._has_same_bytes(item.output)
            self._engine.book.note(records.seen(item.output, item.fingerprint))
        for output, (landed, job_id) in done.landed.items():
            self._engine.settle(output)
            if rows[output].sha256:
                self._engine.book.note(records.joined(rows[output], job_id))
            self._engine.landed(rows[output], landed)
        for output, job_id in done.reopened.items():
            self._engine.start.join(self._of_before(rows[output]), job_id, self._engine.moved)
        for output in done.gone:
            self._engine.settle(output)
            self._engine.progress.gone.append(output)
            if len(self._engine.progress.gone) <= GONE_NAMED:
                log.info("%s: its earlier result is gone; it is not paid for again", one_line(output))
            if output in self._engine.ledger.rows:
                self._engine.book.note(records.gone(output))

    def _has_same_bytes(self, output: str) -> None:
        """Count an output whose source has not changed as its ledger row says: landed, or a permanent failure."""
        row = self._engine.ledger.rows.get(output)
        if row is not None and row.is_known_bad:
            self._engine.progress.still_bad.append([output.lstrip("/"), row.code or "", row.reason or ""])
            return
        self._engine.progress.same_bytes += 1
        self._engine.progress.still_good.append(output)

    def _of_before(self, row: Row) -> Row:
        """Return the row of a reopened job: its source was not read, so the ledger's SHA-256 counts."""
        before = self._engine.ledger.rows.get(row.output)
        return row if row.sha256 or before is None else replace(row, sha256=before.sha256)

    def _row(self, item: Item, uploaded: Uploaded | None = None) -> Row:
        prepared = self._engine.prepared[item.rendition]
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
        return (
            output in self._engine.ledger.rows
            and self._engine.ledger.rows[output].run == self._engine.ledger.run
        )
