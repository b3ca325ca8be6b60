from __future__ import annotations

import pytest

ACCEPTED = [
    ("preset", "none"),
    ("preset", "Universal"),
    ("cache", "true"),
    ("cache", "false"),
    ("outputType", "jpg"),
    ("outputType", "png"),
    ("outputType", "original"),
    ("resize", "auto"),
    ("resize", "general"),
    ("resize", "smallDetails"),
    ("width", "32"),
    ("width", "10000"),
    ("height", "32"),
    ("height", "10000"),
    ("long", "32"),
    ("long", "10000"),
    ("short", "32"),
    ("short", "10000"),
    ("scale", "1"),
    ("scale", "200"),
    ("outputQuality", "40"),
    ("outputQuality", "100"),
    ("autocrop", "true"),
    ("autocrop", "false"),
    ("autocropDetectOnly", "false"),
    ("autocropSize", "1.5"),
    ("autocropX", "-0.25"),
    ("autocropY", "0"),
    ("cropARW", "3"),
    ("cropARH", "2.5"),
    ("autocropTopHeadGap", "-1"),
    ("skip", "clipart"),
    ("skip", "legacy"),
    ("skip", "none"),
    ("removeGlares", "true"),
    ("removeBackground", "true"),
    ("bgColor", "#fff"),
    ("bgColor", "#12ab9F"),
    ("bgColor", "#12ab9f80"),
    ("bgColor", "rebeccapurple"),
    ("bgColor", "transparent"),
    ("preserveMetadata", "false"),
    ("updateThumbnail", "true"),
    ("includeDetectionData", "true"),
    ("fileType", "image"),
    # Real services ignore what they do not know, and real clients write such names.
    ("removeBG", "true"),
    ("Width", "1"),
]
REFUSED = [
    ("preset", "No Such Preset"),
    ("preset", ""),
    ("cache", "True"),
    ("cache", "1"),
    ("outputType", "jpeg"),
    ("outputType", "JPG"),
    ("resize", "best"),
    ("width", "31"),
    ("width", "10001"),
    ("width", "100.0"),
    ("width", "+100"),
    ("width", " 100"),
    ("width", "1e3"),
    ("width", ""),
    ("width", "٣٣"),
    ("height", "31"),
    ("height", "10001"),
    ("long", "31"),
    ("long", "10001"),
    ("short", "0"),
    ("short", "10001"),
    ("scale", "0"),
    ("scale", "-50"),
    ("scale", "150%"),
    ("outputQuality", "39"),
    ("outputQuality", "101"),
    ("autocrop", "yes"),
    ("autocropDetectOnly", "true"),
    ("autocropSize", "big"),
    ("autocropX", "left"),
    ("autocropY", "nan"),
    ("cropARW", "0"),
    ("cropARH", "-2"),
    ("autocropTopHeadGap", "some"),
    ("skip", "all"),
    ("removeGlares", "TRUE"),
    ("removeBackground", "on"),
    ("bgColor", "fff"),
    ("bgColor", "#ff"),
    ("bgColor", "no such colour"),
    ("preserveMetadata", "0"),
    ("updateThumbnail", ""),
    ("includeDetectionData", "null"),
    ("fileType", "audio"),
    ("fileType", "video"),
]


@pytest.mark.parametrize(("name", "value"), ACCEPTED)
def test_what_the_reference_allows_starts_a_job(caller, emulator, jpeg, name, value):
    answer = caller.pfc(caller.upload(jpeg), **{name: value})
    assert answer.status_code == 200
    assert answer.json()["statusEndpoint"].startswith(f"{caller.base}/status/")
    assert emulator.bill(summary=True)["accepted"] == 1


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_the_reference_does_not_allow_is_refused_by_name_and_costs_nothing(
    caller, emulator, jpeg, name, value
):
    answer = caller.pfc(caller.upload(jpeg), **{name: value})
    assert answer.status_code == 400
    assert name in answer.json()["error"]
    assert "statusEndpoint" not in answer.json()
    assert emulator.bill(summary=True)["accepted"] == 0


def test_only_one_resize_strategy_at_a_time(caller, jpeg):
    answer = caller.pfc(caller.upload(jpeg), width=100, scale=50)
    assert (answer.status_code, answer.json()["error"]) == (400, "use only one of width, scale")


def test_detect_only_goes_with_autocrop(caller, jpeg):
    assert caller.pfc(caller.upload(jpeg), autocrop="true", autocropDetectOnly="true").status_code == 200


def test_a_parameter_given_twice_is_refused(caller, jpeg):
    key = caller.upload(jpeg)
    answer = caller.api.get(f"{caller.base}/pfc?fileKey={key}&width=100&width=200")
    assert (answer.status_code, answer.json()["error"]) == (400, "width is given more than once")


def test_a_missing_file_key_is_refused(caller):
    assert caller.get("/pfc").status_code == 400


def test_an_unknown_file_key_is_refused(caller):
    assert caller.pfc("no-such-key").status_code == 404


def test_a_file_key_that_nothing_was_uploaded_to_is_refused(caller, emulator):
    slot = caller.get("/upload").json()
    assert caller.pfc(slot["fileKey"]).status_code == 409
    assert emulator.bill(summary=True)["accepted"] == 0


def test_an_uploaded_video_is_not_corrected_as_an_image(caller, jpeg):
    assert caller.pfc(caller.upload(jpeg, "video")).status_code == 400


def test_upload_takes_image_and_video_only(caller):
    assert caller.get("/upload", fileType="audio").status_code == 400
