"""Checks of the operators' arguments. Every message names the argument and the remedy."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_perfectlyclear import limits
from airflow_provider_perfectlyclear.adapters.object_storage import Place, parse_place
from airflow_provider_perfectlyclear.errors import ConfigurationError, InvalidCorrection

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context

    from airflow_provider_perfectlyclear.api.correction import Correction

#: A correction that ends in this is the name of a file. JSON never does.
FILE = ".json"
#: Message for a single picture without destination whose correction does not request detection data.
NO_DESTINATION = (
    "destination is None: name one, or ask for data alone with include_detection_data in the correction."
)


def check_when_parsed(operator: BaseOperator, correction: Any, renditions: Any = None) -> None:
    """
    Refuse unknown names and wrong plain values while the Dag is parsed.

    :param operator: The operator. Mapped operators are not checked here: ``execute`` checks them on a worker, where a
        failure without retries is possible.
    :param correction: The operator's argument. Templates, XComs and files are checked in the run.
    :param renditions: As ``correction``. Default None.
    :raises ConfigurationError: An argument is wrong.
    :raises InvalidCorrection: A correction is wrong. The message has the most similar known name.
    """
    if _is_made_by_mapping(operator):
        return
    said = [
        *_plain_problems(operator),
        *_place_problems(operator, correction, renditions),
        *_choice_problems(operator),
    ]
    wrong = _correction_problems(operator, correction, renditions)
    if said or wrong:
        kind = ConfigurationError if said else InvalidCorrection
        raise kind(f"Task {operator.task_id!r}: {' '.join([*said, *wrong])}")


def check_plain_when_parsed(operator: BaseOperator) -> None:
    """
    Refuse wrong plain values while the Dag is parsed, for operators without pictures.

    :param operator: The operator. Mapped operators are not checked here, as in :func:`check_when_parsed`.
    :raises ConfigurationError: An argument is wrong.
    """
    if not _is_made_by_mapping(operator) and (said := _plain_problems(operator)):
        raise ConfigurationError(f"Task {operator.task_id!r}: {' '.join(said)}")


def _is_made_by_mapping(operator: BaseOperator) -> bool:
    return bool(getattr(operator, "_BaseOperator__from_mapped", False))


def _plain_problems(operator: BaseOperator) -> list[str]:
    """Return the problems of plain values. Templates and results of upstream tasks are checked in the run."""
    known = (*limits.CHOICES, *limits.RANGES, *limits.SHARES, *limits.SWITCHES)
    values = {name: getattr(operator, name) for name in known if hasattr(operator, name)}
    values = {
        name: value.total_seconds() if isinstance(value, timedelta) else value
        for name, value in values.items()
    }
    values["accept_ledger"] = getattr(operator, "accept_ledger", None)
    return limits.parse_problems(values, operator.template_fields)


def _choice_problems(operator: BaseOperator) -> list[str]:
    """Return the problems of ``shard``, ``pattern`` and ``exclude``."""
    said = list[str | None]()
    shard = getattr(operator, "shard", None)
    if shard not in (None, "") and not limits.is_later(shard):
        said.append(limits.shard_problem(shard))
    for name in ("pattern", "exclude"):
        value = getattr(operator, name, None)
        if not any(map(limits.is_later, [value, *(value if isinstance(value, list | tuple) else ())])):
            try:
                words(name, value)
            except ConfigurationError as error:
                said.append(str(error))
    return [problem for problem in said if problem is not None]


def _place_problems(operator: BaseOperator, correction: Any, renditions: Any) -> list[str]:
    said = _required_problems(operator, correction)
    if renditions not in (None, "") and correction not in (None, ""):
        said.append("correction and renditions exclude each other: put each output in renditions.")
    for name in ("source", "destination", "source_root", "state_path"):
        value = getattr(operator, name, None)
        if isinstance(value, str) and value and not limits.is_template(value):
            try:
                parse_place(value, argument=name)
            except ConfigurationError as error:
                said.append(str(error))
    template = getattr(operator, "name_template", None)
    if template not in (None, "") and not limits.is_later(template):
        problem = limits.template_problem(template, renditions=renditions not in (None, ""))
        said += [problem] if problem else []
    is_list = isinstance(getattr(operator, "source", None), list | tuple)
    if is_list and not getattr(operator, "source_root", None):
        said.append("source is a list of files: name the folder they lie in as source_root.")
    return said


def _correction_problems(operator: BaseOperator, correction: Any, renditions: Any) -> list[str]:
    """Return the problems of each correction, after the argument that has it. Files are checked once they are read."""
    reads_files = hasattr(operator, "read_files")
    named, said = {"correction": correction}, list[str]()
    try:
        if isinstance(renditions, str) and renditions:
            is_known = not _is_file(renditions) and not limits.is_template(renditions)
            renditions = renditions_of(renditions) if is_known else None
    except ConfigurationError as error:
        return [str(error)]
    if isinstance(renditions, Mapping):
        named |= {f"renditions[{name!r}]": each for name, each in renditions.items()}
        problem = limits.renditions_problem(map(str, renditions))
        said += [problem] if problem else []
    for name, each in named.items():
        if not (reads_files and _is_file(each)):
            try:
                _check_when_parsed(each)
            except InvalidCorrection as error:
                said.append(f"{name}: {error}")
    return said


def _required_problems(operator: BaseOperator, correction: Any) -> list[str]:
    """Return the problems of source and destination: missing, or the same place."""
    if not hasattr(operator, "destination"):
        return []
    needed = ["source", "destination"]
    if not hasattr(operator, "source_root") and operator.destination is None:
        needed = ["source"]
        if _asks_for_no_data(correction):
            return [NO_DESTINATION]
    said = []
    for name in needed:
        value = getattr(operator, name)
        if value is None or value == "":
            what = "None" if value is None else "empty"
            said.append(f"{name} is {what}: name a folder or a URL such as s3://bucket/prefix.")
    return said or _same_place(operator)


def _asks_for_no_data(correction: Any) -> bool:
    """Return whether the correction is already known and does not request detection data."""
    if isinstance(correction, Mapping):
        return not (correction.get("include_detection_data") or correction.get("includeDetectionData"))
    return correction is None


def _same_place(operator: BaseOperator) -> list[str]:
    places = (getattr(operator, "source", None), getattr(operator, "destination", None))
    if not all(isinstance(place, str) and not limits.is_template(place) for place in places):
        return []
    try:
        source, destination = (parse_place(place) for place in places)
    except ConfigurationError:  # reported by _place_problems
        return []
    if source.scheme != destination.scheme or _normal(source) != _normal(destination):
        return []
    if hasattr(operator, "source_root"):
        return [
            f"source and destination are the same place, {places[0]}; nothing is ever overwritten at the source: "
            "name another folder or prefix as destination."
        ]
    if destination.is_folder:
        return []
    return [
        f"source and destination are the same file, {places[0]}; a source is never overwritten: name another "
        "destination."
    ]


def _normal(place: Place) -> str:
    return posixpath.normpath(place.path)


def read_files(operator: BaseOperator, argument: str, context: Context | None = None) -> None:
    """
    Replace the name of a JSON file by its content: a correction, renditions, or one rendition's correction.

    Airflow's own ``template_ext`` would also read a source or pattern that ends in ``.json``.

    :param operator: The operator. Files are searched where its Dag searches templates.
    :param argument: ``correction`` or ``renditions``.
    :param context: The task's context, to render the content. Default None: the Dag is parsed, and nothing is rendered.
    :raises ConfigurationError: There is no such file.
    """
    value = getattr(operator, argument)
    if argument == "renditions" and isinstance(value, Mapping):
        value = {name: _read(operator, argument, each, context) for name, each in value.items()}
    setattr(operator, argument, _read(operator, argument, value, context))


def _read(operator: BaseOperator, argument: str, value: Any, context: Context | None) -> Any:
    if not _is_file(value) or (context is None and limits.is_template(value)):
        return value
    from jinja2 import TemplateNotFound

    environment = operator.get_template_env()
    try:
        text = environment.loader.get_source(environment, value)[0] if environment.loader else None
    except TemplateNotFound:
        text = None
    if text is None:
        raise ConfigurationError(
            f"{argument} {value!r} is not there: files are looked for in the folder of the Dag's file and in "
            "its template_searchpath."
        )
    return text if context is None else operator.render_template(text, context)


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and value.strip().endswith(FILE)


def _check_when_parsed(correction: Any) -> None:
    from airflow_provider_perfectlyclear.api.correction import Correction

    if isinstance(correction, Mapping):
        preset = correction.get("preset")
        if isinstance(preset, int | float):
            raise InvalidCorrection(
                f"Correction field 'preset' must be a preset's name in quotes, not {preset!r}."
            )
        correction = {name: _or_later(value) for name, value in correction.items()}
    if isinstance(correction, str | Mapping) and correction:
        Correction.parse(correction, templates=True)


def _or_later(value: Any) -> Any:
    """Return a plain value, or a template instead of a value that is known only in a run (an XCom)."""
    return value if value is None or isinstance(value, str | int | float | bool) else "{{ later }}"


def parse_correction(value: Any, *, file_type: str | None = None) -> Correction:
    """
    Read a correction when the task runs.

    :param value: The rendered argument. None or an empty text: no parameters.
    :param file_type: The operator's own ``file_type``. Default None: not given.
    :raises InvalidCorrection: A name or value is wrong.
    :raises ConfigurationError: The correction has another file type.
    """
    from airflow_provider_perfectlyclear.api.correction import Correction

    correction = Correction.parse(None if value == "" else value)
    if not file_type:
        return correction
    if correction.file_type not in (None, file_type):
        raise ConfigurationError(
            f"file_type is {file_type!r}, but the correction says {str(correction.file_type)!r}: say it once."
        )
    return Correction.parse({**correction.model_dump(exclude_none=True), "file_type": file_type})


def parse_renditions(value: Any, correction: Any) -> dict[str, Correction] | None:
    """
    Read the renditions when the task runs.

    :param value: The rendered argument.
    :param correction: The rendered ``correction``, which must be empty if there are renditions.
    :returns: Name -> correction. None: no renditions were given.
    :raises ConfigurationError: Both were given, or the value is not a mapping of names to corrections.
    """
    if value is None or value == "":
        return None
    if correction is not None and correction != "":
        raise ConfigurationError(
            "correction and renditions exclude each other: put each output in renditions."
        )
    return {str(name): parse_correction(each) for name, each in renditions_of(value).items()}


def renditions_of(value: Any) -> Mapping[str, Any]:
    """
    Read renditions as a mapping. The corrections stay as they are.

    :param value: A mapping, or JSON.
    :raises ConfigurationError: The value is neither, or empty.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, Mapping) or not value:
        raise ConfigurationError(
            "renditions must map names to corrections, such as {'web': {'width': 1200}}, or be that as JSON "
            "(a template must end in '| tojson')."
        )
    return value


def seconds(argument: str, value: Any) -> float:
    """
    Read a duration in seconds. The caller checks its range.

    :param argument: Name of the argument, for the message.
    :param value: A timedelta or a number of seconds.
    :raises ConfigurationError: The value is neither.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{argument} is {value!r}: give a number of seconds or a timedelta.")
    return float(value)


def words(argument: str, value: Any) -> tuple[str, ...] | None:
    """
    Read one pattern or several.

    :param argument: Name of the argument, for the message.
    :param value: A text or several. None or an empty text: no patterns.
    :returns: None: no patterns.
    :raises ConfigurationError: The value is neither text nor a list of texts, or a pattern has braces.
    """
    if value is None or value == "":
        return None
    many = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(each, str) and each for each in many):
        raise ConfigurationError(
            f"{argument} is {value!r}: give a pattern such as '*.jpg', or a list of them."
        )
    if said := next(filter(None, (limits.pattern_problem(argument, each) for each in many)), None):
        raise ConfigurationError(said)
    return many
