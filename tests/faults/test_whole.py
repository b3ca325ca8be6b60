"""Results that break off, results with something behind their end, results of another size or type."""

from __future__ import annotations

import base64
import io
import random
from typing import Any

import pytest
import skimage.data
from PIL import Image

from airflow_provider_perfectlyclear.errors import CatalogFailed
from airflow_provider_perfectlyclear.media_walk import Whole
from tests.faults.ledgers import catalog, done
from tests.faults.nights import NAMES, came_to, ends_well, lines, night
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg

PHOTO = Image.fromarray(skimage.data.astronaut()).resize((300, 200))


def saved(kind: str, **how: Any) -> bytes:
    data = io.BytesIO()
    PHOTO.save(data, kind, **how)
    return data.getvalue()


def with_thumbnail() -> bytes:
    """As every camera writes it: a whole JPEG, end marker and all, in a segment of the picture."""
    thumbnail = io.BytesIO()
    PHOTO.resize((80, 60)).save(thumbnail, "JPEG")
    return saved("JPEG", comment=thumbnail.getvalue())


def video(brand: bytes = b"isom") -> bytes:
    def box(name: bytes, body: bytes) -> bytes:
        return (8 + len(body)).to_bytes(4, "big") + name + body

    return box(b"ftyp", brand + bytes(12)) + box(b"mdat", bytes(range(256)) * 80) + box(b"moov", bytes(400))


KINDS = {
    "JPEG": saved("JPEG"),
    "JPEG, progressive": saved("JPEG", progressive=True),
    "JPEG with restarts": saved("JPEG", restart_marker_rows=1),
    "JPEG with a thumbnail": with_thumbnail(),
    "PNG": saved("PNG"),
    "WebP": saved("WEBP"),
    "WebP, lossless": saved("WEBP", lossless=True),
    "BMP": saved("BMP"),
    "TIFF": saved("TIFF"),
    "TIFF, LZW": saved("TIFF", compression="tiff_lzw"),
    "BigTIFF": saved("TIFF", big_tiff=True),
    "AVIF": saved("AVIF"),
    "HEIC": video(b"heic"),
    "MP4": video(),
    "QuickTime": video(b"qt  "),
}


def missing(data: bytes, block: int = 997) -> str | None:
    whole = Whole()
    for at in range(0, len(data), block):
        whole.feed(data[at : at + block])
    return whole.missing(io.BytesIO(data))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", [1, 7, 997, 65536])
def test_a_whole_file_is_whole_however_it_arrives(kind: str, block: int) -> None:
    assert missing(KINDS[kind], block) is None
    assert missing(KINDS[kind] + bytes(100), block) is None
    assert missing(KINDS[kind] + b"MotionPhoto_Data" * 9, block) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_is_not_whole(kind: str) -> None:
    data = KINDS[kind]
    for end in {128, len(data) - 40, *(len(data) * tenth // 10 for tenth in range(1, 10))}:
        assert missing(data[:end]) is not None, end


@pytest.mark.parametrize("seed", range(20))
def test_no_bytes_make_the_walk_fail(seed: int) -> None:
    dice, kinds = random.Random(seed), list(KINDS.values())
    for _ in range(1000):
        data = bytearray(dice.choice(kinds)[: dice.choice((700, 5000, 10**6))])
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        missing(bytes(data), dice.choice((333, 65536)))


@pytest.mark.parametrize("unit", [b"\xff", b"\xff\x00", b"\xff\xd0", b"\xff\xe0\x00\x02", b"a"])
def test_the_walk_takes_each_byte_once(unit: bytes) -> None:
    """Counted, not timed: what is kept for the next block never grows."""
    whole = Whole()
    whole.feed(b"\xff\xd8\xff\xda\x00\x02" + bytes(64))
    for _ in range(500):
        whole.feed(unit * 64)
        assert len(whole._walk._rest) <= 4  # type: ignore[union-attr]


# ---- over the wire


CUTS = [
    pytest.param(
        how,
        length,
        marks=pytest.mark.fault("F66", f"{way}, {told}", "item CORRUPT_OUTPUT"),
        id=f"{way}-{told}",
    )
    for way, how in (("cut at 60%", 60), ("cut at its last byte", 99))
    for told, length in (("agreeing length", True), ("no length", False))
]


@pytest.mark.parametrize(("how", "length"), CUTS)
def test_a_result_that_is_cut_is_fetched_again_and_then_fails(
    row: Row, sandbox: Sandbox, how: int, length: bool
) -> None:
    sandbox.put(*NAMES)
    done(catalog(sandbox, "to know its size").execute())
    size = (sandbox.destination / "a.jpg").stat().st_size
    (sandbox.source / "a.jpg").write_bytes(jpeg(90))
    cut: list[dict[str, Any]] = [{"truncate": min(size * how // 100, size - 1) - 40}]
    if not length:
        cut.append({"framing": "close"})
    sandbox.emulator.fault("download", cut, times=3)
    with pytest.raises(CatalogFailed, match="cut short"):
        catalog(sandbox, "tuesday").execute()
    (bad,) = [line for line in lines(sandbox) if line["state"] == "failed"]
    assert bad["code"] == "CORRUPT_OUTPUT" and "(kept as " in bad["reason"]
    assert len(list((sandbox.destination / ".perfectlyclear" / "kept").iterdir())) == 1
    assert done(catalog(sandbox, "wednesday").execute())["known_bad"] == 1
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F66", "cut twice, then whole", "hidden")
def test_a_result_that_is_cut_is_fetched_again(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault("download", [{"truncate": 300}, {"framing": "close"}], times=2)
    said = night(sandbox)
    came_to(sandbox, said, "hidden", NAMES)
    row.consumed(sandbox.emulator)
    ends_well(sandbox, row, NAMES)


@pytest.mark.fault("F66", "an original that is cut short", "item TRUNCATED_SOURCE")
def test_a_source_that_is_cut_short_is_not_paid(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    cut = (sandbox.source / "a.jpg").read_bytes()[:-50]
    (sandbox.source / "a.jpg").write_bytes(cut)
    said = night(sandbox)
    came_to(sandbox, said, "item TRUNCATED_SOURCE", NAMES)
    assert sandbox.accepted == 3
    row.consumed("it is named")
    ends_well(sandbox, row, NAMES)


def test_a_source_that_is_cut_short_may_be_sent_all_the_same(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")
    (sandbox.source / "a.jpg").write_bytes((sandbox.source / "a.jpg").read_bytes()[:-2])
    with pytest.raises(
        CatalogFailed, match="FAILED: The picture cannot be decoded"
    ):  # the service's own word
        catalog(sandbox, check_source=False).execute()
    assert sandbox.accepted == 1


def test_a_source_that_was_refused_as_cut_short_may_be_sent_the_next_night(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    (sandbox.source / "a.jpg").write_bytes((sandbox.source / "a.jpg").read_bytes()[:-2])
    with pytest.raises(CatalogFailed, match="send it all the same with check_source=False"):
        catalog(sandbox).execute()
    assert done(catalog(sandbox, "again").execute())["known_bad"] == 1
    with pytest.raises(CatalogFailed, match="FAILED: The picture cannot be decoded"):
        catalog(sandbox, "sent", check_source=False).execute()
    assert sandbox.accepted == 4


@pytest.mark.fault("F67", "a motion photo", "hidden")
def test_a_picture_with_something_behind_its_end_lands(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    whole = jpeg(91) + b"MotionPhoto_Data" + video()
    sandbox.emulator.fault("download", {"body": {"base64": base64.b64encode(whole).decode()}})
    summary = done(catalog(sandbox).execute())
    assert summary["corrected"] == 4
    row.consumed(sandbox.emulator)
    landed = [path for path in sandbox.destination.glob("**/*.jpg") if path.read_bytes() == whole]
    assert len(landed) == 1
    landed[0].unlink()
    assert done(catalog(sandbox, "again").execute())["paid"] == 0
    row.held(check_invariants(sandbox))


@pytest.mark.parametrize(
    ("make", "correction"),
    [
        pytest.param(
            make, correction, marks=pytest.mark.fault("F106", way, "hidden"), id=way.replace(" ", "-")
        )
        for make, correction, way in (
            ({"enlarge": False}, {"width": 4000}, "not enlarged"),
            ({"scale": 50}, {"width": 40}, "half the size"),
            ({"type": "png"}, {"output_type": "original"}, "another type under original"),
        )
    ],
)
def test_a_result_of_another_size_lands_with_a_warning(
    row: Row, sandbox: Sandbox, make: dict[str, Any], correction: dict[str, Any]
) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault("pfc", {"make": make})
    summary = done(catalog(sandbox, "monday", correction).execute())
    assert (summary["corrected"], summary["warnings"], summary["failed"]) == (4, 1, 0)
    assert done(catalog(sandbox, "tuesday", correction).execute())["paid"] == 0
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F106", "another size, strict", "item CORRUPT_OUTPUT")
def test_a_result_of_another_size_fails_when_that_is_asked_for(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault("pfc", {"make": {"scale": 50}})
    with pytest.raises(CatalogFailed, match="40 was asked for"):
        catalog(sandbox, "monday", {"width": 40}, verify="strict").execute()
    assert list((sandbox.destination / ".perfectlyclear" / "kept").iterdir())
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))
