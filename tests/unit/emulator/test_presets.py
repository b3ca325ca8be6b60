from __future__ import annotations

import pytest

FILE = b"<preset>warm</preset>"


def create(caller, name, description=""):
    body = {"name": name, "description": description}
    return caller.api.post(f"{caller.base}/presets/", json=body).json()


def upload(caller, name):
    made = create(caller, name)
    assert caller.http.put(made["uploadUrl"], content=FILE).status_code == 200
    return made["presetId"]


def names(caller, **params):
    return [preset["name"] for preset in caller.get("/presets", **params).json()["presets"]]


def test_a_preset_is_created_in_two_steps_and_can_then_be_used_by_name(caller, jpeg):
    made = create(caller, "Studio 7", "for portraits")
    key = caller.upload(jpeg)
    assert set(made) == {"presetId", "uploadUrl"}
    assert names(caller) == []
    assert caller.pfc(key, preset="Studio 7").status_code == 400
    assert caller.http.put(made["uploadUrl"], content=FILE).status_code == 200
    (listed,) = caller.get("/presets").json()["presets"]
    assert (
        listed.items()
        >= {"presetId": made["presetId"], "name": "Studio 7", "description": "for portraits"}.items()
    )
    assert caller.pfc(key, preset="Studio 7").status_code == 200


def test_two_custom_presets_do_different_things(caller, jpeg):
    for name in ("One", "Two"):
        upload(caller, name)
    assert caller.corrected(jpeg, preset="One")[1] != caller.corrected(jpeg, preset="Two")[1]


def test_its_file_can_be_had_again(caller):
    preset_id = upload(caller, "Warm")
    preset = caller.get(f"/presets/{preset_id}").json()
    assert (preset["presetId"], preset["name"]) == (preset_id, "Warm")
    assert caller.http.get(preset["uri"]).content == FILE


def test_listing_is_paged_by_twenty(caller):
    for number in range(25):
        upload(caller, f"{number:02}")
    assert names(caller) == [f"{number:02}" for number in range(20)]
    assert names(caller, limit=30) == [f"{number:02}" for number in range(25)]
    assert names(caller, limit=2, offset=24) == ["24"]
    assert names(caller, offset=100) == []


@pytest.mark.parametrize(("name", "value"), [("limit", "-1"), ("limit", "many"), ("offset", "1.5")])
def test_paging_takes_whole_numbers(caller, name, value):
    assert caller.get("/presets", **{name: value}).status_code == 400


@pytest.mark.parametrize(
    "body", ["", "no json", "[]", "{}", '{"name": ""}', '{"name": 7}', '{"name": "a", "description": 1}']
)
def test_a_preset_without_a_good_name_is_refused_in_json(caller, body):
    answer = caller.api.post(f"{caller.base}/presets/", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_deleted_preset_is_gone(caller, jpeg):
    preset_id = upload(caller, "Warm")
    assert caller.api.delete(f"{caller.base}/presets/{preset_id}").status_code == 200
    assert names(caller) == []
    assert caller.get(f"/presets/{preset_id}").status_code == 404
    assert caller.api.delete(f"{caller.base}/presets/{preset_id}").status_code == 404
    assert caller.pfc(caller.upload(jpeg), preset="Warm").status_code == 400


def test_a_half_created_preset_can_be_deleted_and_is_seen_by_the_test_only(caller, emulator):
    made = create(caller, "Half")
    assert caller.get(f"/presets/{made['presetId']}").status_code == 404
    assert emulator.presets() == [{"presetId": made["presetId"], "name": "Half", "uploaded": False}]
    assert caller.api.delete(f"{caller.base}/presets/{made['presetId']}").status_code == 200
    assert emulator.presets() == []
    assert caller.http.put(made["uploadUrl"], content=FILE).status_code == 404


def test_two_presets_may_have_the_same_name(caller):
    assert upload(caller, "Twin") != upload(caller, "Twin")
    assert names(caller) == ["Twin", "Twin"]


def test_presets_can_be_made_by_the_thousand_and_are_usable(caller, emulator, jpeg):
    emulator.make_presets(1_050)
    assert names(caller, limit=2, offset=1_048) == ["Preset 01049", "Preset 01050"]
    assert len({preset["presetId"] for preset in emulator.presets()}) == 1_050
    listed = caller.get("/presets", limit=1).json()["presets"][0]
    uri = caller.get(f"/presets/{listed['presetId']}").json()["uri"]
    assert caller.http.get(uri).content == b"<preset>1</preset>"
    assert caller.pfc(caller.upload(jpeg), preset="Preset 01050").status_code == 200


@pytest.mark.parametrize("count", [-1, 100_001, "7", None, True, 1.5])
def test_only_a_sensible_number_of_presets_is_made(emulator, count):
    with pytest.raises(ValueError, match="count"):
        emulator.make_presets(count)
    assert emulator.presets() == []
