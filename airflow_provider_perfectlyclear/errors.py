"""
Every failure of this package, split by what its reader can do about it.

::

    PerfectlyClearError
    ├─ ConfigurationError         change the connection, the Dag or the arguments; nothing was sent
    │  └─ InvalidCorrection       a correction field or value (also a ValueError)
    ├─ RunStopped                 nothing more may be paid; the rest of the run would fail alike
    │  ├─ AuthenticationError     401: the API key
    │  ├─ PermissionDenied        403
    │  ├─ PaymentRequired         402
    │  ├─ TooManyRequests         429 again and again, without progress
    │  ├─ TlsError                the certificate could not be verified
    │  ├─ StorageFailed           the source or destination is full, denied or failing; jobs stay open
    │  ├─ LedgerError             the record cannot be written or read; nothing may be paid without it
    │  │  ├─ LaneHeld             somebody else works on this destination now; a retry waits for it
    │  │  ├─ LaneLost             another owner took over; this one starts nothing more
    │  │  ├─ LedgerNotFound       the ledger of an earlier run or try is not where it was
    │  │  └─ LedgerMismatch       the ledger is about another destination or service
    │  ├─ PlanRefused             the plan itself is refused: collisions, brakes, redo guard
    │  └─ Cancelled               asked to stop (on_kill, SIGTERM)
    ├─ Unavailable                the service or the network, after all retries: try again later
    ├─ ProtocolError              the answer is not what the reference says
    ├─ NotFound                   404
    ├─ RequestRefused             the service said no (other 4xx): the text is the service's own
    │  └─ StartRefused            /pfc said no; nothing was started
    ├─ StartUnknown               the answer of /pfc was lost: it may be paid; never sent again blindly
    ├─ UnsafeUrl                  the service named a URL that is not safe to open
    ├─ TransferFailed             an upload or a download did not come through
    │  ├─ TooLarge                a file that is downloaded is larger than it may be
    │  └─ UrlExpired              a signed URL was refused: ask for a fresh one
    │     └─ UrlGone              nothing lies there any more (404, 410)
    ├─ ItemFailed                 one picture failed; the others are not affected
    │  ├─ InvalidSource           empty, no picture, unsafe name, changed meanwhile: nothing was paid
    │  ├─ SourceUnreadable        permissions, or an archived object: nothing was paid
    │  ├─ ResultUnknown           an earlier result could not be asked for now; it is not paid for again
    │  ├─ CorruptOutput           what came back is not a whole picture of the kind asked for
    │  ├─ JobFailed  JobRejected  the service's own verdict (FAILED, REJECTED) with its statusText
    │  ├─ JobLost                 the service no longer knows the job
    │  └─ JobTimeout              still open when the time was up; asking again later is free
    └─ CatalogFailed              a run landed what it could; more failed than allowed

Every error pickles, carries a stable ``code`` (:mod:`reasons`), and says what it is about, its state and what to do.
No message, chain or field holds a key, a signature or a signed URL. A message is one line: what a file's name or
a service's text would do to a log or a terminal is shown, not done.
"""

from __future__ import annotations

from typing import ClassVar

from airflow_provider_perfectlyclear.reasons import Reason


class PerfectlyClearError(Exception):
    """Anything this package raises on purpose."""

    code: Reason = Reason.ERROR
    #: It is about one source and was found before anything was sent: it says nothing about the next one.
    costs_nothing: ClassVar[bool] = False

    @property
    def retry_helps(self) -> bool:
        """Whether the same task, tried again later and unchanged, can get further."""
        return self.code.retry_helps

    def __str__(self) -> str:
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in self._said())

    def _said(self) -> str:
        """The message, with whatever names and texts are in it."""
        return super().__str__()


class ConfigurationError(PerfectlyClearError):
    """The connection, the Dag or an argument must be changed. Nothing was sent."""

    code = Reason.CONFIGURATION


class InvalidCorrection(ConfigurationError, ValueError):
    """A correction has an unknown field, a value out of range, or fields that exclude each other."""

    code = Reason.INVALID_CORRECTION


class RunStopped(PerfectlyClearError):
    """Nothing more may be started: every other picture would fail alike, or pay in the dark."""

    code = Reason.STOPPED


class AuthenticationError(RunStopped):
    """The service answered 401: the API key is missing, wrong or was revoked."""

    code = Reason.WRONG_KEY


class PermissionDenied(RunStopped):
    """The service answered 403."""

    code = Reason.PERMISSION_DENIED


class PaymentRequired(RunStopped):
    """The service answered 402."""

    code = Reason.PAYMENT_REQUIRED


class TooManyRequests(RunStopped):
    """The service kept answering 429 without letting anything through."""

    code = Reason.TOO_MANY_REQUESTS


class TlsError(RunStopped):
    """The server's certificate could not be verified."""

    code = Reason.TLS


class StorageFailed(RunStopped):
    """
    The source or the destination is full, denied or failing.

    Jobs that were started stay open in the ledger, and the next try fetches them, free.
    """

    code = Reason.STORAGE_FAILED


class LedgerError(RunStopped):
    """The ledger cannot be written or understood. Nothing is paid without it."""

    code = Reason.LEDGER


class LaneHeld(LedgerError):
    """Another run corrects this destination now."""

    code = Reason.LANE_HELD


class LaneLost(LedgerError):
    """Another owner took over; this one starts nothing more."""

    code = Reason.LANE_LOST


class LedgerNotFound(LedgerError):
    """The ledger that an earlier run or try of this task wrote is not there now: not mounted, or another machine's."""

    code = Reason.LEDGER_NOT_FOUND


class LedgerMismatch(LedgerError):
    """The ledger is about another destination or another service than this run."""

    code = Reason.LEDGER_MISMATCH


class PlanRefused(RunStopped):
    """The plan was refused before the first paid call: colliding names, a brake, or the redo guard."""

    code = Reason.PLAN_REFUSED


class Cancelled(RunStopped):
    """The task was asked to stop. Open jobs are in the ledger; the next run collects them."""

    code = Reason.CANCELLED


class Unavailable(PerfectlyClearError):
    """The service or the network failed after all retries. Trying again later may help."""

    code = Reason.UNAVAILABLE


class ProtocolError(PerfectlyClearError):
    """An answer of the service is not what its reference says."""

    code = Reason.PROTOCOL_ERROR


class NotFound(PerfectlyClearError):
    """The service answered 404."""

    code = Reason.NOT_FOUND


class RequestRefused(PerfectlyClearError):
    """The service refused a request with a 4xx answer; the text is the service's own, made safe to print."""

    code = Reason.REFUSED


class StartRefused(RequestRefused):
    """``/pfc`` was refused: no job was started."""

    code = Reason.START_REFUSED


class StartUnknown(PerfectlyClearError):
    """
    The answer of ``/pfc`` was lost, so a paid job may or may not run.

    :param file_key: the service's ``fileKey`` of the uploaded file.
    :param why: what happened to the answer.
    """

    code = Reason.START_UNKNOWN

    def __init__(self, file_key: str, why: str) -> None:
        super().__init__(file_key, why)
        self.file_key = file_key
        self.why = why

    def _said(self) -> str:
        return (
            f"The answer to starting a correction of file key {self.file_key!r} was lost ({self.why}). "
            "It may have been started and paid; it was not sent again."
        )


class UnsafeUrl(PerfectlyClearError):
    """The service named a URL that must not be opened (another scheme, a private address, credentials)."""

    code = Reason.UNSAFE_URL


class TransferFailed(PerfectlyClearError):
    """An upload or a download did not come through after all retries."""

    code = Reason.TRANSFER_FAILED


class TooLarge(TransferFailed):
    """A file that is downloaded has more bytes than it may have. Fetching it again does not help."""

    code = Reason.TOO_LARGE


class UrlExpired(TransferFailed):
    """A signed URL was refused (403 or 404 of the object store): a fresh one is needed."""

    code = Reason.URL_EXPIRED


class UrlGone(UrlExpired):
    """A signed URL is good, but nothing lies there any more (404 or 410 of the object store)."""

    code = Reason.URL_GONE


class ItemFailed(PerfectlyClearError):
    """
    One picture or video failed; the others are not affected.

    :param reason: what happened, in one line.
    :param code: the stable reason code, when it is finer than the class's own.
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
    Refused here, before anything was paid: empty, no picture or video, unsafe name, changed meanwhile.

    :param reason: what happened, in one line.
    :param code: the stable reason code, when it is finer than the class's own.
    :param sha256: of the refused bytes, hex, when all of them were read: the same bytes are refused again.
    """

    code = Reason.INVALID_SOURCE
    costs_nothing = True

    def __init__(self, reason: str, code: Reason | str | None = None, sha256: str = "") -> None:
        super().__init__(reason, code)
        self.sha256 = sha256


class SourceUnreadable(ItemFailed):
    """The source cannot be read: permissions, or an archived object. Nothing was paid; the next try reads it last."""

    code = Reason.SOURCE_UNREADABLE
    costs_nothing = True


class ResultUnknown(ItemFailed):
    """Whether an earlier result is still there could not be found out now. It is asked for again, free."""

    code = Reason.RESULT_UNKNOWN
    costs_nothing = True


class CorruptOutput(ItemFailed):
    """The corrected file is not whole, or not of the kind that was asked for."""

    code = Reason.CORRUPT_OUTPUT


class JobError(ItemFailed):
    """
    A job did not end in a corrected file.

    :param job_id: the service's job id.
    :param reason: the service's ``statusText`` or what happened, in one line.
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
    """The service no longer knows a job that it had started (404)."""

    code = Reason.JOB_LOST


class JobTimeout(JobError):
    """The job was still open when the time was up. Asking for it again later is free."""

    code = Reason.TIMEOUT


class CatalogFailed(PerfectlyClearError):
    """
    A run landed all it could, and more pictures failed than ``max_failures`` allows.

    :param message: how many, which (the first few), why, and where the rest is.
    :param retry_helps: whether something of what failed can change by itself.
    """

    code = Reason.CATALOG_FAILED

    def __init__(self, message: str, retry_helps: bool) -> None:
        super().__init__(message, retry_helps)
        self.message = message
        self._retry_helps = retry_helps

    @property
    def retry_helps(self) -> bool:
        return self._retry_helps

    def _said(self) -> str:
        return self.message
