"""SIGKILL at every point of a picture's life: the next try finishes, and the bill is exact."""

from __future__ import annotations

import pytest

from tests.catalog.conftest import House
from tests.catalog.judge import judge

# With one job at a time it is known which of them a kill leaves ambiguous.
ONE_BY_ONE = {"max_in_flight": 1, "transfers": 1, "poll_interval": 0.7}
NAMES = ["a.jpg", "b/c.jpg", "d.jpg", "e.jpg", "f.jpg"]


@pytest.mark.parametrize(
    ("route", "when", "ambiguous"),
    [
        pytest.param("put", "committed", 0, id="before-pfc"),
        pytest.param("pfc", "before", 1, id="while-pfc-is-sent"),
        pytest.param("pfc", "committed", 1, id="after-pfc-was-accepted"),
        pytest.param("pfc", "answered", 1, id="after-its-answer"),
        pytest.param("status", "before", 0, id="after-the-record"),
        pytest.param("download", "answering", 0, id="in-a-download"),
    ],
)
def test_a_worker_killed_by_the_service_pays_nothing_twice_in_silence(
    house: House, route: str, when: str, ambiguous: int
) -> None:
    house.put(*NAMES)
    house.options = ONE_BY_ONE
    house.emulator.fault({"route": route, "nth": 3}, {"kill": {"pid": "peer", "when": when}})

    assert house.work() is None
    said = house.work()

    assert said is not None and "summary" in said, said
    assert house.outputs == sorted(NAMES)
    assert house.emulator.unconsumed() == []
    assert said["summary"]["corrected"] == len(NAMES)
    assert said["summary"]["possibly_paid_twice"] == ambiguous
    assert house.emulator.bill()["billed"] == len(NAMES)
    judge(house)


@pytest.mark.parametrize(
    ("event", "part", "ambiguous"),
    [
        pytest.param("os.rename", "out/b/c.jpg", 0, id="between-temporary-name-and-publishing"),
        pytest.param("os.rename", "manifest.jsonl", 0, id="before-the-manifest"),
        pytest.param("os.link", "lanes/all/00000002.jsonl", 0, id="before-the-intent-is-there"),
        pytest.param("os.link", "lanes/all/00000003.jsonl", 1, id="before-started-is-there"),
    ],
)
def test_a_worker_killed_at_a_file_pays_nothing_twice(
    house: House, event: str, part: str, ambiguous: int
) -> None:
    house.put(*NAMES)
    house.options = ONE_BY_ONE

    assert house.work(die_at=[event, part]) is None
    said = house.work()

    assert said is not None and "summary" in said, said
    assert house.outputs == sorted(NAMES)
    assert said["summary"]["corrected"] == len(NAMES)
    assert said["summary"]["possibly_paid_twice"] == ambiguous
    assert house.emulator.bill()["billed"] == len(NAMES)
    judge(house)


def test_the_next_night_pays_nothing(house: House) -> None:
    house.put(*NAMES)
    first = house.work()
    second = house.work(run="nightly/2026-11-23/correct/-1")

    assert first is not None and first["summary"]["paid"] == len(NAMES)
    assert second is not None and second["summary"]["paid"] == 0
    assert second["summary"]["unchanged"] == len(NAMES)
    assert house.emulator.bill()["accepted"] == len(NAMES)
