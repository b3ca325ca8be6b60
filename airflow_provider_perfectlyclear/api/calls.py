"""
The service's endpoints as values. Each function returns the request and the reader of its response, and sends nothing.

::

    job_id = client.send(calls.start(file_key, correction))
    status = await async_client.send(calls.status(job_id))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ValidationError

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import answers
from airflow_provider_perfectlyclear.api.answers import Answer
from airflow_provider_perfectlyclear.api.models import (
    Correction,
    FileType,
    JobState,
    JobStatus,
    Preset,
    PresetTarget,
    UploadTarget,
)
from airflow_provider_perfectlyclear.api.text import one_line

__all__ = [
    "Answer",
    "Call",
    "create_preset",
    "delete_preset",
    "get_preset",
    "list_presets",
    "start",
    "status",
    "upload_url",
]

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

# A longer page is not the requested one, and reading it would take too long.
_LONGEST_PAGE = 10_000

_JOB_ID = re.compile(r"[A-Za-z0-9._~-]{1,200}")


@dataclass(frozen=True)
class Call(Generic[T]):
    """
    One request to the API, and the reader of its response.

    :param name: Method and path, for messages: ``GET /pfc``.
    :param method: The HTTP method.
    :param path: Path below the base URL, quoted.
    :param read: Returns the result of a response, or raises a PerfectlyClearError.
    :param repeatable: Whether to repeat the request after it may have arrived. Independent of the method: ``GET /pfc``
        is paid. Default True.
    :param query: Query parameters, not quoted. Default: none.
    :param json: Body. Default None.
    :param lost: Returns the error for a missing response to a request that may have been sent, from the cause. Default
        None: Unavailable.
    :param needs_key: Whether the service requires the API key here. The client sends it in any case. Default True.
    :param removes: Whether a 404 to a repeat means success, because an earlier request has deleted the object. Default
        False.
    """

    name: str
    method: str
    path: str
    read: Callable[[Answer], T] = field(repr=False)
    repeatable: bool = True
    query: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    lost: Callable[[str], errors.PerfectlyClearError] | None = field(default=None, repr=False)
    needs_key: bool = True
    removes: bool = False


def upload_url(file_type: str = FileType.IMAGE) -> Call[UploadTarget]:
    """
    Return ``GET /upload``, which asks where to upload a file.

    :param file_type: The service's ``fileType``: ``image`` (the default) or ``video``.
    :raises ConfigurationError: The file type is another one.
    """
    what = "GET /upload"
    if file_type not in tuple(FileType):
        raise errors.ConfigurationError(
            f"Invalid file_type {one_line(file_type, 60)!r}: use 'image' or 'video'."
        )
    return Call(
        what, "GET", "/upload", partial(_read_model, what, UploadTarget), query={"fileType": str(file_type)}
    )


def start(file_key: str, correction: Correction | None = None) -> Call[str]:
    """
    Return ``GET /pfc``, **the paid call**, which starts a correction.

    The client never repeats it once it may have arrived. Its result is the job id. It raises StartRefused if the
    service refuses, and StartUnknown (with the file key) if a job may have been started.

    :param file_key: The service's ``fileKey`` of an uploaded file.
    :param correction: Parameters of the correction. Default None: the service decides.
    :raises ConfigurationError: The file key is empty or has control characters.
    """
    what = "GET /pfc"
    query = {"fileKey": _given(file_key, "file key"), **(correction or Correction()).query()}
    lost = partial(errors.StartUnknown, file_key)
    return Call(
        what, "GET", "/pfc", partial(_read_start, what, lost), repeatable=False, query=query, lost=lost
    )


def status(job_id: str) -> Call[JobStatus]:
    """
    Return ``GET /status/{jobID}``, the status check of a job, which is free.

    It raises NotFound if the service does not know the job.

    :param job_id: The service's job id.
    :raises ConfigurationError: The text cannot be a job id.
    """
    what = f"GET /status/{one_line(job_id, 60)}"
    if not _is_job_id(job_id):
        raise errors.ConfigurationError(f"Invalid job id {one_line(job_id, 60)!r}.")
    path = f"/status/{quote(job_id, safe='')}"
    return Call(
        what, "GET", path, partial(_read_status, what, job_id), query={"noRedirect": "true"}, needs_key=False
    )


def list_presets(limit: int = 100, offset: int = 0) -> Call[list[Preset]]:
    """
    Return ``GET /presets``, which lists one page of the account's presets.

    :param limit: Maximum number of presets of the page. Default 100. The service's own default is 20.
    :param offset: Number of presets to skip. Default 0.
    """
    what = "GET /presets"
    query = {"limit": str(limit), "offset": str(offset)}
    return Call(what, "GET", "/presets", partial(_read_presets, what), query=query)


def create_preset(name: str, description: str = "") -> Call[PresetTarget]:
    """
    Return ``POST /presets/``, which creates a preset and returns where to upload its file.

    The client never repeats it once it may have arrived, because a repeat may create a second preset of that name.

    :param name: The preset's name, as corrections use it.
    :param description: Free text. Default ``""``.
    :raises ConfigurationError: The name is empty or has control characters.
    """
    what = "POST /presets/"
    body = {"name": _given(name, "preset name"), "description": description}
    return Call(
        what, "POST", "/presets/", partial(_read_model, what, PresetTarget), repeatable=False, json=body
    )


def get_preset(preset_id: str) -> Call[Preset]:
    """
    Return ``GET /presets/{presetId}``, which returns a preset with the URL of its file.

    :param preset_id: The service's ``presetId``.
    :raises ConfigurationError: The text cannot be a preset id.
    """
    what = f"GET /presets/{one_line(preset_id, 60)}"
    return Call(what, "GET", _preset_path(preset_id), partial(_read_preset, what, preset_id))


def delete_preset(preset_id: str) -> Call[None]:
    """
    Return ``DELETE /presets/{presetId}``, which deletes a preset.

    It raises NotFound if the preset does not exist, except on a repeat: then an earlier request has deleted it.

    :param preset_id: The service's ``presetId``.
    :raises ConfigurationError: The text cannot be a preset id.
    """
    what = f"DELETE /presets/{one_line(preset_id, 60)}"
    return Call(what, "DELETE", _preset_path(preset_id), partial(_read_deleted, what), removes=True)


def _given(value: str, what: str) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise errors.ConfigurationError(
            f"Invalid {what} {one_line(value, 60)!r}: give one line of printable text."
        )
    return value


def _preset_path(preset_id: str) -> str:
    # Quoting does not change dots: two of them would name the parent of the listing.
    if _given(preset_id, "preset id") in (".", ".."):
        raise errors.ConfigurationError(f"Invalid preset id {preset_id!r}.")
    return f"/presets/{quote(preset_id, safe='')}"


def _is_job_id(text: Any) -> bool:
    return isinstance(text, str) and _JOB_ID.fullmatch(text) is not None and text not in (".", "..")


def _read_model(what: str, model: type[M], answer: Answer) -> M:
    data = answers.json_object(answer, what)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        missing = " and ".join(sorted({str(one["loc"][0]) for one in error.errors() if one["loc"]}))
    if said := answers.refusal(data):
        raise errors.RequestRefused(f"{what}: {said}")
    raise answers.unexpected(
        answer, what, f"{missing} is missing, or has another type than the API reference says"
    )


def _read_start(what: str, lost: Callable[[str], errors.StartUnknown], answer: Answer) -> str:
    if stop := answers.stopped(answer, what):
        raise stop
    data = answers.parsed_or_none(answer)
    if job_id := _job_id(data):
        return job_id
    if 400 <= answer.status < 500 and answer.status != 408:
        raise errors.StartRefused(f"{what}: HTTP {answer.status}: {answers.reason(answer)}", answer.status)
    # Only a 4xx is a refusal. After every other response, a job may be running.
    raise lost(f"HTTP {answer.status} without a statusEndpoint: {answers.reason(answer)}")


def _job_id(data: Any) -> str | None:
    """Return the job id of a ``statusEndpoint``. Its host is ignored, because status checks go to the base URL."""
    endpoint = data.get("statusEndpoint") if isinstance(data, dict) else None
    if not isinstance(endpoint, str):
        return None
    try:
        job_id = unquote(urlsplit(endpoint).path.rstrip("/").rpartition("/")[2])
    except ValueError:
        return None
    return job_id if _is_job_id(job_id) else None


def _read_status(what: str, job_id: str, answer: Answer) -> JobStatus:
    if stop := answers.stopped(answer, what):
        raise stop
    data = answers.parsed_or_none(answer)
    if isinstance(data, dict) and isinstance(data.get("status"), str):
        if _is_job_id(data.get("_id")) and data["_id"] != job_id:
            raise errors.ProtocolError(
                f"{what}: the response is about another job, {one_line(data['_id'], 60)}"
            )
        job = JobStatus.read(job_id, data)
        # With a 404, "status": "error" is a gateway's response, not a job's status.
        if answer.status != 404 or job.state is not JobState.UNKNOWN:
            return job
    if answer.status == 302 and answer.headers.get("location"):
        return _redirected(job_id, answer.headers["location"])
    answers.json_object(answer, what)
    raise answers.unexpected(answer, what, "status is missing")


def _redirected(job_id: str, location: str) -> JobStatus:
    """Return the status for a redirect, which means COMPLETED. The request asks for no redirect."""
    return JobStatus(job_id=job_id, state=JobState.COMPLETED, raw_status="302", corrected_file=location)


def _read_presets(what: str, answer: Answer) -> list[Preset]:
    answers.check(answer, what)
    data = answers.parsed(answer, what)
    listed = data.get("presets") if isinstance(data, dict) else data
    if not isinstance(listed, list) or len(listed) > _LONGEST_PAGE:
        if said := answers.refusal(data):
            raise errors.RequestRefused(f"{what}: {said}")
        raise answers.unexpected(answer, what, "a page of presets was expected")
    return [_preset(what, answer, one) for one in listed]


def _preset(what: str, answer: Answer, data: Any) -> Preset:
    try:
        return Preset.model_validate(data)
    except ValidationError:
        pass
    raise answers.unexpected(answer, what, "a preset without presetId or name")


def _read_preset(what: str, preset_id: str, answer: Answer) -> Preset:
    data = answers.json_object(answer, what)
    known = any(name in data for name in ("presetId", "_id", "id"))
    if not data.get("uri") and not data.get("name") and (said := answers.refusal(data)):
        raise errors.RequestRefused(f"{what}: {said}")
    if data.get("presetId", preset_id) != preset_id:
        raise answers.unexpected(answer, what, "it is about another preset")
    return _preset(what, answer, data if known else {**data, "presetId": preset_id})


def _read_deleted(what: str, answer: Answer) -> None:
    answers.check(answer, what)
    if answer.body[:200].lstrip().startswith(b"<"):
        answers.parsed(answer, what)
    data = answers.parsed_or_none(answer)
    if isinstance(data, dict) and (said := answers.refusal({"error": data.get("error")})):
        raise errors.RequestRefused(f"{what}: {said}")
