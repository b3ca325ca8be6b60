"""
Test pictures that say which they are, in their pixels and in their metadata, whatever a correction makes of them.

The pixels: a grid of dark and light cells over the whole picture, which resizing, recompressing, another format, other
colours and a slight crop leave readable. The metadata (EXIF's image description): for what hides a part of the picture.
"""

from __future__ import annotations

import io
import re
import zlib

from PIL import Image, ImageOps

COLUMNS, ROWS = 8, 6
_NUMBER_BITS, _CHECK_BITS = 32, 16
_DESCRIPTION = 0x010E
_SAID = re.compile(r"mark ([0-9]+)")


def marked(picture: Image.Image, number: int) -> Image.Image:
    """
    Return the picture with a mark over all of it.

    :param picture: of any size from 8 times 6 pixels on.
    :param number: from 0 up to 32 bits.
    """
    grid = Image.new("L", (COLUMNS, ROWS))
    grid.putdata([230 if bit else 25 for bit in _bits(number)])
    return Image.blend(
        picture.convert("RGB"), grid.resize(picture.size, Image.Resampling.NEAREST).convert("RGB"), 0.85
    )


def metadata(number: int) -> Image.Exif:
    """Return the EXIF that says the same."""
    exif = Image.Exif()
    exif[_DESCRIPTION] = f"mark {number}"
    return exif


def mark_of(data: bytes) -> int | None:
    """
    Read the mark of a picture.

    :param data: the whole file.
    :return: None if it has none, or is no picture that can be read here.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            said = _SAID.fullmatch(str(picture.getexif().get(_DESCRIPTION, "")))
            seen = _seen(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    if seen is not None:
        return seen
    return int(said[1]) if said else None


def _seen(picture: Image.Image) -> int | None:
    """The middle of each cell is compared with the middle between dark and light."""
    grey = ImageOps.grayscale(picture.convert("RGB"))
    width, height = grey.size
    middles = [
        grey.getpixel((int((column + 0.5) * width / COLUMNS), int((row + 0.5) * height / ROWS)))
        for row in range(ROWS)
        for column in range(COLUMNS)
    ]
    between = (min(middles) + max(middles)) / 2
    bits = [middle > between for middle in middles]
    number = sum(bit << place for place, bit in enumerate(bits[:_NUMBER_BITS]))
    return number if bits == _bits(number) else None


def _bits(number: int) -> list[bool]:
    check = zlib.crc32(number.to_bytes(4, "little")) & 0xFFFF
    whole = number | check << _NUMBER_BITS
    return [bool(whole >> place & 1) for place in range(_NUMBER_BITS + _CHECK_BITS)]
