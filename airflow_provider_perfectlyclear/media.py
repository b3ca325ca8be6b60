"""What a file's first bytes say: its kind, and for the common kinds its width and height. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_perfectlyclear.errors import InvalidSource

#: Extensions that a catalog takes by default, without the dot.
EXTENSIONS = ("jpg", "jpeg", "png", "tif", "tiff", "webp", "heic", "heif", "bmp", "mp4", "mov")
#: How many bytes of a file :func:`kind_of` wants to see.
HEAD = 64
#: How many bytes of a file :func:`dimensions` wants to see: metadata may stand before a JPEG's frame header.
LONG_HEAD = 1 << 20

_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1", b"heim", b"heis", b"avif"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file: the service's ``fileType``, the usual extensions and the media type."""

    name: str
    file_type: str
    extensions: tuple[str, ...]
    content_type: str


JPEG = Kind("jpg", "image", ("jpg", "jpeg"), "image/jpeg")
PNG = Kind("png", "image", ("png",), "image/png")
TIFF = Kind("tiff", "image", ("tif", "tiff"), "image/tiff")
WEBP = Kind("webp", "image", ("webp",), "image/webp")
HEIF = Kind("heic", "image", ("heic", "heif"), "image/heic")
BMP = Kind("bmp", "image", ("bmp",), "image/bmp")
VIDEO = Kind("mp4", "video", ("mp4",), "video/mp4")
MOV = Kind("mov", "video", ("mov",), "video/quicktime")


def refuse_other_type(wanted: str | None, kind: Kind) -> None:
    """
    :param wanted: the service's ``fileType`` that was asked for, if any was.
    :raises InvalidSource: the file is of the other type.
    """
    if wanted is not None and wanted != kind.file_type:
        raise InvalidSource(
            f"file_type={str(wanted)!r} was asked for, but the file is of type {kind.file_type!r}",
            code="WRONG_FILE_TYPE",
        )


def kind_of(head: bytes) -> Kind | None:
    """The kind of file that begins with ``head``, or None when it is no picture or video that we know."""
    if head[:3] == b"\xff\xd8\xff":
        return JPEG
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return PNG
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return TIFF
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[:2] == b"BM" and len(head) >= 26 and head[6:10] == b"\0\0\0\0":
        return BMP
    return _boxed(head)


def _boxed(head: bytes) -> Kind | None:
    """ISO base media: HEIF, MP4 and QuickTime begin with a box of four bytes length and four bytes name."""
    if head[4:8] == b"ftyp":
        if head[8:12] in _HEIF_BRANDS:
            return HEIF
        return MOV if head[8:12] == b"qt  " else VIDEO
    if head[4:8] == b"mdat":
        return MOV
    small = head[:1] == b"\0"  # else it is a text with one of these words
    return MOV if small and head[4:8] in (b"moov", b"wide", b"free", b"skip", b"pnot") else None


def has_end(kind: Kind, tail: bytes) -> bool | None:
    """Whether the last bytes of a file hold its kind's end marker; None when the kind has none."""
    marker = {"jpg": b"\xff\xd9", "png": b"IEND\xaeB`\x82"}.get(kind.name)
    return None if marker is None else marker in tail


def dimensions(kind: Kind, head: bytes) -> tuple[int, int] | None:
    """Width and height in pixels as stored, for JPEG, PNG, BMP and WebP; None when they cannot be told."""
    reader: Callable[[bytes], tuple[int, int] | None] | None = {
        "jpg": _jpeg_size,
        "png": lambda data: struct.unpack(">II", data[16:24]),
        "bmp": lambda data: (
            abs(struct.unpack("<i", data[18:22])[0]),
            abs(struct.unpack("<i", data[22:26])[0]),
        ),
        "webp": _webp_size,
    }.get(kind.name)
    try:
        return reader(head) if reader else None
    except (struct.error, IndexError):
        return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        else:
            at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF
