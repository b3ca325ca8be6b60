"""What a service, or a proxy before it, may do beside its reference: asked for by instruction, or by an option."""

from __future__ import annotations

import io
import json
import socket
from hashlib import sha256
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image


def other(jpeg: bytes) -> bytes:
    return jpeg + b"another picture"


# ---- one job for equal pictures


@pytest.mark.parametrize(("cache", "billed"), [("free", 1), ("billed", 2), ("done-only", 1)])
def test_equal_bytes_have_one_job_under_same_job(caller, emulator, jpeg, cache, billed):
    emulator.behave(same_job=True, cache=cache)
    first = caller.start(caller.upload(jpeg), width=100)
    caller.finished(first)

    assert caller.start(caller.upload(jpeg), width=100) == first
    assert caller.start(caller.upload(jpeg), width=101) != first
    assert caller.start(caller.upload(other(jpeg)), width=100) != first
    bill = emulator.bill(summary=True)
    assert (bill["accepted"], bill["billed"], bill["hits"]) == (4, billed + 2, 1)


def test_equal_bytes_have_jobs_of_their_own_otherwise_and_after_a_reset(caller, emulator, jpeg):
    emulator.behave(same_job=True)
    emulator.reset()
    assert caller.start(caller.upload(jpeg)) != caller.start(caller.upload(jpeg))


def test_the_options_are_on_the_command_line_too(started, jpeg):
    caller = started(same_job=True, never_enlarge=True, keep_hours=12, keep_alive=60)
    first = caller.start(caller.upload(jpeg), width=1000)
    assert caller.start(caller.upload(jpeg), width=1000) == first
    answer = caller.http.get(caller.finished(first)["correctedFile"])
    assert Image.open(io.BytesIO(answer.content)).size == (120, 80)


@pytest.mark.parametrize(
    "options", [{"port": 1}, {"cache": "yes"}, {"same_job": 1}, {"keep_hours": "12"}, {"enlarge": None}]
)
def test_an_option_that_cannot_be_meant_is_refused(emulator, options):
    with pytest.raises(ValueError):
        emulator.behave(**options)


# ---- what is forgotten


def test_jobs_and_files_are_forgotten_after_the_hours_that_they_are_kept(caller, emulator, jpeg):
    file_key = caller.upload(jpeg)
    job_id = caller.start(file_key)
    url = caller.finished(job_id)["correctedFile"]
    emulator.let_pass(23)
    assert caller.status(job_id, noRedirect="true").status_code == 200
    emulator.let_pass(2)

    assert caller.status(job_id, noRedirect="true").status_code == 404
    assert caller.http.get(url).status_code == 404
    assert caller.pfc(file_key).status_code == 404
    assert caller.finished(caller.start(caller.upload(jpeg)))["status"] == "COMPLETED"


def test_what_another_emulator_knew_can_be_adopted(caller, emulator, jpeg):
    emulator.adopt(jpeg, file_key="a" * 32, job_id="b" * 24, settings={"width": 50})
    emulator.adopt(other(jpeg), file_key="c" * 32)

    assert caller.finished("b" * 24)["status"] == "COMPLETED"
    assert caller.start("a" * 32, width=50) == "b" * 24
    assert caller.pfc("c" * 32).status_code == 200
    assert emulator.bill()["entries"][0]["sha256"] == sha256(jpeg).hexdigest()


# ---- answers to other questions


def test_an_answer_to_another_question_is_that_of_the_last_one(caller, emulator, jpeg):
    first, second = (caller.start(caller.upload(data)) for data in (jpeg, other(jpeg)))
    caller.finished(first)
    caller.finished(second)
    emulator.fault("status", {"another": True})
    assert caller.status(second, noRedirect="true").json()["_id"] == first
    assert caller.status(second, noRedirect="true").json()["_id"] == second

    emulator.fault("upload", {"another": True})
    known = caller.get("/upload").json()["fileKey"]
    assert known in {entry["file_key"] for entry in emulator.bill()["entries"]}

    file_keys = caller.upload(jpeg + b"3"), caller.upload(jpeg + b"4")
    third = caller.start(file_keys[0])
    caller.finished(third)
    emulator.fault("pfc", {"another": True})
    assert caller.start(file_keys[1]) == third
    assert emulator.bill(summary=True)["accepted"] == 4


def test_another_answer_may_keep_the_question_from_the_service(caller, emulator, jpeg):
    first = caller.start(caller.upload(jpeg))
    caller.finished(first)  # so that it has read the answer
    emulator.fault("pfc", {"another": {"commit": False}})
    assert caller.start(caller.upload(other(jpeg))) == first
    assert emulator.bill(summary=True)["accepted"] == 1


def test_another_answer_that_does_not_exist_is_a_misfire(caller, emulator):
    emulator.fault("upload", {"another": True})
    assert caller.get("/upload").status_code == 200
    assert "no other question" in emulator.unconsumed()[0]["misfired"]
    emulator.clear_faults()


def test_a_repeated_answer_waits_on_the_connection(emulator):
    emulator.fault("upload", {"repeat": True})
    place = urlsplit(emulator.base_url)
    ask = f"GET /v2/upload HTTP/1.1\r\nHost: {place.netloc}\r\nX-API-KEY: any-key\r\n\r\n".encode()
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(ask)
        said = b""
        while said.count(b"fileKey") < 2:
            said += connection.recv(65536)
    heads = said.split(b"HTTP/1.1 200")
    assert len(heads) == 3, "two answers to one question"
    first, second = (json.loads(one.partition(b"\r\n\r\n")[2]) for one in heads[1:])
    assert first == second


# ---- connections


def test_a_connection_that_was_idle_can_be_closed_as_the_question_comes(caller, emulator, jpeg):
    emulator.fault({"route": "upload", "idle": 0.0}, {"close": "before"}, times=None)
    assert caller.get("/upload").status_code == 200  # a new connection
    with pytest.raises(Exception, match="disconnected without"):
        caller.get("/upload")


def test_a_kept_connection_can_be_kept_for_a_short_while_only(started):
    caller = started(keep_alive=0.05)
    place = urlsplit(caller.base)
    ask = f"GET /v2/upload HTTP/1.1\r\nHost: {place.netloc}\r\nX-API-KEY: any-key\r\n\r\n".encode()
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(ask)
        while connection.recv(65536):
            pass  # it ends by itself


def test_a_redirected_upload_arrives(caller, emulator, jpeg):
    emulator.fault("put", {"redirect": {"to": "self", "status": 307}})
    slot = caller.get("/upload").json()
    answer = caller.http.put(slot["upload_url"], content=jpeg)
    assert answer.status_code == 307
    assert caller.http.put(answer.headers["Location"], content=jpeg).status_code == 200
    assert caller.finished(caller.start(slot["fileKey"]))["status"] == "COMPLETED"


# ---- which, and for how long


def test_one_picture_is_refused_by_its_content(caller, emulator, jpeg):
    bad = other(jpeg)
    emulator.fault(
        {"route": "pfc", "sha256": sha256(bad).hexdigest()}, {"answer": {"status": 400}}, times=None
    )
    assert [caller.pfc(caller.upload(data)).status_code for data in (jpeg, bad, bad)] == [200, 400, 400]


def test_a_fault_may_last_for_seconds(caller, emulator, jpeg):
    job_id = caller.start(caller.upload(jpeg))
    caller.finished(job_id)
    emulator.fault({"route": "status", "seconds": 0.2}, {"answer": {"status": 404}}, times=None)
    assert caller.status(job_id).status_code == 404
    while caller.status(job_id).status_code == 404:
        pass  # it is over by itself
    assert emulator.unconsumed() == []


def test_a_fault_that_came_to_nothing_in_its_seconds_is_told(caller, emulator):
    emulator.fault({"route": "upload", "seconds": 0}, {"answer": {"status": 404}}, times=None)
    assert caller.get("/upload").status_code == 200
    assert len(emulator.unconsumed()) == 1
    emulator.clear_faults()


# ---- what it makes, and what it tells


@pytest.mark.parametrize(
    ("make", "size", "kind"),
    [
        ({"enlarge": False}, (120, 80), "JPEG"),
        ({"scale": 50}, (200, 134), "JPEG"),
        ({"type": "png"}, (400, 267), "PNG"),
        ({"type": "webp"}, (400, 267), "WEBP"),
    ],
)
def test_a_result_may_be_other_than_asked_for(caller, emulator, jpeg, make, size, kind):
    emulator.fault("pfc", {"make": make})
    _, data = caller.corrected(jpeg, width=400)
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.size, picture.format) == (size, kind)


@pytest.mark.parametrize("kind", ["words", "part", "json", "escaped", "xml", "html", "percent", "header"])
@pytest.mark.parametrize("route", ["upload", "put"])
def test_a_refusal_may_tell_a_signature(caller, emulator, jpeg, kind, route):
    url = caller.get("/upload").json()["upload_url"]
    emulator.fault(route, {"echo": kind})
    answer = caller.get("/upload") if route == "upload" else caller.http.put(url, content=jpeg)
    assert answer.status_code == 403
    text = answer.text + str(answer.headers)
    said = json.loads(text.partition("}")[0] + "}")["error"] if kind == "escaped" else unquote(text)
    assert emulator.secrets[1] in said
