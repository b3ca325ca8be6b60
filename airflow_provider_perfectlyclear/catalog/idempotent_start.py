"""One paid start, made once over all tries of a task, mapped or not: for those who wait and download by themselves."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction, FileType
from airflow_provider_perfectlyclear.catalog.engine import start_queue as starts
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.records import correction_digest
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.errors import (
    ConfigurationError,
    LaneHeld,
    PerfectlyClearError,
    StartUnknown,
    Unavailable,
)
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)

#: Uploads what is to be corrected; returns its file key and file type.
Upload = Callable[[], tuple[str, str]]


class StartOnce:
    """
    Start a correction, unless the same task has already, in the same Dag run: in an earlier try, or under another
    map index, as the indexes move when a run is cleared and its list is shorter.

    :param client: the service.
    :param state: where the record lies.
    :param correction: with its file type, if it was given.
    :param source: names what is corrected.
    :param task_key: names the task of a Dag run, mapped instances all together.
    :param run_key: names the task instance over all its tries.
    :param title: the task instance as a person would name it.
    """

    def __init__(
        self,
        client: Client,
        state: Store,
        *,
        correction: Correction,
        source: str,
        task_key: str,
        run_key: str,
        title: str,
    ) -> None:
        self._correction, self._source = correction, source
        self._digest = correction_digest(correction.canonical())
        asked = {name: value for name, value in correction.query().items() if name != "cache"}
        self._name = _hash(json.dumps([task_key, asked, source], sort_keys=True))[:24]
        run = _hash(run_key)
        self._client = client
        self._state = state.child("starts")
        self._state.part_tag = run[:8]
        self._ledger = Ledger(self._state, f"one-{self._name}", run=run[:16], title=title)

    def run(self, upload: Upload, *, fingerprint: str) -> Row:
        """
        Return what was started, now or before.

        :param upload: called when nothing was uploaded yet.
        :param fingerprint: tells whether the source is still the same; if not, it is another start.
        :raises StartUnknown: it may have been started, and asking again would pay again (``cache`` is False).
        :raises Unavailable: it may have been started; the next try asks once more, with the same file key.
        :raises LaneHeld: another try or instance of this task works on it now.
        """
        self._take()
        try:
            wanted = Row(self._name, State.INTENT, self._source, fingerprint, digest=self._digest)
            row = self._start(wanted, upload)
        except PerfectlyClearError:
            if self._ledger.owned:
                self._ledger.release()
            raise
        self._ledger.release()
        return row

    def _take(self) -> None:
        self._state.prepare()
        self._ledger.load()
        self._ledger.wait_for_owner(time.sleep)
        if self._ledger.head == 0 and not self._state.probe("lanes"):
            raise ConfigurationError(
                f"{self._state.uri('')} cannot create a file only if it is absent, so two tries could pay for the same "
                "picture. Put state_path on another store."
            )
        if not self._ledger.take():
            raise LaneHeld(
                f"{self._state.uri('')} is used by another try of this task. Retries will wait for it."
            )

    def _start(self, wanted: Row, upload: Upload) -> Row:
        row = self._ledger.rows.get(self._name)
        if row is not None and row.fingerprint != wanted.fingerprint:
            log.warning(
                "The source has changed since job %s was started: this is another start, paid", row.job_id
            )
            row = None
        if row is not None and row.state is State.STARTED:
            log.info("Job %s was started by an earlier try; nothing is paid again", row.job_id)
            return row
        again = row is not None and row.state is State.INTENT
        if again and row is not None:
            self._wait_for_a_cache(row)
        else:
            file_key, file_type = upload()
            query = self._correction.model_copy(update={"file_type": FileType(file_type)}).query()
            row = replace(wanted, file_key=file_key, file_type=file_type, query=query)
        assert row is not None and row.file_key is not None
        self._ledger.append([records.intent(row, again=again)])
        job_id = self._ask(row, row.file_key)
        self._ledger.append([records.started(row.output, job_id)])
        return self._ledger.rows[self._name]

    def _wait_for_a_cache(self, row: Row) -> None:
        """An earlier try died between call and record: ask again, when a cache at the service can answer."""
        if (row.query or {}).get("cache") == "false":
            raise StartUnknown(row.file_key or "", "an earlier try ended before it was recorded")
        seconds = starts.UNKNOWN - max(0.0, time.time() - row.at)
        log.warning(
            "An earlier try ended between the paid call and its record: it is asked once more in %.0f s, with the same "
            "file key %s, which may pay twice",
            max(0.0, seconds),
            row.file_key,
        )
        time.sleep(max(0.0, seconds))

    def _ask(self, row: Row, file_key: str) -> str:
        correction = Correction.parse(dict(row.query or {}))
        try:
            return self._client.send(calls.start(file_key, correction))
        except StartUnknown as unknown:
            if correction.cache is False:
                raise
            raise Unavailable(
                f"{unknown} The next try asks once more, with the same file key, which may pay twice."
            ) from None
        except PerfectlyClearError as error:  # nothing was started: the intent is no doubt any more
            self._ledger.append([records.failed(row, error.code, str(error))])
            raise


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
