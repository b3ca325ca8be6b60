"""Shell scripts that use the service as its published samples do: with curl and jq, and nothing that knows of us."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

SAMPLES = Path(__file__).parent / "vendor_samples"


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    missing = [tool for tool in ("bash", "curl", "jq") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"the samples need {', '.join(missing)}")
    command = ["bash", SAMPLES / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_picture_is_uploaded_corrected_and_downloaded(emulator, photographs, tmp_path):
    target = tmp_path / "out.png"
    done = run(
        "correct.sh", emulator.base_url, emulator.key, photographs / "chelsea.png", target, "width=100"
    )
    assert (done.returncode, done.stderr) == (0, "")
    view = json.loads(done.stdout)
    assert Image.open(target).width == 100
    again = run("correct.sh", emulator.base_url, emulator.key, view["fileKey"], target, "outputType=jpg")
    assert again.returncode == 0
    assert Image.open(target).format == "JPEG"
    assert emulator.bill(summary=True)["accepted"] == 2


def test_the_samples_send_the_key_to_the_api_alone_and_no_content_type_to_storage(
    emulator, photographs, tmp_path
):
    run("correct.sh", emulator.base_url, emulator.key, photographs / "rocket.jpg", tmp_path / "out.jpg")
    storage = emulator.seen()["storage"]
    assert storage["routes"] == {"put": 1, "download": 1}
    assert (storage["api_key_seen"], "content-type" in storage["headers"]) == (False, False)


def test_a_refused_correction_prints_the_whole_answer(emulator, photographs, tmp_path):
    picture = photographs / "rocket.jpg"
    done = run("correct.sh", emulator.base_url, emulator.key, picture, tmp_path / "out.jpg", "width=1")
    assert done.returncode == 1
    assert "width must be an integer from 32 to 10000" in done.stderr


def test_a_rejected_file_prints_the_reason(emulator, tmp_path):
    source = tmp_path / "text.jpg"
    source.write_text("not a picture")
    done = run("correct.sh", emulator.base_url, emulator.key, source, tmp_path / "out.jpg")
    assert (done.returncode, done.stderr) == (2, "REJECTED: no image data\n")


def test_a_preset_goes_up_is_listed_comes_down_and_is_deleted(emulator, tmp_path):
    def presets(*arguments: object) -> str:
        done = run("presets.sh", emulator.base_url, emulator.key, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    source, target = tmp_path / "warm.preset", tmp_path / "again.preset"
    source.write_bytes(b"\x00\x01 preset")
    preset_id = presets("upload", "Warm & Soft", source)
    assert presets("list") == f"{preset_id} Warm & Soft"
    presets("download", preset_id, target)
    assert target.read_bytes() == source.read_bytes()
    assert presets("delete", preset_id) == "deleted"
    assert presets("list") == ""


def test_a_refused_preset_has_an_error(emulator, tmp_path):
    source = tmp_path / "warm.preset"
    source.write_bytes(b"preset")
    done = run("presets.sh", emulator.base_url, emulator.key, "upload", "", source)
    assert (done.returncode, done.stderr) == (1, "name is required\n")
