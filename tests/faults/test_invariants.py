"""The checks of the invariants: each invariant, broken once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.faults.nights import NAMES, night
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg


def half_a_picture(sandbox: Sandbox) -> None:
    path = sandbox.destination / "a.jpg"
    path.write_bytes(path.read_bytes()[:-200])


def a_second_payment(sandbox: Sandbox) -> None:
    entry = sandbox.emulator.bill()["entries"][0]
    query = {"fileKey": entry["file_key"], "cache": "false", **entry["settings"]}
    httpx.get(f"{sandbox.emulator.base_url}/pfc", params=query, headers={"X-API-KEY": sandbox.emulator.key})


def an_output_without_a_state(sandbox: Sandbox) -> None:
    manifest = next(sandbox.destination.rglob("manifest.jsonl"))
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))


def a_payment_unsaid(sandbox: Sandbox) -> None:
    manifest = next(sandbox.destination.rglob("manifest.jsonl"))
    manifest.write_text(manifest.read_text().replace('"paid": 4', '"paid": 3'))


def a_key_gone_astray(sandbox: Sandbox) -> None:
    httpx.get(f"{sandbox.emulator.storage_url}/x", headers={"X-API-KEY": sandbox.emulator.key})


def a_signature_in_the_log(sandbox: Sandbox) -> None:
    with open(sandbox.log, "a") as log:
        log.write(f"GET /uploads/x?Signature={sandbox.emulator.secrets[1]}0123")


def a_key_in_the_record(sandbox: Sandbox) -> None:
    (sandbox.destination / ".perfectlyclear" / "note.json").write_text(sandbox.emulator.key)


def a_temporary_file(sandbox: Sandbox) -> None:
    (sandbox.destination / "b" / ".c.jpg.1234.part").write_bytes(b"x")


def a_thread(sandbox: Sandbox) -> None:
    sandbox.tries[-1]["left"] = ["Thread-7"]


def a_connection_to_the_world(sandbox: Sandbox) -> None:
    with open(sandbox.log, "a") as log:
        log.write("worker: connects to 192.0.2.1\n")


def a_picture_under_anothers_name(sandbox: Sandbox) -> None:
    (sandbox.destination / "a.jpg").write_bytes((sandbox.destination / "d.jpg").read_bytes())


def two_pictures_that_are_swapped(sandbox: Sandbox) -> None:
    """The ledger agrees with the files at the destination."""
    first, second = (sandbox.destination / name for name in ("a.jpg", "d.jpg"))
    first_data, second_data = first.read_bytes(), second.read_bytes()
    first.write_bytes(second_data)
    second.write_bytes(first_data)
    change_rows(sandbox, "a.jpg", size=len(second_data))
    change_rows(sandbox, "d.jpg", size=len(first_data))


def a_source_that_was_never_there(sandbox: Sandbox) -> None:
    """As if the row of one picture were about another one."""
    place, other = (str(sandbox.source / name) for name in ("a.jpg", "d.jpg"))
    sandbox.sources.versions[place] = sandbox.sources.versions[other]
    (sandbox.source / "a.jpg").write_bytes((sandbox.source / "d.jpg").read_bytes())


def another_correction_than_the_ledger_says(sandbox: Sandbox) -> None:
    """The service was told something else."""
    change_rows(sandbox, digest="0" * 32)


def bytes_that_the_job_was_not_given(sandbox: Sandbox) -> None:
    change_rows(sandbox, sha256="0" * 64)


def change_rows(sandbox: Sandbox, name: str = "a.jpg", **change: Any) -> None:
    newest = max((sandbox.destination / ".perfectlyclear" / "lanes" / "all").iterdir())
    data = newest.read_bytes()
    lines = [json.loads(line) for line in gzip.decompress(data).splitlines()]
    changed = [{**line, **change} if line.get("output") == name else line for line in lines]
    newest.write_bytes(gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in changed)))


def an_output_that_is_not_there(sandbox: Sandbox) -> None:
    (sandbox.destination / "a.jpg").unlink()


def a_picture_in_no_count(sandbox: Sandbox) -> None:
    """The run says that it listed one fewer, and names one fewer."""
    manifest = next(sandbox.destination.rglob("manifest.jsonl"))
    first, *lines = manifest.read_text().splitlines()
    said = json.loads(first)
    said["summary"] |= {"listed": 3, "corrected": 3, "paid": 4}
    manifest.write_text("\n".join([json.dumps(said), *lines[:-1]]) + "\n")


def others_kept_back(sandbox: Sandbox) -> None:
    """One is refused for good, and another was not begun."""
    manifest = next(sandbox.destination.rglob("manifest.jsonl"))
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
def test_a_breach_is_seen(sandbox: Sandbox, breach: Callable[[Sandbox], None]) -> None:
    sandbox.put(*NAMES)
    assert "summary" in night(sandbox)
    check_invariants(sandbox)

    breach(sandbox)

    with pytest.raises((AssertionError, OSError)):
        check_invariants(sandbox)


def test_a_good_picture_that_is_kept_back_is_seen(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    (sandbox.source / "bad.jpg").write_bytes(b"no picture")
    assert "summary" in night(sandbox, options={"max_failures": 1})
    check_invariants(sandbox, bad={"bad.jpg"})

    (sandbox.source / "forgotten.jpg").write_bytes(jpeg(99))

    with pytest.raises(AssertionError, match=r"kept back: .*forgotten\.jpg"):
        check_invariants(sandbox, bad={"bad.jpg"})


def test_paying_again_by_name_is_no_breach_and_otherwise_it_is(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    night(sandbox, run="first")
    night(sandbox, run="second", options={"reprocess": "always"})
    assert sandbox.accepted == 2 * len(NAMES)
    check_invariants(sandbox)

    sandbox.asked_by_name.clear()

    with pytest.raises(AssertionError):
        check_invariants(sandbox)
