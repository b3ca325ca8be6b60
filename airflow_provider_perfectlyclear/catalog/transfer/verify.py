"""A corrected file, held to what was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from airflow_provider_perfectlyclear.api.client import Downloaded
from airflow_provider_perfectlyclear.api.models import Correction, JobStatus
from airflow_provider_perfectlyclear.catalog.transfer.spool import reading
from airflow_provider_perfectlyclear.catalog.types import Verify
from airflow_provider_perfectlyclear.errors import CorruptOutput
from airflow_provider_perfectlyclear.media import EXTENSIONS, HEAD, LONG_HEAD, Kind, dimensions, kind_of
from airflow_provider_perfectlyclear.media_walk import Whole


@dataclass(frozen=True)
class Wanted:
    """
    What a result is held to.

    :param correction: what was explicitly asked for.
    :param source_sha256: of what was sent; an identical result is warned about.
    :param verify: ``"strict"``: a result of another type or size than asked for fails; ``"fail"``: one of another type;
        ``"warn"``: none.
    """

    correction: Correction
    source_sha256: str
    verify: Verify = "fail"


def missing_part(whole: Whole, path: Path) -> str | None:
    """
    Return what a file evidently lacks, None if nothing.

    :param whole: a walk that was fed all of its bytes.
    :param path: the file.
    """
    try:
        with open(path, "rb") as file:
            return whole.missing(file)
    except OSError:  # it is read again, and that says so
        return None


def check(
    path: Path, got: Downloaded, wanted: Wanted, status: JobStatus, missing: str | None = None
) -> tuple[Kind, list[str]]:
    """
    Hold a fetched file to what was asked for.

    :param missing: what a walk through it has found to be missing.
    :returns: what it is, and what was odd about it.
    :raises CorruptOutput: it is no picture or video, not whole, or (as ``verify`` has it) not as asked for.
    """
    with reading(path) as file:
        head = file.read(LONG_HEAD)
    kind = kind_of(head[:HEAD])
    if kind is None:
        raise CorruptOutput("the corrected file's first bytes are those of no picture or video")
    if missing:
        raise CorruptOutput(f"the corrected file is cut short: {missing}")
    other_type = _other_type(kind, wanted.correction)
    other_size = _other_size(dimensions(kind, head), wanted.correction, status)
    if other_type and wanted.verify != "warn":
        raise CorruptOutput(other_type)
    if other_size and wanted.verify == "strict":
        raise CorruptOutput(other_size)
    identical = (
        "the corrected file is identical to the source" if got.sha256 == wanted.source_sha256 else None
    )
    return kind, [warning for warning in (other_type, other_size, identical) if warning]


def misnamed(output: str, kind: Kind) -> list[str]:
    """Return a warning if an output's name says another type than it has."""
    extension = output.rpartition(".")[2].lower()
    if extension not in EXTENSIONS or extension in kind.extensions:
        return []
    return [f"the corrected file is a {kind.name}, whatever its name says"]


def _other_type(kind: Kind, correction: Correction) -> str | None:
    """Return the type, if it is another than explicitly asked for."""
    expected = correction.output_type
    if expected is None and correction.remove_background:
        expected = "png"
    if kind.file_type == "image" and expected in ("jpg", "png") and kind.name != expected:
        return f"{expected} was asked for, {kind.name} came"
    return None


def _other_size(size: tuple[int, int] | None, correction: Correction, status: JobStatus) -> str | None:
    """Return the size, if it is another than explicitly asked for."""
    if size is None or correction.autocrop:  # a crop decides about the size itself
        return None
    return _size_differs(size, correction, status)


def _size_differs(size: tuple[int, int], correction: Correction, status: JobStatus) -> str | None:
    # A turned picture (EXIF orientation) may have its sides stored the other way round: either may match.
    asked: dict[str, tuple[int | None, tuple[int, ...]]] = {
        "width": (correction.width, size),
        "height": (correction.height, size),
        "long": (correction.long, (max(size),)),
        "short": (correction.short, (min(size),)),
    }
    original = status.original_dimensions
    if correction.scale and original is not None and original.width:
        asked["scaled width"] = (round(original.width * correction.scale / 100), size)
    for name, (value, sides) in asked.items():
        if value is not None and all(abs(side - value) > 2 for side in sides):
            return f"{name} {value} was asked for, {size[0]} x {size[1]} came"
    return None
