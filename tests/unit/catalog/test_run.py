"""Night after night over the same catalog: what is paid, what is not, and what is said."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.catalog.ledger.segments import read_lane
from airflow_provider_perfectlyclear.errors import CatalogFailed, PlanRefused
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg

FORTY = [f"{number:02d}.jpg" for number in range(40)]


def test_bad_files_cost_nothing_the_good_ones_land_and_the_next_night_is_green(sandbox: Sandbox) -> None:
    sandbox.put("good.jpg", "ü #1 %.jpg", "same.jpg", "SAME.jpg", "rejected.jpg")
    (sandbox.source / "empty.jpg").write_bytes(b"")
    (sandbox.source / "text.jpg").write_text("this is no picture")
    (sandbox.source / "broken.jpg").write_bytes(jpeg(7, (640, 480))[:900])
    (sandbox.source / "notes.txt").write_text("not for correction")
    sandbox.emulator.fault(
        {"route": "pfc", "nth": 2}, {"outcome": {"status": "REJECTED", "statusText": "not a photograph"}}
    )

    with pytest.raises(CatalogFailed) as failure:
        sandbox.correct("monday", transfers=1, max_in_flight=1)

    said = str(failure.value)
    assert not failure.value.retry_helps
    assert "6 of 8 pictures failed" in said
    for name in ("empty.jpg INVALID_SOURCE", "NAME_COLLISION", "text.jpg INVALID_SOURCE"):
        assert name in said or "more" in said
    assert len(sandbox.outputs) == 2
    paid = sandbox.accepted
    assert paid == 3  # two good ones and the rejected one: only the service could know that

    tuesday = sandbox.correct("tuesday")
    assert sandbox.accepted == paid
    assert (tuesday["known_bad"], tuesday["failed"], tuesday["unchanged"]) == (6, 0, 2)
    nothing_was_paid(sandbox, tuesday)


def nothing_was_paid(sandbox: Sandbox, summary: dict[str, Any]) -> None:
    assert summary["paid"] == summary["possibly_paid_twice"] == 0
    check_invariants(sandbox)


@pytest.mark.parametrize("touched", [FORTY[:3], FORTY])
def test_files_touched_between_a_try_and_its_retry_are_told_of_once(
    sandbox: Sandbox, touched: list[str]
) -> None:
    sandbox.put(*FORTY)
    sandbox.put("text.jpg")
    (sandbox.source / "text.jpg").write_text("no picture")
    with pytest.raises(CatalogFailed):
        sandbox.correct()
    for name in [*touched, "text.jpg"]:
        os.utime(sandbox.source / name, (1, 1))

    retried = sandbox.correct(max_failures=1)

    assert (retried["corrected"], retried["unchanged"], retried["failed"]) == (len(FORTY), 0, 1)
    check_invariants(sandbox)


def test_what_is_refused_here_stays_known_bad_when_its_files_are_only_touched(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg", "cut.jpg", "later.jpg")
    text, cut, later = (sandbox.source / name for name in ("text.jpg", "cut.jpg", "later.jpg"))
    sandbox.correct("monday", exclude=["cut.jpg"])
    text.write_text("no picture")
    for path in (cut, later):
        path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CatalogFailed, match="3 of 3"):
        sandbox.correct("tuesday")

    for path in (text, cut, later):
        path.touch()
    summary = sandbox.correct("wednesday")
    assert (summary["known_bad"], summary["failed"], summary["unchanged"]) == (3, 0, 1)
    assert sandbox.correct("thursday")["known_bad"] == 3
    rows = read_lane(sandbox.catalog_run("friday").places.state, "all").rows
    assert all(rows[name].fingerprint for name in ("text.jpg", "cut.jpg", "/later.jpg"))

    (sandbox.source / "copy.jpg").write_bytes(cut.read_bytes())  # bytes that only the check has seen
    with pytest.raises(CatalogFailed, match="FAILED: The picture cannot be decoded"):
        sandbox.correct("saturday", check_source=False)
    text.write_text("another text")
    with pytest.raises(CatalogFailed, match=r"text\.jpg INVALID_SOURCE"):
        sandbox.correct("sunday")


def test_a_few_files_touched_are_no_jobs_for_max_new_jobs(sandbox: Sandbox) -> None:
    sandbox.put(*FORTY)
    sandbox.correct("monday")
    for name in FORTY[:5]:
        os.utime(sandbox.source / name, (1, 1))

    assert sandbox.correct("tuesday", max_new_jobs=0)["unchanged"] == 40
    sandbox.put("new.jpg")
    with pytest.raises(PlanRefused, match=r"^The plan needs 1 job "):
        sandbox.correct("wednesday", max_new_jobs=0)


def test_a_changed_picture_is_corrected_again_and_only_that(sandbox: Sandbox) -> None:
    sandbox.put(*FORTY)
    sandbox.correct("monday")
    before = (sandbox.destination / "03.jpg").read_bytes()
    (sandbox.source / "03.jpg").write_bytes(jpeg(1234))

    tuesday = sandbox.correct("tuesday")

    assert tuesday["reasons"] == {"source changed": 1}
    assert tuesday["paid"] == 1
    assert (sandbox.destination / "03.jpg").read_bytes() != before


def test_a_lost_state_folder_does_not_pay_for_everything_again(sandbox: Sandbox) -> None:
    sandbox.put(*FORTY)
    sandbox.correct("monday")
    shutil.rmtree(sandbox.destination / ".perfectlyclear")

    with pytest.raises(PlanRefused) as refusal:
        sandbox.correct("tuesday")

    assert "40 of 40 existing or paid outputs" in str(refusal.value)
    assert "max_paid_again=40" in str(refusal.value)
    assert sandbox.accepted == len(FORTY)
    assert sandbox.correct("tuesday", reprocess="missing")["paid"] == 0
    assert sandbox.correct("wednesday", max_paid_again=40)["paid"] == len(FORTY)


def test_another_correction_is_said_before_it_is_paid(sandbox: Sandbox) -> None:
    sandbox.put(*FORTY)
    sandbox.correct("monday", {"preset": "none"})

    with pytest.raises(PlanRefused, match="40 correction changed"):
        sandbox.correct("tuesday", {"preset": "none", "width": 100})
    assert (
        sandbox.correct("tuesday", {"preset": "none", "width": 100}, reprocess="source_changed")["paid"] == 0
    )
    assert sandbox.correct("wednesday", {"preset": "none", "width": 100}, max_paid_again=40)["paid"] == 40


def test_a_canary_of_another_correction_says_what_it_may_pay_again(sandbox: Sandbox) -> None:
    sandbox.put(*FORTY)
    sandbox.correct("monday", {"preset": "none"})

    with pytest.raises(PlanRefused, match="40 of 40 existing or paid outputs"):
        sandbox.correct("tuesday", {"preset": "none", "width": 100}, limit=20)
    canary = sandbox.correct("tuesday", {"preset": "none", "width": 100}, limit=20, max_paid_again=20)

    assert (canary["paid"], canary["paid_again"], canary["not_started"]) == (20, 20, 20)


def test_cache_and_detection_data_make_no_other_correction(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")
    sandbox.correct("monday", {"cache": True})

    assert sandbox.correct("tuesday", {"cache": False, "include_detection_data": True})["paid"] == 0


def test_a_deleted_output_is_fetched_again_free_while_the_service_has_it(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg", "b.jpg")
    sandbox.correct("monday")
    (sandbox.destination / "a.jpg").unlink()

    tuesday = sandbox.correct("tuesday")

    assert sandbox.outputs == ["a.jpg", "b.jpg"]
    assert tuesday["reasons"] == {"output missing": 1}
    assert sandbox.accepted == 2


def test_a_deleted_output_is_paid_again_by_name_alone_when_the_service_has_forgotten_it(
    sandbox: Sandbox,
) -> None:
    sandbox.put("a.jpg", "b.jpg")
    sandbox.correct("monday")
    (sandbox.destination / "a.jpg").unlink()
    sandbox.emulator.fault("status", {"answer": {"status": 404, "json": {"error": "unknown"}}}, times=2)

    tuesday = sandbox.correct("tuesday")

    assert sandbox.outputs == ["b.jpg"]
    assert (tuesday["paid"], tuesday["gone_from_destination"]) == (0, 1)
    wednesday = sandbox.correct("wednesday", reprocess="missing")
    assert sandbox.outputs == ["a.jpg", "b.jpg"]
    assert (wednesday["paid"], wednesday["paid_again"]) == (1, 1)


def test_an_edited_output_is_left_alone(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg", "b.jpg")
    sandbox.correct("monday")
    (sandbox.destination / "a.jpg").write_bytes(b"edited by hand")

    tuesday = sandbox.correct("tuesday")

    assert tuesday["edited_at_destination"] == 1
    assert (sandbox.destination / "a.jpg").read_bytes() == b"edited by hand"
    assert sandbox.correct("wednesday", reprocess="always")["corrected"] == 2


def test_always_means_once_a_run(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg", "b.jpg")
    sandbox.correct("monday")

    assert sandbox.correct("tuesday", reprocess="always")["paid"] == 2
    assert sandbox.correct("tuesday", reprocess="always")["paid"] == 2  # a retry or clear of the same run
    assert sandbox.accepted == 4


def test_a_brake_stops_before_anything_is_paid(sandbox: Sandbox) -> None:
    sandbox.put(*FORTY)

    with pytest.raises(PlanRefused, match=r"The plan needs 40 jobs .* max_new_jobs allows 39"):
        sandbox.correct(max_new_jobs=39)
    assert sandbox.accepted == 0
    assert sandbox.correct(max_new_jobs=40)["paid"] == 40


def test_a_limit_counts_over_all_tries_of_a_run(sandbox: Sandbox) -> None:
    sandbox.put(*FORTY)

    first = sandbox.correct(limit=20)
    again = sandbox.correct(limit=20)

    assert (first["paid"], first["not_started"]) == (20, 20)
    assert (again["paid"], again["not_started"]) == (20, 20)
    assert sandbox.accepted == 20
    check_invariants(sandbox)
    assert sandbox.correct("tuesday", limit=20)["paid"] == 20
    assert sandbox.accepted == 40


def test_a_plan_only_run_pays_nothing_and_names_its_pictures(sandbox: Sandbox) -> None:
    sandbox.put(*FORTY)

    planned = sandbox.correct(plan_only=True)

    assert planned["not_started"] == 40
    assert planned["reasons"] == {"new": 40}
    assert sandbox.outputs == []
    assert sandbox.accepted == 0
    (plan,) = sandbox.destination.rglob("*.jsonl")
    assert planned["manifest"] is None and planned["plan"] == str(plan)
    lines = [json.loads(line) for line in plan.read_text().splitlines()]
    assert [(line["output"], line["reason"]) for line in lines] == [(name, "new") for name in sorted(FORTY)]


def test_a_plan_that_a_brake_would_stop_is_shown_and_says_so(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.put(*FORTY)

    planned = sandbox.correct(plan_only=True, max_new_jobs=10)

    assert planned["not_started"] == 40
    assert "would be refused: The plan needs 40 jobs (to correct: 40 (40 new)" in caplog.text


@pytest.mark.parametrize("choice", ["fail", "skip", "succeed"])
def test_an_empty_source_is_what_one_says_it_is(sandbox: Sandbox, choice: str) -> None:
    if choice == "fail":
        with pytest.raises(PlanRefused, match="No picture was found"):
            sandbox.correct(if_empty=choice)
        return
    outcome = sandbox.catalog_run(if_empty=choice).execute()
    assert (outcome.skip is not None) == (choice == "skip")


def test_one_upload_serves_several_renditions(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg", "b/c.jpg")
    renditions = {"web": {"long": 50}, "print": {"output_type": "png"}}

    summary = sandbox.correct(renditions=renditions)

    assert sandbox.outputs == ["print/a.png", "print/b/c.png", "web/a.jpg", "web/b/c.jpg"]
    assert summary["paid"] == 4
    assert sandbox.emulator.seen()["storage"]["routes"]["put"] == 2
    check_invariants(sandbox)
    assert sandbox.correct("tuesday", renditions=renditions)["paid"] == 0


def test_pictures_of_a_shard_are_corrected_by_that_shard_alone(sandbox: Sandbox) -> None:
    sandbox.put(*FORTY)

    parts = [sandbox.correct(f"night-{which}", shard=f"{which}/4") for which in (1, 2, 3, 4)]

    assert sum(part["paid"] for part in parts) == len(FORTY) == sandbox.accepted
    assert all(part["paid"] for part in parts)
    assert sandbox.outputs == FORTY


def test_a_shard_that_none_of_few_pictures_falls_into_is_no_empty_source(sandbox: Sandbox) -> None:
    sandbox.put("only.jpg")

    parts = [sandbox.correct(f"night-{which}", shard=f"{which}/8", if_empty="fail") for which in range(1, 9)]

    assert sorted(part["paid"] for part in parts) == [0] * 7 + [1]
    (sandbox.source / "only.jpg").unlink()
    with pytest.raises(PlanRefused, match="No picture was found"):
        sandbox.correct("next-night", shard="1/8")


def test_a_catalog_may_change_its_shards_without_paying_again(sandbox: Sandbox) -> None:
    sandbox.put(*FORTY)
    sandbox.correct("monday")

    for which in (1, 2, 3):
        assert sandbox.correct(f"tuesday-{which}", shard=f"{which}/3")["paid"] == 0
    (sandbox.source / "new.jpg").write_bytes(jpeg(999))
    assert sandbox.correct("wednesday")["paid"] == 1
    assert sum(sandbox.correct(f"thursday-{which}", shard=f"{which}/2")["paid"] for which in (1, 2)) == 0
    assert sandbox.accepted == len(FORTY) + 1


def test_some_failures_may_be_allowed(sandbox: Sandbox) -> None:
    sandbox.put(*FORTY)
    (sandbox.source / "text.jpg").write_text("no picture")

    summary = sandbox.correct(max_failures="5%")

    assert (summary["corrected"], summary["failed"]) == (40, 1)
    with pytest.raises(CatalogFailed, match="1 of 41 pictures failed; 40 are in"):
        (sandbox.source / "text.jpg").write_text("no picture either")
        sandbox.correct()


def upload_preset(sandbox: Sandbox, name: str, content: bytes) -> str:
    with Client(Settings(api_key=sandbox.emulator.key, base_url=sandbox.emulator.base_url)) as client:
        target = client.send(calls.create_preset(name, "of a test"))
        client.put(target.upload_url, lambda: io.BytesIO(content), size=len(content))
        return target.preset_id


def test_an_edited_preset_is_another_correction(sandbox: Sandbox) -> None:
    sandbox.put(*FORTY)
    first = upload_preset(sandbox, "Studio 7", b"warm")
    sandbox.correct("monday", {"preset": "Studio 7"})
    assert sandbox.correct("tuesday", {"preset": "Studio 7"})["paid"] == 0
    with Client(Settings(api_key=sandbox.emulator.key, base_url=sandbox.emulator.base_url)) as client:
        client.send(calls.delete_preset(first))
    upload_preset(sandbox, "Studio 7", b"cold")

    assert sandbox.correct("wednesday", {"preset": "Studio 7"}, reprocess="source_changed")["paid"] == 0
    with pytest.raises(PlanRefused, match="40 correction changed"):
        sandbox.correct("thursday", {"preset": "Studio 7"})
    friday = sandbox.correct("friday", {"preset": "Studio 7"}, max_paid_again=40)
    assert friday["reasons"] == {"correction changed": 40}
    assert (friday["paid"], sandbox.accepted) == (40, 80)


def test_what_killed_tries_left_behind_is_removed_even_if_nothing_is_to_be_done(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")
    sandbox.correct("monday")
    spool = Path(tempfile.mkdtemp(prefix="perfectlyclear-spool-"))
    lanes = sandbox.destination / ".perfectlyclear" / "lanes"
    part = lanes / f".pfc-{sandbox.catalog_run('tuesday').ledger.run[:8]}-0123456789abcdef.part"
    part.touch()

    sandbox.correct("tuesday")

    assert not spool.exists()
    assert not part.exists()


def test_a_rendition_for_another_file_type_fails_alone(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg", "b.jpg")
    renditions = {"photos": {"file_type": "image"}, "clips": {"file_type": "video"}}

    summary = sandbox.correct(renditions=renditions, max_failures="100%")

    assert sandbox.outputs == ["photos/a.jpg", "photos/b.jpg"]
    assert (summary["corrected"], summary["failed"], summary["paid"]) == (2, 2, 2)


def test_each_refused_result_is_kept_under_a_name_of_its_own(sandbox: Sandbox) -> None:
    last = "p" * 130 + ".jpg"
    sandbox.put(f"a/{last}", f"b/{last}")
    sandbox.emulator.fault("pfc", {"make": {"type": "png"}}, times=None)

    sandbox.correct(correction={"output_type": "jpg"}, verify="strict", max_failures="100%")

    assert len(list((sandbox.destination / ".perfectlyclear" / "kept").iterdir())) == 2
