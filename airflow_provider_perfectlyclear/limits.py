"""
Allowed values of the operators' arguments: choices, ranges, switches. Imports little, because Dag parsing loads it.

Two callers use it: the operator while its Dag is parsed, and the run before its first request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

CHOICES: Mapping[str, tuple[str, ...]] = {
    "reprocess": ("changed", "source_changed", "missing", "failed", "always"),
    "if_empty": ("fail", "skip", "succeed"),
    "if_unchanged": ("succeed", "skip"),
    "verify": ("strict", "fail", "warn"),
    "on_ambiguous": ("auto", "fail", "restart"),
    "manifest": ("all", "changed"),
    "if_exists": ("replace", "skip", "fail"),
    "if_missing": ("ignore", "fail"),
}
#: Minimum and maximum. Times are in seconds.
RANGES: Mapping[str, tuple[float, float]] = {
    "transfers": (1, 64),
    "max_in_flight": (1, 1000),
    "poll_interval": (0.05, 300),
    "job_timeout": (1, 7 * 86_400),
    "timeout": (1, 30 * 86_400),
    "min_age": (0, 365 * 86_400),
    "limit": (0, 10**9),
    "max_new_jobs": (0, 10**9),
}
#: Arguments of ``RANGES`` that must be whole numbers.
COUNTS = ("transfers", "max_in_flight", "limit", "max_new_jobs")
#: Arguments for which None means no limit.
OPTIONAL = ("timeout", "limit", "max_new_jobs", "max_paid_again")
SHARES = ("max_failures", "max_paid_again")
SWITCHES = ("plan_only", "deferrable", "allow_unlocked_store", "case_sensitive", "check_source")
#: Maximum number of shards of a catalog.
MAX_SHARDS = 999
TEMPLATE_FIELDS = ("{path}", "{dir}", "{stem}", "{ext}", "{rendition}")

_FIELD = re.compile("|".join(map(re.escape, TEMPLATE_FIELDS)))
_SHARE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*")


def problems(values: Mapping[str, Any]) -> list[str]:
    """
    Return one message for each wrong argument, with its name and the allowed values.

    :param values: Argument name -> value. Other arguments than the ones of this module are ignored.
    """
    said = (_problem(name, value) for name, value in values.items())
    return [problem for problem in said if problem is not None]


def _problem(name: str, value: Any) -> str | None:
    if value is None and name in OPTIONAL:
        return None
    if name in CHOICES and value not in CHOICES[name]:
        choices = ", ".join(repr(choice) for choice in CHOICES[name])
        return f"{name}={value!r} is unknown; it is one of {choices}."
    if name in RANGES and (wanted := _out_of_range(name, value)) is not None:
        if isinstance(value, str):
            return f"{name}={value!r} is text: give {wanted}, without quotes."
        return f"{name}={value!r} must be {wanted}."
    if name in SHARES and share(value, 0) is None:
        return f'{name}={value!r} must be a count such as 3, or a share such as "2%".'
    if name in SWITCHES and not isinstance(value, bool):
        return f"{name}={value!r} must be True or False: any text would count as True."
    return None


def _out_of_range(name: str, value: Any) -> str | None:
    """Return what the value must be, or None if it is in range."""
    least, most = RANGES[name]
    kind, words = (int, "a whole number") if name in COUNTS else (int | float, "a number")
    if isinstance(value, kind) and not isinstance(value, bool) and least <= value <= most:
        return None
    return f"{words} from {least:,} to {most:,}"


def shard_of(shard: Any) -> tuple[int, int] | None:
    """Read a shard such as ``"3/16"`` as (number, count), counted from 1. None: not a shard."""
    match = re.fullmatch(r"(\d+)/(\d+)", shard.strip()) if isinstance(shard, str) else None
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MAX_SHARDS:
        return None
    return int(match[1]), int(match[2])


def shard_problem(shard: Any) -> str | None:
    """Return the message for a wrong shard. None: it is right."""
    return f'shard={shard!r} must be such as "1/16" to "16/16".' if shard_of(shard) is None else None


def pattern_problem(argument: str, pattern: str) -> str | None:
    """Return the message for a wrong pattern of file names. None: it is right."""
    if "{" not in pattern.replace("[{]", ""):
        return None
    return f"{argument} {pattern!r} has braces, which match only themselves: give a list, such as ['*.jpg', '*.png']."


def is_template(value: str) -> bool:
    """Return whether a text contains Jinja markers."""
    return any(marker in value for marker in ("{{", "{%", "{#"))


def is_later(value: Any) -> bool:
    """Return whether the value is known only in a run: a template, or the result of an upstream task."""
    return is_template(value) if isinstance(value, str) else hasattr(value, "iter_references")


def parse_problems(values: Mapping[str, Any], templated: Iterable[str]) -> list[str]:
    """
    Return one message for each wrong argument while a Dag is parsed. Skips values that are known only in a run.

    :param values: Argument name -> value, as in :func:`problems`.
    :param templated: Names of the arguments that Airflow renders.
    """
    late = {name for name, value in values.items() if is_later(value)}
    said = [
        f"{name} is not templated, so it cannot be a template or come from another task: give a plain value."
        for name in sorted(late - set(templated))
    ]
    return said + problems({name: value for name, value in values.items() if name not in late})


def is_none(value: Any) -> bool:
    """Return whether a value is None or the text ``None``, to which a template renders a missing result."""
    return value is None or (isinstance(value, str) and value.strip() == "None")


def share(value: Any, of: int) -> int | None:
    """
    Read a count, or a share such as ``"2%"``.

    :param value: The count or share.
    :param of: The number of which a share is taken. The result is rounded down.
    :returns: The count. None: the value is neither.
    """
    match = _SHARE.fullmatch(str(value))
    if match is None or (match[2] and float(match[1]) > 100) or (not match[2] and "." in match[1]):
        return None
    return int(of * float(match[1]) / 100) if match[2] else int(match[1])


def template_problem(template: Any, *, renditions: bool) -> str | None:
    """Return the message for a wrong ``name_template``. None: it is right."""
    if template is None:
        return None
    if not isinstance(template, str):
        return f"name_template={template!r} must be text such as '{{path}}'."
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        return f"name_template={template!r} has an unknown field; it may have {', '.join(TEMPLATE_FIELDS)}."
    if _is_no_name(template):
        return f"name_template={template!r} leads out of the destination: begin it with a folder or a field."
    if renditions and "{rendition}" not in template:
        return f"name_template={template!r} needs {{rendition}}: each picture has several."
    return None


def renditions_problem(names: Iterable[str]) -> str | None:
    """Return the message for wrong names of renditions. None: they are right."""
    names = list(names)
    if len({name.casefold() for name in names}) != len(names):
        return f"renditions={names!r} need names that differ, case aside."
    for name in names:
        if _is_no_name(name) or "" in name.split("/"):
            return f"renditions: {name!r} is no name of a folder below the destination, such as 'web'."
    return None


def _is_no_name(path: str) -> bool:
    return "\\" in path or not {".", ".."}.isdisjoint(path.split("/"))
