"""Names and texts that would forge a log, steer a terminal, or be run by whatever shows them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_perfectlyclear.__main__ import main
from tests.faults.nights import came_to, ends_well, lines, night
from tests.faults.table import Row
from tests.support.sandbox import Sandbox

FORGED = "2026-01-01 00:00:00,000 ERROR root: forged"
NAMES = [
    f"new\n{FORGED}.jpg",
    f"return\r{FORGED}.jpg",
    "\x1b[31mred\x1b[2J.jpg",
    "bell\x07\x08.jpg",
    "::group::x.jpg",
    "##[error]x.jpg",
    "%s%(levelname)s%n.jpg",
    "{{ 7*7 }}{% raw %}.jpg",
    "turned\u202egpj.jpg",
]
TEXT = f"bad\n{FORGED}\r\n\x1b[2J\x1b]0;title\x07 ::group::x %s %(name)s {{{{ 7*7 }}}} {{% raw %}} \u202egpj\u2028x\0"
# What a traceback, and nothing else, writes without a time stamp of the log.
STAMPED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [\w.]+: (?!::|##)")
OF_A_TRACEBACK = re.compile(
    r"Traceback \(most|  |During handling|The above exception|(\w+\.)*[A-Z]\w+(:|$)|$"
)


def every_line_is_the_logs_own(sandbox: Sandbox) -> None:
    text = sandbox.log.read_bytes().decode()
    assert all(character.isprintable() or character == "\n" for character in text)
    for line in text.split("\n"):
        assert STAMPED.match(line) or OF_A_TRACEBACK.match(line), line
        assert not line.startswith(FORGED[:24])
    for said in sandbox.tries:
        assert said.get("message", "").isprintable(), said


@dataclass(frozen=True)
class Way:
    """
    A way in which a hostile text comes to be said.

    :param outcome: as :func:`tests.faults.nights.came_to` reads it, for all pictures.
    :param faults: instructions for the service: which requests, and what happens to them, for ever.
    :param more: what the worker is told beside the usual.
    :param said: a part of what the log says of it.
    """

    way: str
    outcome: str
    said: str
    faults: list[tuple[Any, Any]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=lambda: NAMES)

    @property
    def parameter(self) -> Any:
        marks = pytest.mark.fault("F46", self.way, self.outcome)
        return pytest.param(self, marks=marks, id=self.way.replace(" ", "-"))


REFUSED = {"answer": {"status": 400, "json": {"error": TEXT}}}
BUSY = {"answer": {"status": 503, "body": TEXT}}
FOLDERS = [f"new\n{FORGED}/\x1b[31ma.jpg", f"new\n{FORGED}/b.jpg"]
WAYS = [
    Way("names that FAILED", "items FAILED", "FAILED", [("pfc", {"outcome": "FAILED"})]),
    *(
        Way(
            f"statusText of {word}",
            f"items {word}",
            "bad 2026-01-01 00:00:00,000 ERROR root: forged [2J ]0;title ::group::x %s %(name)s {{ 7*7 }}",
            [("pfc", {"outcome": {"status": word, "statusText": TEXT}})],
        )
        for word in ("FAILED", "REJECTED")
    ),
    Way("names that cannot be sent", "items URL_EXPIRED", "HTTP 400", [("put", REFUSED)], names=NAMES[:3]),
    Way("text of a refused start", "run STOPPED", "%s %(name)s {{ 7*7 }}", [("pfc", REFUSED)]),
    Way(
        "names that are not there",
        "items SOURCE_CHANGED",
        "there is no file",
        more={"files": NAMES},
        names=[],
    ),
    Way(
        "a name that cannot be written",
        "run STORAGE_FAILED",
        "no space left",
        more={"fail_at": ["os.rename", "forged", "ENOSPC"]},
        names=FOLDERS,
    ),
    Way(
        "a folder that cannot be listed",
        "run CATALOG_FAILED",
        "could not be read",
        more={"fail_at": ["os.scandir", "forged", "EACCES"]},
        names=FOLDERS,
    ),
    Way(
        "names that cannot be read",
        "items SOURCE_UNREADABLE",
        "cannot be read",
        more={"fail_at": ["open", "in/new", "EIO"]},
        names=FOLDERS,
    ),
]


@pytest.mark.parametrize("way", [way.parameter for way in WAYS])
def test_a_hostile_text_is_one_line_of_the_log(row: Row, sandbox: Sandbox, way: Way) -> None:
    sandbox.put(*way.names)
    for match, do in way.faults:
        sandbox.emulator.fault(match, do, times=None)

    said = night(sandbox, **way.more)

    came_to(sandbox, said, way.outcome, way.more.get("files", way.names))
    assert way.said in sandbox.log.read_text()
    if way.faults:
        row.consumed(sandbox.emulator)
    else:
        row.consumed("said in the log")
    sandbox.put(*(name for name in NAMES if not way.names))
    ends_well(sandbox, row, sorted(way.names or NAMES))
    every_line_is_the_logs_own(sandbox)


def test_a_hostile_name_whose_result_is_gone_is_one_line_of_the_log(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    night(sandbox)
    for name in NAMES:
        (sandbox.destination / name).unlink()
    sandbox.emulator.fault("status", {"answer": {"status": 404, "json": {"error": TEXT}}}, times=len(NAMES))

    said = night(sandbox, run="the second night")

    assert said["summary"]["gone_from_destination"] == len(NAMES)
    assert sandbox.log.read_text().count("its earlier result is gone") == len(NAMES)
    assert sandbox.emulator.unconsumed() == []
    every_line_is_the_logs_own(sandbox)


# ---- what a page or a spreadsheet would run

RUN = [
    "<script>alert(1).jpg",
    "<img src=x onerror=alert(1)>.jpg",
    "=cmd|' !A1.jpg",
    "@SUM(1).jpg",
    "+1.jpg",
    "-2.jpg",
]
MARKUP = "</td><script>alert('x')</script> =HYPERLINK(\"http://x.example\") & 'q' \"q\""


@pytest.mark.parametrize(
    "word",
    [
        pytest.param(word, marks=pytest.mark.fault("F47", f"names and statusText, {word}", f"items {word}"))
        for word in ("FAILED", "REJECTED")
    ],
)
def test_markup_and_formulas_are_text_in_whatever_is_kept_and_said(
    row: Row, sandbox: Sandbox, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Manifest and progress are JSON, and the record is shown with a time before each line: no cell is a formula."""
    sandbox.put(*RUN)
    sandbox.emulator.fault("pfc", {"outcome": {"status": word, "statusText": MARKUP}}, times=None)

    said = night(sandbox)

    came_to(sandbox, said, row.outcome, RUN)
    row.consumed(sandbox.emulator)
    assert {(line["source"], line["reason"]) for line in lines(sandbox)} == {(name, MARKUP) for name in RUN}
    for name in ("manifest.jsonl", "progress.json"):
        (path,) = sandbox.destination.rglob(name)
        assert all(isinstance(json.loads(line), dict) for line in path.read_text().splitlines())
    assert shown(sandbox, capsys) == [f"failed   {name!r}  {word}: {MARKUP}" for name in sorted(RUN)]
    ends_well(sandbox, row, RUN)


@pytest.mark.fault("F47", "names of what is corrected", "hidden")
def test_names_that_are_markup_come_out_as_they_went_in(
    row: Row, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.put(*RUN)

    said = night(sandbox)

    came_to(sandbox, said, row.outcome, sorted(RUN))
    assert sorted(line["output"] for line in lines(sandbox)) == sorted(RUN)
    assert [line.partition("  job ")[0] for line in shown(sandbox, capsys)] == [
        f"landed   {name!r}" for name in sorted(RUN)
    ]
    row.consumed("named in manifest and record")
    ends_well(sandbox, row, sorted(RUN))


def shown(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of ``ledger show``, without the time that each begins with."""
    assert main(["ledger", "show", str(sandbox.destination)]) == 0
    *rows, _ = capsys.readouterr().out.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  [a-z]", row) for row in rows)
    return [row[21:] for row in rows]
