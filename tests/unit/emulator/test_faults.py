from __future__ import annotations

import gzip
import json
import time

import httpx
import pytest

from airflow_provider_perfectlyclear.emulator.transport.request_log import digest_of

ALL_ROUTES = [
    "upload", "put", "pfc", "status", "download", "presets",
    "preset_create", "preset", "preset_delete", "preset_put", "preset_get_file",
]  # fmt: skip


def call_every_route(caller, jpeg):
    """One request to each route, in an order that works."""
    view = caller.finished(caller.start(caller.upload(jpeg)))
    caller.http.get(view["correctedFile"])
    made = caller.api.post(f"{caller.base}/presets/", json={"name": "A"}).json()
    caller.http.put(made["uploadUrl"], content=b"preset")
    caller.get("/presets")
    preset = caller.get(f"/presets/{made['presetId']}").json()
    caller.http.get(preset["uri"])
    caller.api.delete(f"{caller.base}/presets/{made['presetId']}")


@pytest.mark.parametrize("route", ALL_ROUTES)
def test_every_route_can_be_made_to_fail(caller, emulator, jpeg, route):
    emulator.fault(route, {"delay": 0})
    assert emulator.unconsumed() != []
    call_every_route(caller, jpeg)
    assert emulator.unconsumed() == []
    assert emulator.seen()[
        "storage" if route in ("put", "download", "preset_put", "preset_get_file") else "api"
    ]["routes"][route]


def statuses(caller, count):
    return [caller.get("/upload").status_code for _ in range(count)]


@pytest.mark.parametrize(
    ("match", "times", "expected"),
    [
        ({}, 1, [503, 200, 200, 200]),
        ({"nth": 2}, 1, [200, 503, 200, 200]),
        ({"nth": 2}, 2, [200, 503, 503, 200]),
        ({"times": 3}, 3, [503, 503, 503, 200]),
        ({}, None, [503, 503, 503, 503]),
        ({"nth": 3}, -1, [200, 200, 503, 503]),
        ({"contains": "nothing like it"}, None, [200, 200, 200, 200]),
    ],
)
def test_nth_and_times_say_which_requests_fail(caller, emulator, match, times, expected):
    emulator.fault({"route": "upload", **match}, {"answer": {"status": 503}}, times=times)
    assert statuses(caller, 4) == expected
    emulator.clear_faults()


def test_a_fault_can_be_about_one_file_or_one_job(caller, emulator, jpeg):
    keys = [caller.upload(jpeg) for _ in range(2)]
    emulator.fault({"route": "pfc", "file_key": keys[1]}, {"answer": {"status": 500}})
    assert [caller.pfc(key).status_code for key in keys] == [200, 500]
    jobs = [caller.start(key) for key in keys]
    emulator.fault({"route": "status", "job_id": jobs[1]}, {"answer": {"status": 500}})
    emulator.fault({"route": "status", "contains": f"{jobs[0]}?noRed"}, {"answer": {"status": 502}})
    assert [caller.status(job, noRedirect="true").status_code for job in jobs] == [502, 500]


def test_two_faults_count_each_for_itself_and_meet_in_one_request(caller, emulator):
    emulator.fault("upload", {"http_status": 206}, times=2)
    emulator.fault("upload", {"headers": {"X-Both": "1"}})
    answers = [caller.get("/upload") for _ in range(2)]
    assert [(answer.status_code, answer.headers.get("x-both")) for answer in answers] == [
        (206, "1"),
        (206, None),
    ]


def test_an_unconsumed_fault_is_reported(caller, emulator):
    instruction = emulator.fault("upload", {"answer": {"status": 503}}, times=2)
    caller.get("/upload")
    (left,) = emulator.unconsumed()
    assert (left["id"], left["happened"]) == (instruction, 1)
    emulator.clear_faults()


def test_a_fault_that_cannot_be_done_is_reported(caller, emulator):
    instruction = emulator.fault("upload", {"remove": ["no such field"]})
    caller.get("/upload")
    assert emulator.unconsumed() == [
        {"id": instruction, "misfired": "remove: the answer has no no such field"}
    ]
    emulator.clear_faults()


@pytest.mark.parametrize("kind", ["html", "gzip_bomb", "cut_json"])
def test_fields_cannot_be_set_in_what_another_fault_has_garbled(caller, emulator, kind):
    emulator.fault("upload", [{"garble": kind}, {"patch": {"fileKey": "x"}}])
    assert caller.get("/upload").status_code == 200
    assert "not a JSON object" in str(emulator.unconsumed())
    emulator.clear_faults()


@pytest.mark.parametrize(
    ("match", "do", "complaint"),
    [
        ("uplaod", {"delay": 1}, "unknown route 'uplaod'"),
        ({"rout": "upload"}, {"delay": 1}, "unknown match key 'rout'"),
        ({"nth": 0}, {"delay": 1}, "'nth' is a positive integer"),
        ({"times": "two"}, {"delay": 1}, "'times' is a positive integer"),
        ("upload", {"explode": 1}, "unknown action 'explode'"),
        ("upload", [], "'do' is a list of actions"),
        ("upload", {"delay": 1, "drip": 1}, "an object with one key"),
        ("upload", {"delay": "1"}, "'delay' takes a number"),
        ("upload", {"reset": "soon"}, "unknown moment 'soon'"),
        ("upload", {"reset": "reading"}, "'reading' is for"),
        ("upload", {"reset": {"when": "before", "after": 3}}, "'after' goes with"),
        ("upload", {"answer": {"code": 500}}, "unknown key 'code' in 'answer'"),
        ("upload", {"answer": {"status": 700}}, "an HTTP status"),
        ("upload", {"headers": {"A": "b\r\nC: d"}}, "a character that no header can have"),
        ("upload", {"garble": "xml"}, "'garble' takes one of"),
        ("upload", {"body": {"base64": "???"}}, "not base64"),
        ("upload", {"truncate": 3}, "'truncate' is for put"),
        ("upload", {"outcome": "FAILED"}, "'outcome' is for pfc, status"),
        ("pfc", {"outcome": "failed"}, "unknown outcome 'failed'"),
        ("pfc", {"expired": True}, "'expired' is for upload"),
        ("pfc", {"kill": {"pid": 1, "when": "before"}}, "takes a process id"),
        ("pfc", {"kill": {"pid": -5, "when": "before"}}, "takes a process id"),
        ("pfc", {"kill": {"when": "before", "signal": "SIGNO"}}, "unknown signal 'SIGNO'"),
    ],
)
def test_an_instruction_that_cannot_be_meant_is_refused_by_name(emulator, match, do, complaint):
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        emulator.fault(match, do)


def test_the_service_never_hears_of_what_is_answered_instead_unless_told_to(caller, emulator, jpeg):
    key = caller.upload(jpeg)
    emulator.fault("pfc", {"answer": {"status": 500}})
    emulator.fault({"route": "pfc", "nth": 2}, {"answer": {"status": 502, "json": {}, "commit": True}})
    assert [caller.pfc(key).status_code for _ in range(2)] == [500, 502]
    assert emulator.bill(summary=True)["accepted"] == 1


def test_an_answer_can_have_any_headers(caller, emulator):
    headers = {"Retry-After": "junk", "content-type": "text/html"}
    emulator.fault("upload", {"answer": {"status": 429, "headers": headers, "body": "<p>"}})
    answer = caller.get("/upload")
    assert (answer.status_code, answer.text) == (429, "<p>")
    assert answer.headers.get_list("content-type") == ["text/html"]
    assert answer.headers["retry-after"] == "junk"


def test_a_redirect_goes_where_it_is_told_to(caller, emulator):
    emulator.fault("pfc", {"redirect": "file:///etc/passwd"})
    emulator.fault({"route": "pfc", "nth": 2}, {"redirect": {"to": "http://127.0.0.2:1/", "status": 307}})
    answers = [caller.get("/pfc") for _ in range(2)]
    assert [(answer.status_code, answer.headers["location"]) for answer in answers] == [
        (302, "file:///etc/passwd"),
        (307, "http://127.0.0.2:1/"),
    ]


def test_json_answers_can_be_changed_in_order(caller, emulator):
    changes = [
        {"patch": {"fileKey": {"nested": 1}, "extra": "x"}},
        {"set": {"upload_url": None}},
        {"remove": ["extra"]},
        {"headers": {"X-More": "1", "Content-Type": None}},
        {"http_status": 206},
    ]
    emulator.fault("upload", changes)
    answer = caller.get("/upload")
    assert answer.json() == {"fileKey": {"nested": 1}, "upload_url": None}
    assert (answer.status_code, answer.headers["x-more"]) == (206, "1")
    assert "content-type" not in answer.headers


def test_the_urls_of_an_answer_can_lead_elsewhere(caller, emulator, jpeg):
    emulator.fault("pfc", {"origin": "https://other.example"})
    answer = caller.pfc(caller.upload(jpeg)).json()
    assert answer["statusEndpoint"].startswith("https://other.example/v2/status/")


@pytest.mark.parametrize(
    ("body", "content"),
    [("plain", b"plain"), ({"json": [1, None]}, b"[1, null]"), ({"base64": "AP8="}, b"\x00\xff")],
)
def test_the_body_can_be_any_bytes(caller, emulator, body, content):
    emulator.fault("upload", {"body": body})
    assert caller.get("/upload").content == content


def test_known_bad_bodies(caller, emulator):
    def garbled(name):
        emulator.fault("upload", {"garble": name})
        return caller.get("/upload")

    assert "<html>" in garbled("html").text
    assert garbled("null").content == b"null"
    assert garbled("list").content == b"[]"
    assert garbled("empty").content == b""
    assert len(garbled("huge").json()["padding"]) == 10 * 1024 * 1024
    assert garbled("utf16").content.startswith(b"\xff\xfe{")
    for name in ("cut_json", "not_utf8"):
        with pytest.raises(ValueError):
            json.loads(garbled(name).content)


def test_a_gzip_bomb_is_small_on_the_wire(caller, emulator):
    emulator.fault("upload", {"garble": "gzip_bomb"})
    with caller.api.stream("GET", f"{caller.base}/upload") as answer:
        assert answer.headers["content-encoding"] == "gzip"
        raw = b"".join(answer.iter_raw())
    assert len(raw) < 200_000
    assert len(gzip.decompress(raw)) == 100 * 1024 * 1024


def test_a_delay_delays(caller, emulator):
    emulator.fault("upload", {"delay": 0.2})
    before = time.monotonic()
    assert caller.get("/upload").status_code == 200
    assert time.monotonic() - before >= 0.2


def test_an_answer_can_drip(caller, emulator):
    emulator.fault("upload", {"drip": {"bytes_per_second": 1000, "chunk": 10}})
    before = time.monotonic()
    length = len(caller.get("/upload").content)
    assert time.monotonic() - before >= length / 1000 * 0.9


def test_a_request_can_be_met_with_silence(caller, emulator):
    emulator.fault("upload", {"silence": "before"})
    with pytest.raises(httpx.ReadTimeout):
        caller.api.get(f"{caller.base}/upload", timeout=0.2)


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_an_answer_can_come_without_a_length(caller, emulator, jpeg, framing):
    view, data = caller.corrected(jpeg)
    emulator.fault("download", {"framing": framing})
    answer = caller.http.get(view["correctedFile"])
    assert answer.content == data
    assert "content-length" not in answer.headers
    assert answer.headers.get("transfer-encoding") == ("chunked" if framing == "chunked" else None)


def test_an_upload_can_be_stored_short_or_wrong_though_200(caller, emulator, jpeg):
    emulator.fault("put", {"truncate": 100})
    emulator.fault({"route": "put", "nth": 2}, {"scramble": 100})
    keys = [caller.upload(jpeg) for _ in range(2)]
    assert [caller.finished(caller.start(key))["status"] for key in keys] == ["FAILED", "FAILED"]


def test_a_download_can_be_short_or_wrong_though_200(caller, emulator, jpeg):
    view, data = caller.corrected(jpeg)
    emulator.fault("download", {"truncate": 100})
    emulator.fault({"route": "download", "nth": 2}, {"scramble": 100})
    short, wrong = (caller.http.get(view["correctedFile"]).content for _ in range(2))
    assert short == data[:100]
    assert (len(wrong), wrong[:100]) == (len(data), data[:100])
    assert all(one != other for one, other in zip(wrong[100:], data[100:], strict=True))


def test_a_signed_url_can_be_over_already_and_the_next_one_good(caller, emulator, jpeg):
    emulator.fault("upload", {"expired": True})
    urls = [caller.get("/upload").json()["upload_url"] for _ in range(2)]
    assert [caller.http.put(url, content=jpeg).status_code for url in urls] == [403, 200]
    job_id = caller.start(caller.upload(jpeg))
    caller.finished(job_id)
    emulator.fault("status", {"expired": True})
    urls = [caller.status(job_id).headers["location"] for _ in range(2)]
    assert [caller.http.get(url).status_code for url in urls] == [403, 200]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("FAILED", {"status": "FAILED"}),
        ("REJECTED", {"status": "REJECTED"}),
        (
            {"status": "FAILED", "statusText": "\x1b[31m<b>"},
            {"status": "FAILED", "statusText": "\x1b[31m<b>"},
        ),
        ({"status": "ARCHIVED"}, {"status": "ARCHIVED"}),
        ({"status": "completed"}, {"status": "completed"}),
        ({"correctedFile": "http://169.254.0.1/x"}, {"correctedFile": "http://169.254.0.1/x"}),
    ],
)
def test_a_job_can_end_as_told(caller, emulator, jpeg, outcome, expected):
    emulator.fault("pfc", {"outcome": outcome})
    view = caller.finished(caller.start(caller.upload(jpeg)))
    assert view.items() >= expected.items()


def test_a_completed_job_can_have_no_file(caller, emulator, jpeg):
    emulator.fault("pfc", {"outcome": "no_file"})
    job_id = caller.start(caller.upload(jpeg))
    assert "correctedFile" not in caller.finished(job_id)
    assert caller.status(job_id).status_code == 200


def test_a_job_can_be_stuck(caller, emulator, jpeg):
    emulator.fault("pfc", {"outcome": "stuck"})
    emulator.fault({"route": "pfc", "nth": 2}, {"outcome": {"stuck": "PENDING"}})
    jobs = [caller.start(caller.upload(jpeg)) for _ in range(2)]
    assert [caller.status(job).json()["status"] for job in jobs] == ["PROCESSING", "PENDING"]


def test_a_job_can_go_backwards(caller, emulator, jpeg):
    emulator.fault("pfc", {"outcome": "backwards"})
    job_id = caller.start(caller.upload(jpeg))
    assert caller.finished(job_id)["status"] == "COMPLETED"
    assert caller.status(job_id).json()["status"] == "PROCESSING"


def test_a_job_can_be_lost_with_its_file_and_is_not_reused(caller, emulator, jpeg):
    key = caller.upload(jpeg)
    job_id = caller.start(key)
    url = caller.finished(job_id)["correctedFile"]
    emulator.fault("status", {"outcome": "lost"})
    assert [caller.status(job_id).status_code for _ in range(2)] == [404, 404]
    assert caller.http.get(url).status_code == 404
    assert caller.start(key) != job_id


def test_seen_tells_where_a_key_went(caller, emulator, jpeg):
    caller.corrected(jpeg)
    seen = emulator.seen()
    assert seen["api"]["api_keys"] == [digest_of(emulator.key)]
    assert (seen["storage"]["api_key_seen"], seen["storage"]["key_leaks"]) == (False, {})
    caller.api.get(f"{emulator.storage_url}/x?key={emulator.key}", headers={"X-Other": emulator.key})
    seen = emulator.seen()["storage"]
    assert (seen["api_key_seen"], seen["api_keys"]) == (True, [digest_of(emulator.key)])
    assert seen["key_leaks"] == {"target": 1, "x-other": 1}


def test_reset_forgets_everything(caller, emulator, jpeg):
    job_id = caller.start(caller.upload(jpeg))
    caller.finished(job_id)
    emulator.fault("pfc", {"delay": 1})
    emulator.reset()
    assert emulator.bill() == {"accepted": 0, "billed": 0, "hits": 0, "entries": []}
    assert emulator.seen()["api"]["requests"] == 0
    assert emulator.unconsumed() == []
    assert caller.status(job_id).status_code == 404
