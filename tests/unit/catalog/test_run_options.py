"""What else a run can be asked for: lists of files, names by template, detection data, skipping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.catalog.engine import waiting
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.result import Finished
from airflow_provider_perfectlyclear.catalog.run import CatalogRun, catalog_run
from airflow_provider_perfectlyclear.errors import CatalogFailed, ConfigurationError
from airflow_provider_perfectlyclear.storage import LocalStore
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox


def of_files(sandbox: Sandbox, files: list[str], key: str = "night", **options: Any) -> CatalogRun:
    destination = LocalStore(sandbox.destination)
    return catalog_run(
        Client(Settings(api_key=sandbox.emulator.key, base_url=sandbox.emulator.base_url)),
        Places(LocalStore(sandbox.source), destination, destination.child(".perfectlyclear")),
        Options(correction=Correction(), poll_interval=0.1, **options),
        key,
        files=files,
    )


def manifest_of(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(summary["manifest"]).read_text().splitlines()]


def test_only_the_named_files_are_corrected(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg", "b/c.jpg", "d.jpg")

    summary = of_files(sandbox, ["a.jpg", "b/c.jpg", "a.jpg"]).execute()

    assert sandbox.outputs == ["a.jpg", "b/c.jpg"]
    assert (summary.data["listed"], summary.data["paid"]) == (2, 2)
    check_invariants(sandbox)


def test_a_named_file_that_is_not_there_fails_alone_and_may_come(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")

    with pytest.raises(
        CatalogFailed, match=r"late.jpg SOURCE_CHANGED: there is no file .*late.jpg"
    ) as failure:
        of_files(sandbox, ["a.jpg", "late.jpg"]).execute()
    assert failure.value.retry_helps
    assert sandbox.outputs == ["a.jpg"]

    sandbox.put("late.jpg")
    assert of_files(sandbox, ["a.jpg", "late.jpg"]).execute().data["corrected"] == 2
    assert sandbox.accepted == 2


def test_names_follow_the_template(sandbox: Sandbox) -> None:
    sandbox.put("2026/a.jpg", "2027/b.jpg")

    sandbox.correct(
        renditions={"web": {"long": 50}, "print": {"output_type": "png"}},
        name_template="{dir}/{rendition}/{stem}_corrected.{ext}",
    )

    assert sandbox.outputs == [
        "2026/print/a_corrected.png",
        "2026/web/a_corrected.jpg",
        "2027/print/b_corrected.png",
        "2027/web/b_corrected.jpg",
    ]


def test_a_template_that_cannot_be_meant_is_refused_before_anything_is_sent(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")

    with pytest.raises(ConfigurationError, match="unknown field"):
        sandbox.correct(name_template="{name}.jpg")
    with pytest.raises(ConfigurationError, match=r"needs \{rendition\}"):
        sandbox.correct(renditions={"web": {}, "print": {}}, name_template="{path}")
    assert sandbox.emulator.seen()["api"]["requests"] == 0


def test_detection_data_is_in_the_manifest_when_asked_for(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")

    summary = sandbox.correct(correction={"include_detection_data": True})

    _, line = manifest_of(summary)
    assert "facesCount" in line["detection_data"]


@pytest.mark.parametrize("deferrable", [False, True])
def test_each_line_of_a_manifest_names_its_source_as_a_url(
    sandbox: Sandbox, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WORTH_DEFERRING", 0.1)
    sandbox.put("same.jpg", "edited.jpg", "gone.jpg", "bad later.jpg")
    (sandbox.source / "bad.jpg").write_text("no picture")
    with pytest.raises(CatalogFailed):
        sandbox.correct("monday")
    (sandbox.source / "bad later.jpg").write_text("no picture")
    with pytest.raises(CatalogFailed):
        sandbox.correct("tuesday")
    sandbox.put("new #1.jpg")
    (sandbox.source / "new bad.jpg").write_text("no picture")
    (sandbox.destination / "edited.jpg").write_text("edited")
    (sandbox.destination / "gone.jpg").unlink()
    sandbox.emulator.let_pass(48)

    run = sandbox.catalog_run("night", deferrable=deferrable, max_failures=9)
    outcome = run.execute()
    while not isinstance(outcome, Finished):
        run = sandbox.catalog_run("night", deferrable=deferrable, max_failures=9)
        outcome = run.resume()

    _, *lines = manifest_of(outcome.data)
    assert {line["state"] for line in lines} == {
        "corrected", "failed", "unchanged", "known_bad", "edited_at_destination", "gone_from_destination",
    }  # fmt: skip
    assert len(lines) == 7
    for line in lines:
        assert line["source_uri"] == f"file://{sandbox.source}/{line['output']}", line["state"]


def test_a_night_without_changes_may_be_skipped(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")

    assert sandbox.catalog_run("monday", if_unchanged="skip").execute().skip is None
    assert sandbox.catalog_run("tuesday", if_unchanged="skip").execute().skip == "Nothing has changed."
    assert sandbox.catalog_run("wednesday").execute().skip is None


def test_young_files_are_left_for_the_next_run(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")

    summary = sandbox.correct(min_age=3600, if_empty="succeed")

    assert (summary["listed"], summary["ignored"], summary["paid"]) == (1, 1, 0)


def test_a_catalog_corrected_by_something_else_is_taken_over_free(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg", "b.jpg", "new.jpg")
    sandbox.destination.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (sandbox.destination / name).write_bytes(b"made by another program")

    summary = sandbox.correct(reprocess="missing")

    assert (summary["unchanged"], summary["paid"]) == (2, 1)
    assert (sandbox.destination / "a.jpg").read_bytes() == b"made by another program"
