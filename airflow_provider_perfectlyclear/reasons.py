"""
Reason codes: for each, whether the failure is permanent, whether a retry helps, and what a person should do.

Errors, the manifest, the ledger and ``ledger show`` contain these codes. Their meaning never changes.
"""

from __future__ import annotations

from enum import Enum, StrEnum


class Kind(Enum):
    """What a later attempt can do about a failure."""

    #: Final for this content and correction: retries do not help, and later runs skip it.
    PERMANENT = "permanent"
    #: A retry fails the same way until a person changes something. Later runs try again.
    NEEDS_A_PERSON = "needs a person"
    #: A retry may succeed without any change.
    TEMPORARY = "temporary"


class Reason(StrEnum):
    """
    Cause of a failure, as a stable code.

    :param code: The code.
    :param kind: What a later attempt can do about it. Default ``TEMPORARY``.
    :param remedy: What a person should do, as a sentence. Default ``""``: a base class's code, never shown.
    """

    kind: Kind
    remedy: str

    def __new__(cls, code: str, kind: Kind = Kind.TEMPORARY, remedy: str = "") -> Reason:
        """Create a member with its kind and remedy."""
        reason = str.__new__(cls, code)
        reason._value_ = code
        reason.kind = kind
        reason.remedy = remedy
        return reason

    @property
    def is_permanent(self) -> bool:
        """Whether the failure is final for this content and correction, so that later runs skip it."""
        return self.kind is Kind.PERMANENT

    @property
    def retry_helps(self) -> bool:
        """Whether a later attempt of the unchanged task can succeed."""
        return self.kind is Kind.TEMPORARY

    # ---- the task as a whole

    CONFIGURATION = (
        "CONFIGURATION",
        Kind.NEEDS_A_PERSON,
        "Change the connection, the Dag or the argument it names.",
    )
    INVALID_CORRECTION = (
        "INVALID_CORRECTION",
        Kind.NEEDS_A_PERSON,
        "Change the field of the correction it names.",
    )
    STOPPED = (
        "STOPPED",
        Kind.NEEDS_A_PERSON,
        "Read the service's message, then fix the correction, preset or account.",
    )
    WRONG_KEY = "WRONG_KEY", Kind.NEEDS_A_PERSON, "Put a valid API key into the connection's password."
    PERMISSION_DENIED = (
        "PERMISSION_DENIED",
        Kind.NEEDS_A_PERSON,
        "Ask EyeQ what the API key and this address may do.",
    )
    PAYMENT_REQUIRED = "PAYMENT_REQUIRED", Kind.NEEDS_A_PERSON, "Buy credit, then clear the task."
    TOO_MANY_REQUESTS = (
        "TOO_MANY_REQUESTS",
        Kind.TEMPORARY,
        "Set requests_per_second in the connection's extra.",
    )
    TLS = "TLS", Kind.NEEDS_A_PERSON, "Check the certificate of the host it names."
    STORAGE_FAILED = "STORAGE_FAILED", Kind.TEMPORARY, "Check the place it names: space, permissions, mounts."
    LEDGER = "LEDGER", Kind.NEEDS_A_PERSON, "Restore the file it names from a backup."
    LANE_HELD = "LANE_HELD", Kind.TEMPORARY, "Wait for the other run. Set max_active_runs=1 to avoid it."
    LANE_LOST = "LANE_LOST", Kind.NEEDS_A_PERSON, "Nothing: the run that took the lock finishes the work."
    LEDGER_NOT_FOUND = (
        "LEDGER_NOT_FOUND",
        Kind.TEMPORARY,
        "Mount or restore the ledger. Only if it is lost, set accept_ledger.",
    )
    LEDGER_MISMATCH = (
        "LEDGER_MISMATCH",
        Kind.NEEDS_A_PERSON,
        "Set a state_path of its own, or confirm with accept_ledger.",
    )
    PLAN_REFUSED = (
        "PLAN_REFUSED",
        Kind.NEEDS_A_PERSON,
        "Look at the plan with plan_only=True, then confirm it.",
    )
    CANCELLED = "CANCELLED", Kind.TEMPORARY, "Run the task again: it downloads the results of started jobs."
    CATALOG_FAILED = "CATALOG_FAILED", Kind.TEMPORARY, "Read which pictures failed, and why."

    # ---- a single picture

    FAILED = "FAILED", Kind.PERMANENT, "Look at the picture; it is often truncated."
    REJECTED = "REJECTED", Kind.PERMANENT, "Look at the picture, and replace it."
    CORRUPT_OUTPUT = (
        "CORRUPT_OUTPUT",
        Kind.PERMANENT,
        "Look at the file that was kept in the ledger's folder.",
    )
    INVALID_SOURCE = "INVALID_SOURCE", Kind.PERMANENT, "Replace the file, or exclude it. Nothing was paid."
    TRUNCATED_SOURCE = (
        "TRUNCATED_SOURCE",
        Kind.PERMANENT,
        "Replace the file, or send it as it is with check_source=False.",
    )
    UNSAFE_NAME = "UNSAFE_NAME", Kind.PERMANENT, "Rename the file."
    NAME_COLLISION = "NAME_COLLISION", Kind.PERMANENT, "Rename one of the files, or exclude it."
    NAME_REFUSED = (
        "NAME_REFUSED",
        Kind.PERMANENT,
        "Rename the file: the destination does not accept its name.",
    )
    PICTURE_REFUSED = (
        "PICTURE_REFUSED",
        Kind.PERMANENT,
        "Read the service's message: it accepts other pictures.",
    )
    JOB_LOST_AGAIN = "JOB_LOST_AGAIN", Kind.PERMANENT, "Ask EyeQ, with the job id of the manifest."
    EMPTY = "EMPTY", Kind.PERMANENT, "Replace the file."
    NO_PICTURE = "NO_PICTURE", Kind.PERMANENT, "Replace the file."

    START_UNKNOWN = (
        "START_UNKNOWN",
        Kind.NEEDS_A_PERSON,
        'Decide whether to pay again: if so, clear the task with on_ambiguous="restart".',
    )
    WRONG_FILE_TYPE = "WRONG_FILE_TYPE", Kind.NEEDS_A_PERSON, "Correct file_type."
    SOURCE_GONE = "SOURCE_GONE", Kind.NEEDS_A_PERSON, "Restore the file, or ignore the failure."
    START_REFUSED = (
        "START_REFUSED",
        Kind.NEEDS_A_PERSON,
        "Read the service's message, then fix the correction or preset.",
    )
    TOO_LARGE = (
        "TOO_LARGE",
        Kind.NEEDS_A_PERSON,
        "Ask for a smaller result: this one exceeds the download limit.",
    )

    SOURCE_CHANGED = (
        "SOURCE_CHANGED",
        Kind.TEMPORARY,
        "Set min_age: another program writes the file while the run reads it.",
    )
    SOURCE_UNREADABLE = "SOURCE_UNREADABLE", Kind.TEMPORARY, "Check permissions; restore archived objects."
    RESULT_UNKNOWN = "RESULT_UNKNOWN", Kind.TEMPORARY, "Nothing: the next attempt checks again, free."
    COPY_INTERRUPTED = "COPY_INTERRUPTED", Kind.TEMPORARY, "Nothing: the next attempt copies it again, free."
    NAME_TAKEN = "NAME_TAKEN", Kind.TEMPORARY, "Move the file or folder that has its name at the destination."
    LOCKED = "LOCKED", Kind.TEMPORARY, "Nothing: a task for this picture alone is running."
    JOB_LOST = "JOB_LOST", Kind.TEMPORARY, "Nothing: it is started again once."
    TIMEOUT = "TIMEOUT", Kind.TEMPORARY, "Nothing. If it happens often, set a larger job_timeout."
    START_LOST = "START_LOST", Kind.TEMPORARY, "Nothing: the next attempt sends the call again."
    OPEN = "OPEN", Kind.TEMPORARY, "Nothing: the next run checks the job again."
    UNAVAILABLE = (
        "UNAVAILABLE",
        Kind.TEMPORARY,
        "Check the service, and the network between it and the worker.",
    )
    PROTOCOL_ERROR = "PROTOCOL_ERROR", Kind.TEMPORARY, "Ask EyeQ if it persists."
    NOT_FOUND = "NOT_FOUND", Kind.NEEDS_A_PERSON, "Check the id, or the base URL of the connection."
    REFUSED = "REFUSED", Kind.NEEDS_A_PERSON, "Read the service's message."
    UNSAFE_URL = (
        "UNSAFE_URL",
        Kind.TEMPORARY,
        "If the service is on your own network, set allow_insecure_hosts.",
    )
    TRANSFER_FAILED = (
        "TRANSFER_FAILED",
        Kind.TEMPORARY,
        "Check the network between the worker and the service's storage.",
    )
    URL_EXPIRED = "URL_EXPIRED", Kind.TEMPORARY, "Nothing: the next attempt asks for a fresh URL."
    URL_GONE = "URL_GONE", Kind.TEMPORARY, "Nothing: the next attempt asks for a fresh URL."

    # ---- classes that others are derived from: never by themselves

    ERROR = "ERROR", Kind.TEMPORARY, ""
    ITEM_FAILED = "ITEM_FAILED", Kind.TEMPORARY, ""
    JOB_ERROR = "JOB_ERROR", Kind.TEMPORARY, ""


#: Failures that no later run tries again, for the same content and correction.
PERMANENT = frozenset(reason for reason in Reason if reason.is_permanent)


#: Source files that were refused for their bytes before any request. A ledger row with one of these was never paid.
REFUSED_HERE = frozenset({Reason.INVALID_SOURCE, Reason.TRUNCATED_SOURCE})


def retry_helps(code: str) -> bool:
    """
    Return whether a later attempt of the unchanged task can succeed.

    :param code: A reason code. For codes that this version does not know, True.
    """
    return code not in set(Reason) or Reason(code).retry_helps
