"""The judge itself: each invariant, broken once."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from tests.catalog.conftest import House
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
    ],
)
def test_a_breach_is_seen(house: House, breach: Callable[[House], None]) -> None:
    house.put(*NAMES)
    assert "summary" in night(house)
    judge(house)

    breach(house)

    with pytest.raises((AssertionError, OSError)):
        judge(house)
