"""One picture or video: what its source and output are called, and its failures as errors."""

from __future__ import annotations

from dataclasses import dataclass, replace

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.catalog.ledger.other_lanes import DATA
from airflow_provider_perfectlyclear.catalog.ledger.records import correction_digest
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, source_uri
from airflow_provider_perfectlyclear.catalog.naming import output_name
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.result import Failure
from airflow_provider_perfectlyclear.errors import InvalidSource, PerfectlyClearError
from airflow_provider_perfectlyclear.reasons import Reason
from airflow_provider_perfectlyclear.storage import check_name

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
#: So many hex digits of a correction tell two jobs for one picture's data apart.
DATA_DIGITS = 16
#: Beside StartUnknown's own words.
_NOT_ASKED_AGAIN = 'on_ambiguous="restart" starts it again, which may pay twice'


@dataclass(frozen=True)
class Picture:
    """
    One source file and its output.

    :param name: the file's name below the source.
    :param uri: the file's address, for messages.
    :param file_name: what the output is, or would be, called below the destination.
    :param output: what the ledger calls the output.
    """

    name: str
    uri: str
    file_name: str
    output: str

    @classmethod
    def of(cls, places: Places, name: str, output: str | None, options: Options) -> Picture:
        """
        Name a picture.

        :param output: the output's name below the destination; None keeps the source's, with the extension of what
            comes back.
        :raises InvalidSource: a name is not safe.
        """
        check_name(name)
        file_name = check_name(output or output_name(name.rpartition("/")[2], options.correction))
        known_as = file_name
        # Data has no place of its own at a destination: it is known by its source and its correction.
        if places.destination is None:
            asked = correction_digest(options.correction.canonical())[:DATA_DIGITS]
            known_as = f"{data_of(places, name)}#{asked}"
        return cls(name, places.source.uri(name), file_name, known_as)

    def error_of(self, failure: Failure, row: Row | None) -> PerfectlyClearError:
        """
        Return what failed as an error that names the picture: a catalog's log line does so before the reason.

        :param row: what the ledger says of the output.
        """
        if failure.code in _NAMES_NO_PICTURE and self.name not in failure.reason:
            failure = replace(failure, reason=f"{self.uri}: {failure.reason}")
        return error_of(failure, row)


def data_of(places: Places, name: str) -> str:
    """Return what the ledger calls the data of a source, whatever the correction: versions before did."""
    return f"{DATA}{source_uri(places.source.place, name)}"


def error_of(failure: Failure, row: Row | None) -> PerfectlyClearError:
    """Return what failed as the error that says what a reader can do."""
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
