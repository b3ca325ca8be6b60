"""What a run makes of a catalog before it pays: names that collide, records that are lost, sources that moved."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults.nights import NAMES, came_to, ends_well, failed, night, told
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg
from tests.unit.catalog.ledger.test_owners import no_job_ends, records, until
from tests.unit.catalog.test_run import upload_preset

THIRTY = [f"{number:02d}.jpg" for number in range(30)]


# ---- names that collide


@dataclass(frozen=True)
class Clash:
    """Two sources whose outputs would have one name."""

    way: str
    names: tuple[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    good: str = "good.jpg"

    @property
    def parameter(self) -> Any:
        marks = pytest.mark.fault("F30", self.way, "items NAME_COLLISION")
        return pytest.param(self, marks=marks, id=self.way.replace(" ", "-"))


AS_JPG, FLAT = {"correction": {"output_type": "jpg"}}, {"name_template": "{stem}.{ext}"}
CLASHES = [
    Clash("case", ("a.jpg", "A.jpg")),
    Clash("case of a folder", ("b/a.jpg", "B/a.jpg")),
    Clash("case of the extension", ("a.jpg", "a.JPG")),
    Clash("case of another script", ("straße.jpg", "STRASSE.jpg")),
    Clash("normal form", tuple(unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))),  # type: ignore[arg-type]
    Clash("change of extension", ("a.png", "a.jpg"), AS_JPG),
    Clash("background removed", ("a.png", "a.jpg"), {"correction": {"remove_background": True}}, "good.png"),
    Clash("flattened folders", ("x/a.jpg", "y/a.jpg"), FLAT),
    Clash("flattened folders and change of extension", ("x/a.png", "y/A.jpg"), FLAT | AS_JPG),
]


@pytest.mark.parametrize("clash", [clash.parameter for clash in CLASHES])
def test_names_that_collide_are_found_before_they_are_paid(row: Row, sandbox: Sandbox, clash: Clash) -> None:
    sandbox.put(*clash.names, "good.jpg")

    said = night(sandbox, options=clash.options)

    assert said["error"] == "CatalogFailed" and not said["retry_helps"]
    found = failed(sandbox)
    assert {line["source"] for line in found} == set(clash.names)
    assert {line["code"] for line in found} == {"NAME_COLLISION"}
    for line in found:
        assert all(repr(name) in line["reason"] for name in clash.names)
    assert all(shown(name) in said["message"] for name in clash.names)
    assert sandbox.accepted == 1
    row.consumed("both are named in the manifest")
    ends_well(sandbox, row, [clash.good], options=clash.options)


def shown(name: str) -> str:
    """As a message has it: its quotations are short."""
    return repr(name)[1:-1]


# ---- all would be paid again


@dataclass(frozen=True)
class Redo:
    """
    A reason for which all existing outputs would be made again.

    :param why: as the message has it.
    :param way_out: the choice that leaves existing outputs alone.
    :param first: the first night's options. ``second``: the second night's.
    :param between: what happens between them.
    """

    way: str
    why: str
    way_out: str
    first: dict[str, Any] = field(default_factory=dict)
    second: dict[str, Any] = field(default_factory=dict)
    between: Callable[[Sandbox], None] = lambda sandbox: None

    @property
    def parameter(self) -> Any:
        marks = pytest.mark.fault("F58", self.way, "run PLAN_REFUSED")
        return pytest.param(self, marks=marks, id=self.way.replace(" ", "-"))


def lose_the_record(sandbox: Sandbox) -> None:
    shutil.rmtree(sandbox.destination / ".perfectlyclear")


def other_bytes(sandbox: Sandbox) -> None:
    """Every time that the preset's file is fetched, it is another."""
    for nth in range(1, 10):  # three nights, which read it three times each
        do = {"body": {"text": f"other {nth}"}}
        sandbox.emulator.fault({"route": "preset_get_file", "nth": nth}, do)


PRESET = {"correction": {"preset": "Studio 7"}}
REDOS = [
    Redo("state folder lost", "30 not in the ledger", "missing", between=lose_the_record),
    Redo(
        "default correction edited",
        "30 correction changed",
        "source_changed",
        {},
        {"correction": {"width": 40}},
    ),
    Redo(
        "another preset",
        "30 correction changed",
        "source_changed",
        {"correction": {"preset": "none"}},
        {"correction": {"preset": "Vivid"}},
    ),
    Redo(
        "a preset whose bytes differ every night",
        "30 correction changed",
        "source_changed",
        PRESET,
        PRESET,
        other_bytes,
    ),
]


@pytest.mark.parametrize("redo", [redo.parameter for redo in REDOS])
def test_a_night_that_would_pay_for_everything_again_stops_before_it_pays(
    row: Row, sandbox: Sandbox, redo: Redo
) -> None:
    sandbox.put(*THIRTY)
    upload_preset(sandbox, "Studio 7", b"warm")
    came_to(sandbox, night(sandbox, options=redo.first), "hidden", THIRTY)
    redo.between(sandbox)

    refused = [night(sandbox, run=f"night {number}", options=redo.second) for number in (2, 3)]
    free = night(sandbox, run="night 4", options={**redo.second, "reprocess": redo.way_out})

    for said in refused:
        came_to(sandbox, said, row.outcome, THIRTY)
        assert "30 of 30 existing or paid outputs" in said["message"]
        assert f"({redo.why}). Nothing was started." in said["message"]
        assert "max_paid_again=30" in said["message"] and f'reprocess="{redo.way_out}"' in said["message"]
    assert (free["summary"]["unchanged"], free["summary"]["paid"]) == (30, 0)
    assert sandbox.accepted == 30
    assert sandbox.emulator.unconsumed() == []
    row.consumed("refused twice")
    row.held(check_invariants(sandbox))


# ---- sources that are gone while their jobs are open


def deleted(sandbox: Sandbox) -> None:
    for name in NAMES:
        (sandbox.source / name).unlink()


def replaced(sandbox: Sandbox) -> None:
    for number, name in enumerate(NAMES):
        (sandbox.source / name).write_bytes(jpeg(500 + number))


def moved(sandbox: Sandbox) -> None:
    sandbox.source.rename(sandbox.root / "in-2027")


@pytest.mark.parametrize("run", [None, "the next run"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change, marks=pytest.mark.fault("F60", change.__name__, "hidden"))
        for change in (deleted, replaced, moved)
    ],
)
def test_what_is_open_is_landed_first_whatever_became_of_its_source(
    row: Row, sandbox: Sandbox, change: Callable[[Sandbox], None], run: str | None
) -> None:
    sandbox.put(*NAMES)
    with no_job_ends(sandbox):
        worker = sandbox.start(**told(sandbox, None, {}))
        until(lambda: records(sandbox, "started") == len(NAMES))
        worker.kill()
    row.consumed("killed with four jobs in the record")
    change(sandbox)
    more = {"options": {"if_empty": "succeed"}}
    if change is moved:
        more["source"] = str(sandbox.root / "in-2027")

    said = night(sandbox, run=run, **more)["summary"]

    assert (said["possibly_paid_twice"], said["failed"]) == (0, 0)
    assert sandbox.outputs == NAMES
    changed = len(NAMES) if change is replaced else 0
    assert sandbox.accepted == len(NAMES) + changed
    assert said["reasons"] == ({"source changed": changed} if changed else {})
    ends_well(sandbox, row, NAMES, **more)


# ---- other fingerprints, same bytes


def touch(path: Path) -> None:
    os.utime(path, (1, 1))


def copy(path: Path) -> None:
    """Another file in its place."""
    shutil.copyfile(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def send_again(path: Path) -> None:
    path.write_bytes(path.read_bytes())
    os.utime(path)


@pytest.mark.parametrize(
    ("names", "change"),
    [
        pytest.param(names, change, marks=pytest.mark.fault("F61", f"{len(names)} {word}", "hidden"))
        for names in (NAMES, THIRTY)
        for word, change in {"touched": touch, "copied": copy, "sent again": send_again}.items()
    ],
)
def test_files_with_the_same_bytes_as_before_are_unchanged(
    row: Row, sandbox: Sandbox, names: list[str], change: Callable[[Path], None]
) -> None:
    sandbox.put(*names)
    came_to(sandbox, night(sandbox), "hidden", names)
    before = [os.stat(sandbox.source / name).st_mtime_ns for name in names]
    for name in names:
        change(sandbox.source / name)

    said = night(sandbox, run="the second night")["summary"]

    assert (said["unchanged"], said["corrected"], said["paid"]) == (len(names), 0, 0)
    assert sandbox.accepted == sandbox.emulator.seen()["storage"]["routes"]["put"] == len(names)
    assert not set(before) & {os.stat(sandbox.source / name).st_mtime_ns for name in names}
    row.consumed("other times")
    ends_well(sandbox, row, names)


@pytest.mark.fault("F61", "a rejected one touched", "item REJECTED")
def test_a_rejected_picture_that_was_only_touched_is_not_paid_again(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault("pfc", {"outcome": {"status": "REJECTED", "statusText": "no photograph"}})
    came_to(sandbox, night(sandbox), row.outcome, NAMES)
    row.consumed(sandbox.emulator)
    for name in NAMES:
        touch(sandbox.source / name)

    said = night(sandbox, run="the second night")

    assert sandbox.accepted == len(NAMES), said
    assert (said["summary"]["unchanged"], said["summary"]["known_bad"]) == (len(NAMES) - 1, 1)
    ends_well(sandbox, row, NAMES)


@pytest.mark.fault("F61", "one of 30 really changed", "hidden")
def test_what_really_changed_among_what_was_touched_is_all_that_is_paid(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*THIRTY)
    night(sandbox)
    for name in THIRTY:
        touch(sandbox.source / name)
    (sandbox.source / "07.jpg").write_bytes(jpeg(4711))

    said = night(sandbox, run="the second night")["summary"]

    assert (said["unchanged"], said["corrected"], said["paid"]) == (29, 1, 1)
    row.consumed("other times")
    ends_well(sandbox, row, THIRTY)
