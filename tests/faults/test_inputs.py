"""What lies at the source: names, links and files that are not what a catalog hopes for, in one table."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults.nights import came_to, ends_well, lines, night, night_held
from tests.faults.table import Row
from tests.support.sandbox import Sandbox, jpeg

GOOD = ["good/1.jpg", "good/2.jpg"]
BROKEN = jpeg(7, (640, 480))[:900]
SECRET = jpeg(4711)


@dataclass(frozen=True)
class Odd:
    """
    One odd file beside good ones.

    :param outcome: as :func:`tests.faults.nights.came_to` reads it; or ``ignored``.
    :param name: as it is listed.
    :param content: what is in the file; None: nothing is put there.
    :param files: the names are given one by one instead of by a listing.
    """

    fault: str
    way: str
    outcome: str
    name: str
    content: bytes | None = field(default_factory=lambda: jpeg(1000))
    files: bool = False

    @property
    def parameter(self) -> Any:
        marks = pytest.mark.fault(self.fault, self.way, self.outcome)
        return pytest.param(self, marks=marks, id=f"{self.fault}-{self.way}".replace(" ", "-"))

    def put(self, sandbox: Sandbox) -> dict[str, Any]:
        """Make the files. :return: what the worker is told of them."""
        sandbox.put(*GOOD)
        if self.content is not None:
            path = sandbox.source / self.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.content)
        return {"files": [*GOOD, self.name]} if self.files else {}


def odd_names() -> Iterator[Odd]:
    for name in ("..\\x.jpg", "C:\\x.jpg", "C:x.jpg", "b\\c.jpg"):
        hidden = name.startswith(".")
        yield Odd("F28", f"{name} listed", "ignored" if hidden else "item UNSAFE_NAME", name)
        yield Odd("F28", f"{name} given", "item UNSAFE_NAME", name, files=True)
    yield Odd("F28", "no UTF-8 listed", "item UNSAFE_NAME", os.fsdecode(b"\xff\xfe.jpg"))
    for name in ("../x.jpg", "good/../../x.jpg", "./x.jpg", "good/./x.jpg", "good//x.jpg"):
        yield Odd("F28", f"{name} given", "item UNSAFE_NAME", name, files=True)
    for name in ("/x.jpg", "a\0b.jpg", "\ud800.jpg", "", "n" * 300 + ".jpg"):
        way = f"{name[:8]!a} given"
        yield Odd("F28", way, "item UNSAFE_NAME", name, content=None, files=True)
    for name in ("..%2fx.jpg", "good/..%2f..%2fx.jpg"):
        yield Odd("F28", f"{name} listed", "ignored", name)
    for name in ("b..%2f..%2fx.jpg", "%2e%2e%2fx.jpg", "con.jpg", "NUL.jpg", "aux .jpg", "~", "$HOME.jpg"):
        name = name if "." in name else f"{name}.jpg"
        yield Odd("F28", f"{name} listed", "hidden", name)
        yield Odd("F28", f"{name} given", "hidden", name, files=True)


def odd_contents() -> Iterator[Odd]:
    yield Odd("F32", "empty", "item INVALID_SOURCE", "x.jpg", b"")
    yield Odd("F32", "a text", "item INVALID_SOURCE", "x.jpg", b"this is no picture")
    yield Odd("F32", "a page", "item INVALID_SOURCE", "x.jpg", b"<!DOCTYPE html><html></html>")
    yield Odd("F32", "two bytes of a JPEG", "item INVALID_SOURCE", "x.jpg", b"\xff\xd8")
    yield Odd("F32", "zeros", "item INVALID_SOURCE", "x.png", bytes(5000))
    yield Odd("F32", "a broken JPEG", "item TRUNCATED_SOURCE", "x.jpg", BROKEN)
    yield Odd(
        "F32", "a PNG's first bytes", "item TRUNCATED_SOURCE", "x.png", b"\x89PNG\r\n\x1a\n" + bytes(100)
    )


def honest_names() -> Iterator[Odd]:
    names = {
        "emoji": "😀👩‍👩‍👧/🏳️‍🌈.jpg",
        "right to left": "אבג/صورة ١.jpg",  # noqa: RUF001  # an Arabic digit
        "a mark that turns the text": "photo\u202egpj.jpg",
        "spaces": " leading and trailing /  x  .jpg",
        "signs of a URL": "a&b+c?d#e%f=g;h@i:j,k.jpg",
        "signs of a shell": "$(x)`y`'z'\"*[!a]{b}|<c>.jpg",
        "percent": "100%25%.jpg",
        "newline": "new\nline/a\r\nb\tc.jpg",
        "composed": unicodedata.normalize("NFC", "é.jpg"),
        "decomposed": unicodedata.normalize("NFD", "é.jpg"),
        "255 bytes": "n" * 251 + ".jpg",
        "255 bytes of emoji": "😀" * 62 + "nnn.jpg",
        "deep": "/".join(["deep"] * 60) + "/x.jpg",
    }
    for way, name in names.items():
        yield Odd("F33", way, "hidden", name)


ODD = [*odd_names(), *odd_contents(), *honest_names()]


@pytest.mark.parametrize("odd", [odd.parameter for odd in ODD])
def test_an_odd_file_beside_good_ones(row: Row, sandbox: Sandbox, odd: Odd) -> None:
    more = odd.put(sandbox)
    good = sorted([*GOOD, odd.name]) if odd.outcome == "hidden" else GOOD

    said = night(sandbox, **more)

    if odd.outcome == "ignored":
        came_to(sandbox, said, "hidden", GOOD)
        assert said["summary"]["ignored"] == 1
        row.consumed("ignored by the summary")
    else:
        came_to(sandbox, said, odd.outcome, sorted([*GOOD, odd.name]))
        about = [line for line in lines(sandbox) if line["source"] == odd.name]
        assert [line["state"] for line in about] == ["corrected" if odd.outcome == "hidden" else "failed"]
        row.consumed("named in the manifest")
    ends_well(sandbox, row, good, **more)


@pytest.mark.fault("F28", "too long by its template", "item UNSAFE_NAME")
def test_a_name_that_its_template_makes_too_long_is_refused_before_it_is_paid(
    row: Row, sandbox: Sandbox
) -> None:
    sandbox.put("n" * 240 + ".jpg", "a.jpg", "b.jpg")
    template = {"name_template": "{stem}" + "_x" * 10 + ".{ext}"}
    wanted = ["a" + "_x" * 10 + ".jpg", "b" + "_x" * 10 + ".jpg"]

    said = night(sandbox, options=template)

    came_to(sandbox, said, row.outcome, [*wanted, "long"])
    row.consumed("255 bytes are the most")
    ends_well(sandbox, row, wanted, options=template)


# ---- links


@pytest.fixture
def outside(sandbox: Sandbox) -> Path:
    """A folder beside the places, with a picture in it that no run may send or overwrite."""
    folder = sandbox.root / "outside"
    folder.mkdir()
    (folder / "secret.jpg").write_bytes(SECRET)
    return folder


def nothing_outside_was_touched(sandbox: Sandbox, outside: Path) -> None:
    assert [path.name for path in outside.iterdir()] == ["secret.jpg"]
    assert (outside / "secret.jpg").read_bytes() == SECRET
    sent = {entry["sha256"] for entry in sandbox.emulator.bill()["entries"]}
    assert hashlib.sha256(SECRET).hexdigest() not in sent


@pytest.mark.parametrize(
    ("link", "to"),
    [
        pytest.param("x.jpg", "secret.jpg", marks=pytest.mark.fault("F29", "file, listed", "hidden")),
        pytest.param("good/x.jpg", "secret.jpg", marks=pytest.mark.fault("F29", "file, deeper", "hidden")),
        pytest.param("x", "", marks=pytest.mark.fault("F29", "folder, listed", "hidden")),
        pytest.param("good/x.jpg", "gone.jpg", marks=pytest.mark.fault("F29", "to nowhere", "hidden")),
    ],
)
def test_a_link_that_leads_out_of_the_source_is_not_followed(
    row: Row, sandbox: Sandbox, outside: Path, link: str, to: str
) -> None:
    sandbox.put(*GOOD)
    (sandbox.source / link).symlink_to(outside / to)

    said = night(sandbox)

    came_to(sandbox, said, row.outcome, GOOD)
    assert said["summary"]["listed"] == len(GOOD)
    row.consumed("a link at the source")
    ends_well(sandbox, row, GOOD)
    nothing_outside_was_touched(sandbox, outside)


@pytest.mark.parametrize(
    ("link", "to", "name"),
    [
        pytest.param(
            "x.jpg",
            "secret.jpg",
            "x.jpg",
            marks=pytest.mark.fault("F29", "file, given", "item SOURCE_CHANGED"),
        ),
        pytest.param(
            "x", "", "x/secret.jpg", marks=pytest.mark.fault("F29", "folder, given", "item SOURCE_CHANGED")
        ),
    ],
)
def test_a_given_name_that_a_link_leads_out_of_the_source_is_not_there(
    row: Row, sandbox: Sandbox, outside: Path, link: str, to: str, name: str
) -> None:
    sandbox.put(*GOOD)
    (sandbox.source / link).symlink_to(outside / to)

    said = night(sandbox, files=[*GOOD, name])

    came_to(sandbox, said, row.outcome, [*GOOD, name])
    row.consumed("a link at the source")
    ends_well(sandbox, row, GOOD, files=GOOD)
    nothing_outside_was_touched(sandbox, outside)


@pytest.mark.fault("F29", "folder at the destination", "item UNSAFE_NAME")
def test_nothing_is_paid_for_what_a_link_would_lead_out_of_the_destination(
    row: Row, sandbox: Sandbox, outside: Path
) -> None:
    sandbox.put(*GOOD, "x/y/1.jpg")
    sandbox.destination.mkdir()
    (sandbox.destination / "x").symlink_to(outside)

    said = night(sandbox)

    came_to(sandbox, said, row.outcome, [*GOOD, "x/y/1.jpg"])
    assert sandbox.accepted == len(GOOD)
    row.consumed("a link at the destination")
    (sandbox.source / "x" / "y" / "1.jpg").unlink()
    ends_well(sandbox, row, GOOD)
    nothing_outside_was_touched(sandbox, outside)


@pytest.mark.fault("F29", "folder at the destination, while its picture is made", "run STORAGE_FAILED")
def test_a_link_that_comes_later_leads_nothing_out_either(row: Row, sandbox: Sandbox, outside: Path) -> None:
    sandbox.put("x/1.jpg")
    link = sandbox.destination / "x"

    said = night_held(sandbox, {"route": "download"}, {"when": "before"}, lambda: link.symlink_to(outside))

    came_to(sandbox, said, row.outcome, [])
    assert "a link in its path leads out of the destination" in said["message"]
    row.consumed(sandbox.emulator)
    link.unlink()
    ends_well(sandbox, row, ["x/1.jpg"])
    assert sandbox.accepted == 1
    nothing_outside_was_touched(sandbox, outside)


@pytest.mark.parametrize(
    "to",
    [
        pytest.param("secret.jpg", marks=pytest.mark.fault("F29", "file at the destination", "hidden")),
        pytest.param("gone.jpg", marks=pytest.mark.fault("F29", "to nowhere at the destination", "hidden")),
    ],
)
def test_a_link_in_an_outputs_place_is_replaced_not_followed(
    row: Row, sandbox: Sandbox, outside: Path, to: str
) -> None:
    sandbox.put(*GOOD)
    place = sandbox.destination / GOOD[0]
    place.parent.mkdir(parents=True)
    place.symlink_to(outside / to)

    said = night(sandbox)

    came_to(sandbox, said, row.outcome, GOOD)
    assert not place.is_symlink()
    row.consumed("a link at the destination")
    ends_well(sandbox, row, GOOD)
    nothing_outside_was_touched(sandbox, outside)
