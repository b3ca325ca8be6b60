"""A finished job's result on its way to its place: fetched, checked and published whole. Nothing here pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import JobState, JobStatus
from airflow_provider_perfectlyclear.catalog.transfer.kept import Kept
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool, writing
from airflow_provider_perfectlyclear.catalog.transfer.verify import Wanted, check, misnamed, missing_part
from airflow_provider_perfectlyclear.errors import (
    CorruptOutput,
    JobFailed,
    JobRejected,
    PerfectlyClearError,
    ProtocolError,
    TransferFailed,
)
from airflow_provider_perfectlyclear.media import Kind
from airflow_provider_perfectlyclear.media_walk import Whole
from airflow_provider_perfectlyclear.storage import Store

#: How often one result is fetched before its item fails; fetching is free.
FETCHES = 3

#: Called when a file is whole and about to get its final name; may raise.
BeforePublish = Callable[[], None]


@dataclass(frozen=True)
class Landed:
    """
    A result in its place.

    :param size: bytes, None when only data was wanted.
    :param status: the job's final status, with usage and detection data; None of a copy.
    :param warnings: what was odd about it.
    :param sha256: of its bytes, hex; ``""`` when only data was wanted.
    """

    size: int | None
    status: JobStatus | None
    warnings: list[str] = field(default_factory=list)
    sha256: str = ""


@dataclass(frozen=True)
class Lander:
    """
    Brings results of finished jobs to one place. For any thread; keeps no state.

    :param client: the service.
    :param destination: where the outputs go; None when only the jobs' data is wanted.
    :param spool: for files on their way.
    :param kept: where a result that fails is kept: it was paid for. None: nowhere.
    """

    client: Client
    destination: Store | None
    spool: Spool
    kept: Kept | None = None

    def land(
        self,
        status: JobStatus,
        output: str,
        wanted: Wanted,
        *,
        fresh: bool = True,
        before: BeforePublish = lambda: None,
    ) -> Landed:
        """
        Fetch a finished job's result, check it and publish it.

        :param status: the job's status when it was last asked for.
        :param output: the result's name at the destination.
        :param wanted: what the result is held to.
        :param fresh: whether its URL was given just now; otherwise the service is asked for another one.
        :param before: called before the result is published.
        :raises CorruptOutput: not a whole picture of the kind asked for, after it was fetched again.
        :raises JobFailed: or JobRejected, the service's verdict.
        :raises TransferFailed: or ProtocolError: the result could not be had; the job stays open.
        :raises StorageFailed: the destination is full, denied or failing; the job stays open.
        """
        last: PerfectlyClearError | None = None
        for attempt in range(FETCHES):
            if attempt or not fresh:
                status = self.client.send(calls.status(status.job_id))
            _refuse_unless_completed(status)
            if self.destination is None:
                return Landed(None, status)
            with self.spool.file() as path:
                try:
                    kind, sha256, warnings = _fetch(self.client, status, path, wanted)
                except (CorruptOutput, TransferFailed, ProtocolError) as error:
                    last = error
                    if isinstance(error, CorruptOutput) and attempt == FETCHES - 1 and self.kept is not None:
                        last = CorruptOutput(f"{error}{self.kept.keep(output, path)}")
                    continue
                before()
                self.destination.publish(output, path, kind.content_type)
                return Landed(path.stat().st_size, status, [*warnings, *misnamed(output, kind)], sha256)
        raise last or ProtocolError(f"Job {status.job_id} could not be fetched")


def _refuse_unless_completed(status: JobStatus) -> None:
    if status.state is JobState.FAILED:
        raise JobFailed(status.job_id, status.status_text)
    if status.state is JobState.REJECTED:
        raise JobRejected(status.job_id, status.status_text)
    if status.state is not JobState.COMPLETED:
        raise ProtocolError(f"Job {status.job_id} is {status.raw_status}, not COMPLETED")


def _fetch(client: Client, status: JobStatus, path: Path, wanted: Wanted) -> tuple[Kind, str, list[str]]:
    if status.corrected_file is None:
        raise ProtocolError(f"Job {status.job_id} is COMPLETED but names no correctedFile")
    whole = Whole()
    with writing(path) as sink:
        got = client.download(status.corrected_file, cast(BinaryIO, _Fed(sink, whole)))
    kind, warnings = check(path, got, wanted, status, missing_part(whole, path))
    return kind, got.sha256, warnings


class _Fed:
    """A file whose bytes are judged as they are written."""

    def __init__(self, sink: BinaryIO, whole: Whole) -> None:
        self._sink = sink
        self._whole = whole

    def write(self, block: bytes) -> int:
        self._whole.feed(block)
        return self._sink.write(block)
