"""The counters of a completed job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_perfectlyclear.emulator.service.jobs import Made

COUNTERS = (
    "imageCorrectionCount",
    "imageResizeCount",
    "classicResizeCount",
    "glaresDetectorCount",
    "videoCorrectionCount",
    "removeBackgroundCount",
    "removeGlaresCount",
    "autoCropCount",
    "removeGlaresTotalCount",
)
# Megapixels up to which a picture is of that size.
_SIZES = ((2.0, "SMALL"), (12.0, "MEDIUM"))


def usage_of(settings: Mapping[str, Any], media: str, made: Made | None) -> dict[str, Any]:
    """
    Count what was done.

    :param settings: of the job.
    :param media: ``image`` or ``video``.
    :param made: what it made; None if the uploaded bytes are the result.
    """
    usage: dict[str, Any] = {"size": size_of(made), **dict.fromkeys(COUNTERS, 0)}
    if media == "video":
        return usage | {"videoCorrectionCount": 1}
    corrected = settings.get("preset") != "none"
    return usage | {"imageCorrectionCount": int(corrected)} | (made.usage if made else {})


def size_of(made: Made | None) -> str:
    """Return the class of size by which the service bills."""
    dimensions = made.facts.get("originalDimensions", {}) if made else {}
    megapixels = dimensions.get("width", 0) * dimensions.get("height", 0) / 1e6
    return next((name for most, name in _SIZES if megapixels <= most), "LARGE")
