"""A correction is checked before anything is paid, and its digest never changes."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api.models import Correction, FileType
from airflow_provider_perfectlyclear.errors import ConfigurationError, InvalidCorrection

SWITCHES = {
    "cache": "cache",
    "autocrop": "autocrop",
    "autocrop_detect_only": "autocropDetectOnly",
    "remove_glares": "removeGlares",
    "remove_background": "removeBackground",
    "preserve_metadata": "preserveMetadata",
    "update_thumbnail": "updateThumbnail",
    "include_detection_data": "includeDetectionData",
}
TEXTS = {
    "preset": "preset",
    "autocrop_size": "autocropSize",
    "autocrop_x": "autocropX",
    "autocrop_y": "autocropY",
    "crop_arw": "cropARW",
    "crop_arh": "cropARH",
    "autocrop_top_head_gap": "autocropTopHeadGap",
}
WORDS = {
    "file_type": ("fileType", ["image", "video"]),
    "output_type": ("outputType", ["jpg", "png", "original"]),
    "resize": ("resize", ["auto", "general", "smallDetails"]),
    "skip": ("skip", ["clipart", "legacy", "none"]),
}
NUMBERS = {
    "width": ("width", 32, 10_000),
    "height": ("height", 32, 10_000),
    "long": ("long", 32, 10_000),
    "short": ("short", 32, 10_000),
    "output_quality": ("outputQuality", 40, 100),
    "scale": ("scale", 1, None),
}
NEEDED = {"autocrop_detect_only": {"autocrop": True}, "bg_color": {"remove_background": True}}


def query_of(name: str, value: Any) -> dict[str, str]:
    query = Correction.parse({name: value, **NEEDED.get(name, {})}).query()
    for needed in NEEDED.get(name, {}):
        query.pop({"autocrop": "autocrop", "remove_background": "removeBackground"}[needed])
    return query


def test_every_parameter_of_the_reference_is_known_and_no_other() -> None:
    listed = {*SWITCHES, *TEXTS, *WORDS, *NUMBERS, "bg_color"}
    assert set(Correction.model_fields) == listed


@pytest.mark.parametrize(("name", "theirs"), SWITCHES.items())
@pytest.mark.parametrize(
    ("given", "sent"),
    [(True, "true"), (False, "false"), ("true", "true"), ("False", "false"), (" TRUE ", "true")],
)
def test_a_switch_takes_booleans_and_what_templates_render(
    name: str, theirs: str, given: Any, sent: str
) -> None:
    assert query_of(name, given)[theirs] == sent


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("given", [1, 0, "yes", "", "1", [], {}, 1.0])
def test_a_switch_takes_nothing_else(name: str, given: Any) -> None:
    with pytest.raises(InvalidCorrection, match=f"'{name}' must be true or false"):
        query_of(name, given)


@pytest.mark.parametrize(("name", "theirs"), TEXTS.items())
@pytest.mark.parametrize(
    ("given", "sent"), [("1.5", "1.5"), (1.5, "1.5"), (2, "2"), (2.0, "2"), (-1, "-1"), (" a b ", "a b")]
)
def test_a_text_takes_numbers_and_sends_strings(name: str, theirs: str, given: Any, sent: str) -> None:
    assert query_of(name, given) == {theirs: sent}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("given", ["", "  ", True, [], {}, "a\nb", "x" * 201, float("nan"), float("inf")])
def test_a_text_is_one_line(name: str, given: Any) -> None:
    with pytest.raises(InvalidCorrection, match=f"'{name}' must be"):
        query_of(name, given)


@pytest.mark.parametrize("name", WORDS)
def test_a_word_is_one_of_the_reference(name: str) -> None:
    theirs, words = WORDS[name]
    for word in words:
        assert query_of(name, word) == {theirs: word}
    for wrong in ["", words[0].upper(), words[0] + "x", 1, True, []]:
        with pytest.raises(InvalidCorrection, match=f"'{name}' must be one of {', '.join(words)}, not"):
            query_of(name, wrong)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_in_range(name: str) -> None:
    theirs, low, high = NUMBERS[name]
    top = high or 1_000_000
    for good in [low, top, str(low), f" {top} ", float(low), f"{low}.0"]:
        assert query_of(name, good) == {theirs: str(int(float(good)))}
    for wrong in [
        low - 1,
        top + 1 if high else 0,
        -low,
        True,
        "",
        "abc",
        low + 0.5,
        "1e3",
        [],
        float("nan"),
        10**30,
    ]:
        with pytest.raises(InvalidCorrection, match=f"'{name}' must be a whole number"):
            query_of(name, wrong)


@pytest.mark.parametrize(
    "colour", ["#fff", "#ffff", "#A0b1C2", "#a0b1c2d3", "red", "LightGoldenrodYellow", "transparent"]
)
def test_a_colour_is_hex_or_a_name(colour: str) -> None:
    assert query_of("bg_color", colour) == {"bgColor": colour}


@pytest.mark.parametrize(
    "wrong", ["", "#ff", "#fffff", "#ggg", "fff fff", "rgb(1,2,3)", "red;", 7, True, "a", "x" * 40]
)
def test_nothing_else_is_a_colour(wrong: Any) -> None:
    with pytest.raises(InvalidCorrection, match="'bg_color' must be"):
        query_of("bg_color", wrong)


def test_both_spellings_mean_the_same() -> None:
    theirs = {
        "outputType": "png",
        "removeBackground": True,
        "bgColor": "red",
        "cropARW": 3,
        "autocropTopHeadGap": 1,
    }
    ours = {
        "output_type": "png",
        "remove_background": True,
        "bg_color": "red",
        "crop_arw": 3,
        "autocrop_top_head_gap": 1,
    }
    assert Correction.parse(theirs) == Correction.parse(ours) == Correction(**ours)


def test_both_spellings_at_once_are_refused() -> None:
    with pytest.raises(InvalidCorrection, match="'output_type' is given twice"):
        Correction.parse({"output_type": "png", "outputType": "jpg"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("removeBG", "remove_background"),
        ("removeGlare", "remove_glares"),
        ("remove_bg", "remove_background"),
        ("outputTyp", "output_type"),
        ("widht", "width"),
        ("Preset", "preset"),
        ("output-quality", "output_quality"),
        ("backgroundColor", "bg_color"),
        ("autoCrop", "autocrop"),
        ("cropArW", "crop_arw"),
    ],
)
def test_an_unknown_field_names_the_one_that_was_meant(name: str, meant: str) -> None:
    message = f"Correction field '{name}' is unknown; did you mean '{meant}'?"
    with pytest.raises(InvalidCorrection, match=re.escape(message)):
        Correction.parse({name: "x"})


def test_the_file_key_is_no_part_of_a_correction() -> None:
    with pytest.raises(InvalidCorrection, match="'fileKey' is unknown: the file key is given beside"):
        Correction.parse({"fileKey": "abc"})


def test_an_unknown_field_without_likeness_lists_what_is_known() -> None:
    with pytest.raises(InvalidCorrection, match=r"'zzz' is unknown\. Known are: file_type, preset, cache"):
        Correction.parse({"zzz": 1})


def test_the_constructor_raises_the_same_error() -> None:
    for given in ({"removeBG": 1}, {"width": 3}, {"width": 40, "short": 40}):
        with pytest.raises(InvalidCorrection) as parsed:
            Correction.parse(given)
        with pytest.raises(InvalidCorrection) as built:
            Correction(**given)  # type: ignore[arg-type]
        assert str(parsed.value) == str(built.value)


def test_an_invalid_correction_is_a_configuration_error_and_pickles() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Correction.parse({"width": 3})
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert caught.value.__context__ is None


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(InvalidCorrection, match=r"'width' .* 'skip' "):
        Correction.parse({"width": 3, "skip": "all"})


@pytest.mark.parametrize("first", ["width", "height", "long", "short", "scale"])
@pytest.mark.parametrize("second", ["width", "height", "long", "short", "scale"])
def test_one_way_of_resizing_is_enough(first: str, second: str) -> None:
    if first == second:
        assert query_of(first, 100) == {first: "100"}
    else:
        with pytest.raises(InvalidCorrection, match="exclude each other"):
            Correction.parse({first: 100, second: 100})


@pytest.mark.parametrize(
    ("name", "need"), [("autocrop_detect_only", "autocrop"), ("bg_color", "remove_background")]
)
def test_a_field_that_needs_another_is_refused_without_it(name: str, need: str) -> None:
    value: Any = True if name == "autocrop_detect_only" else "red"
    for without in ({}, {need: False}, {need: None}):
        with pytest.raises(InvalidCorrection, match=f"'{name}' needs {need}=True"):
            Correction.parse({name: value, **without})
    assert Correction.parse({name: value, need: True})
    assert Correction.parse({"autocrop_detect_only": False})


def test_none_means_not_given() -> None:
    assert Correction.parse(dict.fromkeys(Correction.model_fields)).query() == {}
    assert Correction.parse(None).query() == {}


def test_json_is_taken_for_dag_params() -> None:
    assert Correction.parse('{"width": "3000"}').query() == {"width": "3000"}
    assert Correction.parse("null") == Correction()


@pytest.mark.parametrize("wrong", ["", "[]", "7", "'a'", "{'width': 3000}", '"x"', "[" * 100_000, "nope"])
def test_a_string_that_is_no_json_object_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidCorrection, match="JSON object"):
        Correction.parse(wrong)


@pytest.mark.parametrize("wrong", [7, [], [("width", 40)], b"{}", True])
def test_what_is_no_mapping_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidCorrection, match="mapping"):
        Correction.parse(wrong)


def test_names_that_are_no_strings_are_refused() -> None:
    with pytest.raises(InvalidCorrection, match="field 7 is unknown"):
        Correction.parse({7: 1})  # type: ignore[dict-item]


class TestWhileTheDagIsParsed:
    def parse(self, value: Any) -> Correction:
        return Correction.parse(value, templates=True)

    def test_a_whole_template_is_left_for_later(self) -> None:
        assert self.parse("{{ params.correction | tojson }}") == Correction()

    def test_names_are_checked_although_values_are_templates(self) -> None:
        with pytest.raises(InvalidCorrection, match="removeBG"):
            self.parse({"removeBG": "{{ params.x }}"})

    @pytest.mark.parametrize("template", ["{{ params.w }}", "a{% if x %}b{% endif %}", "{# none #}"])
    def test_a_template_is_not_checked(self, template: str) -> None:
        assert self.parse({"width": template}).query() == {}

    def test_values_beside_a_template_are_checked(self) -> None:
        with pytest.raises(InvalidCorrection, match="'width'"):
            self.parse({"width": 3, "skip": "{{ params.skip }}"})

    def test_rules_that_involve_a_template_wait(self) -> None:
        assert self.parse({"autocrop": "{{ a }}", "autocrop_detect_only": True})
        assert self.parse({"remove_background": "{{ a }}", "bg_color": "red"})
        assert self.parse({"width": "{{ a }}", "height": 100})

    def test_rules_that_involve_none_do_not_wait(self) -> None:
        with pytest.raises(InvalidCorrection, match="needs autocrop"):
            self.parse({"width": "{{ a }}", "autocrop_detect_only": True})

    def test_nothing_is_invented_for_a_template(self) -> None:
        assert self.parse({"autocrop": "{{ a }}", "autocrop_detect_only": True}).query() == {
            "autocropDetectOnly": "true"
        }

    def test_when_the_task_runs_a_template_that_was_not_rendered_is_wrong(self) -> None:
        with pytest.raises(InvalidCorrection, match="'width'"):
            Correction.parse({"width": "{{ params.w }}"})


GOLDEN = [
    ({}, "{}"),
    ({"width": "3000", "outputType": "jpg"}, '{"output_type":"jpg","width":3000}'),
    ({"cache": False, "includeDetectionData": True, "fileType": "video", "scale": 200.0}, '{"scale":200}'),
    (
        {
            "removeBackground": "True",
            "bgColor": "#FFF",
            "autocrop": False,
            "cropARW": 4,
            "cropARH": "5",
            "skip": None,
        },
        '{"autocrop":false,"bg_color":"#FFF","crop_arh":"5","crop_arw":"4","remove_background":true}',
    ),
    (
        {
            "preset": "Studio 7",
            "resize": "smallDetails",
            "autocropX": 0.25,
            "outputQuality": "85",
            "long": 2048,
        },
        '{"autocrop_x":"0.25","long":2048,"output_quality":85,"preset":"Studio 7","resize":"smallDetails"}',
    ),
    (
        {
            "autocrop": True,
            "autocropDetectOnly": True,
            "autocropSize": 1,
            "autocropY": "0.5",
            "autocropTopHeadGap": -1,
        },
        '{"autocrop":true,"autocrop_detect_only":true,"autocrop_size":"1","autocrop_top_head_gap":"-1","autocrop_y":"0.5"}',
    ),
    (
        {"removeGlares": True, "preserveMetadata": False, "updateThumbnail": True, "short": 32},
        '{"preserve_metadata":false,"remove_glares":true,"short":32,"update_thumbnail":true}',
    ),
]


@pytest.mark.parametrize(("given", "digested"), GOLDEN)
def test_the_canonical_form_never_changes(given: dict[str, Any], digested: str) -> None:
    """If this fails, every catalog in the world would be corrected, and paid, again."""
    assert json.dumps(Correction.parse(given).canonical(), separators=(",", ":")) == digested


def test_the_order_in_which_fields_are_given_does_not_matter() -> None:
    one = Correction.parse({"width": 100, "preset": "x", "skip": "none"}).canonical()
    two = Correction.parse({"skip": "none", "preset": "x", "width": "100"}).canonical()
    assert json.dumps(one) == json.dumps(two)


def test_a_correction_is_a_value() -> None:
    correction = Correction(width=100, file_type=FileType.IMAGE)
    assert pickle.loads(pickle.dumps(correction)) == correction
    assert Correction.parse(correction) is correction
    with pytest.raises(ValueError, match="frozen"):
        correction.width = 200  # type: ignore[misc]


def test_the_package_imports_without_airflow() -> None:
    folder = Path(__file__).parents[3] / "airflow_provider_perfectlyclear" / "api"
    assert not [
        path
        for path in folder.glob("*.py")
        if re.search(r"^\s*(from|import) airflow\b", path.read_text(), re.M)
    ]
