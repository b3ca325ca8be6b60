"""
What the operators' arguments may be: choices, ranges, switches. Pure, and light enough for the parsing of a Dag.

One place decides, and two ask: the operator when its Dag is parsed, and the run before anything is sent.
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
#: Seconds, where it is a time.
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
#: Those of them that are whole numbers.
COUNTS = ("transfers", "max_in_flight", "limit", "max_new_jobs")
#: Where None means: without.
OPTIONAL = ("timeout", "limit", "max_new_jobs", "max_paid_again")
SHARES = ("max_failures", "max_paid_again")
SWITCHES = ("plan_only", "deferrable", "allow_unlocked_store", "case_sensitive", "check_source")
#: The most parts of a catalog, as ``shard`` takes them.
MAX_SHARDS = 999
TEMPLATE_FIELDS = ("{path}", "{dir}", "{stem}", "{ext}", "{rendition}")

_FIELD = re.compile("|".join(map(re.escape, TEMPLATE_FIELDS)))
_SHARE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*")


def problems(values: Mapping[str, Any]) -> list[str]:
    """
    Say what is wrong with arguments, each in a sentence that names it and what would do.

    :param values: name -> value; names that are none of these are not looked at.
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
    """What the value must be, if it is something else."""
    least, most = RANGES[name]
    kind, words = (int, "a whole number") if name in COUNTS else (int | float, "a number")
    if isinstance(value, kind) and not isinstance(value, bool) and least <= value <= most:
        return None
    return f"{words} from {least:,} to {most:,}"


def shard_of(shard: Any) -> tuple[int, int] | None:
    """Read a shard such as ``"3/16"`` as (which, of how many), counted from 1; None when it is none."""
    match = re.fullmatch(r"(\d+)/(\d+)", shard.strip()) if isinstance(shard, str) else None
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MAX_SHARDS:
        return None
    return int(match[1]), int(match[2])


def shard_problem(shard: Any) -> str | None:
    """Say what is wrong with a shard; None: nothing."""
    return f'shard={shard!r} must be such as "1/16" to "16/16".' if shard_of(shard) is None else None


def pattern_problem(argument: str, pattern: str) -> str | None:
    """Say what is wrong with a pattern of file names; None: nothing."""
    if "{" not in pattern.replace("[{]", ""):
        return None
    return f"{argument} {pattern!r} has braces, which match only themselves: give a list, such as ['*.jpg', '*.png']."


def is_template(value: str) -> bool:
    """Return whether a text has Jinja in it."""
    return any(marker in value for marker in ("{{", "{%", "{#"))


def is_later(value: Any) -> bool:
    """Return whether only a run knows the value: a template, or what an upstream task returns."""
    return is_template(value) if isinstance(value, str) else hasattr(value, "iter_references")


def parse_problems(values: Mapping[str, Any], templated: Iterable[str]) -> list[str]:
    """
    Say what is wrong with arguments while a Dag is parsed, when templates and results of upstream tasks are not known.

    :param values: name -> value, as in :func:`problems`.
    :param templated: names of the arguments that Airflow renders.
    """
    late = {name for name, value in values.items() if is_later(value)}
    said = [
        f"{name} is not templated, so it cannot be a template or come from another task: give a plain value."
        for name in sorted(late - set(templated))
    ]
    return said + problems({name: value for name, value in values.items() if name not in late})


def is_none(value: Any) -> bool:
    """Whether a value is None, or the text of it: that is what a template makes of a task's missing result."""
    return value is None or (isinstance(value, str) and value.strip() == "None")


def share(value: Any, of: int) -> int | None:
    """
    Read a count, or a share such as ``"2%"``; None when it is neither.

    :param of: what a share is of; rounded down.
    """
    match = _SHARE.fullmatch(str(value))
    if match is None or (match[2] and float(match[1]) > 100) or (not match[2] and "." in match[1]):
        return None
    return int(of * float(match[1]) / 100) if match[2] else int(match[1])


def template_problem(template: str | None, *, renditions: bool) -> str | None:
    """Say what is wrong with a ``name_template``; None: nothing."""
    if template is None:
        return None
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        return f"name_template={template!r} has an unknown field; it may have {', '.join(TEMPLATE_FIELDS)}."
    if renditions and "{rendition}" not in template:
        return f"name_template={template!r} needs {{rendition}}: each picture has several."
    return None
