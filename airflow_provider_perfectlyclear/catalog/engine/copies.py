"""Copies over outputs: recorded before they are published, several in one segment."""

from __future__ import annotations

import threading
from functools import partial

from airflow_provider_perfectlyclear.catalog.engine.pools import Pools
from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.catalog.transfer.set_aside import SetAside
from airflow_provider_perfectlyclear.errors import Unavailable

#: A transfer thread looks this often whether the run was stopped (seconds).
LOOK = 0.2


class Copies:
    """
    Copies that wait for their record.

    :param recorder: writes it.
    :param pools: carry it from a transfer thread to the engine's own.
    :param aside: outputs that are about to be written over.
    """

    def __init__(self, recorder: Recorder, pools: Pools, aside: SetAside) -> None:
        self._recorder = recorder
        self._pools = pools
        self._aside = aside
        self._waiting: list[tuple[Row, threading.Event]] = []
        self._landed: list[Row] = []  # outputs whose content was set aside, and is not needed there any more

    def declare(self, row: Row) -> None:
        """
        Record that a copy is about to be published over an output. Called by transfer threads.

        :param row: the output as it will be.
        :raises Unavailable: the run was stopped: nothing may be published.
        :raises ItemFailed: (``LOCKED``) a task for this picture alone has begun.
        """
        self._recorder.refuse_contested(row.output)
        written = threading.Event()
        self._pools.post(lambda: self._waiting.append((row, written)))
        while not written.wait(LOOK):
            if self._recorder.stopped is not None:
                raise Unavailable("the run was stopped before its copy was published")
        self._recorder.refuse_contested(row.output)

    def landed(self, row: Row) -> None:
        """Note that an output stands; what was set aside for it is removed when the ledger has that."""
        if self._aside.has(row):
            self._landed.append(row)

    def write(self) -> None:
        """Record all copies that wait in one segment, in the engine's own thread. More gather while it is written."""
        waiting, self._waiting = self._waiting, []
        notes = [records.copying(row) for row, _ in waiting]
        if notes and self._recorder.append(*notes):
            for _, written in waiting:
                written.set()
        if not self._recorder.book.is_behind:
            landed, self._landed = self._landed, []
            for row in landed:
                self._pools.submit("transfers", partial(self._aside.forget, row), lambda done: None)
