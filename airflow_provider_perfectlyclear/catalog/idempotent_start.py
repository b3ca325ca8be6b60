"""One paid start, made once over all tries of a task, mapped or not: for those who wait and download by themselves."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction, FileType
from airflow_provider_perfectlyclear.catalog.engine import start_queue as starts
from airflow_provider_perfectlyclear.catalog.ledger import identity, records
from airflow_provider_perfectlyclear.catalog.ledger.heartbeat import Heartbeat
from airflow_provider_perfectlyclear.catalog.ledger.identity import Expected
from airflow_provider_perfectlyclear.catalog.ledger.index import content_key, job_key
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.owners import wait_for_owner
from airflow_provider_perfectlyclear.catalog.ledger.records import correction_digest
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.start_source import StartSource
from airflow_provider_perfectlyclear.errors import (
    ConfigurationError,
    InvalidSource,
    LaneHeld,
    LaneLost,
    PerfectlyClearError,
    RunStopped,
    StartRefused,
    StartUnknown,
    Unavailable,
)
from airflow_provider_perfectlyclear.reasons import Reason
from airflow_provider_perfectlyclear.storage import Store, same_fingerprint

log = logging.getLogger(__name__)

#: Takes plain data: what the next try should expect of the ledger.
Remember = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Starter:
    """
    The task instance that starts a correction.

    :param task: names the task of a Dag run, mapped instances all together.
    :param run: names the task instance over all its tries.
    :param title: the task instance as a person would name it.
    """

    task: str
    run: str
    title: str


class StartOnce:
    """
    Starts a correction, unless the same task has already, in the same Dag run.

    It may have in an earlier try, or under another map index: the indexes move when a run is cleared and its list is
    shorter.

    :param client: the service.
    :param state: where the ledger lies.
    :param correction: with its file type, if it was given.
    :param source: what is corrected.
    :param starter: the task instance.
    :param expects: what the last run, or an earlier try, said of the ledger, if it is known.
    :param accept_ledger: the id of a ledger whose absence is accepted.
    """

    def __init__(
        self,
        client: Client,
        state: Store,
        *,
        correction: Correction,
        source: StartSource,
        starter: Starter,
        expects: Expected | None = None,
        accept_ledger: str | None = None,
    ) -> None:
        self._correction, self._source = correction, source
        self._digest = correction_digest(correction.canonical())
        asked = {name: value for name, value in correction.query().items() if name != "cache"}
        self._name = _hash(json.dumps([starter.task, asked, source.uri], sort_keys=True))[:24]
        run = _hash(starter.run)
        self._client = client
        self._state = state.child("starts")
        self._state.part_tag = run[:8]
        self._expects, self._accepted = expects, accept_ledger
        self._ledger = Ledger(self._state, f"one-{self._name}", run=run[:16], title=starter.title)
        self._lane = Heartbeat(self._ledger)

    def run(self, remember: Remember = lambda said: None) -> Row:
        """
        Return what was started, now or before.

        :param remember: keeps what the next try should expect of the ledger; called before anything is paid.
        :raises StartUnknown: it may have been started, and asking again would pay again (``cache`` is False).
        :raises Unavailable: it may have been started; the next try asks once more, or uploads anew.
        :raises LaneHeld: another try or instance of this task works on it now.
        :raises LedgerNotFound: an earlier run or try has left a ledger, and it is not here.
        :raises InvalidSource: there is no source, or it changed while it was uploaded.
        """
        remember(self._take())
        with self._lane:
            try:
                row = self._start()
            except LaneLost:
                raise self._is_held() from None
            except BaseException:  # Airflow's timeout of a task is no Exception
                with suppress(RunStopped):
                    self._lane.release()
                raise
            self._lane.release()
        return row

    def _take(self) -> dict[str, Any]:
        """Own the lane, once it is certain that the ledger is the right one; return what to expect of it."""
        self._ledger.load()
        known = identity.read(self._state, self._expects)
        identity.check_expected(
            known,
            self._expects,
            state=self._state,
            seq=self._ledger.seq,
            accepted=self._accepted,
            held="start",
        )
        wait_for_owner(self._ledger, time.sleep)
        self._state.prepare()
        if self._ledger.head == 0 and not self._state.probe("lanes"):
            raise ConfigurationError(
                f"{self._state.uri('')} cannot create a file only if it is absent, so two tries could pay for the same "
                "picture. Put state_path on another store."
            )
        known = known or identity.create(self._state, "", "") or identity.read(self._state, self._expects)
        self._ledger.id = known.ledger if known is not None else ""
        if known is None or not self._ledger.take():
            raise self._is_held()
        # Each start is a lane of its own, so that sequence numbers of two runs say nothing about each other.
        return {"ledger": known.ledger, "place": self._state.uri(""), "outputs": 1, "seq": 0}

    def _is_held(self) -> LaneHeld:
        return LaneHeld(
            f"{self._state.uri('')} is used by another try of this task. Retries will wait for it."
        )

    def _start(self) -> Row:
        row = self._known()
        if row is not None and row.state is State.INTENT:
            self._wait_for_a_cache(row)
            row = self._known()  # the file may have been replaced meanwhile
        if row is not None and row.state is State.STARTED:
            log.info("Job %s was started by an earlier try; nothing is paid again", row.job_id)
            return row
        if row is not None and row.state is State.INTENT:
            return self._started(row, self._ask(row, self._refused_again))
        if row is None or row.code != Reason.START_LOST:
            row = self._uploaded()
            return self._started(row, self._ask(row, None))
        log.warning(
            "An earlier start of %s may have been paid: its response was lost, and asking again was refused. The file "
            "is uploaded anew, and starting it may pay twice",
            self._source.uri,
        )
        row = self._uploaded()
        return self._started(row, self._ask(row, lambda refusal: refusal))

    def _started(self, row: Row, job_id: str) -> Row:
        try:
            self._lane.append([records.started(row.output, job_id)])
        except PerfectlyClearError:
            log.warning("Job %s is started and could not be recorded; the next try asks once more", job_id)
            raise
        row = self._ledger.rows[self._name]
        if row.twice:
            log.warning("Job %s is started: possibly_paid_twice=%d", job_id, row.twice)
        return row

    # ---- the source

    def _known(self) -> Row | None:
        """Return what the ledger says about the bytes that the source has now."""
        row, fingerprint = self._ledger.rows.get(self._name), self._source.fingerprint()
        if row is None or same_fingerprint(row.fingerprint, fingerprint):
            return row
        if row.sha256 and self._source.sha256 is not None and self._source.sha256() == row.sha256:
            self._lane.append([records.seen(self._name, fingerprint)])
            return self._ledger.rows[self._name]
        if row.state is State.STARTED:
            log.warning(
                "The source has changed since job %s was started: this is another start, paid", row.job_id
            )
        elif row.state is State.INTENT or row.code == Reason.START_LOST:
            log.warning(
                "The source has changed since a start without a response (file key %s), which may have been paid: this "
                "is another start, paid",
                row.file_key,
            )
        return None

    def _uploaded(self) -> Row:
        before = self._source.fingerprint()
        sent = self._source.upload()
        after = self._source.fingerprint()
        if before != after and (self._source.sha256 is None or self._source.sha256() != sent.sha256):
            raise InvalidSource(
                f"{self._source.uri} changed while it was uploaded. Nothing was started; a retry uploads it anew",
                code="SOURCE_CHANGED",
            )
        if sent.sha256 and content_key(sent.sha256, self._digest) in self._ledger.view.replaced:
            log.warning(
                "%s has bytes again that were started and replaced before: this is another start, paid",
                self._source.uri,
            )
        query = self._correction.model_copy(update={"file_type": FileType(sent.file_type)}).query()
        return Row(
            self._name,
            State.INTENT,
            self._source.uri,
            after,
            sent.sha256,
            self._digest,
            query,
            sent.file_type,
            file_key=sent.file_key,
        )

    # ---- the paid call

    def _wait_for_a_cache(self, row: Row) -> None:
        """Wait until a cache at the service can answer for an earlier try without a recorded response."""
        if (row.query or {}).get("cache") == "false":
            raise StartUnknown(row.file_key or "", "an earlier try recorded no response")
        seconds = starts.UNKNOWN - max(0.0, time.time() - row.at)
        log.warning(
            "An earlier try recorded no response to its paid call: it is asked once more in %.0f s, with the same file "
            "key %s, which may pay twice",
            max(0.0, seconds),
            row.file_key,
        )
        time.sleep(max(0.0, seconds))

    def _ask(self, row: Row, if_refused: Callable[[StartRefused], PerfectlyClearError] | None) -> str:
        """
        Make the paid call.

        :param if_refused: None: nothing can have been started before. Otherwise an earlier call may have been
            accepted, and this returns what a refusal of another one comes to.
        """
        file_key, correction = str(row.file_key), Correction.parse(dict(row.query or {}))
        again = [if_refused is not None]
        try:
            job_id = self._client.send(
                calls.start(file_key, correction), before=lambda: self._declare(row, again)
            )
        except StartUnknown as unknown:
            if correction.cache is False:
                raise
            raise Unavailable(
                f"{unknown} The next try asks once more, with the same file key, which may pay twice."
            ) from None
        except StartRefused as refusal:
            # An earlier call stays in doubt: the next start of these bytes may pay twice, and has to say so.
            self._close(row, refusal.code if if_refused is None else Reason.START_LOST, str(refusal))
            raise (refusal if if_refused is None else if_refused(refusal)) from None
        except PerfectlyClearError as error:
            # It says nothing about an earlier call. Of a first one it says that nothing was started.
            if if_refused is None:
                self._close(row, error.code, str(error))
            raise
        if self._is_of_earlier_content(row, job_id):
            said = (
                f"the response names job {job_id}, which was started for the earlier content of {self._source.uri}. "
                "This start may have been paid"
            )
            self._close(row, Reason.START_LOST, said)
            raise Unavailable(f"{said}; a retry uploads the file anew, which may pay twice")
        return job_id

    def _is_of_earlier_content(self, row: Row, job_id: str) -> bool:
        """Return whether a job was started for other bytes that the source had before, however many tries ago."""
        made_for = self._ledger.view.replaced_jobs.get(job_key(job_id))
        return made_for is not None and made_for != content_key(row.sha256, row.digest)

    def _declare(self, row: Row, again: list[bool]) -> None:
        """
        Write the intent right before each request, whatever it waited for.

        Only the owner of a lane can, and the next try learns from it when the request was sent.

        :param again: whether an earlier call may have been accepted; counted once.
        """
        self._lane.append([records.intent(row, again=again[0])])
        again[0] = False
        if self._ledger.silence > starts.STALE:
            raise Unavailable(
                "this process stood still for too long after it had declared the start; not sent"
            )

    def _refused_again(self, refusal: StartRefused) -> PerfectlyClearError:
        """Such as: the service no longer has the uploaded file. The earlier call cannot be asked about any more."""
        said = f"the answer to starting it was lost, and asking again was refused ({refusal})"
        if self._source.sha256 is None:
            return StartRefused(f"{said}. It may have been paid. Upload the file again to start it anew")
        return Unavailable(f"{said}; a retry uploads it anew, which may pay twice")

    def _close(self, row: Row, code: str, reason: str) -> None:
        """Close the intent: no attempt asks about it again. If this cannot be written, the next attempt asks."""
        with suppress(RunStopped):
            self._lane.append([records.failed(row, code, reason)])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
