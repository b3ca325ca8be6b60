"""What a file is, by its first bytes."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 16


@dataclass(frozen=True)
class Kind:
    """
    A kind of file that the service takes.

    :param name: Pillow's name of the format, or the container of a video.
    :param media: ``image`` or ``video``, as in ``fileType``.
    :param content_type: what storage serves it as.
    :param extension: of the corrected file's name, with the dot.
    """

    name: str
    media: str
    content_type: str
    extension: str


JPEG = Kind("JPEG", "image", "image/jpeg", ".jpg")
PNG = Kind("PNG", "image", "image/png", ".png")
GIF = Kind("GIF", "image", "image/gif", ".gif")
TIFF = Kind("TIFF", "image", "image/tiff", ".tif")
WEBP = Kind("WEBP", "image", "image/webp", ".webp")
BMP = Kind("BMP", "image", "image/bmp", ".bmp")
HEIC = Kind("HEIC", "image", "image/heic", ".heic")
AVIF = Kind("AVIF", "image", "image/avif", ".avif")
MP4 = Kind("MP4", "video", "video/mp4", ".mp4")
MOV = Kind("MOV", "video", "video/quicktime", ".mov")

_STARTS = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"BM", BMP),
)
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_MOV_ATOMS = {b"moov", b"mdat", b"wide", b"free", b"skip"}


def kind_of(head: bytes) -> Kind | None:
    """
    Recognise a file.

    :param head: its first :data:`HEAD_BYTES` bytes, or fewer if there are no more.
    :return: None if it is neither a picture nor a video.
    """
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[4:8] == b"ftyp":
        return _kind_of_brand(head[8:12])
    return MOV if head[4:8] in _MOV_ATOMS else None


def _kind_of_brand(brand: bytes) -> Kind:
    if brand in _HEIC_BRANDS:
        return HEIC
    if brand in _AVIF_BRANDS:
        return AVIF
    return MOV if brand == b"qt  " else MP4
