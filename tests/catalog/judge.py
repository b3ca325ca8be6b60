"""The invariants that hold after every scenario, whatever was injected. The emulator's bill is the judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from airflow_provider_perfectlyclear.emulator.testing import Emulator


def judge(emulator: Emulator, destination: Path, summary: dict[str, Any]) -> None:
    """
    Check what a run left behind.

    :param destination: its folder, with the state folder in it.
    :param summary: of its last try.
    """
    every_visible_picture_is_whole(destination)
    nothing_temporary_is_left(destination)
    each_output_is_in_one_state(summary)
    the_bill_is_as_said(emulator, summary)
    the_key_stays_at_home(emulator)
    nothing_secret_is_stored(emulator, destination)


def every_visible_picture_is_whole(destination: Path) -> None:
    for path in destination.rglob("*"):
        if path.suffix in (".jpg", ".png") and ".perfectlyclear" not in path.parts:
            with Image.open(path) as picture:
                picture.load()


def nothing_temporary_is_left(destination: Path) -> None:
    assert [path for path in destination.rglob("*.part")] == []
    assert list((destination.parent / "tmp").glob("perfectlyclear-spool-*")) == []


def each_output_is_in_one_state(summary: dict[str, Any]) -> None:
    first, *lines = (json.loads(line) for line in Path(summary["manifest"]).read_text().splitlines())
    assert len({line["output"] for line in lines}) == len(lines)
    parts = summary["unchanged"] + summary["ignored"] + summary["known_bad"] + len(lines)
    assert summary["listed"] == parts, (summary, lines)
    states = [line["state"] for line in lines]
    assert states.count("corrected") == summary["corrected"]
    assert states.count("failed") == summary["failed"]
    assert len(json.dumps(summary)) < 2000


def the_bill_is_as_said(emulator: Emulator, summary: dict[str, Any]) -> None:
    accepted = emulator.bill(summary=True)["accepted"]
    assert summary["paid"] <= accepted <= summary["paid"] + summary["possibly_paid_twice"], summary


def the_key_stays_at_home(emulator: Emulator) -> None:
    assert emulator.key not in json.dumps(emulator.seen()["storage"])


def nothing_secret_is_stored(emulator: Emulator, destination: Path) -> None:
    for path in destination.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            if data[:2] == b"\x1f\x8b":
                import gzip

                data = gzip.decompress(data)
            for secret in (emulator.key.encode(), b"signature=", b"Signature="):
                assert secret not in data, (path, secret)
