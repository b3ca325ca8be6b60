"""
What is sent to the service and what comes back.

What is sent refuses unknown names; what is received ignores them. A part of an answer that is optional for us
never makes the rest unreadable: of the wrong type, it is simply absent.
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

# Beyond this, an integer is no count of anything, and JSON readers elsewhere would round it.
_LARGEST_COUNT = 2**53

# How deep the service's own structures are passed on; the reference's go four deep.
_DEEPEST = 12

# How many values of one part of an answer are passed on: the reference's have 16 for each face.
_MOST_VALUES = 10_000

_LONGEST_ID = 2_000
_LONGEST_NAME = 1_000
_LONGEST_URL = 20_000

_URL = re.compile(r"[^\s\"'<>()]*://[^\s\"'<>]*")


class JobState(StrEnum):
    """What the service says of a job (its ``status``); UNKNOWN is any word that the reference does not list."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_final(self) -> bool:
        """Whether the job will never change again."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.REJECTED)

    @classmethod
    def read(cls, raw: str) -> JobState:
        """Read the service's word to the letter: another case is another word, and so still open."""
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
    # To the letter if it can be: corrections name a preset by it.
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
    What a job cost, in the service's own counters (its ``usage``).

    :param size: the service's size class, such as ``MEDIUM``.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    size: _Text = None

    def counters(self) -> dict[str, int]:
        """Return every whole number of ``usage`` under the service's name, also those that are new to us."""
        given = self.model_extra or {}
        return {one_line(name, 60): n for name, n in given.items() if _is_count(n)}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_COUNT


class Dimensions(_Received):
    """
    The size of the uploaded picture (``originalDimensions``).

    :param width: pixels.
    :param height: pixels.
    """

    width: _Count = None
    height: _Count = None


class _Detected(BaseModel):
    # What the service adds later is kept: people ask for detection data to pass it on.
    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class Point(_Detected):
    """A place in the picture, in pixels from the upper left corner."""

    x: _Number = None
    y: _Number = None


class Face(_Detected):
    """One face: its box in pixels (left, top, width, height), and how sure the service is in percent."""

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
    What the service saw in the picture (``detectionData``, asked for with ``include_detection_data``).

    :param faces_count: ``facesCount``.
    :param faces: one Face each; what is none is left out.
    :param scene: the service's scene, a number or a word.
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
    What the service says of one job.

    :param job_id: the id that was asked about.
    :param state: ``status``, read.
    :param raw_status: ``status`` as the service wrote it, made safe to print.
    :param status_text: ``statusText``: the reason of FAILED and REJECTED; one line of at most 200 characters.
    :param corrected_file: ``correctedFile``: a signed URL, valid for a while: ask for it right before it is used,
        never print or store it.
    :param usage: ``usage``: the service's counters.
    :param original_dimensions: ``originalDimensions`` in pixels.
    :param detection_data: ``detectionData``, when it was asked for.
    :param time_taken: ``timeTaken`` in seconds.
    :param created_at: ``createdAt``, ISO 8601 as the service wrote it.
    :param updated_at: ``updatedAt``, likewise.
    :param code: ``code``.
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
        Read the JSON of ``/status``, which has a ``status`` that is a string; all else may be missing or wrong.

        :param job_id: the id that was asked about; the answer's own ``_id`` is not trusted.
        :param data: the answer's JSON object.
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
        How long the job has taken by the service's own clock (seconds); None when it does not say.

        From ``createdAt`` to ``updatedAt``, which has the time in its queue, or ``timeTaken``, whichever is longer.
        """
        said = [self.time_taken] if self.time_taken is not None and self.time_taken >= 0 else []
        try:
            begun, ended = (datetime.fromisoformat(str(at)) for at in (self.created_at, self.updated_at))
            said.append((ended - begun).total_seconds())
        except (ValueError, TypeError):  # missing, no ISO 8601, or one with a zone and one without
            pass
        return max(said, default=None)

    def public(self) -> dict[str, Any]:
        """Return everything but URLs as plain data, for XCom and reports."""
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
    Bring a structure of the service to plain data: no URL, no control character, no NaN.

    What is nested too deep for a serialiser is cut off, and what is too much to be carried on by anybody: reading it
    would stop an event loop for seconds.
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
    :param name: ``name``, as used in a correction's ``preset``.
    :param description: ``description``.
    :param uri: ``uri``: the signed URL of the preset's file; only ``GET /presets/{id}`` has it. Never print it.
    """

    preset_id: _Id = Field(validation_alias=AliasChoices("preset_id", "presetId", "_id", "id"))
    name: _Name
    description: Annotated[_Name | None, _Lenient] = None
    uri: Annotated[str | None, _Lenient] = Field(None, repr=False)


class UploadTarget(_Received):
    """
    Where to upload a file.

    :param file_key: ``fileKey``: what the file is called from then on.
    :param upload_url: ``upload_url``: a signed URL for one PUT. Never print or store it.
    """

    file_key: _Id = Field(validation_alias=AliasChoices("file_key", "fileKey"))
    upload_url: _Url = Field(validation_alias=AliasChoices("upload_url", "uploadUrl"), repr=False)


class PresetTarget(_Received):
    """
    Where to upload a new preset's file.

    :param preset_id: ``presetId`` of the preset that exists once the file is uploaded.
    :param upload_url: ``uploadUrl``: a signed URL for one PUT. Never print or store it.
    """

    preset_id: _Id = Field(validation_alias=AliasChoices("preset_id", "presetId"))
    upload_url: _Url = Field(validation_alias=AliasChoices("upload_url", "uploadUrl"), repr=False)
