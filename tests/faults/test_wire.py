"""What the service and the network between do wrong, in one table: how it is injected, and what must come of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.catalog.conftest import House
from tests.faults.nights import NAMES, came_to, ends_well, night
from tests.faults.table import Row


@dataclass(frozen=True)
class Way:
    """
    One way to inject a fault.

    :param outcome: as :func:`tests.faults.nights.came_to` reads it.
    :param faults: instructions: which requests, what happens to them, and how often (None: for ever).
    :param more: what the worker is told beside the usual.
    """

    fault: str
    way: str
    outcome: str
    faults: list[tuple[Any, Any, int | None]]
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def parameter(self) -> Any:
        marks = pytest.mark.fault(self.fault, self.way, self.outcome)
        return pytest.param(self, marks=marks, id=f"{self.fault}-{self.way}".replace(" ", "-"))


def answer(status: int, **headers: str) -> dict[str, Any]:
    return {"answer": {"status": status, "headers": headers, "body": "busy"}}


def ways() -> Iterator[Way]:
    for route in ("upload", "put", "status", "download"):
        for status in (500, 502, 503, 504):
            yield Way("F3", f"{status} twice at {route}", "hidden", [(route, answer(status), 2)])


@pytest.mark.parametrize("way", [way.parameter for way in ways()])
def test_a_fault_on_the_wire(row: Row, house: House, way: Way) -> None:
    house.put(*NAMES)
    for match, do, times in way.faults:
        house.emulator.fault(match, do, times=times)

    said = night(house, **way.more)

    row.consumed(house.emulator)
    came_to(house, said, way.outcome, NAMES)
    ends_well(house, row, NAMES, **way.more)
