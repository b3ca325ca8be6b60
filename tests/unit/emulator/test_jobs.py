from __future__ import annotations

import re

import httpx
import pytest

MP4 = b"\x00\x00\x00\x18ftypmp42" + b"m" * 5000


def test_a_completed_job_has_everything_the_reference_shows(caller, jpeg):
    view, _ = caller.corrected(jpeg, includeDetectionData="true")
    assert re.fullmatch("[0-9a-f]{24}", view["_id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", view["createdAt"])
    assert view["createdAt"] <= view["updatedAt"]
    assert view["originalDimensions"] == {"width": 120, "height": 80}
    assert (view["statusText"], view["code"], view["aiserver"]) == ("done", 0, True)
    assert view["usage"]["imageCorrectionCount"] == 1
    assert view["timeTaken"] >= 0
    assert view["detectionData"]["facesCount"] == len(view["detectionData"]["faces"]) == 1


def test_detection_data_only_comes_when_asked_for(caller, jpeg):
    assert "detectionData" not in caller.corrected(jpeg)[0]


def test_a_completed_job_redirects_to_its_file(caller, jpeg):
    job_id = caller.start(caller.upload(jpeg))
    caller.finished(job_id)
    answer = caller.status(job_id)
    assert answer.status_code == 302
    assert answer.headers["location"] == answer.json()["correctedFile"]
    assert caller.http.get(answer.headers["location"]).headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(("value", "status"), [("true", 200), ("false", 302), ("1", 302)])
def test_only_no_redirect_true_keeps_the_redirect_away(caller, jpeg, value, status):
    job_id = caller.start(caller.upload(jpeg))
    caller.finished(job_id)
    assert caller.status(job_id, noRedirect=value).status_code == status


def test_status_needs_no_key(caller, emulator, jpeg):
    job_id = caller.start(caller.upload(jpeg))
    emulator.set_key("another key")
    assert httpx.get(f"{caller.base}/status/{job_id}?noRedirect=true").status_code == 200


def test_an_unknown_job_is_404_in_json(caller):
    answer = caller.status("0" * 24)
    assert answer.status_code == 404
    assert "unknown" in answer.json()["error"]


def test_jobs_wait_for_a_free_place(started, jpeg):
    caller = started(jobs=1, job_seconds=1000)
    first, second = (caller.start(caller.upload(jpeg)) for _ in range(2))
    for job_id, state in ((first, "PROCESSING"), (second, "PENDING")):
        answer = caller.status(job_id)
        assert (answer.status_code, answer.json()["status"]) == (200, state)
        assert "correctedFile" not in answer.json()


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", "REJECTED", "empty"),
        (b"hello, I am a text", "REJECTED", "no image data"),
        (MP4, "REJECTED", "fileType"),
        (b"\xff\xd8\xff\xe0" + b"not really", "FAILED", "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n", "FAILED", "cannot be decoded"),
    ],
)
def test_bad_files_end_with_a_reason_and_200(caller, data, status, reason):
    job_id = caller.start(caller.upload(data))
    view = caller.finished(job_id)
    assert view["status"] == status
    assert reason in view["statusText"]
    answer = caller.status(job_id)
    assert (answer.status_code, "location" in answer.headers) == (200, False)
    assert "correctedFile" not in view


def test_a_truncated_jpeg_is_failed(caller, jpeg):
    assert caller.finished(caller.start(caller.upload(jpeg[: len(jpeg) // 2])))["status"] == "FAILED"


def test_a_picture_sent_as_a_video_is_rejected(caller, jpeg):
    job_id = caller.start(caller.upload(jpeg, "video"), fileType="video")
    assert caller.finished(job_id)["status"] == "REJECTED"


def test_a_video_comes_back_as_it_was_and_counts_as_one(caller):
    view = caller.finished(caller.start(caller.upload(MP4, "video"), fileType="video"))
    assert view["usage"]["videoCorrectionCount"] == 1
    assert view["usage"]["imageCorrectionCount"] == 0
    answer = caller.http.get(view["correctedFile"])
    assert (answer.content, answer.headers["content-type"]) == (MP4, "video/mp4")


def test_echo_gives_back_the_uploaded_bytes_undecoded(started):
    data = b"\xff\xd8\xff" + b"no picture at all" * 100
    caller = started(echo=True)
    assert caller.corrected(data)[1] == data


def test_a_file_key_can_be_corrected_again_with_other_settings(caller, emulator, jpeg):
    key = caller.upload(jpeg)
    assert caller.start(key) != caller.start(key, outputType="png")
    assert emulator.bill(summary=True) == {"accepted": 2, "billed": 2, "hits": 0}


@pytest.mark.parametrize("path", ["/upload", "/pfc", "/presets", "/presets/abc"])
def test_everything_but_status_needs_a_key(caller, path):
    answer = caller.http.get(caller.base + path)
    assert answer.status_code == 401
    assert "X-API-KEY" in answer.json()["error"]


def test_an_empty_key_is_no_key(caller):
    assert caller.http.get(f"{caller.base}/upload", headers={"X-API-KEY": ""}).status_code == 401


def test_the_demanded_key_is_the_only_one_accepted_and_can_change(started):
    caller = started(key="the right one")
    assert caller.get("/upload").status_code == 200
    assert caller.http.get(f"{caller.base}/upload", headers={"X-API-KEY": "wrong"}).status_code == 401
    caller.emulator.set_key("a new one")
    assert caller.get("/upload").status_code == 401


def test_beyond_the_rate_is_429_with_a_time_to_wait(started):
    caller = started(rate=1)
    answers = [caller.get("/upload") for _ in range(3)]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert "error" in refused.json()


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
def test_pfc_is_a_get_and_nothing_else(caller, emulator, jpeg, method):
    key = caller.upload(jpeg)
    assert caller.api.request(method, f"{caller.base}/pfc?fileKey={key}").status_code == 404
    assert emulator.bill(summary=True)["accepted"] == 0
