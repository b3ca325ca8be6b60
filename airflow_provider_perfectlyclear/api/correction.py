"""Correction: all parameters of ``GET /pfc`` except the file key, checked before any paid call."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from airflow_provider_perfectlyclear.errors import InvalidCorrection

__all__ = ["Correction", "FileType"]


class FileType(StrEnum):
    """The service's ``fileType``."""

    IMAGE = "image"
    VIDEO = "video"


def _whole(low: int, high: int | None = None) -> BeforeValidator:
    """Return a validator for a whole number, given as a number or as digits. Refuses True and False."""
    words = f"a whole number from {low} to {high}" if high else f"a whole number of at least {low}"

    def check(value: Any) -> int | None:
        if value is None:
            return None
        number = _number(value)
        if number is None or number != math.floor(number) or number < low or (high and number > high):
            raise ValueError(f"must be {words}, not {_shown(value)}")
        return int(number)

    return BeforeValidator(check)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?[0-9]{1,9}(\.[0-9]{1,9})?\s*", value, re.ASCII):
        return None
    if isinstance(value, int) and abs(value) > 10**9:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _switch(value: Any) -> bool | None:
    """Read true or false, also as text, as templates render them."""
    if value is None or isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else None
    if word not in ("true", "false"):
        raise ValueError(f"must be true or false, not {_shown(value)}")
    return word == "true"


def _text(value: Any) -> str | None:
    """Read a text. Numbers become text."""
    if value is None:
        return None
    if isinstance(value, float) and not isinstance(value, bool) and math.isfinite(value):
        value = int(value) if value == math.floor(value) else repr(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"must be a text or a number, not {_shown(value)}")
    text = str(value).strip()
    if not text or len(text) > 200 or not text.isprintable():
        raise ValueError(f"must be one line of 1 to 200 characters, not {_shown(value)}")
    return text


def _one_of(*words: str) -> BeforeValidator:
    def check(value: Any) -> str | None:
        if value is None:
            return None
        word = value.strip() if isinstance(value, str) else value
        if word not in words:
            raise ValueError(f"must be one of {', '.join(words)}, not {_shown(value)}{_meant(word, words)}")
        return str(word)

    return BeforeValidator(check)


_COLOUR = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})|[A-Za-z]{3,30}")


def _colour(value: Any) -> str | None:
    if value is None:
        return None
    text = value.strip() if isinstance(value, str) else ""
    if not _COLOUR.fullmatch(text):
        raise ValueError(f"must be # with 3, 4, 6 or 8 hex digits, or a colour's name, not {_shown(value)}")
    return text


def _shown(value: Any) -> str:
    shown = repr(value) if isinstance(value, str | int | float | bool) else f"a {type(value).__name__}"
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _meant(word: Any, words: Collection[str]) -> str:
    close = difflib.get_close_matches(str(word).lower(), words, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


Switch = Annotated[bool | None, BeforeValidator(_switch)]
Text = Annotated[str | None, BeforeValidator(_text)]
Pixels = Annotated[int | None, _whole(32, 10_000)]

_SIZES = ("width", "height", "long", "short", "scale")
_NEEDS = {"autocrop_detect_only": "autocrop", "bg_color": "remove_background"}
_NOT_IN_DIGEST = frozenset({"cache", "include_detection_data", "file_type"})

# Names in other clients and similar services that are too different to be found by similarity.
_KNOWN_MISTAKES = {
    "removebg": "remove_background",
    "rembg": "remove_background",
    "transparent": "remove_background",
    "background": "bg_color",
    "backgroundcolor": "bg_color",
    "background_color": "bg_color",
    "removeglare": "remove_glares",
    "remove_glare": "remove_glares",
    "glares": "remove_glares",
    "quality": "output_quality",
    "jpegquality": "output_quality",
    "format": "output_type",
    "outputformat": "output_type",
    "output_format": "output_type",
    "crop_ar_w": "crop_arw",
    "crop_ar_h": "crop_arh",
    "upscale": "scale",
    "exif": "preserve_metadata",
    "longedge": "long",
    "shortedge": "short",
}
_NOT_FOR_HERE = {
    "file_key": "the file key is given beside the correction, not in it",
    "filekey": "the file key is given beside the correction, not in it",
    "noredirect": "it belongs to /status, not to a correction",
}


class Correction(BaseModel):
    """
    Parameters of ``GET /pfc`` for one picture or video, in snake case or as the service spells them.

    The default of every parameter is None: it is not sent, and the service decides. Numbers and booleans may be texts.

    :param file_type: ``fileType``: ``image`` or ``video``. The operators and the hook detect it.
    :param preset: ``preset``: a preset's name, or ``none`` for no correction (resizing and output only).
    :param cache: ``cache``: whether the service may return an existing output (its default: true).
    :param output_type: ``outputType``: ``jpg``, ``png`` or ``original``.
    :param resize: ``resize``: how to enlarge: ``auto``, ``general`` or ``smallDetails``.
    :param width: ``width`` in pixels, 32 to 10000. At most one of width, height, long, short and scale.
    :param height: ``height`` in pixels, 32 to 10000.
    :param long: ``long``: the long edge in pixels, 32 to 10000.
    :param short: ``short``: the short edge in pixels, 32 to 10000.
    :param scale: ``scale`` in percent: 200 doubles width and height.
    :param output_quality: ``outputQuality`` of a JPEG, 40 to 100.
    :param autocrop: ``autocrop``: crop around heads.
    :param autocrop_detect_only: ``autocropDetectOnly``: report the crop without applying it; needs ``autocrop``.
    :param autocrop_size: ``autocropSize``: head size factor.
    :param autocrop_x: ``autocropX``: relative horizontal head offset.
    :param autocrop_y: ``autocropY``: relative vertical head offset.
    :param crop_arw: ``cropARW``: width part of the crop's aspect ratio.
    :param crop_arh: ``cropARH``: height part of the crop's aspect ratio.
    :param autocrop_top_head_gap: ``autocropTopHeadGap``: gap above the head; zero or less disables it.
    :param skip: ``skip``: which files that are not photographs to skip: ``clipart``, ``legacy`` or ``none``.
    :param remove_glares: ``removeGlares``: remove glares from glasses.
    :param remove_background: ``removeBackground``: remove the background. The output is a PNG unless ``output_type`` is
        set.
    :param bg_color: ``bgColor``: background colour, ``#hex`` or a name; needs ``remove_background``.
    :param preserve_metadata: ``preserveMetadata``: keep the EXIF data (the service's default: true).
    :param update_thumbnail: ``updateThumbnail``: create the embedded thumbnail again.
    :param include_detection_data: ``includeDetectionData``: add faces, scene and so on to the job's status.
    :raises InvalidCorrection: A name or value is wrong, or fields exclude each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    file_type: Annotated[FileType | None, _one_of("image", "video")] = Field(None, alias="fileType")
    preset: Text = None
    cache: Switch = None
    output_type: Annotated[Literal["jpg", "png", "original"] | None, _one_of("jpg", "png", "original")] = (
        Field(None, alias="outputType")
    )
    resize: Annotated[
        Literal["auto", "general", "smallDetails"] | None, _one_of("auto", "general", "smallDetails")
    ] = None
    width: Pixels = None
    height: Pixels = None
    long: Pixels = None
    short: Pixels = None
    scale: Annotated[int | None, _whole(1)] = None
    output_quality: Annotated[int | None, _whole(40, 100)] = Field(None, alias="outputQuality")
    autocrop: Switch = None
    autocrop_detect_only: Switch = Field(None, alias="autocropDetectOnly")
    autocrop_size: Text = Field(None, alias="autocropSize")
    autocrop_x: Text = Field(None, alias="autocropX")
    autocrop_y: Text = Field(None, alias="autocropY")
    crop_arw: Text = Field(None, alias="cropARW")
    crop_arh: Text = Field(None, alias="cropARH")
    autocrop_top_head_gap: Text = Field(None, alias="autocropTopHeadGap")
    skip: Annotated[Literal["clipart", "legacy", "none"] | None, _one_of("clipart", "legacy", "none")] = None
    remove_glares: Switch = Field(None, alias="removeGlares")
    remove_background: Switch = Field(None, alias="removeBackground")
    bg_color: Annotated[str | None, BeforeValidator(_colour)] = Field(None, alias="bgColor")
    preserve_metadata: Switch = Field(None, alias="preserveMetadata")
    update_thumbnail: Switch = Field(None, alias="updateThumbnail")
    include_detection_data: Switch = Field(None, alias="includeDetectionData")

    if not TYPE_CHECKING:  # type checkers and editors know the fields better without it

        def __init__(self, /, **given: Any) -> None:
            """Check all fields, and raise InvalidCorrection for wrong ones."""
            try:
                super().__init__(**given)
            except ValidationError as error:
                problems = [_sentence(one) for one in error.errors(include_url=False)]
            else:
                return
            raise InvalidCorrection(" ".join(problems))

    @model_validator(mode="before")
    @classmethod
    def _know_every_name(cls, data: Any) -> Any:
        return _by_python_name(data) if isinstance(data, Mapping) else data

    @model_validator(mode="after")
    def _fit_together(self) -> Correction:
        if problems := _conflicts(self.model_dump(exclude_none=True)):
            raise ValueError(" ".join(problems))
        return self

    @classmethod
    def parse(
        cls, value: Mapping[str, Any] | Correction | str | None, *, templates: bool = False
    ) -> Correction:
        """
        Read a correction from a Dag.

        :param value: A mapping, a JSON object as text (for Dag params), a Correction, or None for no parameters.
        :param templates: Whether values may be templates, as while the Dag is parsed. Names are always checked. Values
            with a Jinja marker are not, nor are rules between fields that involve one. Default False.
        :raises InvalidCorrection: A name or value is wrong. The message has the field, its value and what it must be.
        """
        if isinstance(value, Correction):
            return value
        if templates and _is_template(value):
            return cls()
        given = _by_python_name(_mapping(value))
        late = {name for name, one in given.items() if templates and _is_template(one)}
        return _checked({name: one for name, one in given.items() if name not in late}, late)

    def query(self) -> dict[str, str]:
        """Return the given fields as query parameters of ``GET /pfc``, in the service's spelling."""
        given = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {name: _spelled(value) for name, value in given.items()}

    def canonical(self) -> dict[str, Any]:
        """
        Return what was given in one stable form, for a digest: equal settings give equal results.

        Without ``cache``, ``include_detection_data`` and ``file_type``, which do not change the output. A new version
        of this package must not change it, or every catalog would be paid again.
        """
        given = self.model_dump(mode="json", exclude_none=True)
        return {name: given[name] for name in sorted(given) if name not in _NOT_IN_DIGEST}


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        value = _from_json(value)
    if not isinstance(value, Mapping):
        raise InvalidCorrection(f"A correction is a mapping or a JSON object, not {_shown(value)}.")
    return value


def _from_json(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if isinstance(value, str):
        raise InvalidCorrection(
            f"The correction {_shown(text)} is not a JSON object; a template must end in '| tojson'."
        )
    return {} if value is None else value


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and any(marker in value for marker in ("{{", "{%", "{#"))


def _by_python_name(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Bring names to snake case; refuse what is unknown or given in both spellings."""
    known = _names()
    found: dict[str, Any] = {}
    for name, value in data.items():
        if name not in known:
            raise InvalidCorrection(f"Correction field {_shown(name)} is unknown{_hint(str(name))}")
        if known[name] in found:
            raise InvalidCorrection(f"Correction field {known[name]!r} is given twice, in both spellings.")
        found[known[name]] = value
    return found


def _names() -> dict[str, str]:
    """Both spellings of every field, to Python's."""
    fields = Correction.model_fields
    return {**{name: name for name in fields}, **{f.alias: name for name, f in fields.items() if f.alias}}


def _hint(name: str) -> str:
    plain = name.strip().lower().replace("-", "_")
    if plain.replace("_", "") in _NOT_FOR_HERE:
        return f": {_NOT_FOR_HERE[plain.replace('_', '')]}."
    fields = list(Correction.model_fields)
    meant = _KNOWN_MISTAKES.get(plain) or _KNOWN_MISTAKES.get(plain.replace("_", ""))
    if meant is None:
        close = difflib.get_close_matches(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower(), fields, n=1)
        meant = close[0] if close else None
    return f"; did you mean {meant!r}?" if meant else f". Known are: {', '.join(fields)}."


def _checked(given: dict[str, Any], late: Collection[str]) -> Correction:
    """Validate; a rule that needs a field whose template is not yet rendered is taken as kept."""
    stand_in = {need: True for need in _NEEDS.values() if need in late}
    return Correction(**given, **stand_in).model_copy(update=dict.fromkeys(stand_in))


def _sentence(problem: Any) -> str:
    text = str(problem.get("ctx", {}).get("error", problem["msg"]))
    field = _names().get(problem["loc"][0]) if problem["loc"] else None
    return f"Correction field {field!r} {text}." if field else text


def _conflicts(given: Mapping[str, Any]) -> list[str]:
    sizes = [name for name in _SIZES if name in given]
    found = (
        [f"Correction fields {' and '.join(sizes)} exclude each other: give one."] if len(sizes) > 1 else []
    )
    for name, need in _NEEDS.items():
        if given.get(name) not in (None, False) and not given.get(need):
            found.append(f"Correction field {name!r} needs {need}=True.")
    return found
