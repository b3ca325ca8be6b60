"""
Errors of this package, grouped by what the reader can do about them.

::

    PerfectlyClearError
    ├─ ConfigurationError         the connection, the Dag or an argument is wrong
    │  └─ InvalidCorrection       a correction field or value (also a ValueError)
    ├─ RunStopped                 the run starts no more jobs: the others would fail the same way
    │  ├─ AuthenticationError     401: the API key
    │  ├─ PermissionDenied        403
    │  ├─ PaymentRequired         402
    │  ├─ TooManyRequests         429 ten times in a row
    │  ├─ TlsError                the certificate could not be verified
    │  ├─ StorageFailed           the source or destination is full, denied or failing
    │  ├─ LedgerError             the ledger cannot be written or read
    │  │  ├─ LaneHeld             another run has the lock; a retry waits for it
    │  │  ├─ LaneLost             another run took the lock; this run starts no more jobs
    │  │  ├─ LedgerNotFound       the ledger of an earlier run or attempt is missing
    │  │  └─ LedgerMismatch       the ledger is about another destination or service
    │  ├─ PlanRefused             the plan is refused: colliding names, or a cost limit
    │  └─ Cancelled               the task was asked to stop (on_kill, SIGTERM)
    ├─ Unavailable                the service or the network failed after all repeats
    ├─ ProtocolError              a response differs from the API reference
    ├─ NotFound                   404
    ├─ RequestRefused             another 4xx, with the service's own message
    │  └─ StartRefused            /pfc was refused; no job was started
    ├─ StartUnknown               unconfirmed start: no job id from /pfc; a job may be running and paid for
    ├─ UnsafeUrl                  the service named a URL that is not safe to open
    ├─ TransferFailed             an upload or download failed
    │  ├─ TooLarge                a download exceeds its size limit
    │  └─ UrlExpired              the store refused a signed URL; ask for a fresh one
    │     └─ UrlGone              the file no longer exists (404, 410)
    ├─ ItemFailed                 one picture failed; the others are not affected
    │  ├─ InvalidSource           empty, no picture, unsafe name or changed; found before any paid call
    │  ├─ SourceUnreadable        permissions, or an archived object; found before any paid call
    │  ├─ ResultUnknown           the result of an earlier job cannot be checked now
    │  ├─ CorruptOutput           the result is incomplete or of another type than requested
    │  ├─ JobFailed  JobRejected  the service's status FAILED or REJECTED, with its statusText
    │  ├─ JobLost                 the service no longer knows the job
    │  └─ JobTimeout              the job is still in progress; later status checks are free
    └─ CatalogFailed              more pictures failed than max_failures allows

Every error can be pickled and has a stable ``code`` (:mod:`reasons`). No message, cause or field contains an API key, a
signature or a signed URL. Messages are one line: control characters in file names and in the service's text are
escaped.
"""

from __future__ import annotations

from typing import ClassVar

from airflow_provider_perfectlyclear.reasons import Reason


class PerfectlyClearError(Exception):
    """Base class of all errors of this package."""

    code: Reason = Reason.ERROR
    #: Whether the error is about one source file and was found before any paid call.
    costs_nothing: ClassVar[bool] = False

    @property
    def retry_helps(self) -> bool:
        """Whether a later attempt of the unchanged task can succeed."""
        return self.code.retry_helps

    def __str__(self) -> str:
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in self._said())

    def _said(self) -> str:
        """Return the message, with names and texts as they are."""
        return super().__str__()


class ConfigurationError(PerfectlyClearError):
    """The connection, the Dag or an argument is wrong. Change it before the next attempt."""

    code = Reason.CONFIGURATION


class InvalidCorrection(ConfigurationError, ValueError):
    """A correction has an unknown field, a value out of range, or fields that exclude each other."""

    code = Reason.INVALID_CORRECTION


class RunStopped(PerfectlyClearError):
    """The run starts no more jobs: every other picture would fail the same way, or could not be recorded."""

    code = Reason.STOPPED


class AuthenticationError(RunStopped):
    """The service answered 401: the API key is missing, wrong or revoked."""

    code = Reason.WRONG_KEY


class PermissionDenied(RunStopped):
    """The service answered 403: the account or the network address has no permission."""

    code = Reason.PERMISSION_DENIED


class PaymentRequired(RunStopped):
    """The service answered 402: the account has no credit."""

    code = Reason.PAYMENT_REQUIRED


class TooManyRequests(RunStopped):
    """The service answered 429 ten times in a row and accepted no request in between."""

    code = Reason.TOO_MANY_REQUESTS


class TlsError(RunStopped):
    """The server's certificate could not be verified."""

    code = Reason.TLS


class StorageFailed(RunStopped):
    """
    The source or the destination is full, denied or failing.

    Started jobs stay in the ledger. The next attempt downloads their results, which is free.
    """

    code = Reason.STORAGE_FAILED


class LedgerError(RunStopped):
    """The ledger cannot be written or read. Without it the run sends no paid call."""

    code = Reason.LEDGER


class LaneHeld(LedgerError):
    """Another run has the lock of this destination."""

    code = Reason.LANE_HELD


class LaneLost(LedgerError):
    """Another run took the lock. This run starts no more jobs."""

    code = Reason.LANE_LOST


class LedgerNotFound(LedgerError):
    """The ledger of an earlier run or attempt is missing: not mounted, or on another machine."""

    code = Reason.LEDGER_NOT_FOUND


class LedgerMismatch(LedgerError):
    """The ledger belongs to another destination or service than this run."""

    code = Reason.LEDGER_MISMATCH


class PlanRefused(RunStopped):
    """The plan was refused before its first paid call: colliding names, or a cost limit such as the redo guard."""

    code = Reason.PLAN_REFUSED


class Cancelled(RunStopped):
    """The task was asked to stop. Jobs in progress are in the ledger, and the next run downloads their results."""

    code = Reason.CANCELLED


class Unavailable(PerfectlyClearError):
    """The service or the network failed after all repeats. A later attempt may succeed."""

    code = Reason.UNAVAILABLE


class ProtocolError(PerfectlyClearError):
    """A response of the service differs from its API reference."""

    code = Reason.PROTOCOL_ERROR


class NotFound(PerfectlyClearError):
    """The service answered 404."""

    code = Reason.NOT_FOUND


class RequestRefused(PerfectlyClearError):
    """The service refused a request (4xx). The message has the service's own words, made safe to print."""

    code = Reason.REFUSED


class StartRefused(RequestRefused):
    """
    The service refused ``/pfc`` and started no job.

    :param said: The service's own words, made safe to print.
    :param status: The HTTP status; 0 if the refusal was not a response.
    """

    code = Reason.START_REFUSED

    def __init__(self, said: str, status: int = 0) -> None:
        super().__init__(said, status)
        self.said = said
        self.status = status

    def _said(self) -> str:
        return self.said


class StartUnknown(PerfectlyClearError):
    """
    Unconfirmed start: ``/pfc`` returned no job id. A job may be running, and may be paid for.

    :param file_key: The service's ``fileKey`` of the uploaded file.
    :param why: The cause, such as ``no response in time``.
    """

    code = Reason.START_UNKNOWN

    def __init__(self, file_key: str, why: str) -> None:
        super().__init__(file_key, why)
        self.file_key = file_key
        self.why = why

    def _said(self) -> str:
        return (
            f"Unconfirmed start: the paid call for file key {self.file_key!r} returned no job id. "
            f"The job may be running and paid for; the call was not sent again ({self.why})."
        )


class UnsafeUrl(PerfectlyClearError):
    """The service named a URL that is not safe to open: another scheme, a private address, or credentials."""

    code = Reason.UNSAFE_URL


class TransferFailed(PerfectlyClearError):
    """An upload or download failed after all repeats."""

    code = Reason.TRANSFER_FAILED


class TooLarge(TransferFailed):
    """A download exceeds its size limit. Downloading it again does not help."""

    code = Reason.TOO_LARGE


class UrlExpired(TransferFailed):
    """The object store refused a signed URL (400, 401 or 403). Ask the service for a fresh URL."""

    code = Reason.URL_EXPIRED


class UrlGone(UrlExpired):
    """The file of a signed URL no longer exists (404 or 410 of the object store)."""

    code = Reason.URL_GONE


class ItemFailed(PerfectlyClearError):
    """
    One picture or video failed; the others are not affected.

    :param reason: The cause, in one line.
    :param code: The stable reason code. Default None: the code of the class.
    """

    code = Reason.ITEM_FAILED

    def __init__(self, reason: str, code: Reason | str | None = None) -> None:
        super().__init__(reason, code)
        self.reason = reason
        if code is not None:
            self.code = Reason(code)

    def _said(self) -> str:
        return self.reason


class InvalidSource(ItemFailed):
    """
    A source file was refused before any paid call for it: empty, no picture or video, unsafe name, or changed.

    :param reason: The cause, in one line.
    :param code: The stable reason code. Default None: the code of the class.
    :param sha256: Hex digest of the refused bytes, if all of them were read. Later runs refuse the same bytes again.
        Default ``""``: unknown.
    """

    code = Reason.INVALID_SOURCE
    costs_nothing = True

    def __init__(self, reason: str, code: Reason | str | None = None, sha256: str = "") -> None:
        super().__init__(reason, code)
        self.sha256 = sha256


class SourceUnreadable(ItemFailed):
    """The source file cannot be read: permissions, or an archived object. The next attempt reads it last."""

    code = Reason.SOURCE_UNREADABLE
    costs_nothing = True


class ResultUnknown(ItemFailed):
    """The result of an earlier job cannot be checked now. The next attempt checks it again, which is free."""

    code = Reason.RESULT_UNKNOWN
    costs_nothing = True


class CorruptOutput(ItemFailed):
    """The corrected file is incomplete, or of another type than requested."""

    code = Reason.CORRUPT_OUTPUT


class JobError(ItemFailed):
    """
    A job did not end in a corrected file.

    :param job_id: The service's job id.
    :param reason: The service's ``statusText`` or another cause, in one line.
    """

    code = Reason.JOB_ERROR

    def __init__(self, job_id: str, reason: str) -> None:
        super(ItemFailed, self).__init__(job_id, reason)
        self.job_id = job_id
        self.reason = reason

    def _said(self) -> str:
        return f"Job {self.job_id} {self.code}: {self.reason or 'no reason given'}"


class JobFailed(JobError):
    """The service's status is FAILED."""

    code = Reason.FAILED


class JobRejected(JobError):
    """The service's status is REJECTED."""

    code = Reason.REJECTED


class JobLost(JobError):
    """The service does not know the job (404)."""

    code = Reason.JOB_LOST


class JobTimeout(JobError):
    """The job is still in progress after the timeout. Later status checks are free."""

    code = Reason.TIMEOUT


class CatalogFailed(PerfectlyClearError):
    """
    More pictures failed than ``max_failures`` allows. The run downloaded all other results first.

    :param message: Number of failures, the first few with their causes, and the place of the other outputs.
    :param retry_helps: Whether a later attempt of the unchanged task can succeed for at least one of them.
    """

    code = Reason.CATALOG_FAILED

    def __init__(self, message: str, retry_helps: bool) -> None:
        super().__init__(message, retry_helps)
        self.message = message
        self._retry_helps = retry_helps

    @property
    def retry_helps(self) -> bool:
        """Whether a later attempt can succeed for at least one of the failed pictures."""
        return self._retry_helps

    def _said(self) -> str:
        return self.message
