"""What was true when a run began and is not any more: newer outputs, verdicts, jobs and answers of before."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_perfectlyclear.api import limiter
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.engine import start_queue, waiting
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.result import Parked
from airflow_provider_perfectlyclear.catalog.run import CatalogRun
from airflow_provider_perfectlyclear.catalog.shards import in_shard
from airflow_provider_perfectlyclear.catalog.single import single_run
from airflow_provider_perfectlyclear.errors import CatalogFailed, RunStopped
from airflow_provider_perfectlyclear.storage import LocalStore
from tests.faults.ledgers import catalog, client_of, done, single
from tests.faults.nights import night_held
from tests.faults.presets import NAME, make
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg

OLD, NEW = jpeg(1), jpeg(2, (128, 96))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for as long as a user's run may."""
    for name in ("LEAST", "UNKNOWN"):
        monkeypatch.setattr(start_queue, name, 0.5)


def shown(sandbox: Sandbox, name: str) -> tuple[int, int]:
    return Image.open(BytesIO((sandbox.destination / name).read_bytes())).size


def put(sandbox: Sandbox, name: str, data: bytes) -> None:
    (sandbox.source / name).write_bytes(data)


def made_by_a_task_of_its_own(sandbox: Sandbox) -> None:
    """The picture is replaced, and a task for it alone corrects it."""
    put(sandbox, "o.jpg", NEW)
    done(single(sandbox, sandbox.source / "o.jpg").execute())


def stays_new(row: Row, sandbox: Sandbox, said: dict[str, Any]) -> None:
    """The picture is left alone, and the night after pays nothing."""
    row.consumed(sandbox.emulator)
    assert said.get("error") == "CatalogFailed" and "o.jpg LOCKED" in said["message"], said
    assert shown(sandbox, "o.jpg") == (128, 96)
    paid = sandbox.accepted
    summary = done(catalog(sandbox, "the night after").execute())
    assert (summary["paid"], summary["paid_again"], sandbox.accepted) == (0, 0, paid)
    assert shown(sandbox, "o.jpg") == (128, 96)
    row.held(check_invariants(sandbox))


# ---- publications over a newer output


@pytest.mark.fault("F69", "a single picture lands while an earlier result is fetched again", "item LOCKED")
def test_what_is_fetched_again_is_not_published_over_what_a_task_of_its_own_has_made(
    row: Row,
    sandbox: Sandbox,
) -> None:
    put(sandbox, "o.jpg", OLD)
    done(catalog(sandbox, "monday").execute())
    (sandbox.destination / "o.jpg").unlink()
    put(sandbox, "n.jpg", jpeg(3))

    said = night_held(
        sandbox,
        {"route": "put", "nth": 1},
        {"when": "committed"},
        lambda: made_by_a_task_of_its_own(sandbox),
        run="tuesday",
        options={"max_in_flight": 1, "transfers": 1},
    )

    stays_new(row, sandbox, said)


@pytest.mark.fault("F69", "a single picture lands while an equal one is asked about again", "item LOCKED")
def test_an_equal_picture_that_has_waited_is_not_published_over_what_a_task_of_its_own_has_made(
    row: Row,
    sandbox: Sandbox,
) -> None:
    for name in ("l.jpg", "o.jpg"):
        put(sandbox, name, OLD)
    sandbox.emulator.fault("pfc", {"reset": "committed"})

    said = night_held(  # it asks about the lost start again, and stands still
        sandbox,
        {"route": "pfc", "nth": 2},
        {"when": "committed"},
        lambda: made_by_a_task_of_its_own(sandbox),
        run="monday",
        options={"max_in_flight": 1, "transfers": 1},
    )

    stays_new(row, sandbox, said)


@pytest.mark.fault("F41", "an attempt that was given up still downloads", "run LANE_LOST")
def test_an_attempt_that_was_given_up_publishes_nothing_over_the_next_ones_output(
    row: Row, sandbox: Sandbox
) -> None:
    """It has stood still for too short a time to know it by the clock. The next attempt has made the newer picture."""
    put(sandbox, "o.jpg", OLD)

    def next_attempt() -> None:
        put(sandbox, "o.jpg", NEW)
        done(catalog(sandbox, "monday").execute())

    held = {"route": "download", "nth": 1}, {"when": "committed"}
    said = night_held(sandbox, *held, next_attempt, run="monday")

    assert said["code"] == "LANE_LOST", said
    assert shown(sandbox, "o.jpg") == (128, 96)
    assert done(catalog(sandbox, "tuesday").execute())["unchanged"] == 1
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


# ---- what another lane knows


@pytest.mark.fault("F70", "a single picture's output, under a name of another shard", "item NAME_COLLISION")
@pytest.mark.parametrize("shards", [[None], ["1/2", "2/2"]])
def test_the_output_of_another_folders_picture_is_known_to_every_shard(
    row: Row, sandbox: Sandbox, tmp_path: Path, shards: list[str | None]
) -> None:
    mine = next(number for number in (1, 2) if in_shard("hero.jpg", (number, 2)))
    names = (f"retouched-{number}.jpg" for number in range(99))
    name = next(name for name in names if not in_shard(name, (mine, 2)))
    studio, destination = tmp_path / "studio", LocalStore(sandbox.destination)
    studio.mkdir()
    (studio / name).write_bytes(NEW)
    places = Places(LocalStore(studio), destination, destination.child(".perfectlyclear"))
    options = Options(correction=Correction.parse(None), poll_interval=0.1)
    sandbox.runs.add("hero")
    sandbox.sources.look_at(studio)
    hero = single_run(client_of(sandbox), places, options, "hero", name, "hero.jpg")
    done(hero.execute())
    sandbox.singles["hero", "hero.jpg"] = hero.facts()
    put(sandbox, "hero.jpg", OLD)
    put(sandbox, "z.jpg", jpeg(3))

    for shard in shards:
        run = catalog(sandbox, f"night {shard}", shard=shard, max_failures="100%", if_empty="succeed")
        done(run.execute())

    assert shown(sandbox, "hero.jpg") == (128, 96)
    assert sandbox.accepted == 2 and sandbox.outputs == ["hero.jpg", "z.jpg"]
    row.consumed("NAME_COLLISION")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F71", "two corrections of one picture, data alone", "hidden")
def test_the_data_of_one_picture_under_two_corrections_is_paid_for_once_each(
    row: Row, sandbox: Sandbox, tmp_path: Path
) -> None:
    put(sandbox, "a.jpg", OLD)
    corrections = ({"include_detection_data": True}, {"include_detection_data": True, "width": 40})
    for night in range(3):
        for number, correction in enumerate(corrections):
            key, state = f"{number} {night}", tmp_path / "state"
            run = single(sandbox, sandbox.source / "a.jpg", key, correction, state=state)
            done(run.execute())
            sandbox.singles[key, "a.jpg"] = run.facts()
    assert sandbox.accepted == 2
    row.consumed("six runs")
    row.held(check_invariants(sandbox))


@pytest.mark.fault(
    "F51", "edited, at a service whose cache knows it by its name: equal pictures", "item START_LOST"
)
def test_a_start_that_was_given_up_is_counted_whichever_equal_picture_is_started_next(
    row: Row, sandbox: Sandbox
) -> None:
    sandbox.emulator.behave(same_job=True)
    make(sandbox.emulator, b"<preset>one</preset>")
    for name in ("a.jpg", "b.jpg"):
        put(sandbox, name, OLD)
    done(catalog(sandbox, "monday", {"preset": NAME}).execute())
    make(sandbox.emulator, b"<preset>two, edited</preset>")

    for night in range(3):
        with pytest.raises(CatalogFailed, match="START_LOST"):
            catalog(sandbox, f"night {night}", {"preset": NAME}).execute()

    row.consumed("START_LOST")
    row.held(check_invariants(sandbox))


# ---- verdicts of before


@pytest.mark.fault("F21", "FAILED for an output that had a job of another content", "item JOB_FAILED")
def test_a_job_of_another_content_is_not_kept_beside_a_verdict(row: Row, sandbox: Sandbox) -> None:
    """The picture comes back under another name; the service's cache answers with the job that it had."""
    sandbox.emulator.behave(same_job=True)
    put(sandbox, "a.jpg", OLD)
    put(sandbox, "bad.jpg", NEW)
    bad = hashlib.sha256(NEW).hexdigest()
    sandbox.emulator.fault({"route": "pfc", "sha256": bad}, {"outcome": "FAILED"})
    done(catalog(sandbox, "monday", max_failures=5).execute())
    put(sandbox, "a.jpg", NEW)
    done(catalog(sandbox, "tuesday", max_failures=5).execute())
    put(sandbox, "c.jpg", OLD)

    summary = done(catalog(sandbox, "wednesday", max_failures=5, max_paid_again="100%").execute())

    assert summary["corrected"] == 1 and "c.jpg" in sandbox.outputs
    paid = sandbox.accepted
    done(catalog(sandbox, "thursday", max_failures=5).execute())
    assert sandbox.accepted == paid
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F21", "FAILED before, tried again by name beside an equal picture", "hidden")
def test_an_old_verdict_does_not_condemn_a_picture_that_is_tried_again(row: Row, sandbox: Sandbox) -> None:
    put(sandbox, "b.jpg", OLD)
    sandbox.emulator.fault("pfc", {"outcome": "FAILED"})
    with pytest.raises(CatalogFailed):
        catalog(sandbox, "monday").execute()
    put(sandbox, "a.jpg", OLD)

    summary = done(catalog(sandbox, "tuesday", reprocess="failed").execute())

    assert (summary["corrected"], summary["failed"], summary["paid_again"]) == (2, 0, 1)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


# ---- results that are gone while they are copied


@pytest.mark.fault("F76", "moved on at once and forgotten, before an equal picture is copied", "hidden")
def test_an_equal_picture_leads_when_what_has_landed_is_gone(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output of the first is moved on at once, and the service has forgotten its job."""
    for name in ("a.jpg", "z.jpg"):
        put(sandbox, name, OLD)
    run = catalog(sandbox, "monday", reprocess="missing", max_in_flight=1, max_paid_again="100%")

    def moved_on(*args: Any) -> None:
        path = sandbox.destination / "a.jpg"
        if path.exists():
            path.unlink()
            job_id = sandbox.emulator.bill()["entries"][0]["job_id"]
            sandbox.emulator.fault({"route": "status", "job_id": job_id}, {"outcome": "lost"}, times=None)

    beat = run.ledger.beat
    monkeypatch.setattr(run.ledger, "beat", lambda *args: (moved_on(), beat(*args))[1])
    summary = done(run.execute())

    assert summary["corrected"] == 2 and sandbox.outputs == ["z.jpg"]
    assert sandbox.accepted == 2 and summary["paid_again"] == 1
    row.consumed(sandbox.emulator)
    sandbox.taken.add("a.jpg")
    row.held(check_invariants(sandbox))


# ---- answers that say nothing about the call before


@pytest.mark.fault("F5", "lost, and asking again refused for every picture", "run, then 1 ambiguous")
@pytest.mark.parametrize("status", [402, 401, 429])
def test_an_unconfirmed_start_stays_so_when_asking_again_fails_for_every_picture(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(limiter, "HOPELESS", 1)  # one 429 is enough to give up
    put(sandbox, "a.jpg", OLD)
    sandbox.emulator.fault("pfc", {"reset": "committed"})
    sandbox.emulator.fault(
        {"route": "pfc", "nth": 2}, {"answer": {"status": status, "json": {"message": "no"}}}
    )
    with pytest.raises(RunStopped):
        catalog(sandbox, "monday").execute()
    row.consumed(sandbox.emulator)

    summary = done(catalog(sandbox, "monday").execute())

    bill = sandbox.emulator.bill()
    assert summary["corrected"] == 1 and bill["billed"] == 1
    assert len({entry["file_key"] for entry in bill["entries"]}) == 1
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F72", "402, which is not about the picture", "run PAYMENT_REQUIRED")
def test_a_picture_whose_start_was_refused_for_the_whole_run_is_not_said_to_be_gone(
    row: Row, sandbox: Sandbox
) -> None:
    put(sandbox, "a.jpg", OLD)
    sandbox.emulator.fault("pfc", {"answer": {"status": 402, "json": {"message": "no credit"}}})
    with pytest.raises(RunStopped):
        catalog(sandbox, "monday").execute()
    (manifest,) = sandbox.destination.rglob("manifest.jsonl")
    assert "SOURCE_GONE" not in manifest.read_text() and "PAYMENT_REQUIRED" in manifest.read_text()
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F72", "404, 409, 423 or 425, which are about the upload", "item UNAVAILABLE")
@pytest.mark.parametrize("status", [404, 409, 423, 425])
def test_an_upload_that_is_not_accepted_is_made_anew(row: Row, sandbox: Sandbox, status: int) -> None:
    put(sandbox, "a.jpg", OLD)
    put(sandbox, "b.jpg", NEW)
    refusal = {"answer": {"status": status, "json": {"message": "try again"}}}
    sandbox.emulator.fault({"route": "pfc", "nth": 2}, refusal)
    with pytest.raises(CatalogFailed, match="UNAVAILABLE"):
        catalog(sandbox, "monday", max_in_flight=1).execute()

    summary = done(catalog(sandbox, "monday", max_in_flight=1).execute())

    assert sandbox.outputs == ["a.jpg", "b.jpg"] and summary["possibly_paid_twice"] == 0
    assert sandbox.accepted == 2
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


# ---- one file before all others


@pytest.mark.fault("F87", "an upload that the store refuses, first of all", "item, tried last")
@pytest.mark.parametrize("is_new", [True, False])
def test_a_picture_that_cannot_be_uploaded_is_tried_last(row: Row, sandbox: Sandbox, is_new: bool) -> None:
    put(sandbox, "a.jpg", OLD)
    if not is_new:
        done(catalog(sandbox, "sunday").execute())
        put(sandbox, "a.jpg", NEW)
    for name in ("b.jpg", "c.jpg"):
        put(sandbox, name, jpeg(ord(name[0])))
    sandbox.emulator.fault({"route": "put", "nth": 1}, {"answer": {"status": 413}})
    for number in range(3):
        catalog(sandbox, f"night {number}", limit=1, max_failures=5, max_paid_again="100%").execute()
    assert {"b.jpg", "c.jpg"} <= set(sandbox.outputs)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


# ---- one picture beside a catalog


@pytest.mark.fault("F69", "a single picture's retry is deferred beside a catalog", "hidden")
def test_a_single_pictures_retry_that_is_deferred_beside_a_catalog_ends_well(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WORTH_DEFERRING", 0.0)
    put(sandbox, "a.jpg", OLD)
    done(catalog(sandbox, "monday").execute())
    put(sandbox, "s.jpg", NEW)
    still = {"patch": {"status": "PROCESSING", "correctedFile": None}}
    sandbox.emulator.fault("status", still, times=None)

    def one() -> CatalogRun:
        return single(sandbox, sandbox.source / "s.jpg", "one", deferrable=True)

    assert isinstance(one().execute(), Parked)
    assert isinstance(one().execute(), Parked)  # a retry goes on with the job
    outcome = one().resume()
    while sandbox.emulator.unconsumed():  # woken up before its job was asked for
        outcome = one().resume()
    row.consumed(sandbox.emulator)
    sandbox.emulator.clear_faults()
    while isinstance(outcome, Parked):
        outcome = one().resume()

    assert "s.jpg" in sandbox.outputs and sandbox.accepted == 2
    row.held(check_invariants(sandbox))
