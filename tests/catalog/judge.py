"""The seven invariants, which hold after every scenario, whatever was injected. The emulator's bill is the judge."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from tests.catalog.conftest import House

#: What a signed URL of any store has in it.
SIGNATURES = (b"Signature=", b"signature=", b"X-Amz-Credential")
STATE = ".perfectlyclear"
#: Their start may have been paid.
UNANSWERED = ("START_UNKNOWN", "START_LOST")
_CONNECTED = re.compile(r"connects to (\S+)")


def judge(house: House, *, again: int = 0) -> str:
    """
    Check what all runs of a house have left behind.

    :param again: paid calls for what was paid before, for a reason that the test itself has looked at.
    :return: the invariants that hold, for the table of faults.
    """
    folder = house.look()
    manifests = [_manifest(path) for path in sorted(folder.rglob("manifest.jsonl"))]
    assert manifests, "no run has said what it did"
    every_visible_picture_is_whole(folder)
    nothing_is_paid_twice_in_silence(house, [summary for summary, _ in manifests], again)
    for summary, lines in manifests:
        each_output_is_in_one_state(summary, lines)
    if len(manifests) == len(house.runs):  # each run could say what it paid
        the_bill_is_as_said(house, manifests)
    the_key_stays_at_home(house)
    nothing_secret_is_kept_or_said(house, folder)
    nothing_is_left_behind(house, folder)
    return "I1-I7"


def _manifest(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    first, *lines = (json.loads(line) for line in path.read_text().splitlines())
    return first["summary"], [line for line in lines if line["state"] not in ("unchanged", "known_bad")]


def every_visible_picture_is_whole(folder: Path) -> None:
    """I1"""
    for path in folder.rglob("*"):
        if path.suffix in (".jpg", ".png", ".webp") and STATE not in path.parts and path.is_file():
            with Image.open(path) as picture:
                picture.load()


def nothing_is_paid_twice_in_silence(house: House, summaries: list[dict[str, Any]], again: int = 0) -> None:
    """I2. No two pictures of a test have the same bytes, so content and settings name an output."""
    bill = house.emulator.bill()
    distinct = {
        (entry["sha256"], json.dumps(entry["settings"], sort_keys=True), entry["preset"])
        for entry in bill["entries"]
    }
    declared = sum(summary["possibly_paid_twice"] for summary in summaries)
    assert bill["accepted"] <= len(distinct) + declared + again, (bill["accepted"], len(distinct), declared)


def each_output_is_in_one_state(summary: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    """I3"""
    assert len({line["output"] for line in lines}) == len(lines)
    parts = summary["unchanged"] + summary["ignored"] + summary["known_bad"] + len(lines)
    assert summary["listed"] == parts, (summary, lines)
    states = [line["state"] for line in lines]
    assert states.count("corrected") == summary["corrected"]
    assert states.count("failed") == summary["failed"]
    assert len(json.dumps(summary)) < 2000


def the_bill_is_as_said(house: House, manifests: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> None:
    """I4. Outputs whose start was lost and is not asked about again are named in a manifest."""
    accepted = house.accepted
    paid = sum(summary["paid"] for summary, _ in manifests)
    declared = sum(summary["possibly_paid_twice"] for summary, _ in manifests)
    failed = (line for _, lines in manifests for line in lines if line["state"] == "failed")
    declared += len({line["output"] for line in failed if line["code"] in UNANSWERED})
    assert paid <= accepted <= paid + declared, (paid, accepted, declared)


def the_key_stays_at_home(house: House) -> None:
    """I5"""
    seen = house.emulator.seen()
    assert not seen["storage"]["api_key_seen"]
    assert not seen["storage"]["key_leaks"] and not seen["api"]["key_leaks"], seen
    assert house.emulator.key not in json.dumps(seen["storage"])
    if house.log.exists():
        hosts = set(_CONNECTED.findall(house.log.read_text(errors="replace")))
        assert all(host.startswith("127.") or host == "::1" for host in hosts), hosts


def nothing_secret_is_kept_or_said(house: House, folder: Path) -> None:
    """I6"""
    secrets = (*(secret.encode() for secret in house.emulator.secrets), *SIGNATURES)
    for where, data in _everything_kept_or_said(house, folder):
        for secret in secrets:
            assert secret not in data, (where, secret)


def _everything_kept_or_said(house: House, folder: Path) -> Iterator[tuple[str, bytes]]:
    for where, data in house.evidence():
        if where.startswith("log"):
            assert b"\x1b" not in data and b"\r" not in data, f"a control character in {where}"
        yield where, data
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            yield str(path), gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def nothing_is_left_behind(house: House, folder: Path) -> None:
    """I7. That each try came to its end in time is seen where it is waited for."""
    assert [path for path in folder.rglob("*.part")] == []
    assert list(house.temporary.glob("perfectlyclear-*")) == []
    for said in house.tries:
        assert said.get("left", []) == [], said
