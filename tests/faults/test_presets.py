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
from tests.faults.nights import NAMES, came_to, failed, night, night_held, refused_starts
from tests.faults.presets import NAME, client_of, delete, make, make_in_a_process
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg

BY_IT: dict[str, Any] = {"options": {"correction": {"preset": NAME}}}
ONE_BY_ONE = {"options": {"correction": {"preset": NAME}, "transfers": 1, "max_in_flight": 1}}


def pages(sandbox: Sandbox) -> int:
    """How many requests for a page of the presets the service has seen."""
    return int(sandbox.emulator.seen()["api"]["routes"].get("presets", 0))


# ---- not there, not there any more, not the same


@pytest.mark.fault("F51", "never made", "run STOPPED")
def test_an_unknown_preset_stops_the_run_at_its_first_picture(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    said = night(sandbox, **BY_IT)

    assert said.get("code") == "STOPPED" and NAME in said["message"], said
    assert "is not among the account's presets" in sandbox.log.read_text()
    assert refused_starts(sandbox) == sandbox.emulator.seen()["api"]["routes"]["pfc"] == 1
    assert sandbox.accepted == 0
    row.consumed("the service has refused one start")
    make(sandbox.emulator, b"warm")
    came_to(sandbox, night(sandbox, **BY_IT), "hidden", NAMES)
    row.held(check_invariants(sandbox))


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
    row: Row, sandbox: Sandbox, gone: Callable[[Emulator], None]
) -> None:
    sandbox.put(*NAMES)
    make(sandbox.emulator, b"warm")
    said = night_held(
        sandbox,
        {"route": "put", "nth": 2},
        {"when": "committed"},
        lambda: gone(sandbox.emulator),
        **ONE_BY_ONE,
    )

    row.consumed(sandbox.emulator)
    assert said.get("error") == "CatalogFailed", said
    assert [line["code"] for line in failed(sandbox)] == ["START_REFUSED"] * (len(NAMES) - 1)
    assert sandbox.accepted == 1
    make(sandbox.emulator, b"warm")  # the same content: what is made already is as good as before
    came_to(sandbox, night(sandbox, **BY_IT), "hidden", NAMES)
    assert sandbox.accepted == len(NAMES)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F51", "edited between nights", "hidden")
def test_pictures_of_an_edited_preset_are_made_again(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    make(sandbox.emulator, b"warm")
    assert night(sandbox, run="monday", **BY_IT)["summary"]["paid"] == len(NAMES)
    make(sandbox.emulator, b"warm")
    assert night(sandbox, run="tuesday", **BY_IT)["summary"]["paid"] == 0
    make(sandbox.emulator, b"cold")
    assert night(sandbox, run="wednesday", **BY_IT)["summary"]["paid"] == len(NAMES)
    assert night(sandbox, run="thursday", **BY_IT)["summary"]["paid"] == 0

    row.consumed("the preset has another file")
    assert sandbox.accepted == 2 * len(NAMES)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F51", "edited during a run", "hidden")
def test_pictures_of_a_preset_that_was_edited_during_a_run_are_made_again_by_the_next(
    row: Row, sandbox: Sandbox
) -> None:
    sandbox.put(*NAMES)
    make(sandbox.emulator, b"warm")
    said = night_held(
        sandbox,
        {"route": "put", "nth": 2},
        {"when": "committed"},
        lambda: make(sandbox.emulator, b"cold"),
        **ONE_BY_ONE,
    )

    row.consumed(sandbox.emulator)
    assert said["summary"]["paid"] == len(NAMES)
    assert night(sandbox, run="tuesday", **BY_IT)["summary"]["corrected"] == len(NAMES)
    assert night(sandbox, run="wednesday", **BY_IT)["summary"]["paid"] == 0
    assert sandbox.accepted == 2 * len(NAMES)
    # It is unknown which of them the edited preset has made already: all but the first are paid again.
    row.held(check_invariants(sandbox, again=len(NAMES) - 1))


# ---- half made


@dataclass(frozen=True)
class Half:
    """
    A way to end in the middle of making a preset.

    :param match: which request fails, and how.
    :param left: presets without a file that it leaves: they are not listed, so no run can find and remove them. They
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
def test_a_preset_that_cannot_be_made_whole_is_removed(row: Row, sandbox: Sandbox, half: Half) -> None:
    for match, do, times in [(half.match, half.do, half.times), *half.more]:
        sandbox.emulator.fault(match, do, times=times)

    with suppress(PerfectlyClearError):
        make(sandbox.emulator, b"warm")

    row.consumed(sandbox.emulator)
    no_twin(sandbox, half, row)


@pytest.mark.parametrize("half", [half.parameter for half in KILLED])
def test_a_preset_of_a_killed_process_has_no_twin(row: Row, sandbox: Sandbox, half: Half) -> None:
    sandbox.emulator.fault(half.match, half.do)

    assert make_in_a_process(sandbox.emulator, b"warm") == -signal.SIGKILL

    row.consumed(sandbox.emulator)
    no_twin(sandbox, half, row)


@pytest.mark.fault("F52", "killed before the old one is removed", "hidden")
def test_a_preset_that_was_not_quite_replaced_is_replaced_by_doing_it_again(
    row: Row, sandbox: Sandbox
) -> None:
    make(sandbox.emulator, b"cold")
    sandbox.emulator.fault("preset_delete", kill("before"))

    assert make_in_a_process(sandbox.emulator, b"warm") == -signal.SIGKILL

    row.consumed(sandbox.emulator)
    assert [preset["name"] for preset in sandbox.emulator.presets()] == [NAME, NAME]
    no_twin(sandbox, Half("", None, None), row)


def no_twin(sandbox: Sandbox, half: Half, row: Row) -> None:
    """Doing it again leaves one preset of that name; what cannot be found is left, and cannot be used."""
    make(sandbox.emulator, b"warm")
    make(sandbox.emulator, b"warm")
    found = sandbox.emulator.presets()
    assert [preset["name"] for preset in found if preset["uploaded"]] == [NAME]
    assert sum(not preset["uploaded"] for preset in found) == half.left
    with client_of(sandbox.emulator) as client:
        assert [preset.name for preset in presets.iterate(client)] == [NAME]
    sandbox.put(*NAMES)
    came_to(sandbox, night(sandbox, **BY_IT), "hidden", NAMES)
    row.held(check_invariants(sandbox))


# ---- many


@pytest.mark.parametrize(
    ("count", "asked"),
    [
        pytest.param(10_000, 500, marks=pytest.mark.fault("F53", "the last of 10,000", "hidden")),
        pytest.param(350, 18, marks=pytest.mark.fault("F53", "the last of 350", "hidden")),
    ],
)
def test_a_preset_is_found_among_many_page_by_page(
    row: Row, sandbox: Sandbox, count: int, asked: int
) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.make_presets(count)

    said = night(sandbox, options={"correction": {"preset": f"Preset {count:05}"}})

    row.consumed(f"{count} presets in {pages(sandbox)} pages")
    came_to(sandbox, said, "hidden", NAMES)
    assert pages(sandbox) == asked
    assert said["grew"] < 60
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F53", "not among 350", "run STOPPED")
def test_pages_are_asked_for_until_the_last(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.make_presets(350)

    said = night(sandbox, **BY_IT)

    assert said.get("code") == "STOPPED", said
    assert pages(sandbox) == 19  # the last one is empty
    row.consumed("350 presets in 18 pages")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F53", "the same page without an end", "run STOPPED")
def test_a_page_that_comes_again_and_again_is_the_last(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    page = [{"presetId": f"{number:024x}", "name": f"Preset {number}"} for number in range(20)]
    sandbox.emulator.fault("presets", {"set": {"presets": page}}, times=None)

    said = night(sandbox, **BY_IT)

    assert said.get("code") == "STOPPED", said
    assert pages(sandbox) == 2
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F78", "a page that is filtered after its limit", "hidden")
def test_a_short_page_is_not_the_last_one(row: Row, sandbox: Sandbox) -> None:
    """19 of 20 come back, as one is hidden: the preset on the next page is not another correction for that."""
    sandbox.put(*NAMES)
    sandbox.emulator.make_presets(25)
    listed = [{"presetId": one["presetId"], "name": one["name"]} for one in sandbox.emulator.presets()]
    name = listed[21]["name"]
    by_it: dict[str, Any] = {"options": {"correction": {"preset": name}}}
    assert night(sandbox, **by_it)["summary"]["paid"] == len(NAMES)
    sandbox.emulator.fault("presets", {"set": {"presets": listed[1:20]}}, times=1)

    said = night(sandbox, run="tuesday", **by_it)

    assert (said["summary"]["unchanged"], said["summary"]["paid"]) == (len(NAMES), 0)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F78", "left out of the list for a night", "run UNAVAILABLE")
def test_a_preset_that_was_listed_is_never_taken_for_a_built_in_one(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    make(sandbox.emulator, b"warm")
    assert night(sandbox, run="monday", **BY_IT)["summary"]["paid"] == len(NAMES)
    (sandbox.source / "new.jpg").write_bytes(jpeg(77))
    sandbox.emulator.fault("presets", {"set": {"presets": []}}, times=1)

    said = night(sandbox, run="tuesday", **BY_IT)

    assert said.get("code") == "UNAVAILABLE", said
    assert f"Preset {NAME!r} was among the account's presets" in said["message"]
    row.consumed(sandbox.emulator)
    assert sandbox.accepted == len(NAMES)
    summary = night(sandbox, run="tuesday", **BY_IT)["summary"]
    assert (summary["unchanged"], summary["paid"]) == (len(NAMES), 1)
    row.held(check_invariants(sandbox))


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
    row: Row, sandbox: Sandbox, route: str, do: dict[str, Any], code: str | None
) -> None:
    """For one night, with a 200: else all would be paid that night, and all again the night after."""
    make(sandbox.emulator, b"warm preset, some bytes")
    sandbox.put(*NAMES)
    assert night(sandbox, run="monday", **BY_IT)["summary"]["paid"] == len(NAMES)
    sandbox.emulator.fault(route, do, times=None if code else 1)
    assert night(sandbox, run="tuesday", **BY_IT).get("code") == code
    row.consumed(sandbox.emulator)
    sandbox.emulator.clear_faults()
    assert night(sandbox, run="wednesday", **BY_IT)["summary"]["unchanged"] == len(NAMES)
    assert sandbox.accepted == len(NAMES)
    row.held(check_invariants(sandbox))


def test_a_preset_that_is_nearly_one_of_the_accounts_is_asked_about(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    make(sandbox.emulator, b"warm")

    night(sandbox, options={"correction": {"preset": NAME.replace("dio", "do")}})

    assert f"Did you mean {NAME!r}?" in sandbox.log.read_text()


def test_a_built_in_preset_that_has_worked_is_not_warned_about_again(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    by_a_built_in: dict[str, Any] = {"options": {"correction": {"preset": "Vivid"}}}
    assert night(sandbox, run="monday", **by_a_built_in)["summary"]["paid"] == len(NAMES)
    warned = sandbox.log.read_text().count("is not among the account's presets")

    assert night(sandbox, run="tuesday", **by_a_built_in)["summary"]["unchanged"] == len(NAMES)

    assert warned == 1 == sandbox.log.read_text().count("is not among the account's presets")
