"""The ten invariants, which hold after every scenario, whatever was injected. The emulator's bill decides."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from PIL import Image

from airflow_provider_perfectlyclear.reasons import PERMANENT
from tests.support.provenance import each_output_is_that_of_its_source, rows_of

if TYPE_CHECKING:
    from tests.support.sandbox import Sandbox

#: What a signed URL of any store has in it.
SIGNATURES = (b"Signature=", b"signature=", b"X-Amz-Credential")
STATE = ".perfectlyclear"
#: Their start may have been paid.
UNANSWERED = ("START_UNKNOWN", "START_LOST")
_CONNECTED = re.compile(r"connects to (\S+)")


def check_invariants(sandbox: Sandbox, *, again: int = 0, bad: Collection[str] = ()) -> str:
    """
    Check what all runs of a sandbox have left behind.

    :param again: paid calls for what was paid before, for a reason that the test itself has looked at.
    :param bad: sources that cannot be corrected: all others must have been.
    :return: the invariants that hold, for the table of faults.
    """
    folder = sandbox.look()
    sandbox.look_at_sources()
    manifests = [_manifest(path) for path in sorted(folder.rglob("manifest.jsonl"), key=_age)]
    assert manifests or sandbox.singles, "no run has said what it did"
    every_visible_picture_is_whole(folder)
    nothing_is_paid_twice_in_silence(sandbox, manifests, again)
    for manifest in manifests:
        each_output_is_in_one_state(manifest)
    if len(manifests) == len(sandbox.runs):  # each run could say what it paid
        the_bill_is_as_said(sandbox, manifests)
    the_key_stays_at_home(sandbox)
    nothing_secret_is_kept_or_said(sandbox, folder)
    nothing_is_left_behind(sandbox, folder)
    edited = {line["output"] for manifest in manifests for line in manifest.of("edited_at_destination")}
    each_output_is_that_of_its_source(sandbox, folder, edited)
    if manifests:
        each_picture_is_named(sandbox, manifests[-1])
        listed_outputs_exist(sandbox, folder, manifests[-1])
        nothing_is_left_because_of_others(sandbox, manifests[-1])
    nothing_bad_keeps_the_others_back(sandbox, folder, bad)
    return "I1-I10"


@dataclass(frozen=True)
class Manifest:
    """
    What a run has said at its end.

    :param run: the end of its folder's name, which names its run key.
    :param lines: about single outputs.
    """

    run: str
    summary: Mapping[str, Any]
    lines: list[dict[str, Any]]

    def of(self, *states: str) -> list[dict[str, Any]]:
        """The lines of these states."""
        return [line for line in self.lines if line["state"] in states]


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, str(path)


def _manifest(path: Path) -> Manifest:
    first, *lines = (json.loads(line) for line in path.read_text().splitlines())
    return Manifest(path.parent.name[-8:], first["summary"], lines)


def every_visible_picture_is_whole(folder: Path) -> None:
    """I1"""
    for path in folder.rglob("*"):
        if path.suffix in (".jpg", ".png", ".webp") and STATE not in path.parts and path.is_file():
            with Image.open(path) as picture:
                picture.load()


def nothing_is_paid_twice_in_silence(sandbox: Sandbox, manifests: list[Manifest], again: int = 0) -> None:
    """I2. A content and a correction are paid once, but for what is declared, and what was asked for by name."""
    bill = sandbox.emulator.bill()
    distinct = {
        (entry["sha256"], json.dumps(entry["settings"], sort_keys=True), entry["preset"])
        for entry in bill["entries"]
    }
    declared = sum(manifest.summary["possibly_paid_twice"] for manifest in manifests)
    declared += sum(facts["possibly_paid_twice"] for facts in sandbox.singles.values())
    asked = sum(
        manifest.summary.get("paid_again", 0)
        for manifest in manifests
        if manifest.run in sandbox.asked_by_name
    )
    paid = bill["accepted"], len(distinct), declared, asked
    assert bill["accepted"] <= len(distinct) + declared + asked + again, paid


def each_output_is_in_one_state(manifest: Manifest) -> None:
    """I3"""
    summary, lines = manifest.summary, manifest.lines
    assert len({line["output"] for line in lines}) == len(lines)
    named = Counter(line["state"] for line in lines)
    other = len(lines) - named["unchanged"] - named["known_bad"]
    assert summary["listed"] == summary["unchanged"] + summary["ignored"] + summary["known_bad"] + other, (
        summary,
        lines,
    )
    for state in ("corrected", "failed"):
        assert named[state] == summary[state]
    for state in ("unchanged", "known_bad"):  # an earlier version did not name them
        assert named[state] in (0, summary[state]), (state, named, summary)
    assert len(json.dumps(summary)) < 2000


def the_bill_is_as_said(sandbox: Sandbox, manifests: list[Manifest]) -> None:
    """I4. Outputs whose start was lost and is not asked about again are named in a manifest."""
    accepted = sandbox.accepted
    paid = sum(manifest.summary["paid"] for manifest in manifests)
    declared = sum(manifest.summary["possibly_paid_twice"] for manifest in manifests)
    failed = (line for manifest in manifests for line in manifest.of("failed"))
    declared += len({line["output"] for line in failed if line["code"] in UNANSWERED})
    assert paid <= accepted <= paid + declared, (paid, accepted, declared)


def the_key_stays_at_home(sandbox: Sandbox) -> None:
    """I5"""
    seen = sandbox.emulator.seen()
    assert not seen["storage"]["api_key_seen"]
    assert not seen["storage"]["key_leaks"] and not seen["api"]["key_leaks"], seen
    assert sandbox.emulator.key not in json.dumps(seen["storage"])
    if sandbox.log.exists():
        hosts = set(_CONNECTED.findall(sandbox.log.read_text(errors="replace")))
        assert all(host.startswith("127.") or host == "::1" for host in hosts), hosts


def nothing_secret_is_kept_or_said(sandbox: Sandbox, folder: Path) -> None:
    """I6"""
    secrets = (*(secret.encode() for secret in sandbox.emulator.secrets), *SIGNATURES)
    for where, data in _everything_kept_or_said(sandbox, folder):
        for secret in secrets:
            assert secret not in data, (where, secret)


def _everything_kept_or_said(sandbox: Sandbox, folder: Path) -> Iterator[tuple[str, bytes]]:
    for where, data in sandbox.evidence():
        if where.startswith("log"):
            assert b"\x1b" not in data and b"\r" not in data, f"a control character in {where}"
        yield where, data
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            yield str(path), gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def nothing_is_left_behind(sandbox: Sandbox, folder: Path) -> None:
    """I7. That each try came to its end in time is seen where it is waited for."""
    parts = list(folder.rglob("*.part"))
    assert parts == [], parts
    assert list(sandbox.temporary.glob("perfectlyclear-*")) == []
    for said in sandbox.tries:
        assert said.get("left", []) == [], said


def listed_outputs_exist(sandbox: Sandbox, folder: Path, last: Manifest) -> None:
    """I9. Of the last run: what a test has taken away since, it says in ``sandbox.taken``."""
    for line in last.of("corrected", "unchanged"):
        if line.get("uri") and line["output"] not in sandbox.taken:
            places = (folder / line["output"], Path(line["uri"].removeprefix("file://")))
            there = any(place.is_file() for place in places)
            assert there, f"{line['output']!r} is {line['state']}, and not there"


def each_picture_is_named(sandbox: Sandbox, last: Manifest) -> None:
    """I9. A run that looks at the whole source names each picture that lay there when it began, and still does."""
    there = {name for name in sandbox.listings.get(last.run, ()) if (sandbox.source / name).is_file()}
    named = {_stem(place) for line in last.lines for place in (line.get("source"), line["output"]) if place}
    unnamed = {name for name in there if _stem(name) not in named}
    assert not unnamed or not _came_to_its_end(sandbox), f"in no count: {sorted(unnamed)}"


def _stem(name: str) -> str:
    """Without its extension, which a correction may change."""
    return str(PurePosixPath(name).with_suffix(""))


def nothing_is_left_because_of_others(sandbox: Sandbox, last: Manifest) -> None:
    """I10. What is bad for good keeps nothing else from being begun, unless the user has said how many."""
    codes = {line["code"] for line in last.of("failed", "known_bad")}
    if codes and codes <= PERMANENT and last.run not in sandbox.limited and _came_to_its_end(sandbox):
        assert not last.of("not_started"), f"{codes} kept others back: {last.of('not_started')}"


def _came_to_its_end(sandbox: Sandbox) -> bool:
    said = sandbox.tries[-1] if sandbox.tries else {}
    return "summary" in said or said.get("error") == "CatalogFailed"


def nothing_bad_keeps_the_others_back(sandbox: Sandbox, folder: Path, bad: Collection[str]) -> None:
    """I10. By what the ledger and the source have now: every marked picture that is not bad has its output."""
    if not bad:
        return
    made = {row.source for row in rows_of(folder).values() if (folder / row.output).is_file()}
    good = {name for name in sandbox.sources.marked(sandbox.source) if name not in bad}
    assert good, "there is nothing good that could be kept back"
    assert good <= made, f"kept back: {sorted(good - made)}"
