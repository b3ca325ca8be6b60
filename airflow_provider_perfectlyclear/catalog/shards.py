"""Parts of a catalog: which picture belongs to which, and which lane of the ledger each has. Pure."""

from __future__ import annotations

import zlib


def in_shard(name: str, shard: tuple[int, int] | None) -> bool:
    """Whether a source is in a shard: by its name alone, so that it stays when others come."""
    return shard is None or zlib.crc32(name.encode("utf-8", "surrogatepass")) % shard[1] == shard[0] - 1


def lane_of(shard: tuple[int, int] | None) -> str:
    """Return the lane of a shard: ``all``, or such as ``03of16``."""
    return "all" if shard is None else f"{shard[0]:02d}of{shard[1]:02d}"
