"""Paid once inside a run, refused pictures, ill free paths, forgetful services, unconfirmed starts."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api import polling
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.catalog.engine import start_queue, waiting
from airflow_provider_perfectlyclear.catalog.ledger import lane
from airflow_provider_perfectlyclear.catalog.result import Finished, Parked
from airflow_provider_perfectlyclear.errors import CatalogFailed, RunStopped
from tests.faults.ledgers import catalog, done
from tests.faults.nights import NAMES, lines
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for as long as a user's run may."""
    for name in ("LEAST", "UNKNOWN"):
        monkeypatch.setattr(start_queue, name, 0.5)
    monkeypatch.setattr(polling, "LOST_AFTER", 1.0)


def twice(sandbox: Sandbox, *names: str) -> None:
    """Each picture under two names."""
    for number, name in enumerate(names):
        for each in (name, f"copy/{name}"):
            path = sandbox.source / each
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(number))


# ---- the same picture twice


@pytest.mark.fault("F62", "equal pictures under other names", "hidden")
def test_equal_pictures_are_paid_once_and_all_land(row: Row, sandbox: Sandbox) -> None:
    twice(sandbox, "a.jpg", "b.jpg", "c.jpg")
    summary = done(catalog(sandbox).execute())
    assert (summary["corrected"], summary["paid"], summary["reused"], sandbox.accepted) == (6, 3, 3, 3)
    same = [(sandbox.destination / name).read_bytes() for name in ("a.jpg", "copy/a.jpg")]
    assert same[0] == same[1]
    assert done(catalog(sandbox, "tuesday").execute())["unchanged"] == 6
    row.consumed("three of six are copies")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F62", "equal renditions", "hidden")
def test_equal_renditions_share_a_job(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    renditions = {"shop": {"width": 40}, "press": {"width": 40}}
    summary = done(sandbox.catalog_run("night", renditions=renditions).execute())
    assert (summary["corrected"], summary["paid"], sandbox.accepted) == (8, 4, 4)
    row.consumed("two outputs of each job")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F62", "a job id already given, for the same content", "hidden")
def test_a_service_that_answers_with_the_same_job_lands_every_output(
    row: Row, sandbox: Sandbox, quick: None
) -> None:
    """Its first answer is lost; asked again, it answers with the job that it has started then."""
    sandbox.emulator.behave(same_job=True, cache="free")
    sandbox.put("a.jpg", "b.jpg")
    sandbox.emulator.fault({"route": "pfc", "nth": 2}, {"reset": "committed"})
    summary = done(catalog(sandbox).execute())
    assert (summary["corrected"], summary["possibly_paid_twice"]) == (2, 1)
    assert sandbox.emulator.bill()["billed"] == 2
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


def test_a_renamed_folder_costs_nothing(sandbox: Sandbox) -> None:
    sandbox.put(*(f"old/{number}.jpg" for number in range(8)))
    done(catalog(sandbox, "monday").execute())
    (sandbox.source / "old").rename(sandbox.source / "new")
    summary = done(catalog(sandbox, "tuesday").execute())
    assert (summary["corrected"], summary["reused"], summary["paid"]) == (8, 8, 0)
    for number in range(8):
        both = [(sandbox.destination / folder / f"{number}.jpg").read_bytes() for folder in ("old", "new")]
        assert both[0] == both[1]


@pytest.mark.parametrize("checkpoint_every", [1, 500])
@pytest.mark.fault("F76", "a picture that was replaced comes back under another name", "run")
def test_a_replaced_picture_that_comes_back_is_said_to_be_paid_again(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, checkpoint_every: int
) -> None:
    """Its output was overwritten, so there is nothing to copy: the summary names what is paid for once more."""
    monkeypatch.setattr(lane, "CHECKPOINT_EVERY", checkpoint_every)
    sandbox.put(*NAMES)
    done(catalog(sandbox, "monday").execute())
    first = (sandbox.source / NAMES[0]).read_bytes()
    (sandbox.source / NAMES[0]).write_bytes(jpeg(90))
    assert done(catalog(sandbox, "tuesday").execute())["paid"] == 1
    done(catalog(sandbox, "wednesday").execute())
    (sandbox.source / "found.jpg").write_bytes(first)
    thursday = done(catalog(sandbox, "thursday").execute())
    assert (thursday["paid"], thursday["paid_again"]) == (1, 1)
    row.consumed("its row is about another content")
    row.held(check_invariants(sandbox, again=1))


def two_of_equal_length(sandbox: Sandbox) -> list[bytes]:
    """Two pictures whose results are as long as each other."""
    sandbox.put(*(f"try/{number}.jpg" for number in range(80)))
    done(catalog(sandbox, "sunday").execute())
    seen: dict[int, Path] = {}
    for path in sorted((sandbox.destination / "try").iterdir()):
        other = seen.setdefault(path.stat().st_size, path)
        if other is not path:
            return [(sandbox.source / "try" / name).read_bytes() for name in (other.name, path.name)]
    raise AssertionError("of eighty results no two are of equal length")


@pytest.mark.fault("F62", "the name it had is another picture's now, of the same length", "hidden")
def test_a_copy_is_of_the_picture_and_not_of_what_has_its_name_now(row: Row, sandbox: Sandbox) -> None:
    """Two names swap their pictures in a night: what has landed under a name is not what it was when planned."""
    first, second = two_of_equal_length(sandbox)
    shutil.rmtree(sandbox.source / "try")
    shutil.rmtree(sandbox.destination)
    sandbox.source.joinpath("a.jpg").write_bytes(first)
    sandbox.emulator.reset()
    sandbox.runs.clear()
    done(catalog(sandbox, "monday").execute())
    sandbox.source.joinpath("a.jpg").write_bytes(second)
    sandbox.source.joinpath("z.jpg").write_bytes(first)
    summary = done(catalog(sandbox, "tuesday", max_in_flight=1).execute())
    assert (summary["corrected"], summary["paid"]) == (2, 1)
    assert (sandbox.destination / "a.jpg").read_bytes() != (sandbox.destination / "z.jpg").read_bytes()
    row.consumed("its name was taken, at the same length")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F62", "an output edited in place, at the same length", "hidden")
def test_an_edited_output_is_not_copied(row: Row, sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")
    done(catalog(sandbox, "monday").execute())
    whole = (sandbox.destination / "a.jpg").read_bytes()
    edited = whole[:-40] + bytes(20) + whole[-20:]
    (sandbox.destination / "a.jpg").write_bytes(edited)
    (sandbox.source / "b.jpg").write_bytes((sandbox.source / "a.jpg").read_bytes())
    summary = done(catalog(sandbox, "tuesday").execute())
    assert (summary["corrected"], summary["paid"]) == (1, 0)
    assert (sandbox.destination / "b.jpg").read_bytes() == whole
    sandbox.altered.add("a.jpg")
    row.consumed("edited after it had landed")
    row.held(check_invariants(sandbox))


def test_what_is_copied_is_fetched_or_gone_when_it_does_not_exist(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")
    done(catalog(sandbox, "monday").execute())
    (sandbox.source / "a.jpg").rename(sandbox.source / "b.jpg")
    (sandbox.destination / "a.jpg").unlink()
    fetched = done(catalog(sandbox, "tuesday").execute())
    assert (fetched["corrected"], fetched["paid"], sandbox.outputs) == (1, 0, ["b.jpg"])
    (sandbox.source / "b.jpg").rename(sandbox.source / "c.jpg")
    (sandbox.destination / "b.jpg").unlink()
    sandbox.emulator.fault("status", {"answer": {"status": 404}}, times=None)
    gone = done(catalog(sandbox, "wednesday").execute())
    assert (gone["gone_from_destination"], gone["paid"], sandbox.outputs) == (1, 0, [])
    sandbox.emulator.clear_faults()
    assert sandbox.accepted == 1


def test_equal_pictures_share_the_fate_of_the_one_that_is_started(sandbox: Sandbox) -> None:
    twice(sandbox, "a.jpg", "b.jpg")
    sandbox.emulator.fault(
        {"route": "pfc", "nth": 2}, {"outcome": {"status": "REJECTED", "statusText": "dark"}}
    )
    with pytest.raises(CatalogFailed) as failure:
        catalog(sandbox).execute()
    assert not failure.value.retry_helps
    bad = [line for line in lines(sandbox) if line["state"] == "failed"]
    assert {line["code"] for line in bad} == {"REJECTED"} and len(bad) == 2
    assert sandbox.accepted == 2
    (sandbox.source / "late.jpg").write_bytes((sandbox.source / bad[0]["source"]).read_bytes())
    with pytest.raises(CatalogFailed, match=r"late.jpg REJECTED"):
        catalog(sandbox, "tuesday").execute()
    assert sandbox.accepted == 2


# ---- answers to other questions


@pytest.mark.parametrize(
    ("route", "do"),
    [
        pytest.param(route, do, marks=pytest.mark.fault("F68", way, outcome), id=way.replace(" ", "-"))
        for route, do, way, outcome in (
            ("status", {"another": True}, "a status of another job", "hidden"),
            ("upload", {"another": True}, "a file key of another picture", "hidden"),
            ("pfc", {"another": True}, "a job of another picture", "1 or 2 ambiguous"),
            ("status", {"repeat": True}, "a status repeated on its connection", "hidden"),
            ("upload", {"repeat": True}, "an upload target repeated", "hidden"),
            ("pfc", {"repeat": True}, "a start repeated", "hidden"),
        )
    ],
)
def test_an_answer_to_another_question_is_none(
    row: Row, sandbox: Sandbox, quick: None, route: str, do: dict[str, Any]
) -> None:
    names = [f"{number}.jpg" for number in range(8)]
    sandbox.put(*names)
    sandbox.emulator.fault({"route": route, "nth": 4}, do)
    # One picture at a time goes over one kept connection: the fault gives the last answer on it again.
    in_flight = 1 if route == "upload" else 2
    summary = done(catalog(sandbox, max_in_flight=in_flight, transfers=1).execute())
    # The picture that was asked about, and the one whose job was named, if that has not ended.
    ambiguous = {1, 2} if row.outcome == "1 or 2 ambiguous" else {0}
    assert summary["corrected"] == 8 and summary["possibly_paid_twice"] in ambiguous
    assert len({(sandbox.destination / name).read_bytes() for name in names}) == 8
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


def an_unconfirmed_start(sandbox: Sandbox) -> str:
    """b.jpg was started, and the answer lost. Returns its job."""
    sandbox.put("a.jpg", "b.jpg")
    sandbox.emulator.fault({"route": "pfc", "nth": 2}, {"reset": "committed"})
    with pytest.raises(CatalogFailed):
        catalog(sandbox, "monday", on_ambiguous="fail").execute()
    return str(sandbox.emulator.bill()["entries"][1]["job_id"])


def names_job(sandbox: Sandbox, job_id: str, *, commit: bool = False) -> dict[str, Any]:
    """A start's answer that names that job. ``commit``: the picture's own was started as well."""
    named = {"statusEndpoint": f"{sandbox.emulator.base_url}/status/{job_id}"}
    return {"answer": {"status": 200, "json": named, "commit": commit}}


def job_of_monday(sandbox: Sandbox) -> str:
    """The job with which a.jpg has landed."""
    sandbox.put("a.jpg")
    done(catalog(sandbox, "monday").execute())
    return str(sandbox.emulator.bill()["entries"][0]["job_id"])


def all_are_their_own(sandbox: Sandbox) -> None:
    """Each existing output is that of its source."""
    entries = {entry["sha256"]: entry for entry in sandbox.emulator.bill(results=True)["entries"]}
    for name in sandbox.outputs:
        source = hashlib.sha256((sandbox.source / name).read_bytes()).hexdigest()
        output = hashlib.sha256((sandbox.destination / name).read_bytes()).hexdigest()
        assert output == entries[source]["result_sha256"], name


@pytest.mark.fault("F68", "the job of an unconfirmed start, landed under another name", "2 or 3 ambiguous")
def test_an_output_with_anothers_job_is_asked_about_again(row: Row, sandbox: Sandbox, quick: None) -> None:
    """z.jpg is told b.jpg's job, and lands with it; only then b.jpg is asked about, and told it too."""
    job_id = an_unconfirmed_start(sandbox)
    (sandbox.source / "z.jpg").write_bytes(jpeg(77))
    sandbox.emulator.fault({"route": "pfc", "nth": 1}, names_job(sandbox, job_id, commit=True))
    summary = done(catalog(sandbox, "tuesday").execute())
    assert sandbox.outputs == ["a.jpg", "b.jpg", "z.jpg"] and summary["corrected"] == 2
    all_are_their_own(sandbox)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F68", "the same, and the worker dies in between", "2 or 3 ambiguous")
def test_an_output_with_anothers_job_in_a_try_before_is_asked_about_again(
    row: Row, sandbox: Sandbox, quick: None
) -> None:
    job_id = an_unconfirmed_start(sandbox)
    (sandbox.source / "z.jpg").write_bytes(jpeg(77))
    sandbox.emulator.fault({"route": "pfc", "nth": 1}, names_job(sandbox, job_id, commit=True))
    sandbox.emulator.fault({"route": "pfc", "nth": 2}, {"kill": {"pid": "peer", "when": "before"}})
    hurried = {f"catalog.engine.start_queue.{name}": 0.5 for name in ("LEAST", "UNKNOWN")}
    assert sandbox.work(run="tuesday", constants=hurried) is None
    said = sandbox.work(run="tuesday", constants=hurried)
    assert said is not None and said["summary"]["corrected"] == 2
    assert sandbox.outputs == ["a.jpg", "b.jpg", "z.jpg"]
    all_are_their_own(sandbox)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F68", "the job of the content that the output had before", "1 or 2 ambiguous")
@pytest.mark.parametrize("is_open", [False, True])
def test_an_output_is_not_given_the_job_of_its_own_content_of_before(
    row: Row, sandbox: Sandbox, quick: None, monkeypatch: pytest.MonkeyPatch, is_open: bool
) -> None:
    """The picture is replaced, and a gateway repeats the answer that its old content got."""
    sandbox.put("a.jpg")
    if is_open:  # the next attempt lands the job, and then plans
        monkeypatch.setattr(waiting, "WORTH_DEFERRING", 0.0)
        still = {"patch": {"status": "PROCESSING", "correctedFile": None}}
        sandbox.emulator.fault("status", still, times=None)  # or the job might have ended before it is parked
        assert isinstance(catalog(sandbox, "monday", deferrable=True).execute(), Parked)
        sandbox.emulator.clear_faults()
    else:
        done(catalog(sandbox, "monday").execute())
    job_id = sandbox.emulator.bill()["entries"][0]["job_id"]
    (sandbox.source / "a.jpg").write_bytes(jpeg(77))
    sandbox.emulator.fault({"route": "pfc", "nth": 1}, names_job(sandbox, job_id, commit=True))

    done(catalog(sandbox, "monday" if is_open else "tuesday").execute())

    all_are_their_own(sandbox)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F68", "the job of the content before, again and again", "item START_LOST, 4 ambiguous")
def test_a_job_of_a_content_that_was_replaced_is_refused_by_every_attempt(
    row: Row, sandbox: Sandbox, quick: None
) -> None:
    """The ledger has no row with that job any more when the second attempt is told it."""
    job_id = job_of_monday(sandbox)
    (sandbox.source / "a.jpg").write_bytes(jpeg(77))
    sandbox.emulator.fault({"route": "pfc", "nth": 1, "times": 4}, names_job(sandbox, job_id, commit=True))
    for _ in range(2):
        with pytest.raises(CatalogFailed, match="START_LOST"):
            catalog(sandbox, "tuesday").execute()

    summary = done(catalog(sandbox, "tuesday").execute())

    assert (summary["paid"], summary["possibly_paid_twice"], sandbox.accepted) == (1, 4, 6)
    all_are_their_own(sandbox)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F68", "the job of a content that was replaced, for another picture", "2 ambiguous")
@pytest.mark.parametrize("checkpoint_every", [500, 1])
def test_a_job_of_a_content_that_was_replaced_is_no_other_pictures(
    row: Row, sandbox: Sandbox, quick: None, monkeypatch: pytest.MonkeyPatch, checkpoint_every: int
) -> None:
    monkeypatch.setattr(lane, "CHECKPOINT_EVERY", checkpoint_every)
    job_id = job_of_monday(sandbox)
    (sandbox.source / "a.jpg").write_bytes(jpeg(77))
    done(catalog(sandbox, "tuesday").execute())
    sandbox.put("b.jpg")
    sandbox.emulator.fault({"route": "pfc", "nth": 1}, names_job(sandbox, job_id, commit=True))

    done(catalog(sandbox, "wednesday").execute())

    all_are_their_own(sandbox)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F68", "the job of another picture, for a source that is then replaced", "2 ambiguous")
def test_a_start_that_was_given_up_stays_declared_when_its_output_is_made_of_something_else(
    row: Row, sandbox: Sandbox, quick: None
) -> None:
    """Two accepted calls for b.jpg have no job. The retry finds another picture there."""
    job_id = job_of_monday(sandbox)
    sandbox.put("b.jpg")
    sandbox.emulator.fault({"route": "pfc", "nth": 1, "times": 2}, names_job(sandbox, job_id, commit=True))
    with pytest.raises(CatalogFailed, match="START_LOST"):
        catalog(sandbox, "tuesday").execute()
    (sandbox.source / "b.jpg").write_bytes(jpeg(77))

    summary = done(catalog(sandbox, "tuesday").execute())

    assert (summary["paid"], summary["possibly_paid_twice"]) == (1, 2)
    assert sandbox.accepted == 1 + 2 + 1
    all_are_their_own(sandbox)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F68", "the file key of a picture that has landed", "1 ambiguous")
def test_an_upload_that_is_taken_for_another_is_sent_anew(
    row: Row, sandbox: Sandbox, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway repeats an answer of last night, and the store keeps the first file under a key."""
    sandbox.put("a.jpg")
    targets, real = list[Any](), Client.send

    def send(self: Client, call: Any, **more: Any) -> Any:
        if call.path == "/upload" and len(targets) == 1:
            targets.append(targets[0])
        else:
            got = real(self, call, **more)
            if call.path == "/upload":
                targets.append(got)
            return got
        return targets[0]

    monkeypatch.setattr(Client, "send", send)
    done(catalog(sandbox, "monday").execute())
    (sandbox.source / "b.jpg").write_bytes(jpeg(77))
    sandbox.emulator.fault("put", {"answer": {"status": 200}})
    with pytest.raises(CatalogFailed, match="a retry uploads it anew"):
        catalog(sandbox, "tuesday").execute()
    summary = done(catalog(sandbox, "tuesday").execute())
    assert summary["corrected"] == 1 and sandbox.outputs == ["a.jpg", "b.jpg"]
    all_are_their_own(sandbox)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


def test_equal_pictures_are_refused_with_the_one_that_was_sent(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")
    for name in ("b.jpg", "c.jpg", "d.jpg"):
        (sandbox.source / name).write_bytes(jpeg(77))
    refuse(sandbox, "b.jpg")
    with pytest.raises(CatalogFailed, match="3 of 4 pictures failed") as failure:
        catalog(sandbox, "monday").execute()
    assert not failure.value.retry_helps and sandbox.accepted == 1


def test_what_failed_before_is_not_paid_if_it_exists_under_another_name(sandbox: Sandbox) -> None:
    sandbox.put("a.jpg")
    sandbox.emulator.fault("pfc", {"outcome": "REJECTED"})
    with pytest.raises(CatalogFailed):
        catalog(sandbox, "monday").execute()
    (sandbox.source / "0.jpg").write_bytes((sandbox.source / "a.jpg").read_bytes())
    summary = done(catalog(sandbox, "tuesday", reprocess="failed", max_in_flight=1).execute())
    assert (summary["corrected"], summary["paid"], sandbox.accepted) == (2, 1, 2)
    assert done(catalog(sandbox, "wednesday", reprocess="failed").execute())["unchanged"] == 2


@pytest.mark.parametrize("in_flight", [2, 8])
def test_a_cache_that_gives_all_starts_one_answer_swaps_nothing(
    sandbox: Sandbox, quick: None, in_flight: int
) -> None:
    """It is unknown whose job it is: the pictures fail, and there is no wrong output."""
    sandbox.put("landed.jpg")
    done(catalog(sandbox, "monday").execute())
    sandbox.put(*NAMES)
    job_id = sandbox.emulator.bill()["entries"][0]["job_id"]
    sandbox.emulator.fault("pfc", names_job(sandbox, job_id), times=None)
    with pytest.raises(CatalogFailed):
        catalog(sandbox, "tuesday", max_in_flight=in_flight).execute()
    assert sandbox.accepted == 1 and sandbox.outputs == ["landed.jpg"]
    assert {line["output"] for line in lines(sandbox) if line["state"] == "failed"} == set(NAMES)
    sandbox.emulator.clear_faults()
    done(catalog(sandbox, "tuesday", max_in_flight=in_flight).execute())
    all_are_their_own(sandbox)


# ---- refused, or not


def refuse(sandbox: Sandbox, name: str, words: str = "too many pixels") -> None:
    digest = hashlib.sha256((sandbox.source / name).read_bytes()).hexdigest()
    answer = {"answer": {"status": 400, "json": {"error": words}}}
    sandbox.emulator.fault({"route": "pfc", "sha256": digest}, answer, times=None)


@pytest.mark.fault("F72", "the first of the listing", "item PICTURE_REFUSED")
def test_one_picture_that_is_refused_does_not_keep_the_others(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    refuse(sandbox, "a.jpg")
    with pytest.raises(CatalogFailed, match="permanent"):
        catalog(sandbox, "monday").execute()
    assert sandbox.outputs == NAMES[1:]
    for night in range(2):
        (sandbox.source / f"new{night}.jpg").write_bytes(jpeg(70 + night))
        summary = done(catalog(sandbox, f"night {night}").execute())
        assert (summary["known_bad"], summary["corrected"], summary["paid"]) == (1, 1, 1)
    row.consumed("refused once, and not asked again")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F72", "the first three of the listing, alike", "run STOPPED")
def test_three_different_pictures_that_are_refused_alike_stop_the_run(row: Row, sandbox: Sandbox) -> None:
    names = [f"{number}.jpg" for number in range(8)]
    sandbox.put(*names)
    for name in names[:3]:
        refuse(sandbox, name, "picture 0815 has too many pixels")
    with pytest.raises(RunStopped, match="refused the first 3 pictures alike"):
        catalog(sandbox, "monday").execute()
    assert sandbox.accepted == 0
    with pytest.raises(CatalogFailed):  # what failed before comes last
        catalog(sandbox, "tuesday").execute()
    assert sandbox.outputs == names[3:] and sandbox.accepted == 5
    assert done(catalog(sandbox, "wednesday").execute())["known_bad"] == 3
    row.consumed("three refusals, then five that were accepted first")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F72", "an unknown preset", "run STOPPED")
def test_an_unknown_preset_stops_the_run_at_its_first_picture(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    answer = {"answer": {"status": 400, "json": {"error": "no such preset"}}}
    sandbox.emulator.fault("pfc", answer)
    with pytest.raises(RunStopped, match="no such preset"):
        catalog(sandbox, "monday", {"preset": "Vivd"}).execute()
    row.consumed(sandbox.emulator)
    assert done(catalog(sandbox, "tuesday").execute())["corrected"] == 4
    row.held(check_invariants(sandbox))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body, marks=pytest.mark.fault("F74", way, "1 ambiguous"), id=way.replace(" ", "-"))
        for body, way in (
            ({"statusEndpoint": None, "message": "Job accepted"}, "a message alone"),
            ({"statusText": "PENDING", "jobId": "x"}, "other names"),
            ({"error": "already queued"}, "an error in a 200"),
            ([], "a list"),
        )
    ],
)
def test_a_success_without_a_job_id_is_no_refusal(row: Row, sandbox: Sandbox, quick: None, body: Any) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault(
        {"route": "pfc", "nth": 2}, {"answer": {"status": 200, "json": body, "commit": True}}
    )
    summary = done(catalog(sandbox).execute())
    assert (summary["corrected"], summary["possibly_paid_twice"]) == (4, 1)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


# ---- free paths that are ill


ILL = [
    ("status", {"answer": {"status": 503}}, "status 503"),
    ("status", {"garble": "html"}, "status is a page"),
    ("download", {"answer": {"status": 503}}, "results 503"),
    ("download", {"answer": {"status": 403}}, "results 403"),
]


@pytest.mark.parametrize(
    ("route", "do"),
    [
        pytest.param(route, do, marks=pytest.mark.fault("F75", way, "items RESULT_UNKNOWN"), id=way)
        for route, do, way in ILL
    ],
)
def test_an_ill_free_path_pays_for_nothing(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, route: str, do: dict[str, Any]
) -> None:
    monkeypatch.setattr("airflow_provider_perfectlyclear.api.retry._FIRST_WAIT", 0.01)
    sandbox.put(*NAMES)
    done(catalog(sandbox, "monday").execute())
    for name in NAMES:
        (sandbox.destination / name).unlink()
    (sandbox.source / "new.jpg").write_bytes(jpeg(50))
    for entry in sandbox.emulator.bill()["entries"]:
        sandbox.emulator.fault({"route": route, "job_id": entry["job_id"]}, do, times=None)
    with pytest.raises(CatalogFailed) as failure:
        catalog(sandbox, "tuesday").execute()
    assert failure.value.retry_helps and sandbox.outputs == ["new.jpg"] and sandbox.accepted == 5
    codes = {line["code"] for line in lines(sandbox) if line["state"] == "failed"}
    assert codes == {"RESULT_UNKNOWN"}
    sandbox.emulator.clear_faults()
    well = done(catalog(sandbox, "wednesday").execute())
    assert (well["corrected"], well["paid"], sandbox.accepted) == (4, 0, 5)
    row.consumed("four answers that say nothing")
    row.held(check_invariants(sandbox))


# ---- a service that forgets


@pytest.mark.fault("F82", "404 for all jobs for a while", "hidden")
def test_no_job_is_lost_while_the_service_knows_no_job(row: Row, sandbox: Sandbox, quick: None) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault({"route": "status", "seconds": 2.5}, {"answer": {"status": 404}})
    summary = done(catalog(sandbox, "monday").execute())
    assert (summary["corrected"], summary["paid"], summary["possibly_paid_twice"]) == (4, 4, 0)
    row.consumed("404 for 2.5 s, and a job is lost after 1 s")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F82", "two nights running", "hidden")
def test_jobs_that_seemed_lost_are_asked_first(row: Row, sandbox: Sandbox, quick: None) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault("status", {"answer": {"status": 404}}, times=None)
    with pytest.raises(CatalogFailed) as first:
        catalog(sandbox, "monday", job_timeout=1.5).execute()
    assert first.value.retry_helps
    with pytest.raises(CatalogFailed):
        catalog(sandbox, "tuesday", job_timeout=1.5).execute()
    most = sandbox.accepted
    assert (
        most <= len(NAMES) + 1
    )  # one picture at the most is risked to see whether the service knows its jobs
    sandbox.emulator.clear_faults()
    summary = done(catalog(sandbox, "wednesday").execute())
    assert summary["corrected"] == 4 and summary["known_bad"] == 0 and sandbox.accepted == most
    row.consumed("404 for all on two nights")
    row.held(check_invariants(sandbox, again=most - len(NAMES)))


# ---- failures that are alike


@pytest.mark.fault("F105", "2,000 that fail alike", "items INVALID_SOURCE")
def test_the_log_of_many_failures_is_bounded(
    row: Row, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    many = [f"{number:04}.jpg" for number in range(2000)]
    for name in many:
        (sandbox.source / name).write_bytes(b"no picture")
    sandbox.put("zz.jpg")
    with pytest.raises(CatalogFailed, match="2,000 of 2,001"):
        catalog(sandbox, max_new_jobs=3000).execute()
    warned = [record for record in caplog.records if "INVALID_SOURCE" in record.getMessage()]
    assert 10 <= len(warned) <= 25
    bad = [line for line in lines(sandbox) if line["state"] == "failed"]
    assert len(bad) == 2000 and sandbox.outputs == ["zz.jpg"]
    row.consumed("2,000 lines in the manifest")
    row.held(check_invariants(sandbox))


def test_unreadable_originals_first_are_items(sandbox: Sandbox) -> None:
    """25 sources that vanish are no streak."""
    many = [f"{number:02}.jpg" for number in range(30)]
    sandbox.put(*many, "zz.jpg")
    run = catalog(sandbox)
    plan = run._planner.plan

    def then_vanish(*given: Any) -> Any:
        made = plan(*given)
        for name in many:
            (sandbox.source / name).unlink()
        return made

    run._planner.plan = then_vanish  # type: ignore[method-assign]
    with pytest.raises(CatalogFailed, match="30 of 31"):
        run.execute()
    assert sandbox.outputs == ["zz.jpg"]


# ---- unconfirmed starts


@pytest.mark.parametrize(
    "without",
    [
        pytest.param([], marks=pytest.mark.fault("F99", "after a long downtime", "ambiguous")),
        pytest.param(
            ["createdAt", "updatedAt", "timeTaken"],
            marks=pytest.mark.fault(
                "F99", "after a long downtime, of a service that tells no times", "ambiguous"
            ),
        ),
    ],
)
def test_the_wait_for_an_unconfirmed_start_follows_the_services_times(
    row: Row,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    without: list[str],
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(start_queue, "LEAST", 0.5)
    sandbox.put(*NAMES)
    if without:
        sandbox.emulator.behave(job_seconds=0.0)  # none is found open by a clock that is an hour ahead
        sandbox.emulator.fault({"route": "status"}, {"remove": without}, times=None)
    sandbox.emulator.fault({"route": "pfc", "nth": 4}, {"kill": {"pid": "peer", "when": "committed"}})
    assert sandbox.work() is None
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + 3600)  # an hour later, another worker

    before = time.monotonic()
    summary = done(catalog(sandbox, sandbox.run).execute())

    assert 1 <= summary["possibly_paid_twice"] <= 4 and summary["corrected"] == 4
    assert time.monotonic() - before < start_queue.UNKNOWN
    monkeypatch.undo()
    assert sandbox.work(run="the night after") is not None  # and removes what the killed worker left behind
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F99", "deferred, not waited for in a slot", "1 ambiguous")
def test_a_task_that_only_waits_for_an_unconfirmed_start_is_deferred(
    row: Row, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(start_queue, "LEAST", 2.0)
    monkeypatch.setattr(waiting, "WORTH_DEFERRING", 0.5)
    sandbox.put(*NAMES)
    sandbox.emulator.fault({"route": "pfc", "nth": 4}, {"reset": "committed"})
    outcome: Parked | Finished = catalog(sandbox, deferrable=True).execute()
    waits = list[Parked]()
    while isinstance(outcome, Parked):
        waits.append(outcome)
        time.sleep(min(outcome.timeout, 3.0))  # what the trigger does
        outcome = catalog(sandbox, deferrable=True).resume()
    assert any(not wait.job_ids and "unconfirmed" in wait.message for wait in waits)
    assert (outcome.data["corrected"], outcome.data["possibly_paid_twice"]) == (4, 1)
    row.consumed(sandbox.emulator)
    row.held(check_invariants(sandbox))


def test_the_log_says_until_when_unconfirmed_starts_are_waited_for(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(start_queue, "LEAST", 0.5)
    sandbox.put(*NAMES)
    sandbox.emulator.fault({"route": "pfc", "nth": 4}, {"reset": "committed"})
    done(catalog(sandbox).execute())
    assert "1 unconfirmed start: waiting until " in caplog.text
