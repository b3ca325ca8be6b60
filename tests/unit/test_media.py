"""What first bytes say, on real files."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from PIL import Image

from airflow_provider_perfectlyclear.media import (
    BMP,
    EXTENSIONS,
    HEAD,
    HEIF,
    JPEG,
    LONG_HEAD,
    MOV,
    PNG,
    TIFF,
    VIDEO,
    WEBP,
    dimensions,
    kind_of,
)


def picture(form: str, size: tuple[int, int] = (67, 43), **options: Any) -> bytes:
    data = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(data, form, **options)
    return data.getvalue()


def box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def brand(name: bytes) -> bytes:
    return box(b"ftyp", name + b"\0\0\0\0" + b"mif1isom") + box(b"mdat", b"x" * 100)


REAL = {
    "jpeg": (picture("JPEG"), JPEG),
    "progressive": (picture("JPEG", progressive=True), JPEG),
    "png": (picture("PNG"), PNG),
    "tiff": (picture("TIFF"), TIFF),
    "big-endian-tiff": (b"MM\0*" + b"\0" * 60, TIFF),
    "bigtiff": (b"II+\0" + b"\0" * 60, TIFF),
    "webp-lossy": (picture("WEBP"), WEBP),
    "webp-lossless": (picture("WEBP", lossless=True), WEBP),
    "webp-extended": (picture("WEBP", exif=b"Exif\0\0" + b"x" * 20), WEBP),
    "bmp": (picture("BMP"), BMP),
    "heic": (brand(b"heic"), HEIF),
    "heif": (brand(b"mif1"), HEIF),
    "mp4": (brand(b"isom"), VIDEO),
    "mov": (brand(b"qt  "), MOV),
    "old-mov": (box(b"wide") + box(b"mdat", b"x" * 100), MOV),
    "mdat-first": (box(b"mdat", b"x" * 100), MOV),
}


@pytest.mark.parametrize("name", REAL)
def test_a_kind_is_told_by_the_first_bytes(name: str) -> None:
    data, kind = REAL[name]
    assert kind_of(data[:HEAD]) is kind


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"BM",
        b"BMW is a car, and this is a text about it. " * 3,
        b"GIF89a" + b"\0" * 60,
        b"the free lunch is no video at all",
        b"The wide screen",
        b"%PDF-1.7\n" + b"x" * 60,
        b"<!DOCTYPE html><html></html>",
        b'{"error": "expired"}',
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"\0" * 100,
        picture("GIF"),
    ],
)
def test_what_is_no_picture_or_video_is_told_too(data: bytes) -> None:
    assert kind_of(data[:HEAD]) is None


def test_every_kind_s_extensions_are_taken_by_default() -> None:
    kinds = (JPEG, PNG, TIFF, WEBP, HEIF, BMP, VIDEO, MOV)
    assert {extension for kind in kinds for extension in kind.extensions} == set(EXTENSIONS)


@pytest.mark.parametrize(
    "name", ["jpeg", "progressive", "png", "bmp", "webp-lossy", "webp-lossless", "webp-extended"]
)
def test_width_and_height_are_those_that_pillow_sees(name: str) -> None:
    data, kind = REAL[name]
    assert dimensions(kind, data[:LONG_HEAD]) == (67, 43)


@pytest.mark.parametrize("size", [(1, 1), (16384, 1), (1, 9000)])
def test_extreme_sizes_are_read(size: tuple[int, int]) -> None:
    for form, kind in (("JPEG", JPEG), ("PNG", PNG), ("BMP", BMP)):
        assert dimensions(kind, picture(form, size)) == size
    assert dimensions(WEBP, picture("WEBP", (size[0] // 2 + 1, size[1] // 2 + 1))) is not None


def test_a_jpeg_s_size_is_behind_much_metadata() -> None:
    exif = Image.Exif()
    exif[0x010E] = "d" * 60_000
    exif[0x0112] = 6
    data = picture("JPEG", exif=exif, icc_profile=b"p" * 200_000, comment=b"c" * 60_000)
    assert len(data) > 300_000
    assert dimensions(JPEG, data[:LONG_HEAD]) == (67, 43)
    assert dimensions(JPEG, data[:100_000]) is None  # the frame header is further on: unknown, not wrong


def test_a_thumbnail_inside_is_not_the_picture() -> None:
    thumbnail = picture("JPEG", (16, 12))
    data = picture("JPEG", exif=b"Exif\0\0" + thumbnail)
    assert dimensions(JPEG, data) == (67, 43)


@pytest.mark.parametrize("name", REAL)
def test_a_file_cut_anywhere_is_never_an_exception(name: str) -> None:
    data, kind = REAL[name]
    for length in range(min(len(data), 400)):
        kind_of(data[:length])
        dimensions(kind, data[:length])


def test_tiff_heif_and_video_have_no_size_here() -> None:
    for name in ("tiff", "heic", "mp4", "mov"):
        data, kind = REAL[name]
        assert dimensions(kind, data) is None
