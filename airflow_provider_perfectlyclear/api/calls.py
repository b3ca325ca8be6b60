"""
The service's endpoints as values: a function here says what to send and how to read the answer, and sends nothing.

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

# More than anybody lists at once, so not what was asked for; reading each would take its time.
_LONGEST_PAGE = 10_000

_JOB_ID = re.compile(r"[A-Za-z0-9._~-]{1,200}")


@dataclass(frozen=True)
class Call(Generic[T]):
    """
    One request to the API and the meaning of its answer.

    :param name: what the call does, for messages: ``start a correction``.
    :param method: the HTTP method.
    :param path: below the base URL, quoted.
    :param read: turns an answer into the result or raises one of our errors, and nothing else.
    :param repeatable: whether it may be sent again when its answer was lost. Not a matter of the method:
        ``GET /pfc`` is paid.
    :param query: parameters, not yet quoted.
    :param json: the body.
    :param lost: makes the error for an answer that was lost after something may have been sent, from what
        happened. Default: Unavailable.
    :param needs_key: whether the service asks for the key here. It is sent to the API's origin in any case.
    :param removes: a repeat that finds nothing (404) reads as None: the request before it has done the work.
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
    ``GET /upload``: ask where to upload a file.

    :param file_type: ``image`` or ``video`` (``fileType``).
    """
    what = "GET /upload"
    if file_type not in tuple(FileType):
        raise errors.ConfigurationError(f"{one_line(file_type, 60)!r} is no file type: image or video.")
    return Call(
        what, "GET", "/upload", partial(_read_model, what, UploadTarget), query={"fileType": str(file_type)}
    )


def start(file_key: str, correction: Correction | None = None) -> Call[str]:
    """
    ``GET /pfc``: start a correction, which is paid. Never sent twice.

    Reading it gives the job's id, raises StartRefused when the service said no, and StartUnknown (with the
    file key) when it cannot be told whether a job was started.

    :param file_key: the service's ``fileKey`` of an uploaded file.
    :param correction: what is to be done; None leaves all to the service.
    """
    what = "GET /pfc"
    query = {"fileKey": _given(file_key, "file key"), **(correction or Correction()).query()}
    lost = partial(errors.StartUnknown, file_key)
    return Call(
        what, "GET", "/pfc", partial(_read_start, what, lost), repeatable=False, query=query, lost=lost
    )


def status(job_id: str) -> Call[JobStatus]:
    """
    ``GET /status/{jobID}``: ask how a job does; free. A job that the service does not know raises NotFound.

    :param job_id: the job's id.
    """
    what = f"GET /status/{one_line(job_id, 60)}"
    if not _is_job_id(job_id):
        raise errors.ConfigurationError(f"{one_line(job_id, 60)!r} is no job id of the service.")
    path = f"/status/{quote(job_id, safe='')}"
    return Call(
        what, "GET", path, partial(_read_status, what, job_id), query={"noRedirect": "true"}, needs_key=False
    )


def list_presets(limit: int = 100, offset: int = 0) -> Call[list[Preset]]:
    """
    ``GET /presets``: one page of the account's presets.

    :param limit: the most presets of this page. Default 100 (the service's own default is 20).
    :param offset: how many presets to skip.
    """
    what = "GET /presets"
    query = {"limit": str(limit), "offset": str(offset)}
    return Call(what, "GET", "/presets", partial(_read_presets, what), query=query)


def create_preset(name: str, description: str = "") -> Call[PresetTarget]:
    """
    ``POST /presets/``: announce a preset and learn where to upload its file. Sent again, it may make a twin.

    :param name: what corrections will call it.
    :param description: free text.
    """
    what = "POST /presets/"
    body = {"name": _given(name, "preset name"), "description": description}
    return Call(
        what, "POST", "/presets/", partial(_read_model, what, PresetTarget), repeatable=False, json=body
    )


def get_preset(preset_id: str) -> Call[Preset]:
    """
    ``GET /presets/{presetId}``: a preset with the URL of its file.

    :param preset_id: ``presetId``.
    """
    what = f"GET /presets/{one_line(preset_id, 60)}"
    return Call(what, "GET", _preset_path(preset_id), partial(_read_preset, what, preset_id))


def delete_preset(preset_id: str) -> Call[None]:
    """
    ``DELETE /presets/{presetId}``. A preset that is not there raises NotFound; gone after a lost answer is deleted.

    :param preset_id: ``presetId``.
    """
    what = f"DELETE /presets/{one_line(preset_id, 60)}"
    return Call(what, "DELETE", _preset_path(preset_id), partial(_read_deleted, what), removes=True)


def _given(value: str, what: str) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise errors.ConfigurationError(f"{one_line(value, 60)!r} is no {what}.")
    return value


def _preset_path(preset_id: str) -> str:
    # Two dots would name the listing's parent, whatever is quoted.
    if _given(preset_id, "preset id") in (".", ".."):
        raise errors.ConfigurationError(f"{preset_id!r} is no preset id.")
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
    raise answers.unexpected(answer, what, f"{missing} is missing or not as the reference says")


def _read_start(what: str, lost: Callable[[str], errors.StartUnknown], answer: Answer) -> str:
    if stop := answers.stopped(answer, what):
        raise stop
    data = answers.parsed_or_none(answer)
    if job_id := _job_id(data):
        return job_id
    if 400 <= answer.status < 500 and answer.status != 408:
        raise errors.StartRefused(f"{what}: HTTP {answer.status}: {answers.reason(answer)}")
    # Whatever else it says, only a 4xx is a refusal: a job may be running.
    raise lost(f"HTTP {answer.status} without a statusEndpoint: {answers.reason(answer)}")


def _job_id(data: Any) -> str | None:
    """Take the job's id, and nothing else, from ``statusEndpoint``: its host is not the service's to choose."""
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
        # "status": "error" beside a 404 is the gateway's word, not a job's.
        if answer.status != 404 or job.state is not JobState.UNKNOWN:
            return job
    if answer.status == 302 and answer.headers.get("location"):
        return _redirected(job_id, answer.headers["location"])
    answers.json_object(answer, what)
    raise answers.unexpected(answer, what, "status is missing")


def _redirected(job_id: str, location: str) -> JobStatus:
    """A service that redirects although it was asked not to means: complete."""
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
