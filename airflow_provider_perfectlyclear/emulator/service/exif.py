"""EXIF with a thumbnail of its own. Pillow keeps EXIF, but writes no thumbnail into it."""

from __future__ import annotations

import io
import struct

from PIL import Image

THUMBNAIL_EDGE = 160
_PREFIX = b"Exif\x00\x00"
_EMPTY = b"II*\x00\x08\x00\x00\x00" + b"\x00\x00" + b"\x00\x00\x00\x00"
_MOST_BYTES = 65_000


def with_thumbnail(kept: bytes, image: Image.Image) -> bytes:
    """
    Give EXIF a new thumbnail in place of the one it has, if any.

    :param kept: the EXIF so far, with or without its prefix; may be empty.
    :param image: to show.
    :return: the EXIF so far if it leaves no room or cannot be read.
    """
    tiff = kept.removeprefix(_PREFIX) or _EMPTY
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    thumbnail = _thumbnail(image)
    if order is None or len(tiff) + len(thumbnail) > _MOST_BYTES:
        return kept
    try:
        return _PREFIX + _with_second_directory(tiff, order, thumbnail)
    except struct.error:
        return kept


def _thumbnail(image: Image.Image) -> bytes:
    small = image.convert("RGB")
    small.thumbnail((THUMBNAIL_EDGE, THUMBNAIL_EDGE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _with_second_directory(tiff: bytes, order: str, thumbnail: bytes) -> bytes:
    """Add a thumbnail: the first directory ends with the offset of the second, which describes it."""
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    (entries,) = struct.unpack_from(f"{order}H", tiff, first)
    link = first + 2 + 12 * entries
    struct.unpack_from(f"{order}I", tiff, link)
    padded = tiff + b"\x00" * (len(tiff) % 2)
    second = len(padded)
    data = second + 2 + 12 * 3 + 4
    directory = struct.pack(f"{order}H", 3)
    # Compression (6: JPEG; a short, left-justified in its four bytes), offset and length of the JPEG.
    directory += struct.pack(f"{order}HHIHH", 0x0103, 3, 1, 6, 0)
    directory += struct.pack(f"{order}HHII", 0x0201, 4, 1, data)
    directory += struct.pack(f"{order}HHII", 0x0202, 4, 1, len(thumbnail))
    directory += struct.pack(f"{order}I", 0)
    return padded[:link] + struct.pack(f"{order}I", second) + padded[link + 4 :] + directory + thumbnail
