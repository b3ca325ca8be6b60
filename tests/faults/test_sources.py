"""Sources that are huge, and sources that change or vanish between their listing and their upload."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.catalog.transfer.source import MAX_SOURCE
from tests.faults.nights import came_to, ends_well, night, night_held
from tests.faults.table import Row
from tests.support.sandbox import Sandbox

GOOD = ["good/1.jpg", "good/2.jpg"]
MB = 2**20
LARGE = 200 * MB


# ---- huge files


@pytest.mark.fault("F31", "over the limit", "item INVALID_SOURCE")
def test_a_file_over_the_limit_is_refused_by_its_size(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*GOOD)
    sparse(sandbox.source / "x.mov", MAX_SOURCE + 1)

    said = night(sandbox)

    came_to(sandbox, said, row.outcome, [*GOOD, "x.mov"])
    assert "5,368,709,121 bytes; at most 5,368,709,120" in said["message"]
    assert sandbox.emulator.seen()["storage"]["routes"]["put"] == len(GOOD)
    row.consumed("refused by its size")
    ends_well(sandbox, row, GOOD)


@pytest.mark.fault("F31", "200 MB of a video", "hidden")
def test_a_large_video_passes_through_little_memory(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*GOOD)
    sparse(sandbox.source / "x.mp4", LARGE)

    said = night(sandbox, within=120)

    came_to(sandbox, said, row.outcome, sorted([*GOOD, "x.mp4"]))
    assert (sandbox.destination / "x.mp4").stat().st_size == LARGE
    assert said["summary"]["bytes_in"] > LARGE
    assert said["grew"] < 50
    row.consumed("its bytes have come in again")
    ends_well(sandbox, row, sorted([*GOOD, "x.mp4"]))


def sparse(path: Path, size: int) -> None:
    """A video of zeros, which take no place on the disk."""
    path.write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2")
    os.truncate(path, size)


# ---- sources that change or vanish after they were listed


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def redraw(path: Path) -> None:
    """Another picture of the same size."""
    data = bytearray(path.read_bytes())
    data[-20:-2] = bytes(18)
    path.write_bytes(data)


def shrink(path: Path) -> None:
    os.truncate(path, 100)


def vanish(path: Path) -> None:
    path.unlink()


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


AFTER_LISTING, WHILE_SENT = (
    ({"route": "upload"}, {"when": "before"}, "z.jpg"),
    ({"route": "put"}, {"when": "committed"}, "a.jpg"),
)


@pytest.mark.parametrize(
    ("moment", "change"),
    [
        pytest.param(
            moment,
            change,
            marks=pytest.mark.fault("F34", f"{change.__name__} {when}", "item SOURCE_CHANGED"),
            id=f"{change.__name__}-{when}".replace(" ", "-"),
        )
        for when, moment in {"after it was listed": AFTER_LISTING, "while it is sent": WHILE_SENT}.items()
        for change in (grow, redraw, shrink, vanish, become_a_folder)
    ],
)
def test_a_source_that_changes_is_not_paid_for_as_it_was(
    row: Row,
    sandbox: Sandbox,
    moment: tuple[dict[str, Any], dict[str, Any], str],
    change: Callable[[Path], None],
) -> None:
    names = ["a.jpg", *GOOD, "z.jpg"]
    sandbox.put(*names)
    match, when, name = moment

    said = night_held(sandbox, match, when, lambda: change(sandbox.source / name))

    came_to(sandbox, said, row.outcome, names)
    assert f"{name} SOURCE_CHANGED" in said["message"]
    assert sandbox.accepted == len(names) - 1
    row.consumed(sandbox.emulator)
    if change is shrink:  # what is left of it is no whole picture
        (sandbox.source / name).unlink()
    left = [one for one in names if (sandbox.source / one).is_file()]
    ends_well(sandbox, row, left)
    assert sandbox.accepted == len(names) - 1 + (name in left)


@pytest.mark.fault("F34", "cut while it is sent", "item SOURCE_CHANGED")
def test_a_source_that_is_cut_while_it_is_sent_is_no_failure_of_the_wire(row: Row, sandbox: Sandbox) -> None:
    sandbox.put("b.jpg")
    sparse(sandbox.source / "a.mp4", 60 * MB)  # more than is on its way at any moment
    reading = {"when": "reading", "after": 1000}

    said = night_held(sandbox, {"route": "put"}, reading, lambda: shrink(sandbox.source / "a.mp4"))

    came_to(sandbox, said, row.outcome, ["a.mp4", "b.jpg"])
    row.consumed(sandbox.emulator)
    (sandbox.source / "a.mp4").unlink()
    ends_well(sandbox, row, ["b.jpg"])
