"""Destinations that are full, denied or failing: the run stops, what it paid is kept, the next one fetches it free."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.catalog.conftest import House
from tests.catalog.judge import judge
from tests.catalog.test_owners import no_job_ends, records, until
from tests.faults.nights import night, told
from tests.faults.table import Row

NAMES = [f"{number:02d}.jpg" for number in range(6)] + [f"b/{number:02d}.jpg" for number in range(6, 8)]
#: All jobs are started before the first of them ends.
AT_ONCE = {"options": {"max_in_flight": 20}}


def put_noise(house: House, pixels: int) -> None:
    """Noise cannot be made smaller: the picture has almost a byte for each pixel, before and after."""
    for name in NAMES:
        (house.source / name).parent.mkdir(exist_ok=True)
        noise = Image.frombytes("RGB", (pixels, pixels), os.urandom(3 * pixels * pixels))
        noise.save(house.source / name, quality=95)


def collected(house: House, row: Row, said: dict[str, Any]) -> None:
    """The run has stopped with some of its jobs landed; the next one lands the others and pays nothing."""
    assert said.get("code") == "STORAGE_FAILED" and said["retry_helps"], said
    assert len(house.outputs) < len(NAMES)
    assert house.accepted == records(house, "started") == len(NAMES)
    done = night(house, run="tuesday")["summary"]
    assert house.outputs == sorted(NAMES)
    assert (done["paid"], house.accepted) == (0, len(NAMES))
    after = night(house, run="wednesday")["summary"]
    assert (after["unchanged"], house.accepted) == (len(NAMES), len(NAMES))
    row.held(judge(house))


# ---- errors that the system returns at one call


@dataclass(frozen=True)
class Refusal:
    """
    A call of the system that fails.

    :param event: its audit event.
    :param part: of its arguments.
    :param number: the error.
    :param says: what the message must say.
    """

    fault: str
    way: str
    event: str
    part: str
    number: str
    says: list[str] = field(default_factory=list)

    @property
    def parameter(self) -> Any:
        marks = pytest.mark.fault(self.fault, self.way, "run STORAGE_FAILED")
        return pytest.param(self, marks=marks, id=self.way.replace(" ", "-"))


REFUSALS = [
    Refusal("F35", "no space at one name", "os.rename", "out/04.jpg", "ENOSPC", ["04.jpg", "no space left"]),
    Refusal("F35", "no quota at one name", "os.rename", "out/04.jpg", "EDQUOT", ["04.jpg", "no space left"]),
    Refusal("F35", "no space for a temporary file", "open", "out/b/.pfc-", "ENOSPC", ["no space left"]),
    Refusal("F35", "no space for a folder", "os.mkdir", "out/b", "ENOSPC", ["no space left"]),
    Refusal(
        "F36", "denied at one name", "os.rename", "out/04.jpg", "EACCES", ["04.jpg", "Permission denied"]
    ),
    Refusal("F36", "failing at one name", "os.rename", "out/04.jpg", "EIO", ["04.jpg", "error"]),
    Refusal("F36", "read-only at one name", "os.rename", "out/04.jpg", "EROFS", ["04.jpg", "Read-only"]),
    Refusal("F36", "denied for a temporary file", "open", "out/b/.pfc-", "EACCES", ["Permission denied"]),
    Refusal("F36", "failing for a temporary file", "open", "out/b/.pfc-", "EIO", ["error"]),
    Refusal("F36", "denied for a folder", "os.mkdir", "out/b", "EACCES", ["Permission denied"]),
]


@pytest.mark.parametrize("refusal", [refusal.parameter for refusal in REFUSALS])
def test_a_destination_that_cannot_be_written_stops_the_run_and_the_next_one_fetches_free(
    row: Row, house: House, refusal: Refusal
) -> None:
    house.put(*NAMES)
    with no_job_ends(house):
        fail_at = [refusal.event, refusal.part, refusal.number]
        first = house.start(**told(house, "monday", {**AT_ONCE, "fail_at": fail_at}))
        until(lambda: records(house, "started") == len(NAMES))
    said = house.end(first) or {}

    row.consumed(f"{house.log.read_text().count('injected: ')} calls failed")
    assert "injected: " in house.log.read_text()
    assert all(text in said["message"] for text in refusal.says), said
    collected(house, row, said)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            "ENOSPC", marks=pytest.mark.fault("F35", "no space for the manifest", "run STORAGE_FAILED")
        ),
        pytest.param("EIO", marks=pytest.mark.fault("F36", "failing at the manifest", "run STORAGE_FAILED")),
    ],
)
def test_a_run_that_cannot_say_what_it_did_is_finished_by_its_next_try(
    row: Row, house: House, number: str
) -> None:
    house.put(*NAMES)
    said = night(house, fail_at=["os.rename", "manifest.jsonl", number])
    row.consumed(f"{house.log.read_text().count('injected: ')} calls failed")
    assert said.get("code") == "STORAGE_FAILED", said
    assert house.outputs == sorted(NAMES)

    done = night(house)["summary"]

    assert (done["corrected"], done["paid"], house.accepted) == (len(NAMES),) * 3
    row.held(judge(house))


# ---- what is really full


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Callable[[str], bool]]:
    """A file system of its own for a folder, where one may be mounted; a function to make it larger."""

    def mount(*arguments: str) -> bool:
        command = ["mount", "-t", "tmpfs", *arguments, "tmpfs", str(place)]
        return (
            shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0
        )

    place.mkdir()
    mounted = os.geteuid() == 0 and mount("-o", f"size={size}")
    try:
        yield lambda size: mounted and mount("-o", f"remount,size={size}")
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.fault("F35", "a disk of half a megabyte", "run STORAGE_FAILED")
def test_a_disk_that_is_full_stops_the_run_and_the_next_one_fetches_free(row: Row, house: House) -> None:
    put_noise(house, 400)
    with small_disk(house.destination, "512k") as enlarge:
        if not enlarge("512k"):
            pytest.skip("only root can mount a small disk; the same error is injected at single calls")
        with no_job_ends(house):
            first = house.start(**told(house, "monday", AT_ONCE))
            until(lambda: records(house, "started") == len(NAMES))
        said = house.end(first) or {}

        row.consumed("the disk was full")
        assert "no space left" in said.get("message", ""), said
        assert enlarge("100m")
        collected(house, row, said)


@pytest.mark.fault("F35", "no file may become larger", "run STORAGE_FAILED")
def test_a_worker_whose_files_may_not_grow_stops_and_the_next_run_fetches_free(
    row: Row, house: House
) -> None:
    put_noise(house, 640)  # larger than the log, which may not grow either
    with no_job_ends(house):
        first = house.start(**told(house, "monday", AT_ONCE))
        until(lambda: records(house, "started") == len(NAMES))
        resource.prlimit(first.pid, resource.RLIMIT_FSIZE, (300_000, 300_000))
    said = house.end(first) or {}

    row.consumed("its files were limited to 300 kB")
    collected(house, row, said)
