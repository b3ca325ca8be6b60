"""From two listings and the ledger to what is to be done, and why."""

from __future__ import annotations

import json
import os
import random
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.naming import check_template, output_name, refusal_key
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.plan import brakes, notes
from airflow_provider_perfectlyclear.catalog.plan.brakes import REDO_COUNT
from airflow_provider_perfectlyclear.catalog.plan.decide import Known, plan
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan, Verdict, counts_of
from airflow_provider_perfectlyclear.catalog.plan.planner import CatalogPlanner
from airflow_provider_perfectlyclear.catalog.shards import in_shard
from airflow_provider_perfectlyclear.errors import ConfigurationError, PlanRefused
from airflow_provider_perfectlyclear.storage import Entry, LocalStore

NOW = 1_800_000_000.0
SAME = Entry("a.jpg", 100, "etag")
OTHER = Entry("a.jpg", 100, "other-etag")
LANDED = Row(
    "a.jpg",
    State.LANDED,
    source="a.jpg",
    fingerprint=SAME.fingerprint,
    sha256="bytes",
    digest="d",
    run="earlier",
    job_id="job",
    size=50,
)
BAD = replace(LANDED, state=State.FAILED, code="REJECTED", reason="no image data")
RETRYABLE = replace(LANDED, state=State.FAILED, code="START_REFUSED", reason="busy")
LOST = replace(LANDED, state=State.FAILED, code="JOB_LOST", reason="404")
STARTED = replace(LANDED, state=State.STARTED)
INTENT = replace(LANDED, state=State.INTENT)
ROWS = {
    "none": None,
    "landed": LANDED,
    "bad": BAD,
    "retryable": RETRYABLE,
    "lost": LOST,
    "started": STARTED,
    "intent": INTENT,
}


def planned(
    entries: Iterable[Entry | str],
    *,
    rows: Iterable[Row] = (),
    destination: Mapping[str, int] | None = None,
    digest: str = "d",
    run: str = "tonight",
    **options: Any,
) -> Plan:
    wanted = Options(**{"correction": Correction(), **options})
    listed = [Entry(one, 100, "etag") if isinstance(one, str) else one for one in entries]
    known = Known(
        destination=destination or {},
        rows={row.output: row for row in rows},
        digests=dict.fromkeys(wanted.corrections, digest),
        run=run,
        now=NOW,
    )
    made = plan(lambda: iter(listed), known, wanted)
    assert_each_output_is_in_one_state(made)
    return made


def assert_each_output_is_in_one_state(made: Plan) -> None:
    """I3: what was listed is the sum of the states."""
    lists = (made.todo, made.refused, made.known_bad, made.edited, made.own, made.gone)
    assert made.listed == made.unchanged + made.ignored + sum(map(len, lists))


def verdict(
    row: Row | None, size: int | None, entry: Entry = SAME, *, digest: str = "d", **options: Any
) -> str:
    """What becomes of one picture, in one word."""
    destination = {} if size is None else {"a.jpg": size}
    made = planned([entry], rows=[row] if row else [], destination=destination, digest=digest, **options)
    states = {
        **{item.output: item.reason for item in made.todo},
        **{bad.output: "known bad" for bad in made.known_bad},
        **dict.fromkeys(made.edited, "edited"),
        **dict.fromkeys(made.own, "own"),
    }
    return states.get("a.jpg", "unchanged" if made.unchanged else "nothing")


# ---- the verdicts: row, output (stands: 50, missing: None, edited: 51), source, correction

EVERY = ("changed", "source_changed", "missing", "failed", "always")
SAID = {
    "-": "unchanged",
    "not": "not in the ledger",
    "corr": "correction changed",
    "source": "source changed",
    "gone": "output missing",
    "bad": "known bad",
    "retry": "failed before",
    "lost": "job lost",
}


def table(text: str) -> list[Any]:
    """Lines of: row, size, source, correction, then one verdict for each way of ``reprocess``."""
    cases = []
    for line in text.strip().splitlines():
        row, size, source, correction, *verdicts = [cell.strip() for cell in line.split("|")]
        for reprocess, expected in zip(EVERY, verdicts, strict=True):
            name = f"{row}-{size}-{source}-{correction}-{reprocess}"
            wanted = SAID.get(expected, expected)
            cases.append(pytest.param(row, size, source, correction, reprocess, wanted, id=name))
    return cases


@pytest.mark.parametrize(
    ("row", "size", "source", "correction", "reprocess", "expected"),
    # row     | output  | source  | correct | changed, source_changed, missing, failed, always
    table(
        """
        none      | missing | same    | same    | new    | new    | new    | new    | new
        none      | stands  | same    | same    | not    | not    | -      | not    | always
        landed    | stands  | same    | same    | -      | -      | -      | -      | always
        landed    | stands  | same    | changed | corr   | -      | -      | corr   | always
        landed    | stands  | changed | same    | source | source | -      | source | always
        landed    | stands  | changed | changed | source | source | -      | source | always
        landed    | missing | same    | same    | gone   | gone   | gone   | gone   | always
        landed    | missing | same    | changed | corr   | gone   | gone   | corr   | always
        landed    | missing | changed | same    | source | source | gone   | source | always
        landed    | edited  | same    | same    | edited | edited | edited | edited | always
        landed    | edited  | changed | changed | edited | edited | edited | edited | always
        bad       | missing | same    | same    | bad    | bad    | bad    | retry  | retry
        bad       | missing | same    | changed | corr   | bad    | bad    | corr   | corr
        bad       | missing | changed | same    | source | source | source | source | source
        bad       | stands  | same    | same    | bad    | bad    | -      | retry  | retry
        retryable | missing | same    | same    | retry  | retry  | retry  | retry  | retry
        retryable | missing | same    | changed | corr   | retry  | retry  | corr   | corr
        retryable | missing | changed | same    | source | source | source | source | source
        retryable | stands  | same    | same    | retry  | retry  | -      | retry  | retry
        retryable | stands  | changed | changed | source | source | -      | source | source
        lost      | missing | same    | same    | lost   | lost   | lost   | lost   | lost
        lost      | missing | changed | same    | source | source | source | source | source
        started   | missing | same    | same    | own    | own    | own    | own    | own
        started   | missing | changed | changed | own    | own    | own    | own    | own
        started   | stands  | changed | changed | own    | own    | own    | own    | own
        intent    | missing | same    | same    | own    | own    | own    | own    | own
        intent    | edited  | changed | changed | own    | own    | own    | own    | own
        """
    ),
)
def test_what_becomes_of_a_picture(
    row: str, size: str, source: str, correction: str, reprocess: Any, expected: str
) -> None:
    assert (
        verdict(
            ROWS[row],
            {"stands": 50, "missing": None, "edited": 51}[size],
            SAME if source == "same" else OTHER,
            digest="d" if correction == "same" else "another",
            reprocess=reprocess,
        )
        == expected
    )


def test_what_only_data_was_wanted_of_has_no_size_to_differ() -> None:
    assert verdict(replace(LANDED, size=None), 7) == "unchanged"


def test_what_this_run_landed_is_its_own_and_always_means_once() -> None:
    mine = replace(LANDED, run="tonight", paid_by="tonight")
    for reprocess in EVERY:
        assert verdict(mine, 50, reprocess=reprocess) == "own"


@pytest.mark.parametrize("reprocess", EVERY)
def test_what_failed_for_good_in_this_run_is_not_paid_again_by_its_retries(reprocess: str) -> None:
    assert verdict(replace(BAD, run="tonight"), None, reprocess=reprocess) == "known bad"
    assert verdict(replace(RETRYABLE, run="tonight"), None, reprocess=reprocess) == "failed before"


@pytest.mark.parametrize("reprocess", EVERY)
@pytest.mark.parametrize("run", ["earlier", "tonight"])
def test_what_only_the_check_has_refused_is_tried_without_the_check(run: str, reprocess: str) -> None:
    cut = replace(BAD, code="TRUNCATED_SOURCE", sha256="", job_id=None, run=run)
    options = {"check_source": False, "reprocess": reprocess}
    assert verdict(cut, None, **options) == "failed before"
    beside = replace(cut, output=refusal_key("a.jpg"))
    made = planned([SAME], rows=[beside], **options)
    assert [item.output for item in made.todo] == ["a.jpg"]
    assert verdict(replace(BAD, code="INVALID_SOURCE"), None, check_source=False) == "known bad"


# ---- what may spare a job


def hints(row: Row, size: int | None, entry: Entry, **more: Any) -> tuple[str | None, str | None]:
    destination = {} if size is None else {"a.jpg": size}
    (item,) = planned([entry], rows=[row], destination=destination, **more).todo
    return item.job_id, item.sha256


def test_a_missing_output_is_asked_for_at_its_job() -> None:
    assert hints(LANDED, None, SAME) == ("job", None)


def test_the_job_of_another_content_or_correction_is_not_asked() -> None:
    assert hints(LANDED, None, OTHER) == (None, None)
    assert hints(LANDED, None, SAME, digest="another") == (None, None)


def test_a_source_with_another_fingerprint_may_have_the_same_bytes() -> None:
    assert hints(LANDED, 50, OTHER) == (None, "bytes")
    assert hints(BAD, None, OTHER) == (None, "bytes")  # the same content stays bad
    assert hints(LANDED, 50, OTHER, digest="another") == (None, None)
    assert hints(LANDED, 50, OTHER, digest="another", reprocess="source_changed") == (None, "bytes")


def test_the_same_bytes_are_no_reason_to_leave_out_what_has_no_result_yet() -> None:
    assert hints(RETRYABLE, None, OTHER) == (None, None)
    assert hints(LOST, None, OTHER) == (None, None)
    assert hints(BAD, None, OTHER, reprocess="failed") == (None, None)


# ---- names


@pytest.mark.parametrize(
    ("source", "correction", "expected"),
    [
        ("a.jpg", {}, "a.jpg"),
        ("b/a.TIF", {}, "b/a.TIF"),
        ("a.tif", {"output_type": "original"}, "a.tif"),
        ("a.tif", {"output_type": "jpg"}, "a.jpg"),
        ("a.JPEG", {"output_type": "jpg"}, "a.JPEG"),
        ("a.JPG", {"output_type": "jpg"}, "a.JPG"),
        ("a.jpg", {"output_type": "png"}, "a.png"),
        ("a.jpg", {"remove_background": True}, "a.png"),
        ("a.jpg", {"remove_background": True, "output_type": "jpg"}, "a.jpg"),
        ("a.mp4", {"output_type": "png"}, "a.mp4"),
        ("a.MOV", {"remove_background": True}, "a.MOV"),
        ("archive.tar.jpg", {"output_type": "png"}, "archive.tar.png"),
        ("v1.2/noext", {}, "v1.2/noext"),
        ("v1.2/noext", {"output_type": "png"}, "v1.2/noext.png"),
    ],
)
def test_an_output_keeps_its_name_with_the_extension_of_what_comes_back(
    source: str, correction: dict[str, Any], expected: str
) -> None:
    assert output_name(source, Correction(**correction)) == expected


@pytest.mark.parametrize(
    ("source", "template", "expected"),
    [
        ("b/c/a.tif", "{path}", "b/c/a.jpg"),
        ("b/c/a.tif", "{dir}/done/{stem}.{ext}", "b/c/done/a.jpg"),
        ("a.tif", "{dir}/done/{stem}.{ext}", "done/a.jpg"),
        ("b/a.tif", "{rendition}/{path}", "web/b/a.jpg"),
        ("b/a.tif", "{stem}-{rendition}.{ext}", "a-web.jpg"),
        ("b/{ext}{dir}.tif", "{path}", "b/{ext}{dir}.jpg"),
        ("b/%s{0}.tif", "{stem}.{ext}", "%s{0}.jpg"),
    ],
)
def test_a_template_is_plain_replacement(source: str, template: str, expected: str) -> None:
    correction = Correction(output_type="jpg")
    assert output_name(source, correction, rendition="web", template=template) == expected


def test_a_rendition_is_a_folder_unless_a_template_says_otherwise() -> None:
    assert output_name("b/a.jpg", Correction(), rendition="web") == "web/b/a.jpg"


@pytest.mark.parametrize("template", ["{name}", "{path", "path}", "{path!r}", "{}"])
def test_a_template_with_an_unknown_field_is_refused(template: str) -> None:
    with pytest.raises(ConfigurationError, match="unknown field"):
        check_template(template, renditions=False)


def test_renditions_need_names_of_their_own() -> None:
    check_template("{path}", renditions=False)
    check_template("{rendition}/{path}", renditions=True)
    with pytest.raises(ConfigurationError, match=r"needs \{rendition\}"):
        check_template("{path}", renditions=True)


def test_renditions_are_outputs_each() -> None:
    made = planned(["a.jpg"], renditions={"web": Correction(), "print": Correction(output_type="png")})
    assert [item.output for item in made.todo] == ["web/a.jpg", "print/a.png"]
    assert made.listed == 2


# ---- collisions

NFC, NFD = (unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD"))
COLLISIONS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "extension": (["a.png", "a.tif"], {"correction": Correction(output_type="jpg")}),
    "case": (["A.jpg", "a.jpg"], {}),
    "folder-case": (["B/a.jpg", "b/a.jpg"], {}),
    "normal-form": ([NFC, NFD], {}),
    "flattened": (["b/a.jpg", "c/a.jpg"], {"name_template": "{stem}.{ext}"}),
    "three": (["A.JPG", "A.jpg", "a.jpg"], {}),
}


@pytest.mark.parametrize("kind", COLLISIONS)
def test_names_that_collide_are_refused_both_and_the_others_go_on(kind: str) -> None:
    names, options = COLLISIONS[kind]
    made = planned(["0.jpg", *names, "z.jpg"], **options)

    assert [item.source for item in made.todo] == ["0.jpg", "z.jpg"]
    assert [refusal.item.source for refusal in made.refused] == names
    assert {refusal.code for refusal in made.refused} == {"NAME_COLLISION"}
    for refusal in made.refused:
        assert all(repr(name) in refusal.reason for name in names)


def refused_rows(made: Plan) -> list[Row]:
    """As a run writes them down."""
    return [
        Row(refusal_key(item.source), State.FAILED, item.source, item.fingerprint, code=code, reason=reason)
        for item, code, reason in made.refused
    ]


def test_many_collisions_are_ten_lines_in_the_log_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    made = planned([name for number in range(14) for name in (f"{number}.jpg", f"{number}.JPG")])
    assert len(notes.failures_of_refused(made)) == 28
    *named, last = [record.getMessage() for record in caplog.records]
    assert len(named) == 10 and all("NAME_COLLISION" in line for line in named)
    assert last == "... and 18 more NAME_COLLISION; the manifest names all"


def test_a_collision_is_known_the_next_night_until_it_is_another() -> None:
    first = planned(["A.jpg", "a.jpg"])
    second = planned(["A.jpg", "a.jpg"], rows=refused_rows(first))
    assert (len(second.known_bad), second.refused) == (2, [])
    third = planned(["A.JPG", "A.jpg", "a.jpg"], rows=refused_rows(first))
    assert len(third.refused) == 3
    fourth = planned(["A.jpg"], rows=refused_rows(first))
    assert [item.output for item in fourth.todo] == ["A.jpg"]


def test_who_landed_first_keeps_its_row_when_another_comes_to_collide() -> None:
    made = planned(["A.jpg", "a.jpg"], rows=[LANDED], destination={"a.jpg": 50})
    rows = [LANDED, *refused_rows(made)]
    assert len({row.output for row in rows}) == 3
    again = planned(["a.jpg"], rows=rows, destination={"a.jpg": 50})
    assert again.unchanged == 1


def test_a_collision_with_what_another_shard_does_is_found_too() -> None:
    names = ["A.jpg", "a.jpg"]
    refused = [
        refusal.item.source for shard in ("1/2", "2/2") for refusal in planned(names, shard=shard).refused
    ]
    assert sorted(refused) == names


def test_what_is_excluded_collides_with_nothing() -> None:
    made = planned(["a.png", "a.tif"], correction=Correction(output_type="jpg"), exclude=["*.png"])
    assert ([item.source for item in made.todo], made.ignored) == (["a.tif"], 1)


@pytest.mark.parametrize(
    "name",
    [
        "b\\a.jpg",
        "C:\\a.jpg",
        "C:/a.jpg",
        "nul\0.jpg",
        "b//a.jpg",
        "x" * 252 + ".jpg",
        os.fsdecode(b"caf\xe9.jpg"),
    ],
)
def test_an_unsafe_name_fails_alone_and_is_known_the_next_night(name: str) -> None:
    made = planned([name, "good.jpg"])
    assert [item.output for item in made.todo] == ["good.jpg"]
    ((item, code, _),) = made.refused
    assert (item.source, code) == (name, "UNSAFE_NAME")
    assert planned([name, "good.jpg"], rows=refused_rows(made)).refused == []


@pytest.mark.parametrize("template", ["IN/{path}", "in", "In/deep/{path}", "in/{path}"])
def test_a_closed_folder_is_closed_in_any_case_and_its_name_is_taken(template: str) -> None:
    known = Known({}, {}, {"": "d"}, "tonight", NOW, closed=["in"])
    made = plan(
        lambda: [Entry("a.jpg", 1, "x")], known, Options(correction=Correction(), name_template=template)
    )
    assert [refusal.code for refusal in made.refused] == ["UNSAFE_NAME"] and not made.todo


@pytest.mark.parametrize("closed", ["in", "in/deep", ".perfectlyclear"])
def test_no_original_and_no_record_is_ever_overwritten(closed: str) -> None:
    listed = [Entry(name, 1, "x") for name in ("a.jpg", f"{closed}/a.jpg", f"{closed}side/a.jpg")]
    known = Known({}, {}, {"": "d"}, "tonight", NOW, closed=[closed])
    made = plan(lambda: listed, known, Options(correction=Correction(), name_template="{path}"))
    hidden = closed.startswith(".")
    assert [item.output for item in made.todo] == (["a.jpg"] if hidden else ["a.jpg", f"{closed}side/a.jpg"])
    assert [code for _, code, _ in made.refused] == ([] if hidden else ["UNSAFE_NAME"])


def test_a_template_cannot_lead_into_the_ledger() -> None:
    known = Known({}, {}, {"": "d"}, "tonight", NOW, closed=[".perfectlyclear"])
    options = Options(correction=Correction(), name_template=".perfectlyclear/{path}")
    assert plan(lambda: [SAME], known, options).refused


@pytest.mark.parametrize(
    "template", ["../{path}", "/../{path}", "a/../{path}", "{dir}/./{stem}{ext}", "a\\{path}"]
)
def test_a_template_cannot_lead_out(template: str) -> None:
    with pytest.raises(ConfigurationError, match="leads out of the destination"):
        check_template(template, renditions=False)


def test_a_name_that_leads_out_is_refused_wherever_it_comes_from() -> None:
    assert planned(["a.jpg"], name_template="../{path}").refused
    assert planned(["b/a.jpg"], name_template="/{path}").refused


@pytest.mark.parametrize("template", ["/{path}", "Aus\u00a0wahl/{path}", "{stem}\u200d.{ext}"])
def test_other_templates_are_taken(template: str) -> None:
    check_template(template, renditions=False)


@pytest.mark.parametrize("template", [5, ["{path}"]])
def test_a_template_is_text(template: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be text"):
        check_template(template, renditions=False)


def test_a_rendition_cannot_lead_out() -> None:
    with pytest.raises(ConfigurationError, match="no name of a folder below the destination"):
        planned(["a.jpg"], renditions={"../up": Correction()})


# ---- what is selected


@pytest.mark.parametrize(
    "name",
    [
        ".a.jpg",
        ".git/a.jpg",
        "b/.thumbs/a.jpg",
        "b/.a.jpg",
        "../up.jpg",
        "b/../up.jpg",
        "a.txt",
        "jpg",
        "a.jpg.part",
    ],
)
def test_hidden_files_and_other_types_are_ignored(name: str) -> None:
    made = planned([name, "a..jpg"])
    assert ([item.source for item in made.todo], made.ignored, made.listed) == (["a..jpg"], 1, 2)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({}, {"a.JPG", "b/c.heic", "b/d.mp4"}),
        ({"pattern": ["*.heic"]}, {"b/c.heic"}),
        ({"pattern": ["b/*"]}, {"b/c.heic", "b/d.mp4", "b/notes.txt"}),
        ({"pattern": ["*.JPG", "notes.*"]}, {"a.JPG", "b/notes.txt"}),
        ({"exclude": ["*.mp4"]}, {"a.JPG", "b/c.heic"}),
        ({"exclude": ["b/*"]}, {"a.JPG"}),
        ({"pattern": ["*"], "exclude": ["[abc].*"]}, {"b/d.mp4", "b/notes.txt"}),
    ],
)
def test_patterns_choose_and_exclude(options: dict[str, Any], chosen: set[str]) -> None:
    made = planned(["a.JPG", "b/c.heic", "b/d.mp4", "b/notes.txt"], **options)
    assert {item.source for item in made.todo} == chosen
    assert made.ignored == 4 - len(chosen)


def test_young_files_are_left_for_the_next_run() -> None:
    entries = [
        Entry("old.jpg", 1, "x", NOW - 61),
        Entry("young.jpg", 1, "x", NOW - 59),
        Entry("ageless.jpg", 1, "x", None),
    ]
    made = planned(entries, min_age=60)
    assert ([item.source for item in made.todo], made.ignored) == (["old.jpg", "ageless.jpg"], 1)
    assert len(planned(entries).todo) == 3


# ---- shards


def test_shards_share_everything_and_nothing_twice() -> None:
    names = [f"{number}/é{number * 7}.jpg" for number in range(500)] + ["notes.txt", ".hidden.jpg"]
    plans = [planned(names, shard=f"{which}/16") for which in range(1, 17)]
    sources = [item.source for made in plans for item in made.todo]
    assert sorted(sources) == sorted(names[:500])
    assert sum(made.listed for made in plans) == len(names)
    assert min(len(made.todo) for made in plans) > 10


def test_a_picture_stays_in_its_shard_when_others_come() -> None:
    dice = random.Random(1)
    names = [f"{dice.getrandbits(40):x}.jpg" for _ in range(100)]
    before = {name: [which for which in range(1, 5) if in_shard(name, (which, 4))] for name in names}
    assert all(len(shards) == 1 for shards in before.values())
    few = {item.source for item in planned(names[:50], shard="2/4").todo}
    many = {item.source for item in planned(names, shard="2/4").todo}
    assert few == many & set(names[:50])
    assert in_shard("a.jpg", (7, 16)) and in_shard("b/é.jpg", (2, 16))  # in every version: lanes depend on it


def test_renditions_of_a_picture_are_in_one_shard() -> None:
    renditions = {name: Correction() for name in ("web", "print", "thumb")}
    for which in range(1, 5):
        made = planned([f"{number}.jpg" for number in range(40)], shard=f"{which}/4", renditions=renditions)
        assert len(made.todo) == 3 * len({item.source for item in made.todo})


# ---- the redo guard, and what is said


def redone(changed: int, existing: int, **options: Any) -> Plan:
    """So many of so many pictures have another correction."""
    names = [f"{number:03}.jpg" for number in range(existing)]
    rows = [
        replace(LANDED, output=name, source=name, digest="old" if number < changed else "d")
        for number, name in enumerate(names)
    ]
    return planned([*names, "new.jpg"], rows=rows, destination=dict.fromkeys(names, 50), **options)


@pytest.mark.parametrize(
    ("changed", "existing", "stops"),
    [(20, 20, False), (21, 21, True), (21, 210, False), (21, 209, True), (40, 400, False), (41, 400, True)],
)
def test_much_that_exists_is_not_paid_again_by_accident(changed: int, existing: int, stops: bool) -> None:
    made = redone(changed, existing)
    assert brakes.may_refuse(made, ANY, knows_nothing=False) is stops
    if not stops:
        return guard(made)
    with pytest.raises(PlanRefused) as failure:
        guard(made)
    said = str(failure.value)
    assert said.startswith(
        f"Refused: {changed} of {existing} existing or paid outputs in s3://media/out would be paid"
    )
    assert f"({changed} correction changed)" in said
    assert f"max_paid_again={changed}." in said and 'reprocess="source_changed"' in said
    return None


def test_a_paid_picture_that_failed_is_one_of_those_that_would_be_paid_again() -> None:
    names = [f"{number:03}.jpg" for number in range(34)]
    rows = [replace(LANDED, output=name, source=name, digest="old") for name in names]
    rows.append(replace(BAD, output="bad.jpg", source="bad.jpg", digest="old"))
    made = planned([*names, "bad.jpg", "new.jpg"], rows=rows, destination=dict.fromkeys(names, 50))
    with pytest.raises(PlanRefused, match=r"^Refused: 35 of 35 existing or paid outputs in"):
        guard(made)


@pytest.mark.parametrize(
    ("most", "limit", "stops"),
    [
        (41, None, False),
        (40, None, True),
        ("11%", None, False),
        ("9%", None, True),
        (5, 5, False),
        (5, 6, True),
    ],
)
def test_what_may_be_paid_again_has_a_dial_of_its_own(most: Any, limit: int | None, stops: bool) -> None:
    options = Options(correction=Correction(), max_paid_again=most, limit=limit)
    assert brakes.may_refuse(redone(41, 400), options, knows_nothing=False) is stops


@pytest.mark.parametrize(
    ("pictures", "options", "stops"),
    [
        (1001, {}, True),
        (1000, {}, False),
        (1001, {"max_new_jobs": 1001}, False),
        (1001, {"limit": 1000}, False),
        (1001, {"reprocess": "always"}, True),
    ],
)
def test_a_large_first_night_is_confirmed(pictures: int, options: dict[str, Any], stops: bool) -> None:
    made = planned([f"{number}.jpg" for number in range(pictures)], **options)
    wanted = Options(correction=Correction(), **options)
    assert brakes.may_refuse(made, wanted, knows_nothing=True) is stops
    assert not brakes.may_refuse(made, wanted, knows_nothing=False)


ANY = Options(correction=Correction())


def guard(made: Plan, options: Options = ANY) -> None:
    brakes.brake(made, options, where="s3://media/out", knows_nothing=False)


def test_a_lost_state_folder_would_pay_for_everything_again() -> None:
    names = [f"{number}.jpg" for number in range(REDO_COUNT + 1)]
    destination = dict.fromkeys(names, 50)
    with pytest.raises(PlanRefused, match="21 not in the ledger") as failure:
        guard(planned(names, destination=destination))
    said = 'set reprocess="missing" and leave it set. Edited originals are not noticed then.'
    assert str(failure.value).endswith(said)
    guard(planned(names, destination=destination, reprocess="missing"))


@pytest.mark.parametrize(
    ("options", "stops"),
    [
        ({}, "paid for again"),
        ({"reprocess": "failed"}, "paid for again"),
        ({"max_new_jobs": 22}, "paid for again"),
        ({"limit": 1}, "paid for again"),
        ({"max_paid_again": 21}, None),
        ({"max_paid_again": "100%"}, None),
        ({"max_new_jobs": 21}, "max_new_jobs allows 21"),
        ({"reprocess": "always"}, None),
        ({"reprocess": "missing"}, None),
        ({"reprocess": "source_changed"}, None),
    ],
)
def test_the_redo_guard_is_lifted_by_saying_what_is_meant(
    tmp_path: Path, options: dict[str, Any], stops: str | None
) -> None:
    places = Places(
        LocalStore(tmp_path / "in"), LocalStore(tmp_path / "out"), LocalStore(tmp_path / "out" / "state")
    )
    given = Options(correction=Correction(), **options)
    planner = CatalogPlanner(places, given, None, look=lambda: None)
    ledger = Ledger(places.state, "all", run="tonight", title="tonight")
    made = redone(21, 21, **options)
    if stops is None:
        planner.brake(made, ledger)
        return
    with pytest.raises(PlanRefused, match=stops):
        planner.brake(made, ledger)


def test_what_does_not_exist_yet_is_never_paid_again() -> None:
    guard(planned([f"{number}.jpg" for number in range(1000)]))


def test_files_that_were_only_touched_are_taken_out_of_the_plan() -> None:
    rows = [replace(LANDED, output=name, source=name) for name in ("a.jpg", "b.jpg", "c.jpg")]
    entries = [Entry(name, 100, "touched") for name in ("a.jpg", "b.jpg", "c.jpg")] + [Entry("n.jpg", 1, "x")]
    made = planned(entries, rows=rows, destination=dict.fromkeys(("a.jpg", "b.jpg", "c.jpg"), 50))
    same = str(LANDED.sha256)
    settled = made.settle({"a.jpg": same, "b.jpg": "other bytes", "c.jpg": same, "n.jpg": same}, {})

    assert [item.output for item in settled] == ["a.jpg", "c.jpg"]
    assert [item.output for item in made.todo] == ["b.jpg", "n.jpg"]
    assert made.unchanged == 2
    assert_each_output_is_in_one_state(made)


def test_the_plan_is_one_line_that_says_why() -> None:
    made = redone(2, 1500)
    made.known_bad = [BAD] * 3
    made.edited = ["x.jpg"]
    made.ignored = 1200
    assert made.line() == (
        "to correct: 3 (2 correction changed, 1 new); 1,498 unchanged, 3 known bad, 1 edited at destination, "
        "1,200 ignored, 2 paid again"
    )
    assert Plan().line() == "to correct: 0; 0 unchanged"


def test_the_source_is_listed_once_unless_names_collide() -> None:
    listings = 0

    def listed(names: list[str]) -> Plan:
        def source() -> list[Entry]:
            nonlocal listings
            listings += 1
            return [Entry(name, 1, "x") for name in names]

        return plan(source, Known({}, {}, {"": "d"}, "tonight", NOW), Options(correction=Correction()))

    listed(["a.jpg", "b.jpg"])
    assert listings == 1
    listed(["a.jpg", "A.jpg"])
    assert listings == 3


def test_an_item_is_plain_data_that_survives_a_deferral() -> None:
    (item,) = planned(["a.jpg"]).todo
    assert Item(*list(item)) == item
    assert Item(*json.loads(json.dumps(item))) == item and item.reason is Verdict.NEW


def test_a_verdict_is_stored_as_the_words_that_earlier_versions_wrote() -> None:
    made = planned(["a.jpg", "b.jpg"], rows=[LOST])
    assert json.dumps(sorted(counts_of(made, "tonight").reasons)) == '["job lost", "new"]'
    assert all(type(reason) is str for reason in counts_of(made, "tonight").reasons)


def test_an_open_job_belongs_to_the_run_that_lands_it_not_to_the_plan() -> None:
    made = planned([SAME], rows=[STARTED])
    assert (made.own, made.todo) == (["a.jpg"], [])
