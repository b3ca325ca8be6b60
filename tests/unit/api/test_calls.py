"""Endpoints are values: what they send, and how each possible answer is read. No network."""

from __future__ import annotations

import json
import pickle
import random
from typing import Any

import pytest

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.answers import Answer
from airflow_provider_perfectlyclear.api.conversation import url_of
from airflow_provider_perfectlyclear.api.models import Correction, JobState, JobStatus
from airflow_provider_perfectlyclear.api.settings import Settings

SIGNED = "https://store.example/out.jpg?X-Amz-Signature=canarysignature"
EVERY_CALL = {
    "upload": calls.upload_url(),
    "start": calls.start("key1"),
    "status": calls.status("job1"),
    "list": calls.list_presets(),
    "create": calls.create_preset("n"),
    "get": calls.get_preset("p1"),
    "delete": calls.delete_preset("p1"),
}


def answer(status: int, body: bytes | str | dict[str, Any] | list[Any] = b"", **headers: str) -> Answer:
    if isinstance(body, dict | list):
        body = json.dumps(body)
    return Answer(status, headers, body.encode() if isinstance(body, str) else body)


def url(call: calls.Call[Any]) -> str:
    return f"{call.method} {url_of(call, Settings(api_key='k' * 8, base_url='https://a/v2'))}"


class TestWhatIsSent:
    @pytest.mark.parametrize(
        ("call", "sent"),
        [
            (calls.upload_url(), "GET https://a/v2/upload?fileType=image"),
            (calls.upload_url("video"), "GET https://a/v2/upload?fileType=video"),
            (calls.start("k/1 2"), "GET https://a/v2/pfc?fileKey=k%2F1%202"),
            (
                calls.start("k", Correction(remove_background=True, bg_color="#fff", preset="a+b & c")),
                "GET https://a/v2/pfc?fileKey=k&preset=a%2Bb%20%26%20c&removeBackground=true&bgColor=%23fff",
            ),
            (calls.status("job-1"), "GET https://a/v2/status/job-1?noRedirect=true"),
            (calls.list_presets(30, 60), "GET https://a/v2/presets?limit=30&offset=60"),
            (calls.create_preset("n", "d"), "POST https://a/v2/presets/"),
            (calls.get_preset("a/b?c#d"), "GET https://a/v2/presets/a%2Fb%3Fc%23d"),
            (calls.delete_preset("p 1"), "DELETE https://a/v2/presets/p%201"),
        ],
    )
    def test_a_call_is_a_method_and_a_quoted_url(self, call: calls.Call[Any], sent: str) -> None:
        assert url(call) == sent

    def test_only_paid_and_creating_calls_may_not_be_repeated(self) -> None:
        assert {name for name, call in EVERY_CALL.items() if not call.repeatable} == {"start", "create"}

    @pytest.mark.parametrize(
        "job_id", ["", ".", "..", "a/b", "a b", "x" * 201, "ä", "a\n", "%2e%2e", None, 7]
    )
    def test_what_is_no_job_id_is_never_put_into_a_url(self, job_id: Any) -> None:
        with pytest.raises(errors.ConfigurationError, match="Invalid job id"):
            calls.status(job_id)

    @pytest.mark.parametrize("preset_id", ["", " ", ".", "..", "a\n", "\ud800", None])
    def test_what_is_no_preset_id_is_never_put_into_a_url(self, preset_id: Any) -> None:
        for make in (calls.get_preset, calls.delete_preset):
            with pytest.raises(errors.ConfigurationError, match="preset id"):
                make(preset_id)

    def test_an_empty_file_key_or_another_file_type_is_refused(self) -> None:
        with pytest.raises(errors.ConfigurationError, match="file key"):
            calls.start("")
        with pytest.raises(errors.ConfigurationError, match="Invalid file_type 'audio'"):
            calls.upload_url("audio")


class TestUpload:
    @pytest.mark.parametrize("name", ["upload_url", "uploadUrl"])
    def test_both_spellings_of_the_url_are_read(self, name: str) -> None:
        target = calls.upload_url().read(answer(200, {"fileKey": "k", name: SIGNED, "new": 1}))
        assert (target.file_key, target.upload_url) == ("k", SIGNED)
        assert "canary" not in repr(target)

    @pytest.mark.parametrize(
        "body", [{}, {"fileKey": "k"}, {"upload_url": SIGNED}, {"fileKey": 7, "upload_url": SIGNED},
                 {"fileKey": "", "upload_url": SIGNED}, {"fileKey": "k", "upload_url": None},
                 {"fileKey": "k\ud800", "upload_url": SIGNED}, {"fileKey": "a\nb", "upload_url": SIGNED}, [], ["a"]]
    )  # fmt: skip
    def test_a_missing_or_wrong_field_is_a_protocol_error_without_the_signature(self, body: Any) -> None:
        with pytest.raises(errors.ProtocolError) as caught:
            calls.upload_url().read(answer(200, body))
        assert "canary" not in str(caught.value)

    def test_an_error_text_in_place_of_the_url_is_the_services_refusal(self) -> None:
        with pytest.raises(errors.RequestRefused, match="no more uploads today"):
            calls.upload_url().read(answer(200, {"error": "no more uploads today"}))


class TestStart:
    read = staticmethod(calls.start("key1").read)

    @pytest.mark.parametrize(
        "endpoint",
        ["https://api.perfectlyclear.io/v2/status/j-1", "https://evil.example/x/y/j-1", "http://127.0.0.1/j-1/",
         "file:///etc/j-1", "/v2/status/j-1", "j-1", "https://u:p@h/j-1?noRedirect=true#x", "https://h/j%2D1"],
    )  # fmt: skip
    def test_the_job_id_is_all_that_is_taken_from_the_status_endpoint(self, endpoint: str) -> None:
        assert self.read(answer(200, {"statusEndpoint": endpoint})) == "j-1"

    @pytest.mark.parametrize(
        "endpoint",
        ["https://h/v2/status/..", "https://h/a%2Fb", "https://h/a%00", "https://h/%2e%2e", "https://[bad/j",
         "https://h/" + "x" * 201, "", "https://h", None, 7, ["j"], {"j": 1}, "https://h/ä", "https://h/a b"],
    )  # fmt: skip
    def test_what_is_no_job_id_leaves_the_start_unknown(self, endpoint: Any) -> None:
        with pytest.raises(errors.StartUnknown):
            self.read(answer(200, {"statusEndpoint": endpoint}))

    @pytest.mark.parametrize("status", [200, 201, 202, 302, 400, 500])
    def test_a_job_id_counts_whatever_the_http_status_is(self, status: int) -> None:
        assert self.read(answer(status, {"statusEndpoint": "https://h/j1"})) == "j1"

    @pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
    @pytest.mark.parametrize(
        "body", [{"error": "bad preset"}, "bad preset", {"error": {"message": "bad preset"}}]
    )
    def test_a_4xx_is_a_refusal_in_the_services_own_words(self, status: int, body: Any) -> None:
        with pytest.raises(errors.StartRefused, match="bad preset"):
            self.read(answer(status, body))

    @pytest.mark.parametrize("body", [{"message": "no such file key"}, {"error": "queued"}, {"jobId": "x"}])
    def test_a_success_without_status_endpoint_is_no_refusal_whatever_it_says(self, body: Any) -> None:
        with pytest.raises(errors.StartUnknown):
            self.read(answer(200, body))

    @pytest.mark.parametrize(
        ("status", "body"),
        [(500, ""), (502, "<html>bad gateway</html>"), (503, {"error": "busy"}), (504, {"message": "timeout"}),
         (408, ""), (200, ""), (200, "null"), (200, "[]"), (200, "{}"), (200, "<html>"), (200, '{"statusEnd'),
         (200, b"\xff\xfe\x00"), (200, "[" * 100_000), (302, ""), (303, ""), (100, "")],
    )  # fmt: skip
    def test_everything_else_leaves_the_start_unknown(self, status: int, body: Any) -> None:
        with pytest.raises(errors.StartUnknown) as caught:
            self.read(answer(status, body))
        assert caught.value.file_key == "key1"
        assert pickle.loads(pickle.dumps(caught.value)).why == caught.value.why

    @pytest.mark.parametrize(
        ("status", "error"),
        [(401, errors.AuthenticationError), (402, errors.PaymentRequired), (403, errors.PermissionDenied),
         (429, errors.TooManyRequests)],
    )  # fmt: skip
    def test_what_stops_the_run_stops_it_here_too(self, status: int, error: type[Exception]) -> None:
        with pytest.raises(error):
            self.read(answer(status, {"statusEndpoint": "https://h/j1"}))


COMPLETED = {
    "_id": "job1",
    "status": "COMPLETED",
    "statusText": "",
    "code": 0,
    "correctedFile": SIGNED,
    "createdAt": "2025-04-08T17:44:32.164Z",
    "updatedAt": "2025-04-08T17:44:39.004Z",
    "usage": {"size": "MEDIUM", "imageCorrectionCount": 1, "newCount": 2, "removeGlaresTotalCount": 0},
    "aiserver": True,
    "timeTaken": 1.56,
    "originalDimensions": {"width": 2380, "height": 3597},
    "detectionData": {
        "facesCount": 1,
        "faces": [
            {"confidence": 94, "yawAngle": 0, "left": 971, "leftEye": {"x": 1333.8, "y": 620.4}, "hat": "no"}
        ],
        "scene": 8,
        "redEye": "disabled",
        "warnings": [],
        "crop": {"left": 1},
    },
}


def read_status(body: Any, status: int = 200, **headers: str) -> JobStatus:
    return calls.status("job1").read(answer(status, body, **headers))


class TestStatus:
    def test_the_references_answer_is_read_in_full(self) -> None:
        job = read_status(COMPLETED)
        assert (job.job_id, job.state, job.corrected_file, job.time_taken) == (
            "job1",
            JobState.COMPLETED,
            SIGNED,
            1.56,
        )
        assert job.usage is not None
        assert job.usage.counters() == {"imageCorrectionCount": 1, "newCount": 2, "removeGlaresTotalCount": 0}
        assert job.original_dimensions is not None and job.original_dimensions.width == 2380
        assert job.detection_data is not None and job.detection_data.faces is not None
        assert job.detection_data.faces[0].left_eye.x == 1333.8  # type: ignore[union-attr]
        assert (job.created_at, job.code) == ("2025-04-08T17:44:32.164Z", 0)

    def test_what_is_public_is_plain_data_without_any_url(self) -> None:
        data = {
            **COMPLETED,
            "statusText": f"see {SIGNED}",
            "detectionData": {**COMPLETED["detectionData"], "u": SIGNED},
        }  # type: ignore[dict-item]
        public = read_status(data).public()
        text = json.dumps(public, allow_nan=False)
        assert "://" not in text and "canary" not in text
        assert public["detection_data"]["faces"][0]["hat"] == "no"
        assert public["detection_data"]["crop"] == {"left": 1}
        assert public["detection_data"]["faces"][0]["left"] == 971
        assert public["usage"]["size"] == "MEDIUM"
        assert public["state"] == "COMPLETED"

    def test_a_signed_url_is_in_no_repr(self) -> None:
        assert "canary" not in repr(read_status(COMPLETED))

    @pytest.mark.parametrize("state", ["PENDING", "PROCESSING", "COMPLETED", "FAILED", "REJECTED"])
    def test_only_the_last_three_are_final(self, state: str) -> None:
        assert read_status({"status": state}).state == state
        assert read_status({"status": state}).state.is_final == (state in ("COMPLETED", "FAILED", "REJECTED"))

    @pytest.mark.parametrize(
        "word", ["completed", "Failed", "QUEUED", "", "UNKNOWN", " COMPLETED", "x" * 9999]
    )
    def test_any_other_word_is_unknown_and_still_open(self, word: str) -> None:
        job = read_status({"status": word})
        assert job.state is JobState.UNKNOWN
        assert not job.state.is_final
        assert len(job.raw_status) <= 40

    @pytest.mark.parametrize("status", [200, 202, 302, 400, 404, 410, 422, 500, 503])
    def test_a_known_word_counts_whatever_the_http_status_is(self, status: int) -> None:
        job = read_status({"status": "REJECTED", "statusText": "no image data"}, status)
        assert (job.state, job.status_text) == (JobState.REJECTED, "no image data")

    def test_a_redirect_although_none_was_asked_for_means_complete(self) -> None:
        job = read_status(b"", 302, location=SIGNED)
        assert (job.state, job.corrected_file) == (JobState.COMPLETED, SIGNED)

    @pytest.mark.parametrize(
        ("status", "error"),
        [(401, errors.AuthenticationError), (402, errors.PaymentRequired), (403, errors.PermissionDenied),
         (404, errors.NotFound), (400, errors.RequestRefused), (500, errors.Unavailable), (503, errors.Unavailable),
         (302, errors.ProtocolError), (200, errors.ProtocolError), (418, errors.RequestRefused)],
    )  # fmt: skip
    def test_an_answer_without_status_is_what_its_http_status_says(
        self, status: int, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            read_status({"message": "x"}, status)

    @pytest.mark.parametrize("word", ["error", "NOT_FOUND"])
    def test_a_404_with_a_word_of_its_own_is_still_a_404(self, word: str) -> None:
        with pytest.raises(errors.NotFound):
            read_status({"status": word}, 404)

    @pytest.mark.parametrize("wrong", [None, 7, [], {}, True])
    def test_a_status_that_is_no_string_is_a_protocol_error(self, wrong: Any) -> None:
        with pytest.raises(errors.ProtocolError):
            read_status({"status": wrong})

    @pytest.mark.parametrize("part", sorted(set(COMPLETED) - {"status", "_id"}))
    @pytest.mark.parametrize(
        "wrong", [None, 7, -1, 1e308, True, "", "x", [], [1], {}, {"a": {"b": 1}}, 10**400]
    )
    def test_a_malformed_part_never_makes_the_status_unreadable(self, part: str, wrong: Any) -> None:
        job = read_status({**COMPLETED, part: wrong})
        assert job.state is JobState.COMPLETED
        json.dumps(job.public(), allow_nan=False)
        pickle.loads(pickle.dumps(job))

    @pytest.mark.parametrize("wrong", [[1], ["x"], [{"left": "x", "leftEye": 7}], "x", {"a": 1}])
    def test_a_malformed_face_is_no_obstacle(self, wrong: Any) -> None:
        job = read_status(
            {**COMPLETED, "detectionData": {"facesCount": "x", "faces": wrong, "warnings": [7]}}
        )
        assert job.state is JobState.COMPLETED
        json.dumps(job.public(), allow_nan=False)

    @pytest.mark.parametrize(
        ("text", "shown"),
        [("a\nb\x1b[31m", "a b [31m"), ("::error::x", "error::x"), (None, ""), ("x" * 5000, "x" * 197 + "..."),
         (f"see {SIGNED}", "see https://store.example/out.jpg?..."), (["a"], "['a']"), ("\ud800", "")],
    )  # fmt: skip
    def test_the_status_text_is_one_safe_line(self, text: Any, shown: str) -> None:
        assert read_status({"status": "FAILED", "statusText": text}).status_text == shown

    def test_not_a_number_is_no_number(self) -> None:
        job = read_status(
            '{"status": "COMPLETED", "timeTaken": NaN, "detectionData": {"zoom": Infinity, "v": 1e999}}'
        )
        assert job.time_taken is None
        json.dumps(job.public(), allow_nan=False)

    @pytest.mark.parametrize("huge", [10**400, -(10**400), 1e301, -1e301])
    def test_a_number_beyond_all_measure_is_no_number(self, huge: float) -> None:
        job = read_status({"status": "COMPLETED", "detectionData": {"zoom": huge, "scene": huge}})
        assert job.public()["detection_data"] == {"zoom": None, "scene": None}

    def test_too_many_values_are_cut_off(self) -> None:
        job = read_status({"status": "COMPLETED", "detectionData": {"facesCount": 1, "faces": [{}] * 50_000}})
        assert job.detection_data is not None and job.detection_data.faces is not None
        assert 5_000 < len(job.detection_data.faces) <= 10_000

    def test_a_crowd_is_passed_on_in_full(self) -> None:
        face = COMPLETED["detectionData"]["faces"][0] | {"rightEye": {"x": 1, "y": 2}}  # type: ignore[index]
        job = read_status({"status": "COMPLETED", "detectionData": {"faces": [face] * 500}})
        assert job.public()["detection_data"]["faces"][499]["rightEye"] == {"x": 1, "y": 2}

    def test_deep_nesting_is_cut_off(self) -> None:
        deep = '{"a":' * 450 + "1" + "}" * 450
        for part in ("detectionData", "usage", "code", "other"):
            job = read_status(f'{{"status": "COMPLETED", "{part}": {deep}}}')
            assert job.state is JobState.COMPLETED
            assert json.dumps(job.public()).count("{") < 20

    def test_counters_are_whole_numbers_of_a_believable_size(self) -> None:
        usage = {"a": 1, "b": True, "c": 1.5, "d": "2", "e": 2**60, "f": None, "size": 3}
        job = read_status({"status": "COMPLETED", "usage": usage})
        assert job.usage is not None and job.usage.counters() == {"a": 1}


PRESET = {"presetId": "p1", "name": "Studio 7", "description": "d", "uri": SIGNED, "new": 1}


class TestPresets:
    @pytest.mark.parametrize("body", [{"presets": [PRESET]}, [PRESET], {"presets": [PRESET], "total": 1}])
    def test_both_shapes_of_a_listing_are_read(self, body: Any) -> None:
        [preset] = calls.list_presets().read(answer(200, body))
        assert (preset.preset_id, preset.name, preset.uri) == ("p1", "Studio 7", SIGNED)
        assert "canary" not in repr(preset)

    def test_an_empty_listing_is_a_listing(self) -> None:
        assert calls.list_presets().read(answer(200, {"presets": []})) == []

    @pytest.mark.parametrize(
        "body", [{}, {"presets": None}, {"presets": {}}, "null", "7", [7], [{}], [{"name": "x"}], [{"presetId": 7}],
                 [{"presetId": "", "name": "x"}], [{"presetId": "p", "name": None}]]
    )  # fmt: skip
    def test_any_other_listing_is_a_protocol_error(self, body: Any) -> None:
        with pytest.raises(errors.ProtocolError):
            calls.list_presets().read(answer(200, body))

    @pytest.mark.parametrize("name", ["Studio  7", "# 1: rosé", "x" * 1000, "https://h/a?b"])
    def test_a_name_is_kept_to_the_letter(self, name: str) -> None:
        [preset] = calls.list_presets().read(answer(200, [{**PRESET, "name": name}]))
        assert preset.name == name

    @pytest.mark.parametrize(
        ("name", "shown"), [("a\nb", "a b"), ("\u202ea", "a"), ("x" * 2001, "x" * 997 + "..."), ("\x00", "")]
    )
    def test_an_unprintable_name_is_made_a_line_and_hides_no_other(self, name: str, shown: str) -> None:
        first, second = calls.list_presets().read(answer(200, [{**PRESET, "name": name}, PRESET]))
        assert (first.name, second.name) == (shown, "Studio 7")

    def test_a_page_longer_than_any_is_no_page(self) -> None:
        with pytest.raises(errors.ProtocolError, match="a page of presets was expected"):
            calls.list_presets().read(answer(200, [PRESET] * 10_001))

    def test_a_preset_is_read_with_the_url_of_its_file(self) -> None:
        assert calls.get_preset("p1").read(answer(200, PRESET)).uri == SIGNED

    def test_a_preset_that_does_not_repeat_its_id_has_the_one_that_was_asked_for(self) -> None:
        assert calls.get_preset("p9").read(answer(200, {"name": "x"})).preset_id == "p9"

    def test_creating_gives_the_id_and_where_to_upload(self) -> None:
        target = calls.create_preset("n").read(answer(201, {"presetId": "p1", "uploadUrl": SIGNED}))
        assert (target.preset_id, target.upload_url) == ("p1", SIGNED)
        assert "canary" not in repr(target)

    @pytest.mark.parametrize("status", [200, 400, 409])
    def test_creating_may_be_refused_with_an_error_key(self, status: int) -> None:
        with pytest.raises(errors.RequestRefused, match="name taken"):
            calls.create_preset("n").read(answer(status, {"error": "name taken"}))

    @pytest.mark.parametrize("body", ["", "deleted", {"message": "deleted"}, "null", {"deleted": True}])
    def test_deleting_is_answered_by_json_or_by_text(self, body: Any) -> None:
        assert calls.delete_preset("p1").read(answer(200, body)) is None

    def test_deleting_may_be_refused_with_an_error_key(self) -> None:
        with pytest.raises(errors.RequestRefused, match="in use"):
            calls.delete_preset("p1").read(answer(200, {"error": "in use"}))

    @pytest.mark.parametrize("name", ["get", "delete"])
    def test_what_is_not_there_is_not_found(self, name: str) -> None:
        with pytest.raises(errors.NotFound):
            EVERY_CALL[name].read(answer(404, {"message": "no"}))


HTML = "<!DOCTYPE html><html><body>Bad \x1b[31mgateway" + "x" * 5000


@pytest.mark.parametrize("name", EVERY_CALL)
@pytest.mark.parametrize("status", [200, 502])
def test_a_web_page_is_never_success_and_is_called_by_its_name(name: str, status: int) -> None:
    with pytest.raises(errors.PerfectlyClearError, match="HTML, not JSON") as caught:
        EVERY_CALL[name].read(answer(status, HTML))
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", EVERY_CALL)
def test_reading_raises_our_errors_and_nothing_else_whatever_comes(name: str) -> None:
    """A few hundred hostile bodies, the same ones every time."""
    dice = random.Random(4711)
    bodies = [
        b"",
        b"null",
        b"[" * 50_000,
        b'{"a":' * 900,
        b"9" * 5000,
        b'{"status":' + b"9" * 5000 + b"}",
        b"\xff" * 99,
    ]
    bodies += [json.dumps(_anything(dice, 4)).encode() for _ in range(300)]
    bodies += [
        json.dumps(COMPLETED).encode("utf-16"),
        json.dumps(COMPLETED)[:-30].encode(),
        b'{"status": "\\ud800"}',
    ]
    for body in bodies:
        for status in (100, 200, 204, 302, 400, 404, 422, 500, 503):
            try:
                result = EVERY_CALL[name].read(Answer(status, {"location": "x"}, body))
            except errors.PerfectlyClearError as error:
                assert str(error).isprintable() and len(str(error)) < 700
                assert error.__context__ is None
            else:
                pickle.dumps(result)


def _anything(dice: random.Random, depth: int) -> Any:
    names = ["status", "statusText", "statusEndpoint", "fileKey", "upload_url", "presets", "presetId", "name", "uri",
             "usage", "detectionData", "faces", "error", "message", "correctedFile", "_id"]  # fmt: skip
    leaves = [None, True, 0, -1, 1.5, 1e308, 10**30, "", "x", "COMPLETED", "https://h/j1", "\ud800", "a\nb"]
    kind = dice.randrange(4) if depth else 0
    if kind < 2 and depth < 4:
        return dice.choice(leaves)
    if kind == 2:
        return [_anything(dice, depth - 1) for _ in range(dice.randrange(3))]
    return {dice.choice(names): _anything(dice, depth - 1) for _ in range(dice.randrange(6))}
