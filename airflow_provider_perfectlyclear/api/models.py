"""
Models of requests and responses.

Requests refuse unknown names. Responses ignore them, and an optional part of a wrong type counts as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from airflow_provider_perfectlyclear.api.correction import Correction, FileType
from airflow_provider_perfectlyclear.api.text import one_line, service_words

__all__ = [
    "Correction",
    "DetectionData",
    "Dimensions",
    "Face",
    "FileType",
    "JobState",
    "JobStatus",
    "Point",
    "Preset",
    "PresetTarget",
    "UploadTarget",
    "Usage",
]

# A larger integer is not a count, and other JSON readers would round it.
_LARGEST_COUNT = 2**53

# Maximum depth of the service's structures that are passed on. The API reference has four levels.
_DEEPEST = 12

# Maximum number of values of one part of a response that are passed on. The API reference has 16 for each face.
_MOST_VALUES = 10_000

_LONGEST_ID = 2_000
_LONGEST_NAME = 1_000
_LONGEST_URL = 20_000

_URL = re.compile(r"[^\s\"'<>()]*://[^\s\"'<>]*")


class JobState(StrEnum):
    """The service's ``status`` of a job. UNKNOWN is every value that the API reference does not list."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_final(self) -> bool:
        """Whether the status will not change: COMPLETED, FAILED or REJECTED."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.REJECTED)

    @classmethod
    def read(cls, raw: str) -> JobState:
        """Return the state of a ``status``. Case matters. Every other value is UNKNOWN: the job is in progress."""
        return cls(raw) if raw in cls._value2member_map_ else cls.UNKNOWN


def _or_none(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        return None


def _safe_text(value: Any, check: ValidatorFunctionWrapHandler) -> str | None:
    return one_line(value) if isinstance(value, str) else None


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("unprintable characters")
    return value


def _line(value: str) -> str:
    # Unchanged if possible, because corrections name a preset by it.
    fits = value.isprintable() and len(value) <= _LONGEST_NAME
    return value if fits else one_line(value, _LONGEST_NAME)


_Lenient = WrapValidator(_or_none)
_Whole = Annotated[int, Field(strict=True, ge=-_LARGEST_COUNT, le=_LARGEST_COUNT)]
_Count = Annotated[_Whole | None, _Lenient]
_Number = Annotated[_Whole | Annotated[float, Field(strict=True, allow_inf_nan=False)] | None, _Lenient]
_Id = Annotated[str, Field(min_length=1, max_length=_LONGEST_ID), AfterValidator(_printable)]
_Url = Annotated[str, Field(min_length=1, max_length=_LONGEST_URL), AfterValidator(_printable)]
_Name = Annotated[str, AfterValidator(_line)]
_Text = Annotated[str | None, WrapValidator(_safe_text)]


class _Received(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Usage(_Received):
    """
    The service's ``usage``: counters of what a job cost.

    :param size: The service's size class, such as ``MEDIUM``. Default None.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    size: _Text = None

    def counters(self) -> dict[str, int]:
        """Return every whole number of ``usage`` under the service's name, also of unknown counters."""
        given = self.model_extra or {}
        return {one_line(name, 60): n for name, n in given.items() if _is_count(n)}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_COUNT


class Dimensions(_Received):
    """
    Size of the uploaded picture (``originalDimensions``).

    :param width: Width in pixels. Default None.
    :param height: Height in pixels. Default None.
    """

    width: _Count = None
    height: _Count = None


class _Detected(BaseModel):
    # Unknown fields are kept, because tasks pass detection data on.
    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class Point(_Detected):
    """Position in the picture, in pixels from the upper left corner."""

    x: _Number = None
    y: _Number = None


class Face(_Detected):
    """One face: its box in pixels (left, top, width, height), and the service's confidence in percent."""

    confidence: _Number = None
    angle: _Number = None
    blink: _Number = None
    smile: _Number = None
    yaw_angle: _Number = Field(None, alias="yawAngle")
    left: _Number = None
    top: _Number = None
    width: _Number = None
    height: _Number = None
    left_eye: Annotated[Point | None, _Lenient] = Field(None, alias="leftEye")
    right_eye: Annotated[Point | None, _Lenient] = Field(None, alias="rightEye")


class DetectionData(_Detected):
    """
    The service's ``detectionData``, which ``include_detection_data`` requests. Absent fields are None.

    :param faces_count: ``facesCount``: number of faces.
    :param faces: ``faces``: one Face each. An invalid face is None.
    :param scene: ``scene``: a number or a word.
    :param noise: ``noise``: the service's own text.
    :param red_eye: ``redEye``: the service's own text.
    :param warnings: ``warnings``: the service's own texts.
    :param message: ``message``: the service's own text.
    :param status: ``status`` of the detection, not of the job.
    """

    faces_count: _Count = Field(None, alias="facesCount")
    faces: Annotated[list[Annotated[Face | None, _Lenient]] | None, _Lenient] = None
    scene: Annotated[int | float | str | None, _Lenient] = None
    noise: _Text = None
    red_eye: _Text = Field(None, alias="redEye")
    warnings: Annotated[list[_Text] | None, _Lenient] = None
    message: _Text = None
    status: _Text = None


class JobStatus(_Received):
    """
    Response to a status check of one job. Optional fields are None if the service does not send them.

    :param job_id: The job id of the request.
    :param state: ``status`` as an enum.
    :param raw_status: ``status`` as the service wrote it, made safe to print. Default ``""``.
    :param status_text: ``statusText``: the cause of FAILED and REJECTED, one line of at most 200 characters. Default
        ``""``.
    :param corrected_file: ``correctedFile``: a signed URL that expires. Ask for it right before you use it. Never print
        or store it.
    :param usage: ``usage``: the service's counters.
    :param original_dimensions: ``originalDimensions`` in pixels.
    :param detection_data: ``detectionData``, if the correction requested it.
    :param time_taken: ``timeTaken`` in seconds.
    :param created_at: ``createdAt``: ISO 8601, as the service wrote it.
    :param updated_at: ``updatedAt``: ISO 8601, as the service wrote it.
    :param code: ``code``: the service's own number.
    """

    job_id: str
    state: JobState
    raw_status: str = ""
    status_text: str = ""
    corrected_file: str | None = Field(None, repr=False)
    usage: Usage | None = None
    original_dimensions: Dimensions | None = None
    detection_data: DetectionData | None = None
    time_taken: float | None = None
    created_at: str | None = None
    updated_at: str | None = None
    code: int | None = None

    @classmethod
    def read(cls, job_id: str, data: Mapping[str, Any]) -> JobStatus:
        """
        Read the JSON of ``/status``. Only ``status`` is required; other parts may be missing or wrong.

        :param job_id: The job id of the request. The response's own ``_id`` is not used.
        :param data: The response's JSON object. Its ``status`` is a text.
        """
        raw = data["status"]
        parts = {name: value for name, value in data.items() if name in _PARTS}
        rest = _Optional.model_validate(
            {name: value if isinstance(value, str) else _plain(value) for name, value in parts.items()}
        )
        return cls(job_id=job_id, state=JobState.read(raw), raw_status=one_line(raw, 40), **dict(rest))

    @property
    def seconds(self) -> float | None:
        """
        Duration of the job in seconds, by the service's own clock. None: unknown.

        The longer of ``timeTaken`` and the time from ``createdAt`` to ``updatedAt``, which includes waiting in a queue.
        """
        said = [self.time_taken] if self.time_taken is not None and self.time_taken >= 0 else []
        try:
            begun, ended = (datetime.fromisoformat(str(at)) for at in (self.created_at, self.updated_at))
            said.append((ended - begun).total_seconds())
        except (ValueError, TypeError):  # missing, no ISO 8601, or one with a zone and one without
            pass
        return max(said, default=None)

    def public(self) -> dict[str, Any]:
        """Return all fields except URLs as plain data, for XCom and reports."""
        shown = self.model_dump(
            mode="python", by_alias=False, exclude={"corrected_file", "detection_data", "usage"}
        )
        shown["state"] = str(self.state)
        shown["usage"] = self.usage.model_dump(by_alias=True) if self.usage else None
        seen = self.detection_data
        shown["detection_data"] = seen.model_dump(by_alias=True, exclude_unset=True) if seen else None
        return {name: _plain(value) for name, value in shown.items()}


class _Optional(_Received):
    """The parts of a status that may be missing or of another type."""

    status_text: Annotated[str, WrapValidator(lambda value, check: service_words(value))] = Field(
        "", alias="statusText"
    )
    corrected_file: Annotated[Annotated[str, Field(min_length=1)] | None, _Lenient] = Field(
        None, alias="correctedFile"
    )
    usage: Annotated[Usage | None, _Lenient] = None
    original_dimensions: Annotated[Dimensions | None, _Lenient] = Field(None, alias="originalDimensions")
    detection_data: Annotated[DetectionData | None, _Lenient] = Field(None, alias="detectionData")
    time_taken: _Number = Field(None, alias="timeTaken")
    created_at: _Text = Field(None, alias="createdAt")
    updated_at: _Text = Field(None, alias="updatedAt")
    code: _Count = None


_PARTS = {spelling for name, field in _Optional.model_fields.items() for spelling in (name, field.alias)}


def _plain(value: Any) -> Any:
    """
    Return a structure of the service as plain data, without URLs, control characters and NaN.

    Levels beyond ``_DEEPEST`` and values beyond ``_MOST_VALUES`` are dropped: serializers fail on the former, and the
    latter would block an event loop for seconds.
    """
    room = _MOST_VALUES

    def plain(value: Any, depth: int) -> Any:
        nonlocal room
        if isinstance(value, bool | None):
            return value
        if isinstance(value, int | float):
            return value if -1e300 <= value <= 1e300 else None
        if isinstance(value, str):
            return _URL.sub("URL", one_line(value))
        if not isinstance(value, dict | list) or depth >= _DEEPEST:
            return None
        count = min(len(value), room)
        room -= count
        if isinstance(value, list):
            return [plain(one, depth + 1) for one in islice(value, count)]
        return {one_line(name, 60): plain(one, depth + 1) for name, one in islice(value.items(), count)}

    return plain(value, 0)


class Preset(_Received):
    """
    A preset of the account.

    :param preset_id: ``presetId``.
    :param name: ``name``, as in a correction's ``preset``.
    :param description: ``description``. Default None.
    :param uri: ``uri``: signed URL of the preset's file. Only ``GET /presets/{presetId}`` returns it. Never print it.
        Default None.
    """

    preset_id: _Id = Field(validation_alias=AliasChoices("preset_id", "presetId", "_id", "id"))
    name: _Name
    description: Annotated[_Name | None, _Lenient] = None
    uri: Annotated[str | None, _Lenient] = Field(None, repr=False)


class UploadTarget(_Received):
    """
    Response to ``GET /upload``: where to upload a file.

    :param file_key: ``fileKey``: the service's id of the file.
    :param upload_url: ``upload_url``: a signed URL for one PUT. Never print or store it.
    """

    file_key: _Id = Field(validation_alias=AliasChoices("file_key", "fileKey"))
    upload_url: _Url = Field(validation_alias=AliasChoices("upload_url", "uploadUrl"), repr=False)


class PresetTarget(_Received):
    """
    Response to ``POST /presets/``: where to upload a new preset's file.

    :param preset_id: ``presetId`` of the new preset.
    :param upload_url: ``uploadUrl``: a signed URL for one PUT. Never print or store it.
    """

    preset_id: _Id = Field(validation_alias=AliasChoices("preset_id", "presetId"))
    upload_url: _Url = Field(validation_alias=AliasChoices("upload_url", "uploadUrl"), repr=False)
