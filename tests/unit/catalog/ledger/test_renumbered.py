"""Pictures that swap or shift their names: their outputs are copied, also when a worker is ended in the middle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.faults.nights import night, told
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg


def a_series(sandbox: Sandbox, pictures: list[bytes]) -> list[bytes]:
    """Put pictures under numbered names, correct them, and return their outputs."""
    for number, picture in enumerate(pictures):
        (sandbox.source / f"{number:03}.jpg").write_bytes(picture)
    assert night(sandbox, run="first night")["summary"]["paid"] == len(pictures)
    return [(sandbox.destination / f"{number:03}.jpg").read_bytes() for number in range(len(pictures))]


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(how, marks=pytest.mark.fault("F62", f"a numbered series is renumbered: {how}", "hidden"))
        for how in ("shift", "swap", "rotate")
    ],
)
def test_a_renumbered_series_costs_only_what_is_new(row: Row, sandbox: Sandbox, how: str) -> None:
    """The copy of one picture is written over the output that the next one is copied from."""
    pictures = [jpeg(100 + number) for number in range(12)]
    outputs = a_series(sandbox, pictures)
    sandbox.emulator.let_pass(72)  # the service no longer has any result
    renumbered = {
        "shift": [jpeg(999), *pictures],
        "swap": [pictures[1], pictures[0], *pictures[2:]],
        "rotate": [*pictures[1:], pictures[0]],
    }[how]
    for number, picture in enumerate(renumbered):
        (sandbox.source / f"{number:03}.jpg").write_bytes(picture)

    second, third = (night(sandbox, run=f"night {number}")["summary"] for number in (2, 3))

    new = how == "shift"
    assert (second["paid"], third["paid"], third["unchanged"]) == (new, 0, len(renumbered))
    assert second["gone_from_destination"] == third["edited_at_destination"] == 0
    for number, picture in enumerate(renumbered):
        if picture in pictures:
            at = (sandbox.destination / f"{number:03}.jpg").read_bytes()
            assert at == outputs[pictures.index(picture)], number
    assert list((sandbox.destination / ".perfectlyclear").glob("replaced/*/*")) == []
    row.consumed("the outputs that were copied were written over")
    row.held(check_invariants(sandbox))


@pytest.mark.parametrize(
    ("ended", "replaced_later"),
    [
        pytest.param(ended, later, marks=pytest.mark.fault(number, f"{way}{also}", "hidden"))
        for ended, number, way in (
            (
                {"die_at": ["os.link", "lanes/all", 3]},
                "F37",
                "while pictures that were renumbered are copied",
            ),
            ({"die_at": ["os.link", "lanes/all", 2]}, "F37", "before the copies of renumbered pictures"),
            ({"fail_at": ["os.link", "lanes/all", "ENOSPC", 1, 3]}, "F35", "at the record of a copy"),
        )
        for later, also in ((False, ""), (True, ", new pictures after that"))
    ],
)
def test_a_worker_that_is_ended_while_it_copies_leaves_no_output_behind_its_record(
    row: Row, sandbox: Sandbox, ended: dict[str, Any], replaced_later: bool
) -> None:
    pictures = [jpeg(100 + number, (64 + 8 * number, 48)) for number in range(6)]
    outputs = a_series(sandbox, pictures)
    for number, picture in enumerate(pictures[1:]):  # the first is deleted, the others are renumbered
        (sandbox.source / f"{number:03}.jpg").write_bytes(picture)
    (sandbox.source / "005.jpg").unlink()
    sandbox.end(sandbox.start(**told(sandbox, "second night", ended)))
    if replaced_later:
        for number in range(5):
            (sandbox.source / f"{number:03}.jpg").write_bytes(jpeg(500 + number, (100, 90)))

    second, third = (night(sandbox, run=run)["summary"] for run in ("second night", "third night"))

    assert (second["edited_at_destination"], second["failed"], third["unchanged"]) == (0, 0, 5)
    assert second["paid"] == (5 if replaced_later else 0)
    if not replaced_later:
        copied = [(sandbox.destination / f"{number:03}.jpg").read_bytes() for number in range(5)]
        assert copied == outputs[1:]
    row.consumed("ended between two records")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F37", "while two pictures are swapped by mistake, which is undone", "hidden")
def test_a_swap_that_is_undone_after_a_killed_worker_leaves_each_picture_its_own_output(
    row: Row, sandbox: Sandbox
) -> None:
    outputs = a_series(sandbox, [jpeg(100 + number) for number in range(40)])
    lengths: dict[int, int] = {}
    pairs = [(lengths.setdefault(len(output), number), number) for number, output in enumerate(outputs)]
    one, other = next((first, second) for first, second in pairs if first != second)  # of equal length

    def swap() -> None:
        first, second = (sandbox.source / f"{number:03}.jpg" for number in (one, other))
        aside = Path(f"{first}.aside")
        os.rename(first, aside)
        os.rename(second, first)
        os.rename(aside, second)

    swap()
    sandbox.end(sandbox.start(**told(sandbox, "second night", {"die_at": ["os.link", "lanes/all", 3]})))
    swap()
    again, last = (night(sandbox, run=run)["summary"] for run in ("second night", "third night"))

    for number in (one, other):
        assert (sandbox.destination / f"{number:03}.jpg").read_bytes() == outputs[number]
    assert (again["failed"], again["paid"], last["unchanged"]) == (0, 0, 40)
    row.consumed("killed after the first copies")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F76", "two copies of a picture whose output and result are gone", "hidden")
def test_of_two_copies_of_what_is_gone_one_is_paid_for_and_the_other_is_its_copy(
    row: Row, sandbox: Sandbox
) -> None:
    """The ledger's row of the picture is of no use: neither may wait for it."""
    pictures = [jpeg(100 + number) for number in range(3)]
    a_series(sandbox, pictures)
    sandbox.emulator.let_pass(72)
    (sandbox.destination / "000.jpg").unlink()
    (sandbox.source / "000.jpg").unlink()
    for name in ("x.jpg", "y.jpg"):
        (sandbox.source / name).write_bytes(pictures[0])

    missing = {"reprocess": "missing", "max_in_flight": 1}
    second, third = (night(sandbox, run=f"night {number}", options=missing)["summary"] for number in (2, 3))

    assert (second["paid"], second["paid_again"], second["reused"]) == (1, 1, 1)
    assert (third["paid"], third["unchanged"]) == (0, 4)
    row.consumed("one output and its result are gone")
    row.held(check_invariants(sandbox, again=1))


def test_the_redo_guard_lets_a_renumbered_series_pass(sandbox: Sandbox) -> None:
    """Every name has another content, but the outputs of all of them are there: nothing is paid again."""
    pictures = [jpeg(100 + number) for number in range(30)]
    a_series(sandbox, pictures)
    for number, picture in enumerate([*pictures[1:], pictures[0]]):
        (sandbox.source / f"{number:03}.jpg").write_bytes(picture)

    second = night(sandbox, run="second night")["summary"]

    assert (second["corrected"], second["reused"], second["paid"]) == (30, 30, 0)
    check_invariants(sandbox)
