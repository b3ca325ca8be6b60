"""Whatever a file is called: nothing is written outside the place it belongs to."""

from __future__ import annotations

import os
import posixpath
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.naming import check_template
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan.decide import Known, plan
from airflow_provider_perfectlyclear.catalog.plan.model import Plan
from airflow_provider_perfectlyclear.errors import (
    ConfigurationError,
    InvalidSource,
    ItemFailed,
    StorageFailed,
)
from airflow_provider_perfectlyclear.storage import Entry, LocalStore, Store, check_name, is_part, open_store
from tests.fuzz import names
from tests.fuzz.names import CLOSED, SEED

PLANS = 3_000
NAMES = 3_000


def folded(name: str) -> str:
    """As a disk that knows no case, and one other normal form, sees it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


# ---- the plan


def planned(number: int) -> Plan | None:
    """A few evil files under an evil template; None when the template itself is refused."""
    dice = random.Random(f"{SEED}/plan/{number}")
    files = dict.fromkeys(names.name(dice.randrange(10**6)) for _ in range(dice.randrange(1, 5)))
    wanted = [names.part(dice) for _ in range(dice.randrange(3))] if dice.random() < 0.5 else []
    template = names.template(dice) if dice.random() < 0.7 else None
    correction = Correction.parse(dice.choice([None, {"output_type": "png"}, {"remove_background": True}]))
    try:
        check_template(template, bool(wanted))
        options = Options(
            correction=correction,
            renditions=dict.fromkeys(wanted, correction) or None,
            pattern=dice.choice((None, ["*"])),
            name_template=template,
            shard=dice.choice((None, None, "1/2")),
        )
    except ConfigurationError as refused:
        str(refused).encode()
        return None
    entries = [Entry(name, 1, "tag") for name in files]
    digests = dict.fromkeys(options.corrections, "digest")
    known = Known(destination={}, rows={}, digests=digests, run="run", now=0.0, closed=CLOSED)
    return plan(lambda: entries, known, options)


def look_at(made: Plan) -> None:
    for item in made.todo:
        output = item.output
        place = posixpath.normpath(f"/bucket/out/{output}")
        assert place == f"/bucket/out/{output}"
        assert "\0" not in output and "\\" not in output
        assert all(0 < len(part.encode()) <= 255 for part in output.split("/"))
        assert not any((folded(output) + "/").startswith(folded(closed) + "/") for closed in CLOSED)
        assert not is_part(output)
    todo = [folded(item.output) for item in made.todo]
    assert len(todo) == len(set(todo)), "two of one name"
    assert made.listed == made.ignored + len(made.todo) + len(made.refused)
    for refusal in made.refused:
        assert refusal.code in ("UNSAFE_NAME", "NAME_COLLISION")
        refusal.reason.encode()


def test_every_planned_output_lies_under_the_destination_and_in_no_closed_folder() -> None:
    outputs = refused = 0
    for number in range(PLANS):
        try:
            made = planned(number)
            if made is None:
                continue
            look_at(made)
        except Exception as error:
            raise AssertionError(f"seed {SEED}, planned({number}): {error!r}") from error
        outputs += len(made.todo)
        refused += len(made.refused)
    print(f"{PLANS} plans: {outputs} outputs, {refused} refused")
    assert outputs > PLANS / 4 and refused > PLANS / 4


# ---- the stores


def publish(store: Store, name: str, file: Path) -> None:
    store.publish(name, file, "image/jpeg")


def write(store: Store, name: str, file: Path) -> None:
    store.write(name, file.read_bytes())


def create(store: Store, name: str, file: Path) -> None:
    store.create(name, file.read_bytes())


def try_all(store: Store, file: Path) -> set[str]:
    """Write under every name, by one verb after the other; the names that were taken."""
    verbs: list[Callable[[Store, str, Path], None]] = [publish, write, create]
    written = set()
    for number in range(NAMES):
        name, verb = names.name(number), verbs[number % len(verbs)]
        try:
            verb(store, name, file)
            assert check_name(name) == name
            written.add(name)
        except InvalidSource as refused:
            str(refused).encode()
            with pytest.raises(InvalidSource):
                check_name(name)
        except (ItemFailed, StorageFailed):
            check_name(
                name
            )  # in the way of another, or a link in its path: judged by the store, not by the name
        except Exception as error:
            raise AssertionError(
                f"seed {SEED}, {verb.__name__} of names.name({number}): {error!r}"
            ) from error
    return written


def test_no_name_leaves_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # thousands of them take a minute
    outside, root = tmp_path / "outside", tmp_path / "deep" / "root"
    for folder in (outside, root):
        folder.mkdir(parents=True)
    secret = outside / "secret.jpg"
    secret.write_bytes(b"secret")
    (root / "leads-out").symlink_to(outside)
    (root / "leads-up").symlink_to("../..")
    (root / "leads-out.jpg").symlink_to(secret)
    (root / "loops").symlink_to(".")
    file = tmp_path / "finished"
    file.write_bytes(b"picture")

    written = try_all(LocalStore(root), file)

    there = {Path(folder, one) for folder, _, files in os.walk(tmp_path) for one in files}
    links = {root / "leads-out.jpg"} if (root / "leads-out.jpg").is_symlink() else set()
    inside = there - {secret, file} - links
    assert {path for path in inside if not path.is_relative_to(root)} == set()
    assert sorted(outside.iterdir()) == [secret] and secret.read_bytes() == b"secret"
    assert all(path.read_bytes() == b"picture" for path in inside)
    assert {entry.name for entry in LocalStore(root).list()} == {
        path.relative_to(root).as_posix() for path in inside
    }
    plain = {name for name in written if not name.startswith("loops/")}
    assert plain <= {path.relative_to(root).as_posix() for path in inside}
    print(f"{NAMES} names: {len(written)} written")
    assert len(written) > NAMES / 10


@pytest.mark.parametrize("root", ["memory://bucket/root", "memory://bucket/root/", "/bucket/root"])
def test_no_name_leaves_a_prefix(root: str, tmp_path: Path) -> None:
    filesystem: Any = type("OwnMemory", (MemoryFileSystem,), {"store": {}, "pseudo_dirs": [""]})()
    file = tmp_path / "finished"
    file.write_bytes(b"picture")

    store = open_store(filesystem, root)
    written = try_all(store, file)

    assert set(filesystem.store) == {f"/bucket/root/{name}" for name in written}
    assert all(posixpath.normpath(key) == key for key in filesystem.store)
    assert {entry.name for entry in store.list()} == written
    assert len(written) > NAMES / 10
