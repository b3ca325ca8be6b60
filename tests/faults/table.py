"""
The table of all faults: what each is, and what was seen of it in this run of the tests.

A test that injects one says so, and asks for its row::

    @pytest.mark.fault("F7", "reset in the middle of the body", "hidden")
    def test_...(row: Row, sandbox: Sandbox) -> None:
        ...
        row.consumed(sandbox.emulator)   # each instruction has happened, exactly as often as it said
        row.held(check_invariants(sandbox))         # the invariants

A test that passes without having said both fails all the same: it has proved nothing. The table is printed at the end
of a whole run, and a required fault without a row fails the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_perfectlyclear.emulator.testing import Emulator

FAULTS = {
    "F1": "429 with Retry-After",
    "F2": "429 without Retry-After",
    "F3": "5xx in bursts",
    "F4": "5xx of /pfc, committed or not",
    "F5": "answer of /pfc lost",
    "F6": "connection refused, DNS, TLS",
    "F7": "reset in the middle of the PUT",
    "F8": "upload stored short though 200",
    "F9": "download cut within its Content-Length",
    "F10": "download cut without Content-Length",
    "F11": "right length, wrong bytes",
    "F12": "one byte at a time; silence",
    "F13": "malformed JSON of every kind",
    "F14": "missing or wrong-typed fields",
    "F15": "unknown status",
    "F16": "unknown extra fields",
    "F17": "HTML in place of JSON",
    "F18": "401, 403",
    "F19": "404 for a known job",
    "F20": "COMPLETED without its file",
    "F21": "FAILED, REJECTED, hostile texts",
    "F22": "status goes backwards, or is stuck",
    "F23": "upload URL expired",
    "F24": "download URL expired",
    "F25": "redirect to another host",
    "F26": "unsafe URLs in answers",
    "F27": "statusEndpoint on a foreign host",
    "F28": "names that would leave the prefix",
    "F29": "links that leave the root",
    "F30": "names that collide",
    "F31": "huge files",
    "F32": "empty files, no pictures",
    "F33": "odd but honest names",
    "F34": "source changes or vanishes",
    "F35": "destination full",
    "F36": "destination denied or failing",
    "F37": "worker killed",
    "F38": "worker told to stop, task timeout",
    "F39": "triggerer killed or restarted",
    "F40": "ledger cannot be written",
    "F41": "two owners at once",
    "F42": "wall clock jumps",
    "F43": "task cancelled by its user",
    "F44": "key rotated during a run",
    "F45": "canary key and canary signature",
    "F46": "control characters and templates in texts",
    "F47": "HTML and formulas in texts",
    "F48": "pixel bombs, gzip bombs",
    "F49": "self-signed certificate",
    "F50": "proxy variables",
    "F51": "preset unknown, renamed, edited",
    "F52": "preset half created",
    "F53": "10,000 presets",
    "F54": "100,000 pictures",
    "F55": "records of another version",
    "F56": "output not as asked for, or as the input",
    "F57": "destination or record inside the source",
    "F58": "all would be paid again",
    "F59": "an owner sleeps while another takes over",
    "F60": "source gone while its job is open",
    "F61": "other fingerprint, same bytes",
    "F62": "equal pictures share a job id",
    "F63": "a resume or retry without its ledger",
    "F64": "destination not mounted tonight",
    "F65": "a large first night, unconfirmed",
    "F66": "results cut short, of every format",
    "F67": "whole pictures with a trailer",
    "F68": "an answer to another question",
    "F69": "single pictures and a catalog, one folder",
    "F70": "one output name from two sources",
    "F71": "data-only jobs of equal names",
    "F72": "/pfc refuses one picture",
    "F73": "correction edited while deferred",
    "F74": "/pfc: 2xx without a job id",
    "F75": "free paths that are ill",
    "F76": "outputs moved on, results gone",
    "F77": "always, deferred or limited",
    "F78": "preset listed wrongly once",
    "F79": "clock days ahead, then other shards",
    "F80": "an owner sleeps past the cleaning",
    "F81": "a store whose create-if-absent is not one",
    "F82": "404 for all jobs, two nights running",
    "F83": "same size and time, other content",
    "F84": "a single's output edited, source replaced",
    "F85": "another service than before",
    "F86": "one name that the destination refuses",
    "F87": "unreadable originals, first of all",
    "F88": "a folder that cannot be read",
    "F89": "what network drives leave in folders",
    "F90": "another catalog's outputs in the source",
    "F91": "no hard links, no conditional PUT",
    "F92": "a destination that normalises names",
    "F93": "a file where a folder must be",
    "F94": "names with ?versionId=",
    "F95": "file times in the future",
    "F96": "proxy and TLS variables that are broken",
    "F97": "redirect of the signed PUT",
    "F98": "many dead lanes of another layout",
    "F99": "unconfirmed starts after a take-over",
    "F100": "kept connection closed as /pfc is sent",
    "F101": "a spool folder made by another user",
    "F102": "a web page talks to the emulator",
    "F103": "signatures in any notation",
    "F104": "a name that resolves to two addresses",
    "F105": "20,000 items that fail alike",
    "F106": "a result of another size or type",
    "F107": "a checkpoint larger than is read",
    "F108": "no temporary directory",
}


@dataclass
class Row:
    """
    One way in which a fault was injected.

    :param fault: ``F1`` to ``F108``.
    :param way: in a few words.
    :param outcome: hidden, item with its code, or run with its code; ambiguous starts by their number.
    """

    fault: str
    way: str
    outcome: str
    seen: str = ""
    invariants: str = ""

    def __post_init__(self) -> None:
        assert self.fault in FAULTS, self.fault

    def consumed(self, witness: Emulator | str) -> None:
        """
        The fault has happened.

        :param witness: the emulator that was told to fail; or, if the fault was brought about by other means, what
            showed that it happened.
        """
        if isinstance(witness, Emulator):
            assert witness.unconsumed() == [], "injected, but it never happened"
            self.seen = "emulator"
        else:
            self.seen = witness

    def held(self, invariants: str) -> None:
        """The invariants hold; ``invariants`` is what check_invariants returned."""
        self.invariants = invariants

    @property
    def is_complete(self) -> bool:
        return bool(self.seen and self.invariants)


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Iterator[Row]:
    """The row of the table that a test marked with ``fault`` fills in."""
    marker = request.node.get_closest_marker("fault")
    assert marker is not None, "a test that asks for a row is marked with its fault"
    row = Row(*marker.args)
    yield row
    request.node.user_properties.append(("fault", vars(row)))
    if request.node.stash.get(PASSED, False):
        assert row.is_complete, f"{row} proves nothing: say that it was consumed and what held"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault", help="play only the rows of these faults of the table, such as F7,F66")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--fault``: only the rows of these."""
    if not (faults := set((config.getoption("fault") or "").split(",")) - {""}):
        return
    chosen = [item for item in items if faults & {mark.args[0] for mark in item.iter_markers("fault")}]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = (yield).get_result()
    if report.when == "call":
        item.stash[PASSED] = report.passed


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = list(_rows(terminalreporter.stats))
    if not rows:
        return
    terminalreporter.section("faults", bold=True)
    for line in table([row for row, _ in rows]):
        terminalreporter.line(line)
    if terminalreporter.verbosity > 0:
        for row, passed in rows:
            terminalreporter.line(f"{row.fault:4} {'ok ' if passed else 'BAD'} {row.way}: {row.outcome}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A whole run that lacks a fault has failed, whatever its tests say."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not _is_whole(session.config):
        return
    missing = set(FAULTS) - {row.fault for row, passed in _rows(reporter.stats) if passed}
    if missing and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _is_whole(config: pytest.Config) -> bool:
    """Nothing was chosen or left out on the command line."""
    options = ("keyword", "markexpr", "lf", "fault")
    return (
        not any(config.getoption(name, None) for name in options)
        and config.args_source is pytest.Config.ArgsSource.TESTPATHS
    )


def _rows(stats: dict[str, list[Any]]) -> Iterator[tuple[Row, bool]]:
    """Every row, and whether its test passed."""
    bad = {report.nodeid for kind in ("failed", "error") for report in stats.get(kind, [])}
    for reports in stats.values():
        for report in reports:
            if getattr(report, "when", None) == "teardown":
                for name, value in report.user_properties:
                    if name == "fault":
                        yield Row(**value), report.nodeid not in bad


def table(rows: Iterable[Row]) -> Iterator[str]:
    """One line for each fault."""
    by_fault: dict[str, list[Row]] = {fault: [] for fault in FAULTS}
    for row in rows:
        by_fault[row.fault].append(row)
    yield f"{'':4} {'fault':42} {'injected':>8} {'consumed':>8}  {'invariants':10}  outcome"
    for fault, ways in by_fault.items():
        consumed = sum(bool(row.seen) for row in ways)
        judged = dict.fromkeys(row.invariants for row in ways if row.is_complete)
        held = ", ".join(judged) if ways and all(row.is_complete for row in ways) else "NO"
        outcomes = ", ".join(dict.fromkeys(row.outcome for row in ways)) or "NOT INJECTED"
        yield f"{fault:4} {FAULTS[fault]:42} {len(ways):8} {consumed:8}  {held:10}  {outcomes}"
    seen = sum(bool(ways) for ways in by_fault.values())
    total = sum(len(ways) for ways in by_fault.values())
    yield f"{seen} of {len(FAULTS)} faults injected in {total} ways"
