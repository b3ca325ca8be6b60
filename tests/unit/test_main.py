"""The ``ledger`` commands, and the progress that a run tells."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_perfectlyclear.__main__ import main
from airflow_provider_perfectlyclear.catalog.engine import lines
from airflow_provider_perfectlyclear.catalog.ledger import lane, owners, records
from airflow_provider_perfectlyclear.errors import CatalogFailed
from airflow_provider_perfectlyclear.storage import LocalStore
from tests.support.sandbox import Sandbox


def night_with_a_bad_file(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg", "b.jpg")
    (sandbox.source / "text.jpg").write_text("no picture")
    with pytest.raises(CatalogFailed):
        sandbox.correct("monday")


def test_show_says_what_became_of_each_output(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    night_with_a_bad_file(sandbox)

    assert main(["ledger", "show", str(sandbox.destination)]) == 0

    said = capsys.readouterr().out
    assert "landed   'a.jpg'  job " in said
    assert "failed   'text.jpg'  INVALID_SOURCE: its first bytes" in said
    assert "3 outputs: 1 failed, 2 landed" in said


def test_show_takes_the_row_that_is_newest_by_sequence_not_by_clock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = LocalStore(tmp_path).child(".perfectlyclear")
    row = records.Row("a.jpg", records.State.FAILED, "a.jpg")
    first = lane.Ledger(state, "1of2", run="monday", title="monday", clock=lambda: 2_000_000_000.0)
    assert first.take()
    first.append([records.failed(row, "FAILED", "on a machine whose clock was ahead")])
    second = lane.Ledger(state, "all", run="tuesday", title="tuesday", clock=lambda: 1_700_000_000.0)
    second.saw(first.seq)
    assert second.take()
    second.append([records.failed(row, "REJECTED", "a night later")])

    assert main(["ledger", "show", str(tmp_path)]) == 0

    assert "REJECTED: a night later" in capsys.readouterr().out


def test_show_as_json_can_be_piped(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    night_with_a_bad_file(sandbox)

    assert main(["ledger", "show", "--failed", "--json", str(sandbox.destination)]) == 0

    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["code"] == "INVALID_SOURCE"


def test_show_ends_quietly_when_its_reader_has_closed_the_output(sandbox: Sandbox) -> None:
    night_with_a_bad_file(sandbox)
    command = [
        sys.executable,
        "-m",
        "airflow_provider_perfectlyclear",
        "ledger",
        "show",
        str(sandbox.destination),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert (process.wait(60), process.stderr.read()) == (141, "")
    process.stderr.close()


def test_forgetting_says_that_it_waits_and_which_open_job_is_lost(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "ABANDONED", 0.3)
    monkeypatch.setattr(owners, "LOOK", 0.1)
    state = LocalStore(sandbox.destination).child(".perfectlyclear")
    ledger = lane.Ledger(state, "all", run="night", title="dag 'nightly' run 'monday'")
    assert ledger.take()
    row = records.Row("a.jpg", records.State.INTENT, "a.jpg", query={}, file_key="k")
    ledger.append(
        [records.intent(row), records.started("a.jpg", "job-7"), records.intent(replace(row, output="b.jpg"))]
    )

    assert main(["ledger", "forget", str(sandbox.destination), "a.jpg", "b.jpg"]) == 0

    waits, *warned = capsys.readouterr().err.splitlines()
    assert waits == (
        f"{state.uri('')} is locked by dag 'nightly' run 'monday'. Waiting up to 90 s to see whether it still runs."
    )
    assert "Warning: 'a.jpg' had job job-7 in progress, which is paid for." in warned[0]
    assert "Warning: 'b.jpg' had an unconfirmed start, which may be paid for." in warned[1]


def test_what_is_forgotten_is_made_again(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.put("a.jpg", "b.jpg")
    sandbox.correct("monday")

    assert main(["ledger", "forget", str(sandbox.destination), "a.jpg"]) == 0
    assert sandbox.correct("tuesday")["reasons"] == {"not in the ledger": 1}
    assert main(["ledger", "forget", str(sandbox.destination), "nowhere.jpg"]) == 1
    assert "'nowhere.jpg' is not in the ledger" in capsys.readouterr().err


def test_a_place_without_a_record_is_no_empty_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ledger", "show", str(tmp_path / "nowhere")]) == 1
    assert "There is no ledger in" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_an_unknown_place_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "show", "relative/folder"]) == 1
    assert "relative path" in capsys.readouterr().err


def test_a_run_tells_how_far_it_is(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lines, "REPORT_LEAST", 0.0)
    caplog.set_level(logging.INFO)
    sandbox.put(*(f"{number:02d}.jpg" for number in range(20)))

    sandbox.correct()

    (progress,) = Path(sandbox.destination).rglob("progress.json")
    assert "20 corrected, 0 failed, 0 in progress, 0 queued" in json.loads(progress.read_text())["line"]
    assert caplog.text.count(" in progress, ") >= 5
