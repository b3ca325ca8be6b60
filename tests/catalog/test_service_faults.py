"""What a run does when the service refuses, breaks, lies or loses an answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.catalog import starts
from airflow_provider_perfectlyclear.emulator.testing import running_emulator
from tests.catalog.conftest import House
from tests.catalog.judge import judge

NAMES = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]


@pytest.fixture(autouse=True)
def asks_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ambiguous start is settled after a second here, which is longer than the emulator's jobs take."""
    monkeypatch.setattr(starts, "LEAST", 1.0)
    monkeypatch.setattr(starts, "UNKNOWN", 1.0)


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, errors.AuthenticationError), (403, errors.PermissionDenied), (402, errors.PaymentRequired)],
)
def test_a_refused_key_or_account_stops_the_run_at_one_request(
    house: House, status: int, error: type[errors.RunStopped]
) -> None:
    house.put(*NAMES)
    house.emulator.fault("any", {"answer": {"status": status, "json": {"error": "no"}}}, times=None)

    with pytest.raises(error) as stop:
        house.correct()

    assert "perfectlyclear_default" in str(stop.value)
    assert house.emulator.key not in str(stop.value)
    assert house.emulator.seen()["api"]["requests"] == 1
    house.emulator.clear_faults()
    assert house.correct()["corrected"] == len(NAMES)  # the lane is free again at once


def test_an_account_that_runs_dry_in_the_middle_loses_nothing(house: House) -> None:
    house.put(*NAMES)
    house.emulator.fault(
        {"route": "pfc", "nth": 3}, {"answer": {"status": 402, "json": {"error": "no credit"}}}, times=None
    )

    with pytest.raises(errors.PaymentRequired):
        house.correct()
    house.emulator.clear_faults()
    summary = house.correct()

    assert house.outputs == NAMES
    assert (summary["paid"], summary["possibly_paid_twice"], house.accepted) == (5, 0, 5)
    judge(house)


def test_the_first_picture_goes_alone_and_its_refusal_stops_the_run(house: House) -> None:
    house.put(*NAMES)

    with pytest.raises(errors.RunStopped, match="refused to start the first picture, 'a.jpg': .*[Pp]reset"):
        house.correct(correction={"preset": "No such preset"})

    assert house.emulator.seen()["storage"]["routes"]["put"] == 1
    assert house.accepted == 0


@pytest.fixture(params=["free", "billed", "done-only"])
def reading(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The same house under each reading of what ``cache`` means."""
    with running_emulator(job_seconds=0.3, cache=request.param, jobs=64) as running:
        root = tmp_path_factory.mktemp(request.param)
        (root / "in").mkdir()
        yield House(root, running)


@pytest.mark.parametrize("moment", ["before", "committed", "answering"])
def test_a_lost_answer_is_asked_for_once_more_and_declared(reading: House, moment: str) -> None:
    reading.put(*NAMES)
    reading.emulator.fault({"route": "pfc", "nth": 3}, {"reset": moment})

    summary = reading.correct()

    assert reading.emulator.unconsumed() == []
    assert reading.outputs == NAMES
    assert summary["possibly_paid_twice"] == 1
    assert reading.emulator.seen()["api"]["routes"]["pfc"] == len(NAMES) + 1
    judge(reading)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("commit", [False, True])
def test_a_broken_pfc_is_never_repeated_blindly(house: House, status: int, commit: bool) -> None:
    house.put(*NAMES)
    house.emulator.fault(
        {"route": "pfc", "nth": 2},
        {"answer": {"status": status, "body": "<html>busy</html>", "commit": commit}},
    )

    summary = house.correct()

    assert house.outputs == NAMES
    assert summary["possibly_paid_twice"] == 1
    assert house.emulator.bill()["billed"] == len(NAMES)
    judge(house)


def test_an_answer_that_is_lost_twice_is_asked_for_by_the_next_try(house: House) -> None:
    house.put(*NAMES)
    house.emulator.fault({"route": "pfc", "nth": 3}, {"reset": "committed"})
    house.emulator.fault({"route": "pfc", "nth": 6}, {"reset": "committed"})

    with pytest.raises(errors.CatalogFailed, match="START_LOST.*A retry asks only for these 1") as failure:
        house.correct()
    assert failure.value.retry_helps
    summary = house.correct()

    assert house.outputs == NAMES
    assert summary["possibly_paid_twice"] == 2
    assert house.emulator.bill()["billed"] == len(NAMES)
    judge(house)


@pytest.mark.parametrize(("correction", "choice"), [({"cache": False}, "auto"), ({}, "fail")])
def test_where_asking_again_would_pay_twice_it_fails_and_says_so(
    house: House, correction: dict[str, bool], choice: str
) -> None:
    house.put(*NAMES)
    house.emulator.fault({"route": "pfc", "nth": 3}, {"reset": "committed"})

    with pytest.raises(errors.CatalogFailed, match='START_UNKNOWN.*on_ambiguous="restart"') as failure:
        house.correct(correction=correction, on_ambiguous=choice)
    assert not failure.value.retry_helps

    assert len(house.outputs) == 4
    assert house.accepted == 5
    summary = house.correct(correction=correction, on_ambiguous="restart")
    assert house.outputs == NAMES
    assert summary["possibly_paid_twice"] == 1


def test_failed_jobs_fail_their_item_with_the_services_reason_in_one_line(house: House) -> None:
    house.put(*NAMES)
    hostile = "no\nimage\x1b[31m data ::group:: %s {{ 1 }} <script>" + "x" * 5000
    house.emulator.fault({"route": "pfc", "nth": 2}, {"outcome": {"status": "FAILED", "statusText": hostile}})

    with pytest.raises(errors.CatalogFailed) as failure:
        house.correct()

    assert "1 of 5 pictures failed; 4 are in" in str(failure.value)
    assert str(failure.value).isprintable()
    assert len(str(failure.value)) < 1500
    tuesday = house.correct("tuesday")
    assert (tuesday["known_bad"], tuesday["paid"]) == (1, 0)
    assert house.correct("wednesday", reprocess="failed")["paid"] == 1


def test_a_lost_job_is_started_again_once_by_a_later_run(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_perfectlyclear.api.watch.LOST_AFTER", 0.5)
    house.put(*NAMES)
    house.emulator.fault({"route": "pfc", "nth": 2}, {"outcome": "lost"})

    with pytest.raises(errors.CatalogFailed, match="JOB_LOST") as failure:
        house.correct()
    assert failure.value.retry_helps
    tuesday = house.correct("tuesday")

    assert house.outputs == NAMES
    assert tuesday["reasons"] == {"job lost": 1}
    assert (tuesday["paid"], tuesday["possibly_paid_twice"]) == (1, 1)


def test_a_job_that_never_ends_is_a_timeout_and_stays_open(house: House) -> None:
    house.put(*NAMES)
    house.emulator.fault("status", {"patch": {"status": "PROCESSING"}}, times=None)

    with pytest.raises(errors.CatalogFailed, match="TIMEOUT"):
        house.correct(job_timeout=1.5)
    house.emulator.clear_faults()
    summary = house.correct("tuesday")

    assert house.outputs == NAMES
    assert (summary["corrected"], summary["paid"], house.accepted) == (5, 0, 5)


def test_an_unknown_status_is_still_open(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.put(*NAMES)
    house.emulator.fault("status", {"patch": {"status": "completed"}}, times=3)

    assert house.correct()["corrected"] == len(NAMES)
    assert "'completed' is unknown and taken as still open" in caplog.text


def test_bursts_of_trouble_are_hidden_where_nothing_is_paid(house: House) -> None:
    house.put(*NAMES)
    for route in ("upload", "put", "status", "download"):
        house.emulator.fault(route, {"answer": {"status": 503, "headers": {"Retry-After": "0"}}}, times=2)
    house.emulator.fault("pfc", {"answer": {"status": 429, "headers": {"Retry-After": "1"}}})

    summary = house.correct()

    assert house.emulator.unconsumed() == []
    assert (summary["corrected"], summary["possibly_paid_twice"], house.accepted) == (5, 0, 5)
    judge(house)


def test_a_service_that_answers_429_for_ever_stops_the_run(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_perfectlyclear.api.limiter.HOPELESS", 4)
    house.put(*NAMES)
    house.emulator.fault("any", {"answer": {"status": 429, "headers": {"Retry-After": "0"}}}, times=None)

    with pytest.raises(errors.TooManyRequests) as stop:
        house.correct()
    assert stop.value.retry_helps
    assert house.accepted == 0


def test_expired_urls_are_replaced_by_fresh_ones(house: House) -> None:
    house.put(*NAMES)
    house.emulator.fault({"route": "upload", "nth": 2}, {"expired": True})
    house.emulator.fault({"route": "status", "nth": 2}, {"expired": True})

    summary = house.correct()

    assert house.emulator.unconsumed() == []
    assert (summary["corrected"], house.accepted) == (5, 5)


@pytest.mark.parametrize(
    "fault",
    [{"close": {"when": "answering", "after": 300}}, {"reset": "answering"}, {"truncate": 300}],
)
def test_a_cut_download_is_fetched_again_free(house: House, fault: dict[str, object]) -> None:
    house.put(*NAMES)
    house.emulator.fault("download", fault)

    summary = house.correct()

    assert house.emulator.unconsumed() == []
    assert (summary["corrected"], house.accepted) == (5, 5)
    judge(house)


def test_many_failures_alike_in_a_row_stop_new_starts(house: House) -> None:
    house.put(*(f"{number:03d}.jpg" for number in range(60)))
    house.emulator.fault(
        {"route": "pfc", "nth": 2},
        {"answer": {"status": 422, "json": {"error": "this picture is not wanted"}}},
        times=None,
    )

    with pytest.raises(errors.CatalogFailed, match="were not started"):
        house.correct(max_failures=1000, transfers=1)
    assert house.emulator.seen()["api"]["routes"]["pfc"] < 60
    assert house.accepted == 1
