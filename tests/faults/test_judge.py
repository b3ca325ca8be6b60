"""The judge itself: each invariant, broken once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.catalog.conftest import House, jpeg
from tests.catalog.judge import judge
from tests.faults.nights import NAMES, night


def half_a_picture(house: House) -> None:
    path = house.destination / "a.jpg"
    path.write_bytes(path.read_bytes()[:-200])


def a_second_payment(house: House) -> None:
    entry = house.emulator.bill()["entries"][0]
    query = {"fileKey": entry["file_key"], "cache": "false", **entry["settings"]}
    httpx.get(f"{house.emulator.base_url}/pfc", params=query, headers={"X-API-KEY": house.emulator.key})


def an_output_without_a_state(house: House) -> None:
    manifest = next(house.destination.rglob("manifest.jsonl"))
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))


def a_payment_unsaid(house: House) -> None:
    manifest = next(house.destination.rglob("manifest.jsonl"))
    manifest.write_text(manifest.read_text().replace('"paid": 4', '"paid": 3'))


def a_key_gone_astray(house: House) -> None:
    httpx.get(f"{house.emulator.storage_url}/x", headers={"X-API-KEY": house.emulator.key})


def a_signature_in_the_log(house: House) -> None:
    with open(house.log, "a") as log:
        log.write(f"GET /uploads/x?Signature={house.emulator.secrets[1]}0123")


def a_key_in_the_record(house: House) -> None:
    (house.destination / ".perfectlyclear" / "note.json").write_text(house.emulator.key)


def a_temporary_file(house: House) -> None:
    (house.destination / "b" / ".c.jpg.1234.part").write_bytes(b"x")


def a_thread(house: House) -> None:
    house.tries[-1]["left"] = ["Thread-7"]


def a_connection_to_the_world(house: House) -> None:
    with open(house.log, "a") as log:
        log.write("worker: connects to 192.0.2.1\n")


def a_picture_under_anothers_name(house: House) -> None:
    (house.destination / "a.jpg").write_bytes((house.destination / "d.jpg").read_bytes())


def two_pictures_that_are_swapped(house: House) -> None:
    """The ledger agrees with what stands where."""
    first, second = (house.destination / name for name in ("a.jpg", "d.jpg"))
    first_data, second_data = first.read_bytes(), second.read_bytes()
    first.write_bytes(second_data)
    second.write_bytes(first_data)
    change_rows(house, "a.jpg", size=len(second_data))
    change_rows(house, "d.jpg", size=len(first_data))


def a_source_that_was_never_there(house: House) -> None:
    """As if the row of one picture were about another one."""
    place, other = (str(house.source / name) for name in ("a.jpg", "d.jpg"))
    house.sources.versions[place] = house.sources.versions[other]
    (house.source / "a.jpg").write_bytes((house.source / "d.jpg").read_bytes())


def another_correction_than_the_ledger_says(house: House) -> None:
    """The service was told something else."""
    change_rows(house, digest="0" * 32)


def bytes_that_the_job_was_not_given(house: House) -> None:
    change_rows(house, sha256="0" * 64)


def change_rows(house: House, name: str = "a.jpg", **change: Any) -> None:
    newest = max((house.destination / ".perfectlyclear" / "lanes" / "all").iterdir())
    data = newest.read_bytes()
    lines = [json.loads(line) for line in gzip.decompress(data).splitlines()]
    changed = [{**line, **change} if line.get("output") == name else line for line in lines]
    newest.write_bytes(gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in changed)))


def an_output_that_is_not_there(house: House) -> None:
    (house.destination / "a.jpg").unlink()


def a_picture_in_no_count(house: House) -> None:
    """The run says that it listed one fewer, and names one fewer."""
    manifest = next(house.destination.rglob("manifest.jsonl"))
    first, *lines = manifest.read_text().splitlines()
    said = json.loads(first)
    said["summary"] |= {"listed": 3, "corrected": 3, "paid": 4}
    manifest.write_text("\n".join([json.dumps(said), *lines[:-1]]) + "\n")


def others_kept_back(house: House) -> None:
    """One is refused for good, and another was not begun."""
    manifest = next(house.destination.rglob("manifest.jsonl"))
    first, one, two, *lines = manifest.read_text().splitlines()
    said, bad, late = json.loads(first), json.loads(one), json.loads(two)
    said["summary"] |= {"corrected": 2, "failed": 1, "not_started": 1}
    bad |= {"state": "failed", "code": "REJECTED", "reason": "no"}
    late |= {"state": "not_started"}
    manifest.write_text("\n".join([*map(json.dumps, (said, bad, late)), *lines]) + "\n")


@pytest.mark.parametrize(
    "breach",
    [
        half_a_picture,
        a_second_payment,
        an_output_without_a_state,
        a_payment_unsaid,
        a_key_gone_astray,
        a_signature_in_the_log,
        a_key_in_the_record,
        a_temporary_file,
        a_thread,
        a_connection_to_the_world,
        a_picture_under_anothers_name,
        two_pictures_that_are_swapped,
        a_source_that_was_never_there,
        another_correction_than_the_ledger_says,
        bytes_that_the_job_was_not_given,
        an_output_that_is_not_there,
        a_picture_in_no_count,
        others_kept_back,
    ],
)
def test_a_breach_is_seen(house: House, breach: Callable[[House], None]) -> None:
    house.put(*NAMES)
    assert "summary" in night(house)
    judge(house)

    breach(house)

    with pytest.raises((AssertionError, OSError)):
        judge(house)


def test_a_good_picture_that_is_kept_back_is_seen(house: House) -> None:
    house.put(*NAMES)
    (house.source / "bad.jpg").write_bytes(b"no picture")
    assert "summary" in night(house, options={"max_failures": 1})
    judge(house, bad={"bad.jpg"})

    (house.source / "forgotten.jpg").write_bytes(jpeg(99))

    with pytest.raises(AssertionError, match="kept back: .*forgotten.jpg"):
        judge(house, bad={"bad.jpg"})


def test_paying_again_by_name_is_no_breach_and_otherwise_it_is(house: House) -> None:
    house.put(*NAMES)
    night(house, run="first")
    night(house, run="second", options={"reprocess": "always"})
    assert house.accepted == 2 * len(NAMES)
    judge(house)

    house.asked_by_name.clear()

    with pytest.raises(AssertionError):
        judge(house)
