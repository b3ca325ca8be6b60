"""The ``ledger`` commands, and the progress that a run tells."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from airflow_provider_perfectlyclear.__main__ import main
from airflow_provider_perfectlyclear.catalog.engine import loop as engine
from airflow_provider_perfectlyclear.errors import CatalogFailed
from tests.catalog.conftest import House


def night_with_a_bad_file(house: House) -> None:
    house.put("a.jpg", "b.jpg")
    (house.source / "text.jpg").write_text("no picture")
    with pytest.raises(CatalogFailed):
        house.correct("monday")


def test_show_says_what_became_of_each_output(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    night_with_a_bad_file(house)

    assert main(["ledger", "show", str(house.destination)]) == 0

    said = capsys.readouterr().out
    assert "landed   'a.jpg'  job " in said
    assert "failed   'text.jpg'  INVALID_SOURCE: its first bytes" in said
    assert "3 outputs: 1 failed, 2 landed" in said


def test_show_as_json_can_be_piped(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    night_with_a_bad_file(house)

    assert main(["ledger", "show", "--failed", "--json", str(house.destination)]) == 0

    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["code"] == "INVALID_SOURCE"


def test_what_is_forgotten_is_made_again(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.put("a.jpg", "b.jpg")
    house.correct("monday")

    assert main(["ledger", "forget", str(house.destination), "a.jpg"]) == 0
    assert house.correct("tuesday")["reasons"] == {"not in the ledger": 1}
    assert main(["ledger", "forget", str(house.destination), "nowhere.jpg"]) == 1
    assert "'nowhere.jpg' is not in the ledger" in capsys.readouterr().err


def test_a_place_without_a_record_is_no_empty_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ledger", "show", str(tmp_path / "nowhere")]) == 1
    assert "There is no record in" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_an_unknown_place_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "show", "relative/folder"]) == 1
    assert "relative path" in capsys.readouterr().err


def test_a_run_tells_how_far_it_is(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "REPORT_LEAST", 0.0)
    caplog.set_level(logging.INFO)
    house.put(*(f"{number:02d}.jpg" for number in range(20)))

    house.correct()

    (progress,) = Path(house.destination).rglob("progress.json")
    assert "20 corrected, 0 failed, 0 in progress, 0 queued" in json.loads(progress.read_text())["line"]
    assert caplog.text.count(" in progress, ") >= 5
