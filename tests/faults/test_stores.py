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

from tests.faults.nights import night, told
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox
from tests.unit.catalog.ledger.test_owners import no_job_ends, records, until

NAMES = [f"{number:02d}.jpg" for number in range(6)] + [f"b/{number:02d}.jpg" for number in range(6, 8)]
#: All jobs are started before the first of them ends.
AT_ONCE = {"options": {"max_in_flight": 20}}


def put_noise(sandbox: Sandbox, pixels: int) -> None:
    """Noise cannot be made smaller: the picture has almost a byte for each pixel, before and after."""
    for name in NAMES:
        (sandbox.source / name).parent.mkdir(exist_ok=True)
        noise = Image.frombytes("RGB", (pixels, pixels), os.urandom(3 * pixels * pixels))
        noise.save(sandbox.source / name, quality=95)


def collected(sandbox: Sandbox, row: Row, said: dict[str, Any]) -> None:
    """The run has stopped with some of its jobs landed; the next one lands the others and pays nothing."""
    assert said.get("code") == "STORAGE_FAILED" and said["retry_helps"], said
    assert len(sandbox.outputs) < len(NAMES)
    assert sandbox.accepted == records(sandbox, "started") == len(NAMES)
    done = night(sandbox, run="tuesday")["summary"]
    assert sandbox.outputs == sorted(NAMES)
    assert (done["paid"], sandbox.accepted) == (0, len(NAMES))
    after = night(sandbox, run="wednesday")["summary"]
    assert (after["unchanged"], sandbox.accepted) == (len(NAMES), len(NAMES))
    row.held(check_invariants(sandbox))


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
    row: Row, sandbox: Sandbox, refusal: Refusal
) -> None:
    sandbox.put(*NAMES)
    with no_job_ends(sandbox):
        fail_at = [refusal.event, refusal.part, refusal.number]
        first = sandbox.start(**told(sandbox, "monday", {**AT_ONCE, "fail_at": fail_at}))
        until(lambda: records(sandbox, "started") == len(NAMES))
    said = sandbox.end(first) or {}

    row.consumed(f"{sandbox.log.read_text().count('injected: ')} calls failed")
    assert "injected: " in sandbox.log.read_text()
    assert all(text in said["message"] for text in refusal.says), said
    collected(sandbox, row, said)


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
    row: Row, sandbox: Sandbox, number: str
) -> None:
    sandbox.put(*NAMES)
    said = night(sandbox, fail_at=["os.rename", "manifest.jsonl", number])
    row.consumed(f"{sandbox.log.read_text().count('injected: ')} calls failed")
    assert said.get("code") == "STORAGE_FAILED", said
    assert sandbox.outputs == sorted(NAMES)

    done = night(sandbox)["summary"]

    assert (done["corrected"], done["paid"], sandbox.accepted) == (len(NAMES),) * 3
    row.held(check_invariants(sandbox))


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
def test_a_disk_that_is_full_stops_the_run_and_the_next_one_fetches_free(row: Row, sandbox: Sandbox) -> None:
    put_noise(sandbox, 400)
    with small_disk(sandbox.destination, "512k") as enlarge:
        if not enlarge("512k"):
            pytest.skip("only root can mount a small disk; the same error is injected at single calls")
        with no_job_ends(sandbox):
            first = sandbox.start(**told(sandbox, "monday", AT_ONCE))
            until(lambda: records(sandbox, "started") == len(NAMES))
        said = sandbox.end(first) or {}

        row.consumed("the disk was full")
        assert "no space left" in said.get("message", ""), said
        assert enlarge("100m")
        collected(sandbox, row, said)


@pytest.mark.fault("F35", "no file may become larger", "run STORAGE_FAILED")
def test_a_worker_whose_files_may_not_grow_stops_and_the_next_run_fetches_free(
    row: Row, sandbox: Sandbox
) -> None:
    put_noise(sandbox, 640)  # larger than the log, which may not grow either
    with no_job_ends(sandbox):
        first = sandbox.start(**told(sandbox, "monday", AT_ONCE))
        until(lambda: records(sandbox, "started") == len(NAMES))
        resource.prlimit(first.pid, resource.RLIMIT_FSIZE, (300_000, 300_000))
    said = sandbox.end(first) or {}

    row.consumed("its files were limited to 300 kB")
    collected(sandbox, row, said)
