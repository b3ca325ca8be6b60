"""Every query parameter of ``GET /pfc``: what it may be, and what must not stand together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from airflow_provider_perfectlyclear.emulator.transport.answers import Refused

Reader = Callable[[str], Any]

RESIZE_STRATEGIES = ("width", "height", "long", "short", "scale")
_HEX_COLOUR = re.compile(r"#([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
_NUMBER = re.compile(r"-?[0-9]{1,6}(\.[0-9]{1,12})?")
_INTEGER = re.compile(r"[0-9]{1,9}")


def _text(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return value


def _boolean(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value == "true"


def _one_of(*choices: str) -> Reader:
    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return read


def _integer(least: int, most: int) -> Reader:
    def read(value: str) -> int:
        if not _INTEGER.fullmatch(value) or not least <= int(value) <= most:
            raise ValueError(f"must be an integer from {least} to {most}")
        return int(value)

    return read


def _number(value: str) -> float:
    if not _NUMBER.fullmatch(value):
        raise ValueError("must be a number")
    return float(value)


def _positive(value: str) -> float:
    if _number(value) <= 0:
        raise ValueError("must be a positive number")
    return float(value)


def _colour(value: str) -> str:
    from PIL import ImageColor

    if _HEX_COLOUR.fullmatch(value) or value == "transparent" or value.lower() in ImageColor.colormap:
        return value
    raise ValueError("must be a hex colour with # or a named colour")


PARAMETERS: Mapping[str, Reader] = {
    "fileKey": _text,
    "fileType": _one_of("image", "video"),
    "preset": _text,
    "cache": _boolean,
    "outputType": _one_of("jpg", "png", "original"),
    "resize": _one_of("auto", "general", "smallDetails"),
    "width": _integer(32, 10000),
    "height": _integer(32, 10000),
    "long": _integer(32, 10000),
    "short": _integer(32, 10000),
    # The reference gives no range. Whatever comes out larger than the service can make is a FAILED job.
    "scale": _integer(1, 999_999_999),
    "outputQuality": _integer(40, 100),
    "autocrop": _boolean,
    "autocropDetectOnly": _boolean,
    "autocropSize": _number,
    "autocropX": _number,
    "autocropY": _number,
    "cropARW": _positive,
    "cropARH": _positive,
    "autocropTopHeadGap": _number,
    "skip": _one_of("clipart", "legacy", "none"),
    "removeGlares": _boolean,
    "removeBackground": _boolean,
    "bgColor": _colour,
    "preserveMetadata": _boolean,
    "updateThumbnail": _boolean,
    "includeDetectionData": _boolean,
}


def read(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """
    Read a query.

    Unknown names are ignored in silence, as a real service may do: a client must not rely on being told.

    :param pairs: names and values, decoded, in the order of the query.
    :return: what was given, by the reference's names, in Python's types.
    :raises Refused: 400, naming the parameter and what it must be.
    """
    settings: dict[str, Any] = {}
    for name, value in pairs:
        if name not in PARAMETERS:
            continue
        if name in settings:
            raise Refused(400, f"{name} is given more than once")
        settings[name] = _read_one(name, value)
    _refuse_contradictions(settings)
    return settings


def _read_one(name: str, value: str) -> Any:
    try:
        return PARAMETERS[name](value)
    except ValueError as error:
        raise Refused(400, f"{name} {error}, not {value[:100]!r}") from None


def _refuse_contradictions(settings: Mapping[str, Any]) -> None:
    if "fileKey" not in settings:
        raise Refused(400, "fileKey is required")
    strategies = [name for name in RESIZE_STRATEGIES if name in settings]
    if len(strategies) > 1:
        raise Refused(400, f"use only one of {', '.join(strategies)}")
    if settings.get("autocropDetectOnly") and not settings.get("autocrop"):
        raise Refused(400, "autocropDetectOnly requires autocrop=true")
