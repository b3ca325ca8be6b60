"""Copies over outputs: recorded before they are published, several in one segment."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.catalog.plan.notes import LOCKED
from airflow_provider_perfectlyclear.errors import ItemFailed, Unavailable
from airflow_provider_perfectlyclear.reasons import Reason

if TYPE_CHECKING:
    from airflow_provider_perfectlyclear.catalog.engine.loop import Engine

#: A transfer thread looks this often whether the run was stopped (seconds).
LOOK = 0.2


class Copies:
    """
    Copies that wait for their record.

    :param engine: the engine whose ledger is written.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: list[tuple[Row, threading.Event]] = []
        self._landed: list[Row] = []  # outputs whose content was set aside, and is not needed there any more

    def declare(self, row: Row) -> None:
        """
        Record that a copy is about to be published over an output. Called by transfer threads.

        :param row: the output as it will be.
        :raises Unavailable: the run was stopped: nothing may be published.
        :raises ItemFailed: (``LOCKED``) a task for this picture alone has begun.
        """
        self._refuse_contested(row)
        written = threading.Event()
        self._engine.pools.post(lambda: self._waiting.append((row, written)))
        while not written.wait(LOOK):
            if self._engine.stopped is not None:
                raise Unavailable("the run was stopped before its copy was published")
        self._refuse_contested(row)

    def _refuse_contested(self, row: Row) -> None:
        if self._engine.ledger.is_contested(row.output):
            raise ItemFailed(LOCKED, code=Reason.LOCKED)

    def landed(self, row: Row) -> None:
        """Note that an output stands; what was set aside for it is removed when the ledger has that."""
        if self._engine.aside.has(row):
            self._landed.append(row)

    def write(self) -> None:
        """Record all copies that wait in one segment, in the engine's own thread. More gather while it is written."""
        engine, waiting = self._engine, self._waiting
        self._waiting = []
        notes = [records.copying(row) for row, _ in waiting]
        if notes and engine.guarded(lambda: engine.book.append(*notes)):
            for _, written in waiting:
                written.set()
        if not engine.book.is_behind:
            landed, self._landed = self._landed, []
            for row in landed:
                engine.pools.submit("transfers", partial(engine.aside.forget, row), lambda done: None)
