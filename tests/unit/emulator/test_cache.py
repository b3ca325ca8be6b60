"""What asking again for the same means, under all three readings of the reference."""

from __future__ import annotations

import hashlib

import pytest


@pytest.mark.parametrize(("reading", "billed"), [("free", 1), ("billed", 2)])
def test_asking_again_gives_the_same_job(started, jpeg, reading, billed):
    caller = started(cache=reading, job_seconds=1000)
    key = caller.upload(jpeg)
    assert caller.start(key, width=100) == caller.start(key, width=100)
    assert caller.emulator.bill(summary=True) == {"accepted": 2, "billed": billed, "hits": 1}


def test_done_only_pays_again_while_the_first_job_is_open(started, jpeg):
    caller = started(cache="done-only", job_seconds=1000)
    key = caller.upload(jpeg)
    assert caller.start(key) != caller.start(key)
    assert caller.emulator.bill(summary=True) == {"accepted": 2, "billed": 2, "hits": 0}


def test_done_only_reuses_what_is_done(started, jpeg):
    caller = started(cache="done-only")
    key = caller.upload(jpeg)
    job_id = caller.start(key)
    caller.finished(job_id)
    assert caller.start(key) == job_id
    assert caller.emulator.bill(summary=True) == {"accepted": 2, "billed": 1, "hits": 1}


def test_cache_false_always_pays(caller, emulator, jpeg):
    key = caller.upload(jpeg)
    assert caller.start(key, cache="false") != caller.start(key, cache="false")
    assert emulator.bill(summary=True)["billed"] == 2


def test_cache_is_no_setting_and_the_order_of_settings_does_not_matter(caller, jpeg):
    key = caller.upload(jpeg)
    first = caller.start(key, cache="false", width=100, outputType="png")
    assert caller.start(key, outputType="png", width=100) == first


def test_other_settings_are_another_job(caller, jpeg):
    key = caller.upload(jpeg)
    assert caller.start(key, width=100) != caller.start(key, width=101)


def test_other_bytes_under_the_same_key_are_another_job_and_leave_the_first_alone(caller, jpeg):
    slot = caller.get("/upload").json()
    jobs = []
    for data in (b"first", b"second"):
        caller.http.put(slot["upload_url"], content=jpeg + data)
        jobs.append(caller.start(slot["fileKey"], preset="none"))
    assert jobs[0] != jobs[1]
    hashes = [entry["sha256"] for entry in caller.emulator.bill()["entries"]]
    assert hashes == [hashlib.sha256(jpeg + data).hexdigest() for data in (b"first", b"second")]


def test_what_failed_is_not_reused(caller, emulator):
    key = caller.upload(b"no picture")
    first = caller.start(key)
    caller.finished(first)
    assert caller.start(key) != first
    assert emulator.bill(summary=True)["billed"] == 2


def test_the_bill_lists_every_accepted_call(caller, emulator, jpeg):
    key = caller.upload(jpeg)
    job_id = caller.start(key, width=100)
    caller.finished(job_id)
    caller.start(key, width=100)
    entry = {"job_id": job_id, "file_key": key, "sha256": hashlib.sha256(jpeg).hexdigest()}
    entry |= {"settings": {"width": 100}, "preset": None, "state": "COMPLETED"}
    assert emulator.bill()["entries"] == [
        entry | {"billed": True, "hit": False},
        entry | {"billed": False, "hit": True},
    ]
