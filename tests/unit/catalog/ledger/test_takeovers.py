"""A single picture and a catalog take up each other's jobs: in deferrals, and when one is killed after that."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_perfectlyclear.catalog.engine import waiting
from airflow_provider_perfectlyclear.catalog.result import Parked
from tests.faults.ledgers import catalog, done, single
from tests.faults.nights import night, told
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg


@pytest.fixture
def defers_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "WORTH_DEFERRING", 0.5)


def stuck(sandbox: Sandbox) -> None:
    """No job ends until the emulator's faults are cleared."""
    sandbox.emulator.fault("status", {"patch": {"status": "PROCESSING", "correctedFile": None}}, times=None)


@pytest.mark.fault("F69", "a single takes up the catalog's open job, and is deferred", "hidden")
def test_a_job_that_was_taken_up_is_known_after_a_deferral(
    row: Row, sandbox: Sandbox, defers_soon: None
) -> None:
    sandbox.put("a.jpg")
    stuck(sandbox)
    assert isinstance(catalog(sandbox, deferrable=True).execute(), Parked)
    alone = single(sandbox, sandbox.source / "a.jpg", deferrable=True)
    assert isinstance(alone.execute(), Parked)
    sandbox.emulator.clear_faults()

    outcome = alone.resume()
    while isinstance(outcome, Parked):
        outcome = single(sandbox, sandbox.source / "a.jpg", deferrable=True).resume()
    night = catalog(sandbox, deferrable=True).resume()

    assert (sandbox.accepted, sandbox.outputs) == (1, ["a.jpg"])
    assert done(night)["paid"] == 1
    row.consumed("both were deferred over one job")
    row.held(check_invariants(sandbox))


@pytest.mark.parametrize("size", [(128, 96), (64, 48)])
@pytest.mark.fault("F69", "a single lands a newer picture while the catalog waits for the old one", "hidden")
def test_a_resume_does_not_land_an_older_picture(
    row: Row, sandbox: Sandbox, defers_soon: None, size: tuple[int, int]
) -> None:
    sandbox.put("b.jpg")
    stuck(sandbox)
    assert isinstance(catalog(sandbox, deferrable=True).execute(), Parked)
    sandbox.emulator.clear_faults()
    (sandbox.source / "b.jpg").write_bytes(jpeg(2, size))
    alone = single(sandbox, sandbox.source / "b.jpg")
    done(alone.execute())
    sandbox.singles["single", "b.jpg"] = alone.facts()
    newer = (sandbox.destination / "b.jpg").read_bytes()

    resumed = catalog(sandbox, deferrable=True).resume()
    while isinstance(resumed, Parked):
        resumed = catalog(sandbox, deferrable=True).resume()

    assert (sandbox.destination / "b.jpg").read_bytes() == newer
    assert (resumed.data["unchanged"], resumed.data["corrected"]) == (1, 0)
    assert done(catalog(sandbox, "tomorrow").execute())["unchanged"] == 1
    row.consumed("the catalog was parked with the job of the older picture")
    row.held(check_invariants(sandbox))


@pytest.mark.parametrize("retried", ["single", "catalog"])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"die_at": ["os.link", "lanes/one-", 3]}, id="killed"),
        pytest.param({"fail_at": ["os.link", "lanes/one-", "ENOSPC", 1, 3]}, id="full"),
    ],
)
@pytest.mark.fault("F69", "a single lands the job of a killed catalog, and is ended itself", "hidden")
def test_what_is_recorded_of_a_job_that_was_taken_up_can_be_read(
    row: Row, sandbox: Sandbox, fault: dict[str, Any], retried: str
) -> None:
    """Its lane said 'landed' of an output of which it said nothing else."""
    sandbox.put("a.jpg")
    sandbox.emulator.fault("status", {"kill": {"pid": "peer", "when": "before"}})
    assert sandbox.end(sandbox.start(**told(sandbox, "night", {}))) is None
    sandbox.end(sandbox.start(**told(sandbox, "one", {"pictures": ["a.jpg"], **fault})))
    assert sandbox.accepted == 1

    if retried == "single":
        sandbox.end(sandbox.start(**told(sandbox, "one", {"pictures": ["a.jpg"]})))
    first, second = (night(sandbox, run=run)["summary"] for run in ("night", "tomorrow"))

    assert (first["failed"], second["unchanged"], sandbox.accepted) == (0, 1, 1)
    (sandbox.source / "a.jpg").write_bytes(jpeg(77))
    assert night(sandbox, run="replaced")["summary"]["corrected"] == 1
    sandbox.end(
        sandbox.start(**told(sandbox, "one", {"pictures": ["a.jpg"]}))
    )  # and removes what was left behind
    row.consumed("ended between the landing and the checkpoint")
    row.held(check_invariants(sandbox))
