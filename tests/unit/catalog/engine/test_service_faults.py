"""What a run does when the service refuses or loses an answer, beyond the table of faults."""

from __future__ import annotations

import pytest

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.catalog.engine import start_queue as starts
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox

NAMES = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]


@pytest.fixture(autouse=True)
def asks_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ambiguous start is settled after a second here, which is longer than the emulator's jobs take."""
    monkeypatch.setattr(starts, "LEAST", 1.0)
    monkeypatch.setattr(starts, "UNKNOWN", 1.0)


def test_an_account_that_runs_dry_in_the_middle_loses_nothing(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault(
        {"route": "pfc", "nth": 3}, {"answer": {"status": 402, "json": {"error": "no credit"}}}, times=None
    )

    with pytest.raises(errors.PaymentRequired):
        sandbox.correct()
    sandbox.emulator.clear_faults()
    summary = sandbox.correct()

    assert sandbox.outputs == NAMES
    assert (summary["paid"], summary["possibly_paid_twice"], sandbox.accepted) == (5, 0, 5)
    check_invariants(sandbox)


def test_the_first_picture_goes_alone_and_its_refusal_stops_the_run(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)

    with pytest.raises(errors.RunStopped, match=r"refused to start the first picture, 'a\.jpg': .*[Pp]reset"):
        sandbox.correct(correction={"preset": "No such preset"})

    assert sandbox.emulator.seen()["storage"]["routes"]["put"] == 1
    assert sandbox.accepted == 0


def test_a_service_that_cannot_be_reached_stops_the_run_at_its_first_pictures(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_perfectlyclear.api.retry.backoff", lambda *args: 0.01)
    sandbox.put(*NAMES)
    sandbox.emulator.fault("upload", {"answer": {"status": 503}}, times=None)

    with pytest.raises(errors.Unavailable, match="GET /upload: HTTP 503") as failure:
        sandbox.correct()

    assert failure.value.retry_helps
    assert sandbox.emulator.seen()["api"]["routes"]["upload"] == 3 * 6  # three calls, and their repeats
    sandbox.emulator.clear_faults()
    assert sandbox.correct()["paid"] == len(NAMES)
    check_invariants(sandbox)


def test_pictures_that_alone_are_not_taken_do_not_keep_the_others_from_theirs(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_perfectlyclear.api.retry.backoff", lambda *args: 0.01)
    sandbox.put(*NAMES)
    sandbox.emulator.fault("upload", {"answer": {"status": 503}}, times=2 * 6)

    with pytest.raises(errors.CatalogFailed, match=r"2 of 5 pictures failed; 3 are in .*UNAVAILABLE"):
        sandbox.correct()
    assert sandbox.correct()["corrected"] == len(NAMES)
    check_invariants(sandbox)


def test_an_answer_that_is_lost_twice_is_asked_for_by_the_next_try(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault({"route": "pfc", "nth": 3}, {"reset": "committed"})
    sandbox.emulator.fault({"route": "pfc", "nth": 6}, {"reset": "committed"})

    with pytest.raises(errors.CatalogFailed, match=r"START_LOST.*A retry asks only for these 1") as failure:
        sandbox.correct()
    assert failure.value.retry_helps
    summary = sandbox.correct()

    assert sandbox.outputs == NAMES
    assert summary["possibly_paid_twice"] == 2
    assert sandbox.emulator.bill()["billed"] == len(NAMES)
    check_invariants(sandbox)


@pytest.mark.parametrize(("correction", "choice"), [({"cache": False}, "auto"), ({}, "fail")])
def test_where_asking_again_would_pay_twice_it_fails_and_says_so(
    sandbox: Sandbox, correction: dict[str, bool], choice: str
) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault({"route": "pfc", "nth": 3}, {"reset": "committed"})

    with pytest.raises(errors.CatalogFailed, match=r'START_UNKNOWN.*on_ambiguous="restart"') as failure:
        sandbox.correct(correction=correction, on_ambiguous=choice)
    assert not failure.value.retry_helps

    assert len(sandbox.outputs) == 4
    assert sandbox.accepted == 5
    summary = sandbox.correct(correction=correction, on_ambiguous="restart")
    assert sandbox.outputs == NAMES
    assert summary["possibly_paid_twice"] == 1


def test_failed_jobs_fail_their_item_with_the_services_reason_in_one_line(sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    hostile = "no\nimage\x1b[31m data ::group:: %s {{ 1 }} <script>" + "x" * 5000
    sandbox.emulator.fault(
        {"route": "pfc", "nth": 2}, {"outcome": {"status": "FAILED", "statusText": hostile}}
    )

    with pytest.raises(errors.CatalogFailed) as failure:
        sandbox.correct()

    assert "1 of 5 pictures failed; 4 are in" in str(failure.value)
    assert str(failure.value).isprintable()
    assert len(str(failure.value)) < 1500
    tuesday = sandbox.correct("tuesday")
    assert (tuesday["known_bad"], tuesday["paid"]) == (1, 0)
    assert sandbox.correct("wednesday", reprocess="failed")["paid"] == 1


def test_a_lost_job_is_started_again_once_by_a_later_run(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_perfectlyclear.api.polling.LOST_AFTER", 0.5)
    sandbox.put(*NAMES)
    sandbox.emulator.fault({"route": "pfc", "nth": 2}, {"outcome": "lost"})

    with pytest.raises(errors.CatalogFailed, match="JOB_LOST") as failure:
        sandbox.correct()
    assert failure.value.retry_helps
    tuesday = sandbox.correct("tuesday")

    assert sandbox.outputs == NAMES
    assert tuesday["reasons"] == {"job lost": 1}
    assert (tuesday["paid"], tuesday["possibly_paid_twice"]) == (1, 1)


def test_a_lost_job_whose_source_is_gone_asks_for_no_retry_after_the_first(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_perfectlyclear.api.polling.LOST_AFTER", 0.5)
    sandbox.put(*NAMES)
    sandbox.emulator.fault({"route": "pfc", "nth": 2}, {"outcome": "lost"})
    with pytest.raises(errors.CatalogFailed, match="JOB_LOST"):
        sandbox.correct()
    (gone,) = set(NAMES) - set(sandbox.outputs)
    (sandbox.source / gone).unlink()

    with pytest.raises(errors.CatalogFailed, match=f"{gone} SOURCE_GONE: .*A retry does not help") as failure:
        sandbox.correct()
    assert not failure.value.retry_helps
    tuesday = sandbox.correct("tuesday")
    assert (tuesday["failed"], tuesday["paid"]) == (0, 0)
    check_invariants(sandbox)


def test_a_job_that_is_lost_for_the_first_time_is_started_again_though_its_start_was_ambiguous(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_perfectlyclear.api.polling.LOST_AFTER", 0.5)
    sandbox.put("a.jpg")
    sandbox.emulator.fault("pfc", {"reset": "before"})
    sandbox.emulator.fault({"route": "pfc", "nth": 2}, {"outcome": "lost"}, times=2)

    for code in ("JOB_LOST", "JOB_LOST_AGAIN"):
        with pytest.raises(errors.CatalogFailed, match=f" {code}:"):
            sandbox.correct()
    assert sandbox.correct("tuesday")["known_bad"] == 1
    check_invariants(sandbox)


def test_a_lost_job_whose_time_is_up_is_lost_and_not_late_for_ever(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_perfectlyclear.api.polling.LOST_AFTER", 0.5)
    sandbox.put(*NAMES)
    sandbox.emulator.fault({"route": "pfc", "nth": 2}, {"outcome": "lost"})

    with pytest.raises(errors.CatalogFailed, match="JOB_LOST"):
        sandbox.correct(job_timeout=1.0)  # which is over long before a minute of 404
    tuesday = sandbox.correct("tuesday")

    assert sandbox.outputs == NAMES
    assert tuesday["reasons"] == {"job lost": 1}


def test_many_failures_alike_in_a_row_stop_new_starts(sandbox: Sandbox) -> None:
    sandbox.put(*(f"{number:03d}.jpg" for number in range(60)))
    sandbox.emulator.fault(
        {"route": "pfc", "nth": 2},
        {"answer": {"status": 422, "json": {"error": "this picture is not wanted"}}},
        times=None,
    )

    with pytest.raises(errors.CatalogFailed, match="were not started"):
        sandbox.correct(max_failures=1000, max_in_flight=10)  # however slow the answers are
    assert sandbox.emulator.seen()["api"]["routes"]["pfc"] < 60
    assert sandbox.accepted == 1
