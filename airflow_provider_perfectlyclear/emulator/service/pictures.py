"""
What a job makes of a picture.

A stand-in: a few simple operations that differ by preset, not EyeQ's correction. It runs in
threads of its own. A picture is looked at before it is decoded, so that a small file that claims to be a huge picture
costs nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image, ImageEnhance, ImageOps, UnidentifiedImageError

from airflow_provider_perfectlyclear.emulator.service import exif, kinds
from airflow_provider_perfectlyclear.emulator.service.blobs import Blob
from airflow_provider_perfectlyclear.emulator.service.effects import (
    autocrop_frame,
    detection_data,
    without_background,
)
from airflow_provider_perfectlyclear.emulator.service.jobs import Made
from airflow_provider_perfectlyclear.emulator.service.kinds import Kind

MOST_PIXELS = 100_000_000

# Colour, contrast and gamma by preset. What a custom preset does follows from its name.
_STRENGTHS = {
    "Universal": (1.10, 1.02, 0.95),
    "Beautify": (1.05, 0.98, 0.90),
    "Details": (1.05, 1.15, 1.00),
    "Vivid": (1.40, 1.08, 0.97),
}
_DECODABLE = (kinds.JPEG, kinds.PNG, kinds.GIF, kinds.TIFF, kinds.WEBP, kinds.BMP, kinds.AVIF)
_ASKED_TYPES = {"jpg": kinds.JPEG, "png": kinds.PNG, "webp": kinds.WEBP, "tiff": kinds.TIFF}
_NEEDS_PIXELS = ("width", "height", "long", "short", "scale", "autocrop", "removeBackground")


class Broken(Exception):
    """The picture cannot be corrected; the text is the job's ``statusText``."""


def correct(
    source: Path,
    blob: Blob,
    target: Path,
    settings: Mapping[str, Any],
    make: Mapping[str, Any] = MappingProxyType({}),
) -> Made | None:
    """
    Correct a picture.

    :param source: the uploaded file.
    :param blob: what is known of it.
    :param target: where the result goes.
    :param settings: of the job, by the reference's names.
    :param make: what a fault makes of it: ``enlarge``, ``scale``, ``type``.
    :return: None if the uploaded bytes are to be given back as they are.
    :raises Broken: it cannot be decoded, or the result would be too large.
    """
    assert blob.kind is not None
    if blob.kind not in _DECODABLE:
        _refuse_what_needs_decoding(blob.kind, settings)
        return None
    try:
        with Image.open(source, formats=[blob.kind.name]) as opened:
            _refuse_too_large(*opened.size)
            opened.load()
            return _Work(opened, blob, settings, make).save(target)
    except Image.DecompressionBombError:
        raise Broken("The picture has too many pixels.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        raise Broken(f"The picture cannot be decoded: {error}".replace(str(source), "file")) from error


def _refuse_what_needs_decoding(kind: Kind, settings: Mapping[str, Any]) -> None:
    asked = [name for name in _NEEDS_PIXELS if settings.get(name)]
    if settings.get("outputType", "original") != "original" or asked:
        raise Broken(f"The emulator cannot decode {kind.name}.")


def _refuse_too_large(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise Broken(f"{width} x {height} pixels are more than the {MOST_PIXELS} that the emulator takes.")


class _Work:
    """
    A decoded picture on its way through the steps.

    :param opened: as Pillow decoded it.
    :param blob: the uploaded bytes.
    :param settings: of the job.
    :param make: what a fault makes of it.
    """

    def __init__(
        self, opened: Image.Image, blob: Blob, settings: Mapping[str, Any], make: Mapping[str, Any]
    ) -> None:
        self.settings, self.make = settings, make
        self.exif: bytes = opened.info.get("exif") or b""
        # A profile of another colour space would be wrong after the conversion to RGB.
        same_space = opened.mode in ("RGB", "RGBA")
        self.profile: bytes | None = opened.info.get("icc_profile") if same_space else None
        self.kind = self._kind(blob.kind or kinds.JPEG)
        self.facts: dict[str, Any] = {"originalDimensions": {"width": opened.width, "height": opened.height}}
        self.usage: dict[str, Any] = {}
        self.seed = blob.md5
        self.image = self._upright(_plain(opened))

    def _kind(self, source: Kind) -> Kind:
        """Return the kind of file that comes out."""
        asked = self.make.get("type") or self.settings.get("outputType")
        if asked is None and self.settings.get("removeBackground"):
            return kinds.PNG
        if asked in _ASKED_TYPES:
            return _ASKED_TYPES[asked]
        return kinds.PNG if source in (kinds.GIF, kinds.AVIF) else source

    def _upright(self, image: Image.Image) -> Image.Image:
        """
        Turn the pixels if the metadata that says how to show them is about to be dropped.

        Kept metadata is kept as it is, so the pixels stay as they are too.
        """
        if self.settings.get("preserveMetadata", True):
            return image
        return ImageOps.exif_transpose(image)

    def save(self, target: Path) -> Made:
        """Do everything that was asked for, and write the result."""
        self._enhance()
        self._autocrop()
        self._resize()
        self._remove_background()
        self._shrink()
        self._count_glares()
        self._detect()
        size, md5 = self._write(target)
        return Made(target, self.kind, size, md5, time.monotonic(), self.facts, self.usage)

    def _enhance(self) -> None:
        preset = self.settings.get("preset", "Universal")
        if preset == "none":
            return
        alpha = self.image.getchannel("A") if self.image.mode == "RGBA" else None
        colour, contrast, gamma = _STRENGTHS.get(preset) or _strengths_of(preset)
        image = ImageOps.autocontrast(self.image.convert("RGB"), cutoff=0.5)
        image = ImageEnhance.Color(image).enhance(colour)
        image = ImageEnhance.Contrast(image).enhance(contrast)
        table = [round(255 * (value / 255) ** gamma) for value in range(256)]
        self.image = image.point(table * 3)
        if alpha is not None:
            self.image.putalpha(alpha)

    def _autocrop(self) -> None:
        if not self.settings.get("autocrop"):
            return
        frame = autocrop_frame(self.image.size, self.settings)
        self.usage["autoCropCount"] = 1
        self.facts["autocrop"] = frame
        if not self.settings.get("autocropDetectOnly"):
            left, top = frame["left"], frame["top"]
            self.image = self.image.crop((left, top, left + frame["width"], top + frame["height"]))

    def _resize(self) -> None:
        size = target_size(self.image.size, self.settings)
        larger = size is not None and size[0] * size[1] > self.image.width * self.image.height
        if size is None or (larger and not self.make.get("enlarge", True)):
            return
        _refuse_too_large(*size)
        counter = "imageResizeCount" if larger else "classicResizeCount"
        self.usage[counter] = 1
        details = self.settings.get("resize") == "smallDetails"
        self.image = self.image.resize(
            size, Image.Resampling.LANCZOS if details else Image.Resampling.BICUBIC
        )

    def _shrink(self) -> None:
        if "scale" in self.make:
            size = target_size(self.image.size, {"scale": self.make["scale"]})
            self.image = self.image.resize(size or self.image.size)

    def _remove_background(self) -> None:
        if self.settings.get("removeBackground"):
            self.usage["removeBackgroundCount"] = 1
            self.image = without_background(self.image, self.settings.get("bgColor", "transparent"))

    def _count_glares(self) -> None:
        """There is nothing to see of it: a stand-in finds no glasses."""
        if self.settings.get("removeGlares"):
            self.usage |= {"glaresDetectorCount": 1, "removeGlaresCount": 1, "removeGlaresTotalCount": 1}

    def _detect(self) -> None:
        if self.settings.get("includeDetectionData"):
            self.facts["detectionData"] = detection_data(self.image.size, self.seed)

    def _write(self, target: Path) -> tuple[int, bytes]:
        options: dict[str, Any] = {"icc_profile": self.profile}
        image = self.image
        if self.kind in (kinds.JPEG, kinds.BMP):
            image = _on_white(image)
        if self.kind is kinds.JPEG:
            options["quality"] = self.settings.get("outputQuality", 90)
        metadata = self._metadata(image)
        if metadata:
            options["exif"] = metadata
        image.save(target, self.kind.name, **options)
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        return target.stat().st_size, digest.digest()

    def _metadata(self, image: Image.Image) -> bytes:
        kept = self.exif if self.settings.get("preserveMetadata", True) else b""
        if self.kind is kinds.JPEG and self.settings.get("updateThumbnail"):
            return exif.with_thumbnail(kept, image)
        return kept


def _plain(opened: Image.Image) -> Image.Image:
    """Eight bits a channel, with or without transparency."""
    if opened.mode.startswith("I;16"):
        opened = opened.convert("I").point(lambda value: value / 256).convert("L")
    with_alpha = "A" in opened.getbands() or "transparency" in opened.info
    plain = opened.convert("RGBA" if with_alpha else "RGB")
    plain.info = {"exif": opened.info["exif"]} if opened.info.get("exif") else {}
    return plain


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image).convert("RGB")


def _strengths_of(name: str) -> tuple[float, float, float]:
    """Colour, contrast and gamma between 0.8 and 1.2, so that two custom presets differ."""
    first, second, third = hashlib.sha256(name.encode()).digest()[:3]
    return 0.8 + first / 640, 0.8 + second / 640, 0.8 + third / 640


def target_size(size: tuple[int, int], settings: Mapping[str, Any]) -> tuple[int, int] | None:
    """
    How large a picture becomes.

    :param size: width and height that it has.
    :param settings: at most one of ``width``, ``height``, ``long``, ``short`` and ``scale``.
    :return: None if nothing was asked for, or nothing changes.
    """
    width, height = size
    edges = {"width": width, "height": height, "long": max(size), "short": min(size), "scale": 100}
    asked = next((name for name in edges if name in settings), None)
    if asked is None:
        return None
    factor = settings[asked] / edges[asked]
    wanted = max(round(width * factor), 1), max(round(height * factor), 1)
    return None if wanted == size else wanted
