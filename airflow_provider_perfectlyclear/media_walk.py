"""
Check that a file is whole, by following its format while its bytes arrive. No input or output but a TIFF's file.

Searching for an end marker is not enough: a camera's JPEG contains a thumbnail with its own end marker. Bytes after the
end are a trailer (a motion photo, padding) and are accepted. Formats that cannot be checked count as whole.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Protocol

from airflow_provider_perfectlyclear.media import HEAD, Kind, kind_of

#: Maximum number of directories of a TIFF, and of entries of each, that are read.
MAX_DIRECTORIES, MAX_ENTRIES = 1000, 4096
#: Maximum number of offsets of one TIFF directory that are read.
MAX_OFFSETS = 1_000_000


class _Walk(Protocol):
    def feed(self, block: bytes) -> None:
        """Take the next bytes."""

    def missing(self) -> str | None:
        """Return what is missing, after the last byte. None: the file is whole."""


class Whole:
    """
    Check of one file.

    Pass all blocks to ``feed`` in order, then call ``missing``.
    """

    def __init__(self) -> None:
        self.size = 0
        self._head: bytes | None = b""
        self._kind: Kind | None = None
        self._walk: _Walk | None = None

    def feed(self, block: bytes) -> None:
        """
        Read the next bytes.

        :param block: The bytes, of any length.
        """
        self.size += len(block)
        if self._head is not None:
            self._head += block
            if len(self._head) < HEAD:
                return
            block = self._begin()
        if self._walk is not None:
            self._walk.feed(block)

    def _begin(self) -> bytes:
        head, self._head = self._head or b"", None
        self._kind = kind_of(head[:HEAD])
        if self._kind is not None and self._kind.name in _WALKS:
            self._walk = _WALKS[self._kind.name]()
        return head

    def missing(self, file: BinaryIO | None = None) -> str | None:
        """
        Return what is missing, after the last byte.

        :param file: The same bytes as a seekable file. A TIFF's parts lie anywhere, so they are read from it. Default
            None: a TIFF is not checked.
        :returns: A clause for messages. None for a whole file, and for one that cannot be checked.
        """
        if self._head is not None:
            block = self._begin()
            if self._walk is not None:
                self._walk.feed(block)
        if self._kind is not None and self._kind.name == "tiff" and file is not None:
            return _missing_of_tiff(file, self.size)
        return self._walk.missing() if self._walk is not None else None


class _Jpeg:
    """JPEG: segments by their lengths and scans by their end markers, up to the end of the picture."""

    def __init__(self) -> None:
        self._rest = b""
        self._skip = 0
        self._ended = False

    def feed(self, block: bytes) -> None:
        if self._ended:
            return
        if self._skip >= len(block) and not self._rest:
            self._skip -= len(block)
            return
        data = self._rest + block
        at: int | None = self._skip
        self._rest, self._skip = b"", 0
        while at is not None and at < len(data):
            at = self._step(data, at)
        if at is not None:
            self._skip = at - len(data)

    def _step(self, data: bytes, at: int) -> int | None:
        """Read one marker and return where to look for the next. None: more bytes are needed, or none."""
        found = data.find(b"\xff", at)
        if found < 0:
            return None
        end = found + 1
        while end < len(data) and data[end] == 0xFF:  # padding
            end += 1
        if end == len(data):
            self._rest = b"\xff"
            return None
        marker = data[end]
        if marker in (0x00, 0x01, 0xD8) or 0xD0 <= marker <= 0xD7:  # stuffed, or without a length
            return end + 1
        if marker == 0xD9:
            self._ended = True
            return None
        if end + 3 > len(data):
            self._rest = b"\xff" + data[end:]
            return None
        return end + 1 + max(int.from_bytes(data[end + 1 : end + 3], "big"), 2)

    def missing(self) -> str | None:
        return None if self._ended else "its end (EOI) is missing"


class _Chunks:
    """Format of parts that each begin with their length."""

    def __init__(self, header: int) -> None:
        self._header = header
        self._rest = b""
        self._skip = 0
        self.ended = False

    def feed(self, block: bytes) -> None:
        if self.ended:
            return
        if self._skip >= len(block) and not self._rest:
            self._skip -= len(block)
            return
        data, at = self._rest + block, self._skip
        self._rest, self._skip = b"", 0
        while not self.ended:
            if at >= len(data):
                self._skip = at - len(data)
                return
            length = self.length(data[at : at + 16])
            if length is None:
                self._rest = data[at:]
                return
            at += length

    def length(self, header: bytes) -> int | None:
        """Return the length of the part that has this header. None: more of the header is needed."""
        raise NotImplementedError

    @property
    def is_open(self) -> bool:
        """Whether the last part is incomplete."""
        return bool(self._skip or self._rest)


class _Png(_Chunks):
    def __init__(self) -> None:
        super().__init__(12)
        self._skip = 8  # the signature
        self._last = False

    def length(self, header: bytes) -> int | None:
        if self._last:
            self.ended = True
            return 0
        if len(header) < 8:
            return None
        self._last = header[4:8] == b"IEND"
        return 12 + int.from_bytes(header[:4], "big")

    def missing(self) -> str | None:
        whole = self.ended or (self._last and not self.is_open)
        return None if whole else "its last chunk (IEND) is missing"


_BOXES = frozenset(
    b"ftyp moov mdat meta free skip wide uuid moof mfra sidx styp ssix pdin prft emsg pnot udta idat imda".split()
)


class _Boxes(_Chunks):
    """ISO base media (HEIF, AVIF, MP4, QuickTime): the file is a sequence of boxes."""

    def __init__(self) -> None:
        super().__init__(8)
        self._name = ""

    def length(self, header: bytes) -> int | None:
        if len(header) < 8:
            return None
        size, name = int.from_bytes(header[:4], "big"), header[4:8]
        if name not in _BOXES:  # a trailer
            self.ended = True
            return 0
        self._name = name.decode("latin-1")
        if size == 0:  # to the end of the file
            self.ended = True
            return 0
        if size == 1:
            return max(int.from_bytes(header[8:16], "big"), 16) if len(header) >= 16 else None
        return max(size, 8)

    def missing(self) -> str | None:
        return None if self.ended or not self._skip else f"its part {self._name!r} breaks off"


class _Sized:
    """Format whose first bytes give the minimum length of the file."""

    def __init__(self) -> None:
        self._seen = 0
        self._head = b""

    def feed(self, block: bytes) -> None:
        self._seen += len(block)
        if len(self._head) < HEAD:
            self._head += block[: HEAD - len(self._head)]

    def needed(self, head: bytes) -> int:
        raise NotImplementedError

    def missing(self) -> str | None:
        try:
            needed = self.needed(self._head)
        except struct.error:
            return "its header breaks off"
        return (
            None if self._seen >= needed else f"{needed - self._seen:,} of its {needed:,} bytes are missing"
        )


class _Webp(_Sized):
    def needed(self, head: bytes) -> int:
        return int(struct.unpack_from("<I", head, 4)[0]) + 8


class _Bmp(_Sized):
    def needed(self, head: bytes) -> int:
        said, start = struct.unpack_from("<I4xI", head, 2)
        if struct.unpack_from("<I", head, 14)[0] < 40:
            return int(said)
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", head, 18)
        if packing not in (0, 3, 6):
            return int(said)
        return int(start + (abs(width) * bits + 31) // 32 * 4 * abs(height))


_WALKS: dict[str, type[_Jpeg | _Png | _Boxes | _Sized]] = {
    "jpg": _Jpeg,
    "png": _Png,
    "webp": _Webp,
    "bmp": _Bmp,
    "heic": _Boxes,
    "mp4": _Boxes,
    "mov": _Boxes,
}


# ---- TIFF: its directories lie anywhere

_STRIPS, _TILES = (273, 279), (324, 325)  # offsets, byte counts
_SIZES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}


class _Tiff:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        head = self.at(0, 16)
        self._order = ">" if head[:2] == b"MM" else "<"
        self.is_big = head[2:4] in (b"+\0", b"\0+")
        self.first = self.number(head[8:16]) if self.is_big else self.number(head[4:8])

    def at(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)

    def number(self, data: bytes) -> int:
        return int.from_bytes(data, "big" if self._order == ">" else "little")

    def directory(self, offset: int) -> tuple[dict[int, list[int]], int] | None:
        """Return the offsets and byte counts of a directory, and the next one's offset. None: it is cut short."""
        count_size, entry_size, next_size = (8, 20, 8) if self.is_big else (2, 12, 4)
        count = min(self.number(self.at(offset, count_size)), MAX_ENTRIES)
        body = self.at(offset + count_size, count * entry_size + next_size)
        if len(body) < count * entry_size:
            return None
        found = dict[int, list[int]]()
        for start in range(0, count * entry_size, entry_size):
            entry = body[start : start + entry_size]
            tag = self.number(entry[:2])
            if tag in (*_STRIPS, *_TILES):
                values = self._values(entry)
                if values is None:
                    return None
                found[tag] = values
        return found, self.number(body[count * entry_size :])

    def _values(self, entry: bytes) -> list[int] | None:
        size = _SIZES.get(self.number(entry[2:4]))
        if size is None:
            return []
        count = self.number(entry[4:12] if self.is_big else entry[4:8])
        inline = entry[12:] if self.is_big else entry[8:]
        if count > MAX_OFFSETS:
            return []
        if count * size <= len(inline):
            data = inline[: count * size]
        else:
            where = self.number(inline)
            if where + count * size > self._size:
                return None
            data = self.at(where, count * size)
        return [self.number(data[at : at + size]) for at in range(0, len(data), size)]


def _missing_of_tiff(file: BinaryIO, size: int) -> str | None:
    tiff = _Tiff(file, size)
    offset, seen = tiff.first, set[int]()
    while offset and offset not in seen and len(seen) < MAX_DIRECTORIES:
        seen.add(offset)
        if offset >= size:
            return "a directory lies behind its end"
        read = tiff.directory(offset)
        if read is None:
            return "a directory breaks off"
        found, offset = read
        for offsets, counts in (_STRIPS, _TILES):
            parts = zip(found.get(offsets, ()), found.get(counts, ()), strict=False)
            if any(start + length > size for start, length in parts):
                return "a part of its picture lies behind its end"
    return None
