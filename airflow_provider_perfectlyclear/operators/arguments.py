"""Operators' arguments, checked after templating; every message names the argument and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_perfectlyclear.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

    from airflow_provider_perfectlyclear.api.correction import Correction


def check_when_parsed(operator: BaseOperator, *corrections: Any) -> None:
    """
    Refuse, while the Dag is parsed, what no later value can make right: unknown names and wrong plain values.

    :param operator: a mapped one is let through: it is made on a worker, where ``execute`` checks, and there
        failing for good is possible.
    :param corrections: its arguments; what is only known later (templates, XComs) is let through.
    :raises InvalidCorrection: with the nearest known name.
    """
    if not getattr(operator, "_BaseOperator__from_mapped", False):
        for correction in corrections:
            _check_when_parsed(correction)


def _check_when_parsed(correction: Any) -> None:
    from airflow_provider_perfectlyclear.api.correction import Correction

    if isinstance(correction, Mapping):
        correction = {name: _or_later(value) for name, value in correction.items()}
    if isinstance(correction, str | Mapping) and correction:
        Correction.parse(correction, templates=True)


def _or_later(value: Any) -> Any:
    """A value as it is, or a template in the place of what only a run will know (an XCom)."""
    return value if value is None or isinstance(value, str | int | float | bool) else "{{ later }}"


def parse_correction(value: Any, *, file_type: str | None = None) -> Correction:
    """
    Read a correction as it is when the task runs.

    :param file_type: what the operator's own argument says, if it does.

    :raises InvalidCorrection: a name or a value is wrong.
    """
    from airflow_provider_perfectlyclear.api.correction import Correction

    correction = Correction.parse(None if value == "" else value)
    if not file_type:
        return correction
    return Correction.parse({**correction.model_dump(exclude_none=True), "file_type": file_type})


def parse_renditions(value: Any, correction: Any) -> dict[str, Correction] | None:
    """
    Read the renditions, which stand instead of one correction.

    :raises ConfigurationError: both were given, or it is not a mapping of names to corrections.
    """
    if value is None:
        return None
    if correction is not None:
        raise ConfigurationError(
            "correction and renditions exclude each other: put each output in renditions."
        )
    if not isinstance(value, Mapping) or not value:
        raise ConfigurationError(
            "renditions must map names to corrections, such as {'web': {'width': 1200}}."
        )
    return {str(name): parse_correction(each) for name, each in value.items()}


def seconds(argument: str, value: Any) -> float:
    """
    Read a duration, a timedelta or a number of seconds. Its range is judged where it is used.

    :raises ConfigurationError: neither.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{argument} is {value!r}: give a number of seconds or a timedelta.")
    return float(value)


def words(argument: str, value: Any) -> tuple[str, ...] | None:
    """
    Read one pattern or several; None stays None.

    :raises ConfigurationError: something else than text.
    """
    if value is None or value == "":
        return None
    many = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(each, str) and each for each in many):
        raise ConfigurationError(
            f"{argument} is {value!r}: give a pattern such as '*.jpg', or a list of them."
        )
    return many
