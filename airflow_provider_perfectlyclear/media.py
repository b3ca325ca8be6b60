"""Type of a file by its first bytes and, for the common types, its width and height. No input or output."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_perfectlyclear.errors import InvalidSource

#: Extensions that a catalog corrects by default, without the dot.
EXTENSIONS = (
    "jpg",
    "jpeg",
    "jpe",
    "jfif",
    "mpo",
    "hif",
    "png",
    "tif",
    "tiff",
    "webp",
    "heic",
    "heif",
    "bmp",
    "mp4",
    "mov",
)
#: Number of bytes from the start of a file that :func:`kind_of` needs.
HEAD = 64
#: Number of bytes that :func:`dimensions` needs. In a JPEG, metadata may precede the frame header.
LONG_HEAD = 1 << 20

_VIDEO_BRANDS = {
    *(
        b"isom",
        b"iso2",
        b"iso3",
        b"iso4",
        b"iso5",
        b"iso6",
        b"iso7",
        b"iso8",
        b"iso9",
        b"mp41",
        b"mp42",
        b"mp71",
    ),
    *(
        b"avc1",
        b"hvc1",
        b"hev1",
        b"av01",
        b"dash",
        b"M4V ",
        b"M4VH",
        b"M4VP",
        b"MSNV",
        b"NDSC",
        b"NDSH",
        b"NDSM",
    ),
    *(
        b"3gp4",
        b"3gp5",
        b"3gp6",
        b"3gp7",
        b"3g2a",
        b"3g2b",
        b"f4v ",
        b"XAVC",
        b"mmp4",
        b"cmfc",
        b"XVFH",
        b"GOPR",
    ),
}
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1", b"heim", b"heis", b"avif"}


@dataclass(frozen=True, slots=True)
class Kind:
    """
    Type of a file.

    :param name: Short name, such as ``jpg``.
    :param file_type: The service's ``fileType``: ``image`` or ``video``.
    :param extensions: Usual extensions without the dot, the preferred one first.
    :param content_type: Media type, such as ``image/jpeg``.
    """

    name: str
    file_type: str
    extensions: tuple[str, ...]
    content_type: str


JPEG = Kind("jpg", "image", ("jpg", "jpeg", "jpe", "jfif", "mpo"), "image/jpeg")
PNG = Kind("png", "image", ("png",), "image/png")
TIFF = Kind("tiff", "image", ("tif", "tiff"), "image/tiff")
WEBP = Kind("webp", "image", ("webp",), "image/webp")
HEIF = Kind("heic", "image", ("heic", "heif", "hif"), "image/heic")
BMP = Kind("bmp", "image", ("bmp",), "image/bmp")
VIDEO = Kind("mp4", "video", ("mp4",), "video/mp4")
MOV = Kind("mov", "video", ("mov",), "video/quicktime")


def refuse_other_type(wanted: str | None, kind: Kind) -> None:
    """
    Refuse a file whose type differs from the requested one.

    :param wanted: The requested ``fileType`` of the service. None: any.
    :param kind: Type of the file by its first bytes.
    :raises InvalidSource: The file has the other type.
    """
    if wanted is not None and wanted != kind.file_type:
        raise InvalidSource(
            f"file_type is {str(wanted)!r}, but the file's first bytes are those of type {kind.file_type!r}",
            code="WRONG_FILE_TYPE",
        )


def kind_of(head: bytes) -> Kind | None:
    """Return the type of a file that begins with ``head``. None: not a known picture or video."""
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
    """Read ISO base media: HEIF, MP4 and QuickTime begin with a box of four bytes length and four bytes name."""
    if head[4:8] == b"ftyp":
        if head[8:12] in _HEIF_BRANDS:
            return HEIF
        if head[8:12] == b"qt  ":
            return MOV
        return VIDEO if head[8:12] in _VIDEO_BRANDS else None  # such as M4A, CR3
    if head[4:8] == b"mdat":
        return MOV
    small = head[:1] == b"\0"  # otherwise it is a text that contains one of these words
    return MOV if small and head[4:8] in (b"moov", b"wide", b"free", b"skip", b"pnot") else None


def dimensions(kind: Kind, head: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels as stored, for JPEG, PNG, BMP and WebP. None: they cannot be read."""
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
