"""The trigger, on a real event loop against the service."""

from __future__ import annotations

import asyncio
import json
import logging
import time

import pytest

from airflow_provider_perfectlyclear.emulator.transport.request_log import digest_of
from airflow_provider_perfectlyclear.errors import ConfigurationError
from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook
from airflow_provider_perfectlyclear.triggers import polling as asking
from airflow_provider_perfectlyclear.triggers import shared_client as clients
from airflow_provider_perfectlyclear.triggers.perfectlyclear import PerfectlyClearJobsTrigger
from tests.support.account import CONN_ID, KEY, picture


@pytest.fixture(autouse=True)
def no_settling(monkeypatch):
    monkeypatch.setattr(asking, "SETTLE", 0.0)


@pytest.fixture
def start(service):
    """Start jobs: ``start(3)``."""
    with PerfectlyClearHook(CONN_ID) as hook:
        file_key = hook.upload(picture())
        yield lambda count: [hook.start(file_key, {"cache": False}) for _ in range(count)]


def _trigger(job_ids, **kwargs):
    kwargs = {"perfectlyclear_conn_id": CONN_ID, "poll_interval": 0.1, "timeout": 30.0, **kwargs}
    return PerfectlyClearJobsTrigger(job_ids=job_ids, **kwargs)


async def _events(trigger):
    return [event.payload async for event in trigger.run()]


def _fire(trigger):
    """Run a trigger as a triggerer does: made again from what was stored."""
    path, kwargs = trigger.serialize()
    assert path == "airflow_provider_perfectlyclear.triggers.perfectlyclear.PerfectlyClearJobsTrigger"
    (event,) = asyncio.run(_events(PerfectlyClearJobsTrigger(**json.loads(json.dumps(kwargs)))))
    assert len(json.dumps(event)) < 1000
    return event


def test_it_fires_once_when_all_jobs_are_final(start):
    assert _fire(_trigger(start(5))) == {"done": 5, "open": 0, "why": "all_final", "reason": None}


def test_it_asks_nothing_but_the_status(start, service):
    jobs = start(3)
    before = service.seen()["api"]["routes"]
    _fire(_trigger(jobs))
    after = service.seen()["api"]["routes"]
    assert {route for route in after if after[route] != before.get(route, 0)} == {"status"}
    assert service.bill()["billed"] == 3


def test_it_ends_at_its_deadline_whichever_of_the_two_counts_is_sooner(start, service):
    service.fault("pfc", {"outcome": "stuck"}, times=None)
    jobs = start(2)
    for ends in ({"timeout": 0.3}, {"deadline": time.time() + 0.3}, {"deadline": time.time() - 3600}):
        began = time.monotonic()
        assert _fire(_trigger(jobs, **ends)) == {"done": 0, "open": 2, "why": "deadline", "reason": None}
        assert time.monotonic() - began < 60


def test_a_wall_clock_that_jumps_while_it_waits_changes_nothing(start, monkeypatch):
    jobs, real = start(2), time.time

    async def wait():
        run = asyncio.create_task(_events(_trigger(jobs, deadline=real() + 30)))
        await asyncio.sleep(0.05)
        monkeypatch.setattr(time, "time", lambda: real() + 7200)
        return await run

    assert asyncio.run(wait())[0]["why"] == "all_final"


def test_it_wakes_the_worker_when_a_quarter_is_final_for_a_while(start, service, monkeypatch):
    monkeypatch.setattr(asking, "ENOUGH_AFTER", 0.3)
    finished = start(2)
    service.fault("pfc", {"outcome": "stuck"}, times=None)
    event = _fire(_trigger([*finished, *start(4)]))
    assert event == {"done": 2, "open": 4, "why": "enough_final", "reason": None}


def test_less_than_a_quarter_is_not_enough(start, service, monkeypatch):
    monkeypatch.setattr(asking, "ENOUGH_AFTER", 0.1)
    finished = start(1)
    service.fault("pfc", {"outcome": "stuck"}, times=None)
    assert _fire(_trigger([*finished, *start(4)], timeout=1.5))["why"] == "deadline"


def test_it_never_fires_before_airflow_has_seen_the_task_deferred(start, monkeypatch):
    monkeypatch.setattr(asking, "SETTLE", 1.0)
    jobs = start(1)
    with PerfectlyClearHook(CONN_ID) as hook:
        hook.wait_all(jobs, poll_interval=0.1)
    began = time.monotonic()
    assert _fire(_trigger(jobs))["why"] == "all_final"
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("status", [401, 402, 403])
def test_it_stops_when_no_answer_can_come_and_says_why_without_the_key(status, start, service):
    jobs = start(2)
    service.fault("status", {"answer": {"status": status, "json": {"error": "no"}}}, times=None)
    event = _fire(_trigger(jobs))
    assert (event["why"], event["open"]) == ("stopped", 2)
    assert f"HTTP {status}" in event["reason"] and CONN_ID in event["reason"] and KEY not in event["reason"]


def test_a_rotated_key_goes_unnoticed(start, service, monkeypatch):
    jobs = start(2)
    service.fault("status", {"answer": {"status": 401, "json": {"error": "old key"}}}, times=1)
    monkeypatch.setattr(clients, "arenewer", lambda settings: _new_key(settings))
    assert _fire(_trigger(jobs))["why"] == "all_final"
    assert digest_of("rotated-key-0815") in service.seen()["api"]["api_keys"]


def _new_key(settings):
    import dataclasses

    async def renew():
        return dataclasses.replace(settings, api_key="rotated-key-0815")

    return renew


def test_a_missing_connection_stops_it_by_name(start):
    event = _fire(_trigger(["job"], perfectlyclear_conn_id="nowhere"))
    assert event["why"] == "stopped" and "'nowhere' is not defined" in event["reason"]


def test_failing_questions_say_nothing_about_the_jobs(start, service):
    jobs = start(2)
    service.fault("status", {"answer": {"status": 503}}, times=3)
    service.fault("status", {"garble": "html"}, times=1)
    assert _fire(_trigger(jobs))["why"] == "all_final"


def test_nothing_but_failures_for_long_end_the_wait_with_the_last_of_them(start, service, monkeypatch):
    from airflow_provider_perfectlyclear.api import polling as watch

    monkeypatch.setattr(watch, "GIVE_UP_AFTER", 0.0)
    jobs = start(1)
    service.fault("status", {"answer": {"status": 400, "json": {"error": "out of order"}}}, times=None)
    event = _fire(_trigger(jobs))
    assert event["why"] == "stopped" and "out of order" in event["reason"]


def test_a_lost_job_is_final_after_a_while(start, service, monkeypatch):
    from airflow_provider_perfectlyclear.api import polling as watch

    monkeypatch.setattr(watch, "LOST_AFTER", 0.2)
    service.fault("pfc", {"outcome": "lost"})
    assert _fire(_trigger(start(2))) == {"done": 2, "open": 0, "why": "all_final", "reason": None}


def test_all_triggers_of_a_loop_share_one_client_and_the_last_closes_it(start, monkeypatch):
    jobs, made, closed = start(20), [], []

    class Counting(clients.AsyncClient):
        def __init__(self, *args, **kwargs):
            made.append(self)
            super().__init__(*args, **kwargs)

        async def aclose(self):
            closed.append(self)
            await super().aclose()

    monkeypatch.setattr(clients, "AsyncClient", Counting)

    async def wait():
        await asyncio.gather(*(_events(_trigger([job])) for job in jobs))
        assert not clients._SHARED[asyncio.get_running_loop()]

    asyncio.run(wait())
    assert len(made) == 1 and closed == made


def test_a_cancelled_trigger_lets_go_and_leaves_the_client_to_the_others(start, service):
    jobs = start(1)
    service.fault("pfc", {"outcome": "stuck"}, times=None)
    stuck = start(1)

    async def wait():
        cancelled = asyncio.create_task(_events(_trigger(stuck)))
        other = asyncio.create_task(_events(_trigger(jobs)))
        await asyncio.sleep(0)  # both are waiting for the client now
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert (await other)[0]["why"] == "all_final"
        pool = clients._SHARED[asyncio.get_running_loop()]
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        return pool, rest

    assert asyncio.run(wait()) == ({}, set())


def test_kwargs_of_an_older_version_are_read(start):
    trigger = PerfectlyClearJobsTrigger(perfectlyclear_conn_id=CONN_ID, job_ids=start(1))
    assert asyncio.run(_events(trigger))[0]["why"] == "all_final"


def test_kwargs_of_a_newer_version_are_refused_by_name():
    trigger = _trigger(["job"], backpressure=3)
    assert trigger.serialize()[1]["backpressure"] == 3
    with pytest.raises(ConfigurationError, match=r"does not know backpressure.*same version everywhere"):
        asyncio.run(_events(trigger))


def test_a_thousand_job_ids_fit_into_what_airflow_stores():
    kwargs = _trigger([f"69d694003274e636c06e{n:04d}" for n in range(1000)]).serialize()[1]
    assert len(json.dumps(kwargs)) * 4 / 3 < 64 * 1024  # encrypted, it grows by a third


def test_no_key_and_no_url_is_stored_said_or_logged(start, service, caplog):
    caplog.set_level(logging.DEBUG)
    trigger = _trigger(start(2))
    event = _fire(trigger)
    said = f"{trigger!r} {trigger.serialize()} {event} {caplog.text}"
    assert KEY not in said and "signature" not in said.lower()
    assert "http" not in f"{trigger!r} {event}"
