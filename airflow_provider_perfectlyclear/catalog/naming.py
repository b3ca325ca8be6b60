"""How outputs are named, and when two names are one. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.errors import ConfigurationError
from airflow_provider_perfectlyclear.limits import TEMPLATE_FIELDS, template_problem

_FIELD = re.compile("|".join(map(re.escape, TEMPLATE_FIELDS)))


def output_name(
    source: str, correction: Correction, *, rendition: str = "", template: str | None = None
) -> str:
    """
    Return the name of an output: the source's own, with the extension of what will come back.

    :param template: ``{path}``, ``{dir}``, ``{stem}``, ``{ext}`` and ``{rendition}`` are replaced.
    :raises ConfigurationError: the template has an unknown field.
    """
    folder, _, last = source.rpartition("/")
    stem, dot, extension = last.rpartition(".")
    if not dot:
        stem, extension = last, ""
    extension = output_extension(extension, correction)
    path = f"{folder}/" * bool(folder) + stem + f".{extension}" * bool(extension)
    if template is None:
        return f"{rendition}/{path}" if rendition else path
    values = dict(zip(TEMPLATE_FIELDS, (path, folder, stem, extension, rendition), strict=True))
    name = _FIELD.sub(lambda field: values[field[0]], template)
    return name.replace("//", "/").lstrip("/") if not folder else name


def check_template(template: str | None, renditions: bool) -> None:
    """
    Refuse a template that names no output, or not one of its own for each.

    :raises ConfigurationError: a field is unknown, outputs of one picture would share a name, or it leads out of the
        destination.
    """
    if said := template_problem(template, renditions=renditions):
        raise ConfigurationError(said)


def output_extension(extension: str, correction: Correction) -> str:
    """Return the extension of what comes back for a file with ``extension`` (without the dot)."""
    kind = extension.lower()
    if kind in ("mp4", "mov"):
        return extension
    wanted = correction.output_type
    if wanted is None and correction.remove_background:
        wanted = "png"
    if wanted in (None, "original"):
        return extension
    same = kind == wanted or (wanted == "jpg" and kind == "jpeg")
    return extension if same else str(wanted)


def slug(text: str) -> str:
    """Return a run key as part of a file name that every store takes."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "_", text).strip("._")[:120]


def refusal_key(source: str, rendition: str = "") -> str:
    """
    Return the ledger's name for a source that was refused for its name.

    No output begins with ``/``, so what the ledger knows about outputs stays.
    """
    return f"/{rendition}/{source}" if rendition else f"/{source}"


def size_of(name: str, sizes: Mapping[str, int]) -> int | None:
    """
    Return the size of an output, whichever normal form the destination has given its name; None when it is not there.

    :param sizes: names as listed -> sizes in bytes, with :func:`add_composed`.
    """
    size = sizes.get(name)
    return sizes.get(unicodedata.normalize("NFC", name)) if size is None and not name.isascii() else size


def add_composed(sizes: dict[str, int]) -> None:
    """Let listed names be found in their composed form (NFC), too, where nothing else has that name."""
    for name in [name for name in sizes if not unicodedata.is_normalized("NFC", name)]:
        sizes.setdefault(unicodedata.normalize("NFC", name), sizes[name])


def folded(name: str) -> str:
    """As a file system without case, or with another normal form, sees it; the same object if it can be."""
    same = unicodedata.normalize("NFC", name).casefold()
    return name if same == name else same
