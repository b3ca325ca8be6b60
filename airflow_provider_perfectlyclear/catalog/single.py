"""One picture or video: a catalog of one, in a lane of its own, with the same promise."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog import places
from airflow_provider_perfectlyclear.catalog.engine.progress import Failure
from airflow_provider_perfectlyclear.catalog.ledger.identity import Expected
from airflow_provider_perfectlyclear.catalog.ledger.other_lanes import DATA, SINGLES, SingleLanes, single_lane
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State, source_uri
from airflow_provider_perfectlyclear.catalog.naming import output_name
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan.decide import verdict_on, with_hints
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan, taken
from airflow_provider_perfectlyclear.catalog.report.summary import Summary
from airflow_provider_perfectlyclear.catalog.run import CatalogRun
from airflow_provider_perfectlyclear.catalog.run_state import Kept
from airflow_provider_perfectlyclear.catalog.transfer import set_aside
from airflow_provider_perfectlyclear.errors import ConfigurationError, InvalidSource, PerfectlyClearError
from airflow_provider_perfectlyclear.reasons import Reason
from airflow_provider_perfectlyclear.storage import Store, check_name, digest_of

log = logging.getLogger(__name__)

_ABOUT_A_JOB: dict[str, type[errors.JobError]] = {
    kind.code: kind for kind in (errors.JobFailed, errors.JobRejected, errors.JobLost, errors.JobTimeout)
}
_WITH_A_MESSAGE: dict[str, type[PerfectlyClearError]] = {
    kind.code: kind
    for kind in (
        errors.ResultUnknown,
        errors.SourceUnreadable,
        errors.Unavailable,
        errors.ProtocolError,
        errors.TransferFailed,
        errors.UrlExpired,
        errors.UrlGone,
        errors.UnsafeUrl,
        errors.StartRefused,
        errors.RequestRefused,
    )
} | {Reason.NAME_TAKEN: errors.StorageFailed, Reason.PICTURE_REFUSED: errors.StartRefused}
_ABOUT_THE_SOURCE = frozenset(
    {
        Reason.INVALID_SOURCE,
        Reason.TRUNCATED_SOURCE,
        Reason.SOURCE_CHANGED,
        Reason.WRONG_FILE_TYPE,
        Reason.UNSAFE_NAME,
        Reason.NAME_COLLISION,
        Reason.NAME_REFUSED,
    }
)
_NAMES_NO_PICTURE = _ABOUT_THE_SOURCE | {Reason.CORRUPT_OUTPUT}
_LEFT_ALONE = {
    "edited": "%s was changed at the destination after it was corrected: it is left alone, and nothing is paid. Move "
    "it away and run 'ledger forget' to correct it again.",
    "gone": "%s is no longer at the destination, and the service no longer has it. It is not paid for again. Run "
    "'ledger forget' to correct it again.",
}
#: Beside StartUnknown's own words.
_NOT_ASKED_AGAIN = 'on_ambiguous="restart" starts it again, which may pay twice'


class CorrectOne(CatalogRun):
    """
    Correct one picture or video.

    :param client: the service.
    :param source: the folder that the file lies in.
    :param name: the file's name below it.
    :param destination: the folder that the output goes to; None: only the job's data is wanted.
    :param output: the output's name below it; None keeps the source's, with the extension of what comes back.
    :param state: where the ledger lies.
    :param run_key: names the task instance over all its tries.
    :param options: how; what concerns many pictures is not looked at.
    :param title: the run as a person would name it.
    """

    def __init__(
        self,
        *,
        client: Client,
        source: Store,
        name: str,
        destination: Store | None,
        output: str | None = None,
        state: Store,
        run_key: str,
        options: Options,
        title: str = "another run",
        expects: Expected | None = None,
    ) -> None:
        self.name = check_name(name)
        self._named = check_name(output or output_name(name.rpartition("/")[2], options.correction))
        # Data has no place of its own at a destination: it is known by its source.
        self.output = self._named if destination is not None else f"{DATA}{source_uri(source.place, name)}"
        super().__init__(
            client=client,
            source=source,
            destination=destination,
            state=state,
            run_key=f"{run_key}/{self.output}",
            options=options,
            title=title,
            expects=expects,
        )

    def _folder_of_runs(self) -> Store:
        return self.home.child(SINGLES)

    def _lane(self) -> str:
        return single_lane(self.output)

    def _lanes_beside(self) -> SingleLanes:
        older = (single_lane(self._named), self._named) if self.destination is None else None
        return SingleLanes(self.ledger, self.home, self.output, older=older)

    def _check_places(self) -> None:
        if self.source.has_folder(self.name):
            raise ConfigurationError(
                f"source {self.source.uri(self.name)} is a folder: name a file, or use PerfectlyClearCatalogOperator "
                "for the pictures in it."
            )
        if self.destination is None:
            return
        places.check_folder(self.destination)
        if self.source.relative(self.destination) == "" and self.name == self.output:
            raise ConfigurationError(
                f"source and destination are the same file, {self.source.uri(self.name)}; a source is never "
                "overwritten: name another destination."
            )
        if self.destination.has_folder(self.output):
            raise ConfigurationError(
                f"destination {self.destination.uri(self.output)} is a folder: end it with a slash to keep the "
                "source's name, or name a file in it."
            )

    def _sweep(self) -> None:
        super()._sweep()
        if self.destination is not None and self.ledger.view.holder is not None:  # a try of ours was killed
            folder = self.output.rpartition("/")[0]
            self.destination.sweep(list(self.destination.parts(folder)))

    def _make_plan(self) -> Plan:
        entry = self.source.stat(self.name)
        if entry is None:
            raise InvalidSource(f"there is no file {self.source.uri(self.name)}", code="SOURCE_CHANGED")
        row, digest = self.ledger.rows.get(self.output), self._prepared[""].digest
        item = Item(self.output, self.name, entry.size, entry.fingerprint, "", "new", root=self.source.place)
        verdict = verdict_on(item, self._standing(row), row, digest, self.options, self.run)
        made = Plan(listed=1)
        if verdict == "unchanged":
            made.standing.append(self.output)
        elif verdict in ("edited", "gone"):
            (made.edited if verdict == "edited" else made.gone).append(self.output)
            log.warning(_LEFT_ALONE[verdict], one_line(self.output))
        elif verdict == "known bad" and row is not None:
            raise self._error_of(Failure(row.output, row.source, row.code or "", row.reason or ""), row)
        elif verdict == "other source" and row is not None:
            self._claim_name(made, item, row)
        elif verdict != "open":
            item = item._replace(reason=verdict, existed=self._standing(row) is not None)
            made.todo.append(with_hints(item, row, digest, self.options, self.run))
        return made

    def _claim_name(self, made: Plan, item: Item, row: Row) -> None:
        """The output's name belongs to another source: if that was this one at another place, nothing is to be done."""
        if not row.sha256 or digest_of(self.source, self.name)[0] != row.sha256:
            raise InvalidSource(taken(item, row), code="NAME_COLLISION")
        made.claims.append((item, row))

    def _standing(self, row: Row | None) -> int | None:
        """The output's size as it stands; of what is data only, as it was recorded."""
        if self.destination is None:
            return 0 if row is not None and row.state is State.LANDED else None
        entry = self.destination.stat(self.output)
        return None if entry is None else entry.size

    def _brake(self, made: Plan) -> None:
        """Brakes and guards are about many."""

    def _report(self, kept: Kept, line: str) -> None:
        """One picture is there or it is not."""

    def _write_manifest(self, kept: Kept, left: Iterable[Item]) -> None:
        """A single picture has no manifest: its result says it all."""

    def _summary(self, kept: Kept) -> Summary:
        row = self.ledger.rows.get(self.output)
        if row is None:
            return Summary({})
        left_alone = {
            "edited_at_destination": bool(kept.counts.edited),
            "gone_from_destination": bool(kept.counts.gone or kept.progress.gone),
        }
        return Summary(
            {
                "destination": None if self.destination is None else self.destination.uri(self.output),
                "job_id": row.job_id,
                "file_key": row.file_key,
                "bytes": row.size,
                "usage": dict(row.usage) if row.usage else None,
                "detection_data": kept.progress.details.get(self.output),
                **{name: True for name, value in left_alone.items() if value},
            }
        )

    def facts(self) -> dict[str, Any]:
        """What this run did over all its tries; there is no manifest of a single picture."""
        row, bill, tally = self.ledger.rows.get(self.output), self.ledger.bill, self.tally()
        is_there = row is not None and row.state is State.LANDED
        is_ours = row is not None and row.run == self.run
        return {
            "corrected": int(is_there and is_ours),
            "failed": int(tally.get("failed", 0)),
            "unchanged": int(is_there and not is_ours),
            "paid": bill.paid,
            "possibly_paid_twice": bill.twice,
            "bytes_in": tally.get("bytes_in", 0),
            "bytes_out": tally.get("bytes_out", 0),
            "seconds": round(tally.get("seconds", 0.0), 1),
            "destination": self.report(),
        }

    def report(self) -> str | None:
        """Where the corrected picture is."""
        row = self.ledger.rows.get(self.output)
        is_there = self.destination is not None and row is not None and row.state is State.LANDED
        return self.destination.uri(self.output) if self.destination and is_there else None

    def _finish(self, kept: Kept) -> Summary:
        self._ask_for_details(kept)
        summary = self._summary(kept)
        if self.ledger.owned:
            self.ledger.checkpoint(release=True)
            self.state.delete(f"{self.folder}/run.json.gz")
            if not kept.progress.failures:
                set_aside.clear(self.state, self.ledger.lane)
        for failure in kept.progress.failures.values():
            raise self._error_of(failure, self.ledger.rows.get(self.output))
        for _, code, reason in kept.progress.still_bad:
            row = self.ledger.rows.get(self.output)
            raise self._error_of(Failure(self.output, self.name, code, reason), row)
        if kept.progress.unbegun:
            raise errors.JobTimeout(
                "(not started)", "the time was up before it was started; nothing was paid"
            )
        return summary

    def _error_of(self, failure: Failure, row: Row | None) -> PerfectlyClearError:
        """What failed, as an error that names the picture: a catalog's log line does so before the reason."""
        if failure.code in _NAMES_NO_PICTURE and self.name not in failure.reason:
            failure = replace(failure, reason=f"{self.source.uri(self.name)}: {failure.reason}")
        return _error_of(failure, row)

    def _ask_for_details(self, kept: Kept) -> None:
        """Detection data of a job that an earlier try landed: asked for again, free."""
        row = self.ledger.rows.get(self.output)
        wanted = self.options.correction.include_detection_data and self.output not in kept.progress.details
        if not wanted or row is None or row.state is not State.LANDED or row.job_id is None:
            return
        try:
            kept.progress.details[self.output] = self.client.send(calls.status(row.job_id)).public()[
                "detection_data"
            ]
        except errors.NotFound:
            return


def _error_of(failure: Failure, row: Row | None) -> PerfectlyClearError:
    """What failed, as the error that says what a reader can do."""
    job_id = row.job_id if row is not None and row.job_id else "(none)"
    if failure.code in _ABOUT_A_JOB:
        return _ABOUT_A_JOB[failure.code](job_id, failure.reason)
    if failure.code == errors.StartUnknown.code:
        return errors.StartUnknown(row.file_key or "" if row else "", _NOT_ASKED_AGAIN)
    if failure.code == Reason.START_LOST:
        return errors.Unavailable(failure.reason)
    if failure.code in _WITH_A_MESSAGE:
        return _WITH_A_MESSAGE[failure.code](failure.reason)
    if failure.code == errors.CorruptOutput.code:
        return errors.CorruptOutput(failure.reason)
    kind = InvalidSource if failure.code in _ABOUT_THE_SOURCE else errors.ItemFailed
    return kind(failure.reason, failure.code)
