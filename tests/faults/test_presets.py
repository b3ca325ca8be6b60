"""Presets that are not there, change, are half made, or are many."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_perfectlyclear.emulator.testing import Emulator
from airflow_provider_perfectlyclear.errors import PerfectlyClearError
from airflow_provider_perfectlyclear.hooks import presets
from tests.catalog.conftest import House, jpeg
from tests.catalog.judge import judge
from tests.faults.nights import NAMES, came_to, failed, night, night_held, refused_starts
from tests.faults.presets import NAME, client_of, delete, make, make_in_a_process
from tests.faults.table import Row

BY_IT: dict[str, Any] = {"options": {"correction": {"preset": NAME}}}
ONE_BY_ONE = {"options": {"correction": {"preset": NAME}, "transfers": 1, "max_in_flight": 1}}


def pages(house: House) -> int:
    """How many requests for a page of the presets the service has seen."""
    return int(house.emulator.seen()["api"]["routes"].get("presets", 0))


# ---- not there, not there any more, not the same


@pytest.mark.fault("F51", "never made", "run STOPPED")
def test_a_preset_that_nobody_knows_stops_the_run_at_its_first_picture(row: Row, house: House) -> None:
    house.put(*NAMES)
    said = night(house, **BY_IT)

    assert said.get("code") == "STOPPED" and NAME in said["message"], said
    assert "is not among the account's presets" in house.log.read_text()
    assert refused_starts(house) == house.emulator.seen()["api"]["routes"]["pfc"] == 1
    assert house.accepted == 0
    row.consumed("the service has refused one start")
    make(house.emulator, b"warm")
    came_to(house, night(house, **BY_IT), "hidden", NAMES)
    row.held(judge(house))


def deleted(service: Emulator) -> None:
    delete(service)


def renamed(service: Emulator) -> None:
    """The service has no call for it: who wants another name makes another preset."""
    make(service, b"warm", name="Studio 8")
    delete(service)


@pytest.mark.parametrize(
    "gone",
    [
        pytest.param(deleted, marks=pytest.mark.fault("F51", "deleted during a run", "items START_REFUSED")),
        pytest.param(renamed, marks=pytest.mark.fault("F51", "renamed during a run", "items START_REFUSED")),
    ],
)
def test_pictures_whose_preset_is_gone_are_not_paid_and_made_once_it_is_back(
    row: Row, house: House, gone: Callable[[Emulator], None]
) -> None:
    house.put(*NAMES)
    make(house.emulator, b"warm")
    said = night_held(
        house,
        {"route": "put", "nth": 2},
        {"when": "committed"},
        lambda: gone(house.emulator),
        **ONE_BY_ONE,
    )

    row.consumed(house.emulator)
    assert said.get("error") == "CatalogFailed", said
    assert [line["code"] for line in failed(house)] == ["START_REFUSED"] * (len(NAMES) - 1)
    assert house.accepted == 1
    make(house.emulator, b"warm")  # the same content: what is made already is as good as before
    came_to(house, night(house, **BY_IT), "hidden", NAMES)
    assert house.accepted == len(NAMES)
    row.held(judge(house))


@pytest.mark.fault("F51", "edited between nights", "hidden")
def test_pictures_of_an_edited_preset_are_made_again(row: Row, house: House) -> None:
    house.put(*NAMES)
    make(house.emulator, b"warm")
    assert night(house, run="monday", **BY_IT)["summary"]["paid"] == len(NAMES)
    make(house.emulator, b"warm")
    assert night(house, run="tuesday", **BY_IT)["summary"]["paid"] == 0
    make(house.emulator, b"cold")
    assert night(house, run="wednesday", **BY_IT)["summary"]["paid"] == len(NAMES)
    assert night(house, run="thursday", **BY_IT)["summary"]["paid"] == 0

    row.consumed("the preset has another file")
    assert house.accepted == 2 * len(NAMES)
    row.held(judge(house))


@pytest.mark.fault("F51", "edited during a run", "hidden")
def test_pictures_of_a_preset_that_was_edited_during_a_run_are_made_again_by_the_next(
    row: Row, house: House
) -> None:
    house.put(*NAMES)
    make(house.emulator, b"warm")
    said = night_held(
        house,
        {"route": "put", "nth": 2},
        {"when": "committed"},
        lambda: make(house.emulator, b"cold"),
        **ONE_BY_ONE,
    )

    row.consumed(house.emulator)
    assert said["summary"]["paid"] == len(NAMES)
    assert night(house, run="tuesday", **BY_IT)["summary"]["corrected"] == len(NAMES)
    assert night(house, run="wednesday", **BY_IT)["summary"]["paid"] == 0
    assert house.accepted == 2 * len(NAMES)
    # Nobody can tell which of them the edited preset has made already: all but the first are paid again.
    row.held(judge(house, again=len(NAMES) - 1))


# ---- half made


@dataclass(frozen=True)
class Half:
    """
    A way to end in the middle of making a preset.

    :param match: which request fails, and how.
    :param left: presets without a file that it leaves: nobody can list them, so nobody can find and remove them. They
        cannot be used either, and have no part in what is listed.
    """

    way: str
    match: Any
    do: Any
    times: int = 1
    left: int = 0
    more: list[Any] = field(default_factory=list)

    @property
    def parameter(self) -> Any:
        outcome = "hidden" if not self.left else "nothing that can be used"
        marks = pytest.mark.fault("F52", self.way, outcome)
        return pytest.param(self, marks=marks, id=self.way.replace(" ", "-"))


def kill(when: str) -> Any:
    return {"kill": {"pid": "peer", "when": when}}


REFUSED = {"answer": {"status": 400, "body": "no"}}
ALIVE = [
    Half("its upload is refused", "preset_put", REFUSED),
    Half("its upload is cut each time", "preset_put", {"reset": "reading"}, 2),
    Half("its store is down", "preset_put", {"answer": {"status": 503, "body": "busy"}}, 2),
    Half(
        "its upload and its removal are refused",
        "preset_put",
        REFUSED,
        left=1,
        more=[("preset_delete", {"answer": {"status": 500, "body": "no"}}, 2)],
    ),
    Half("the answer of its making is lost", "preset_create", {"reset": "committed"}, left=1),
]
KILLED = [
    Half("killed before its making", "preset_create", kill("before")),
    Half("killed when it was made", "preset_create", kill("committed"), left=1),
    Half("killed before its upload", "preset_put", kill("before"), left=1),
    Half("killed in its upload", "preset_put", kill("reading"), left=1),
    Half("killed after its upload", "preset_put", kill("committed")),
]


@pytest.mark.parametrize("half", [half.parameter for half in ALIVE])
def test_a_preset_that_cannot_be_made_whole_is_removed(row: Row, house: House, half: Half) -> None:
    for match, do, times in [(half.match, half.do, half.times), *half.more]:
        house.emulator.fault(match, do, times=times)

    with suppress(PerfectlyClearError):
        make(house.emulator, b"warm")

    row.consumed(house.emulator)
    no_twin(house, half, row)


@pytest.mark.parametrize("half", [half.parameter for half in KILLED])
def test_a_preset_of_a_killed_process_has_no_twin(row: Row, house: House, half: Half) -> None:
    house.emulator.fault(half.match, half.do)

    assert make_in_a_process(house.emulator, b"warm") == -signal.SIGKILL

    row.consumed(house.emulator)
    no_twin(house, half, row)


@pytest.mark.fault("F52", "killed before the old one is removed", "hidden")
def test_a_preset_that_was_not_quite_replaced_is_replaced_by_doing_it_again(row: Row, house: House) -> None:
    make(house.emulator, b"cold")
    house.emulator.fault("preset_delete", kill("before"))

    assert make_in_a_process(house.emulator, b"warm") == -signal.SIGKILL

    row.consumed(house.emulator)
    assert [preset["name"] for preset in house.emulator.presets()] == [NAME, NAME]
    no_twin(house, Half("", None, None), row)


def no_twin(house: House, half: Half, row: Row) -> None:
    """Doing it again leaves one preset of that name; what nobody can find is left, and cannot be used."""
    make(house.emulator, b"warm")
    make(house.emulator, b"warm")
    found = house.emulator.presets()
    assert [preset["name"] for preset in found if preset["uploaded"]] == [NAME]
    assert sum(not preset["uploaded"] for preset in found) == half.left
    with client_of(house.emulator) as client:
        assert [preset.name for preset in presets.iterate(client)] == [NAME]
    house.put(*NAMES)
    came_to(house, night(house, **BY_IT), "hidden", NAMES)
    row.held(judge(house))


# ---- many


@pytest.mark.parametrize(
    ("count", "asked"),
    [
        pytest.param(10_000, 500, marks=pytest.mark.fault("F53", "the last of 10,000", "hidden")),
        pytest.param(350, 18, marks=pytest.mark.fault("F53", "the last of 350", "hidden")),
    ],
)
def test_a_preset_is_found_among_many_page_by_page(row: Row, house: House, count: int, asked: int) -> None:
    house.put(*NAMES)
    house.emulator.make_presets(count)

    said = night(house, options={"correction": {"preset": f"Preset {count:05}"}})

    row.consumed(f"{count} presets in {pages(house)} pages")
    came_to(house, said, "hidden", NAMES)
    assert pages(house) == asked
    assert said["grew"] < 60
    row.held(judge(house))


@pytest.mark.fault("F53", "not among 350", "run STOPPED")
def test_pages_are_asked_for_until_the_last(row: Row, house: House) -> None:
    house.put(*NAMES)
    house.emulator.make_presets(350)

    said = night(house, **BY_IT)

    assert said.get("code") == "STOPPED", said
    assert pages(house) == 19  # the last one is empty
    row.consumed("350 presets in 18 pages")
    row.held(judge(house))


@pytest.mark.fault("F53", "the same page without an end", "run STOPPED")
def test_a_page_that_comes_again_and_again_is_the_last(row: Row, house: House) -> None:
    house.put(*NAMES)
    page = [{"presetId": f"{number:024x}", "name": f"Preset {number}"} for number in range(20)]
    house.emulator.fault("presets", {"set": {"presets": page}}, times=None)

    said = night(house, **BY_IT)

    assert said.get("code") == "STOPPED", said
    assert pages(house) == 2
    row.consumed(house.emulator)
    row.held(judge(house))


@pytest.mark.fault("F78", "a page that is filtered after its limit", "hidden")
def test_a_short_page_is_not_the_last_one(row: Row, house: House) -> None:
    """19 of 20 come back, as one is hidden: the preset on the next page is not another correction for that."""
    house.put(*NAMES)
    house.emulator.make_presets(25)
    listed = [{"presetId": one["presetId"], "name": one["name"]} for one in house.emulator.presets()]
    name = listed[21]["name"]
    by_it: dict[str, Any] = {"options": {"correction": {"preset": name}}}
    assert night(house, **by_it)["summary"]["paid"] == len(NAMES)
    house.emulator.fault("presets", {"set": {"presets": listed[1:20]}}, times=1)

    said = night(house, run="tuesday", **by_it)

    assert (said["summary"]["unchanged"], said["summary"]["paid"]) == (len(NAMES), 0)
    row.consumed(house.emulator)
    row.held(judge(house))


@pytest.mark.fault("F78", "left out of the list for a night", "run UNAVAILABLE")
def test_a_preset_that_was_listed_is_never_taken_for_a_built_in_one(row: Row, house: House) -> None:
    house.put(*NAMES)
    make(house.emulator, b"warm")
    assert night(house, run="monday", **BY_IT)["summary"]["paid"] == len(NAMES)
    (house.source / "new.jpg").write_bytes(jpeg(77))
    house.emulator.fault("presets", {"set": {"presets": []}}, times=1)

    said = night(house, run="tuesday", **BY_IT)

    assert said.get("code") == "UNAVAILABLE", said
    assert f"Preset {NAME!r} was among the account's presets" in said["message"]
    row.consumed(house.emulator)
    assert house.accepted == len(NAMES)
    summary = night(house, run="tuesday", **BY_IT)["summary"]
    assert (summary["unchanged"], summary["paid"]) == (len(NAMES), 1)
    row.held(judge(house))


PAGE = {"answer": {"status": 200, "body": "<html>maintenance</html>"}}
MISREAD = [
    ("a file without an address", "preset", {"remove": "uri"}, "UNAVAILABLE"),
    ("a page in place of the file", "preset_get_file", PAGE, "UNAVAILABLE"),
    (
        "an answer about another",
        "preset",
        {"patch": {"presetId": "another", "name": "Other"}},
        "PROTOCOL_ERROR",
    ),
    ("a file garbled once", "preset_get_file", {"scramble": 3}, None),
    ("a file cut short once", "preset_get_file", {"truncate": 5}, None),
]


@pytest.mark.parametrize(
    ("route", "do", "code"),
    [
        pytest.param(
            *told,
            marks=pytest.mark.fault("F75", f"preset: {way}", f"run {told[2]}" if told[2] else "hidden"),
            id=way,
        )
        for way, *told in MISREAD
    ],
)
def test_what_is_misread_of_a_preset_is_not_another_correction(
    row: Row, house: House, route: str, do: dict[str, Any], code: str | None
) -> None:
    """For one night, with a 200: else all would be paid that night, and all again the night after."""
    make(house.emulator, b"warm preset, some bytes")
    house.put(*NAMES)
    assert night(house, run="monday", **BY_IT)["summary"]["paid"] == len(NAMES)
    house.emulator.fault(route, do, times=None if code else 1)
    assert night(house, run="tuesday", **BY_IT).get("code") == code
    row.consumed(house.emulator)
    house.emulator.clear_faults()
    assert night(house, run="wednesday", **BY_IT)["summary"]["unchanged"] == len(NAMES)
    assert house.accepted == len(NAMES)
    row.held(judge(house))


def test_a_preset_that_is_nearly_one_of_the_accounts_is_asked_about(house: House) -> None:
    house.put(*NAMES)
    make(house.emulator, b"warm")

    night(house, options={"correction": {"preset": NAME.replace("dio", "do")}})

    assert f"Did you mean {NAME!r}?" in house.log.read_text()


def test_a_built_in_preset_that_has_worked_is_not_warned_about_again(house: House) -> None:
    house.put(*NAMES)
    by_a_built_in: dict[str, Any] = {"options": {"correction": {"preset": "Vivid"}}}
    assert night(house, run="monday", **by_a_built_in)["summary"]["paid"] == len(NAMES)
    warned = house.log.read_text().count("is not among the account's presets")

    assert night(house, run="tuesday", **by_a_built_in)["summary"]["unchanged"] == len(NAMES)

    assert warned == 1 == house.log.read_text().count("is not among the account's presets")
