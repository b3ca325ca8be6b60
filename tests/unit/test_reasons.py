"""Reason codes: one meaning each, wherever it is asked for."""

from __future__ import annotations

import pickle

import pytest

from airflow_provider_perfectlyclear import errors, reasons
from airflow_provider_perfectlyclear.catalog.picture import error_of
from airflow_provider_perfectlyclear.catalog.result import Failure
from airflow_provider_perfectlyclear.reasons import Reason


def classes() -> list[type[errors.PerfectlyClearError]]:
    found = [errors.PerfectlyClearError]
    for each in found:
        found += each.__subclasses__()
    return found


@pytest.mark.parametrize("reason", Reason)
def test_a_catalog_and_a_single_picture_agree_on_whether_a_retry_helps(reason: Reason) -> None:
    failure = Failure("a.jpg", "a.jpg", reason, "why")
    assert error_of(failure, None).retry_helps == failure.retry_helps == reason.retry_helps


@pytest.mark.parametrize("reason", Reason)
def test_what_is_permanent_is_not_retried(reason: Reason) -> None:
    assert not (reason.is_permanent and reason.retry_helps)
    assert (reason in reasons.PERMANENT) == reason.is_permanent


def test_every_error_has_its_reason_and_every_remedy_is_said() -> None:
    assert all(isinstance(each.code, Reason) for each in classes())
    bases = {Reason.ERROR, Reason.ITEM_FAILED, Reason.JOB_ERROR}
    assert {reason for reason in Reason if not reason.remedy} == bases


def test_an_error_with_a_finer_reason_pickles() -> None:
    error = pickle.loads(pickle.dumps(errors.InvalidSource("gone", "SOURCE_CHANGED")))
    assert (error.code, error.retry_helps) == (Reason.SOURCE_CHANGED, True)


def test_a_code_of_a_later_version_may_be_mended() -> None:
    assert reasons.retry_helps("SOMETHING_NEW")
