"""A destination or a record inside the source, a source inside the destination, and one place for both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.nights import NAMES, came_to, ends_well, failed, night
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox


class Elsewhere(Sandbox):
    """
    A sandbox whose destination and record may lie anywhere below its root.

    ``destination_at`` and ``state_at`` are relative to it.
    """

    destination_at = "out"
    state_at: str | None = None

    @property
    def destination(self) -> Path:
        return self.root / self.destination_at

    def config(self, **more: Any) -> dict[str, Any]:
        state = {} if self.state_at is None else {"state": str(self.root / self.state_at)}
        return super().config(**state, **more)

    def look(self) -> Path:
        return self.root if self.state_at else self.destination


@pytest.fixture
def elsewhere(sandbox: Sandbox) -> Elsewhere:
    return Elsewhere(sandbox.root, sandbox.emulator)


@pytest.mark.parametrize(
    ("destination", "state"),
    [
        pytest.param(destination, state, marks=pytest.mark.fault("F57", way, "hidden"))
        for way, destination, state in (
            ("destination in the source", "in/corrected", None),
            ("destination deep in the source", "in/b/corrected/2026", None),
            ("record in the source", "out", "in/record"),
            ("record hidden in the source", "out", "in/.record"),
            ("record and destination in the source", "in/corrected", "in/record"),
        )
    ],
)
def test_places_inside_the_source_are_never_listed(
    row: Row, elsewhere: Elsewhere, destination: str, state: str | None
) -> None:
    elsewhere.put(*NAMES)
    elsewhere.destination_at, elsewhere.state_at = destination, state
    everything = {"options": {"pattern": ["*"]}}

    said = night(elsewhere, **everything)
    again = night(elsewhere, run="the second night", **everything)["summary"]

    assert (said["summary"]["listed"], said["summary"]["corrected"]) == (len(NAMES), len(NAMES))
    assert (again["listed"], again["unchanged"], again["paid"]) == (len(NAMES), len(NAMES), 0)
    row.consumed("all names match the pattern")
    ends_well(elsewhere, row, NAMES, **everything)


@pytest.mark.fault("F57", "source in the destination", "item UNSAFE_NAME")
def test_nothing_is_written_into_a_source_inside_the_destination(row: Row, elsewhere: Elsewhere) -> None:
    elsewhere.put("a.jpg", "in/a.jpg")
    elsewhere.destination_at = ""
    before = (elsewhere.source / "a.jpg").read_bytes()

    said = night(elsewhere)

    assert said["error"] == "CatalogFailed"
    assert [(line["source"], line["code"]) for line in failed(elsewhere)] == [("in/a.jpg", "UNSAFE_NAME")]
    assert (elsewhere.source / "a.jpg").read_bytes() == before
    assert elsewhere.accepted == 1
    row.consumed("its output would lie in the source")
    assert night(elsewhere, run="the night after")["summary"]["known_bad"] == 1
    row.held(check_invariants(elsewhere))


@pytest.mark.parametrize(
    "destination",
    [
        pytest.param("in", marks=pytest.mark.fault("F57", "equal", "run CONFIGURATION")),
        pytest.param(
            "in/../in/.", marks=pytest.mark.fault("F57", "equal, written otherwise", "run CONFIGURATION")
        ),
        pytest.param("link", marks=pytest.mark.fault("F57", "equal, by a link", "run CONFIGURATION")),
    ],
)
def test_a_destination_that_is_the_source_is_refused(
    row: Row, elsewhere: Elsewhere, destination: str
) -> None:
    elsewhere.put(*NAMES)
    (elsewhere.root / "link").symlink_to(elsewhere.source)
    elsewhere.destination_at = destination

    said = night(elsewhere)

    came_to(elsewhere, said, row.outcome, NAMES)
    assert "are the same place" in said["message"]
    assert sorted(path.name for path in elsewhere.source.iterdir()) == ["a.jpg", "b", "d.jpg", "e.jpg"]
    row.consumed("said")
    elsewhere.destination_at = "out"
    ends_well(elsewhere, row, NAMES)
