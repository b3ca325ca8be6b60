"""The log is the lock: who writes the next number owns the lane, and all readers read the same from it."""

from __future__ import annotations

import gzip
import json
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_perfectlyclear.catalog.ledger import lane as ledger_module
from airflow_provider_perfectlyclear.catalog.ledger import owners, records
from airflow_provider_perfectlyclear.catalog.ledger.lane import (
    CHECKPOINT_EVERY,
    HEARTBEAT,
    KEEP,
    Ledger,
)
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.ledger.segments import list_lanes, read_lane, segment_name
from airflow_provider_perfectlyclear.errors import LaneHeld, LaneLost, LedgerError, StorageFailed
from airflow_provider_perfectlyclear.storage import LocalStore, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path)


def ledger_of(store: Store, run: str = "night1", lane: str = "all") -> Ledger:
    found = Ledger(store, lane, run=run, title=f"run {run!r}")
    found.load()
    return found


def owner_of(store: Store, run: str = "night1", lane: str = "all") -> Ledger:
    found = ledger_of(store, run, lane)
    assert found.take()
    return found


def row(output: str, **more: Any) -> Row:
    return Row(output, State.INTENT, source=output, fingerprint="1-a", query={}, file_key="k", **more)


def segment(store: Store, number: int) -> Path:
    return Path(store.path(segment_name("all", number)))


# ---- what is read is what was written


def some_records(dice: random.Random) -> list[dict[str, Any]]:
    """As an engine writes them, and as it never would: replaying must not depend on good manners."""
    made = []
    for _ in range(dice.randint(0, 4)):
        name = f"{dice.randint(1, 6)}\n🌄.jpg"
        one = row(name, sha256=f"{dice.getrandbits(32):x}", digest=dice.choice("ab"))
        made.append(
            dice.choice(
                [
                    lambda one=one: records.intent(one, again=dice.random() < 0.3),
                    lambda one=one: records.started(one.output, f"j{dice.getrandbits(20)}"),
                    lambda one=one: records.landed(one.output, size=dice.choice([None, 9]), usage={"n": 2}),
                    lambda one=one: records.landed(one.output, size=1, usage=None),
                    lambda one=one: records.seen(one.output, "2-b"),
                    lambda one=one: records.failed(one, dice.choice(["REJECTED", "TIMEOUT"]), "why"),
                    lambda one=one: {"r": "forgotten", "output": one.output},
                ]
            )()
        )
    return made


@pytest.mark.parametrize("seed", range(40))
def test_reading_gives_what_the_owner_has_in_memory(tmp_path: Path, seed: int) -> None:
    dice, store = random.Random(seed), LocalStore(tmp_path)
    owner = owner_of(store)
    for step in range(25):
        match dice.randint(0, 9):
            case 0:
                owner.checkpoint()
            case 1:
                owner.park(some_records(dice))
                owner = owner_of(store, f"night{step}")
            case 2:
                owner.checkpoint(release=True)
                owner = owner_of(store, f"night{step}")
            case _:
                owner.append(some_records(dice))
        view = read_lane(store, "all", run=owner.run)
        assert view.rows == owner.rows
        assert (view.head, view.checkpoint) == (owner.head, owner.view.checkpoint)


def test_a_resume_that_knows_only_its_own_part_still_writes_the_whole_map(store: Store) -> None:
    owner = owner_of(store)
    owner.append([records.intent(row("a.jpg")), records.started("a.jpg", "j1")])
    owner.append([records.landed("a.jpg", size=9, usage=None), records.intent(row("b.jpg"))])
    owner.park()
    resumed = Ledger(store, "all", run="night1", title="")
    assert resumed.continue_from({"b.jpg": owner.rows["b.jpg"]}, owner.head, owner.view.checkpoint)
    assert resumed.take()
    resumed.append([records.started("b.jpg", "j2")])
    resumed.checkpoint(release=True)

    rows = read_lane(store, "all").rows
    assert {name: one.state for name, one in rows.items()} == {"a.jpg": State.LANDED, "b.jpg": State.STARTED}


def test_what_a_resume_missed_is_noticed_by_its_first_number(store: Store) -> None:
    owner = owner_of(store)
    owner.park()
    head = owner.head
    owner_of(store, "another").release()
    resumed = Ledger(store, "all", run="night1", title="")
    assert resumed.continue_from({}, head, 0)
    assert not resumed.take()
    assert not resumed.owned


def test_what_was_never_parked_is_not_gone_on_from(store: Store) -> None:
    owner = owner_of(store)
    resumed = Ledger(store, "all", run="night1", title="")
    assert not resumed.continue_from({}, owner.head + 1, 0)  # its owner died before it wrote that
    assert not resumed.continue_from({}, owner.head, 0)  # another run works there


# ---- what cannot be understood stops the run


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"v":1}',
        b'{"v":1,"run":"r","title":"t","checkpoint":"x","at":1}',
        b'{"v":1,"run":"r","title":"t","checkpoint":0,"at":1}\n{"r":"started"',
        b'{"v":1,"run":"r","title":"t","checkpoint":0,"at":1}\n["started"]',
        b'{"v":1,"run":"r","title":"t","checkpoint":0,"at":1}\n7',
        b'{"v":1,"run":"r","title":"t","checkpoint":0,"at":1}\n{"r":"started","output":"a.jpg"}',
        b'{"v":1,"run":"r","title":"t","checkpoint":0,"at":1}\n{"r":"row","output":"a.jpg","state":"gone"}',
        b"\x1f\x8bcut",
        gzip.compress(b'{"v":1}', mtime=0)[:-9],
    ],
)
@pytest.mark.parametrize("number", [2, 3])
def test_a_broken_segment_stops_the_run_and_names_the_remedy(
    store: Store, content: bytes, number: int
) -> None:
    owner = owner_of(store)
    owner.append([])
    owner.append([])
    segment(store, number).write_bytes(content)
    with pytest.raises(
        LedgerError, match=r"(?s)cannot be read.*Restore it from a backup.*move.*accept_ledger"
    ) as failure:
        read_lane(store, "all")
    assert str(segment(store, number)) in str(failure.value)
    assert str(segment(store, number).parent) in str(failure.value)


def test_a_gap_stops_the_run_and_names_the_segment(store: Store) -> None:
    owner = owner_of(store)
    owner.append([])
    owner.append([])
    segment(store, 2).unlink()
    with pytest.raises(LedgerError, match=r"00000002\.jsonl is missing"):
        read_lane(store, "all")


def test_moving_a_broken_lane_away_lets_the_run_go_on(store: Store) -> None:
    owner_of(store)
    segment(store, 1).write_bytes(b"broken")
    segment(store, 1).parent.rename(segment(store, 1).parent.with_name("moved-away"))
    assert owner_of(store).head == 1


@pytest.mark.parametrize("version", [0, 99])
def test_another_version_s_segment_is_refused_with_what_to_do(store: Store, version: int) -> None:
    owner_of(store)
    header = {"v": version, "of": "another time"}
    segment(store, 2).write_bytes(json.dumps(header).encode() + b"\nnot even JSON any more")
    with pytest.raises(LedgerError, match=rf"(?s)layout {version}, this version reads 1.*Upgrade") as failure:
        read_lane(store, "all")
    assert str(segment(store, 2)) in str(failure.value)


def test_foreign_files_in_the_folder_are_no_segments(store: Store) -> None:
    owner = owner_of(store)
    for name in ("00000009.jsonl.bak", "README", ".pfc-0-1.part", "x0000009.jsonl"):
        segment(store, 1).with_name(name).write_bytes(b"whatever")
    assert read_lane(store, "all").head == owner.head


# ---- one winner for each number


def test_losing_a_number_is_losing_the_lane_and_nothing_more(store: Store) -> None:
    first = owner_of(store)
    first.append([records.intent(row("a.jpg"))])
    second = owner_of(store, "night2")
    before = dict(first.rows)

    with pytest.raises(LaneLost, match=r"(?s)Another run took the lock on.*starts no more jobs"):
        first.append([records.started("a.jpg", "j1")])
    assert not first.owned
    assert first.rows == before
    second.append([records.started("a.jpg", "j2")])
    assert read_lane(store, "all").rows["a.jpg"].job_id == "j2"


def test_of_many_owners_one_wins_each_number(store: Store) -> None:
    ready = threading.Barrier(8)
    won: list[tuple[int, str]] = []

    def fight(run: str) -> None:
        for _ in range(15):
            ledger = ledger_of(store, run)
            ready.wait()
            if ledger.take():
                won.append((ledger.head, run))
            ready.wait()

    threads = [threading.Thread(target=fight, args=(f"run{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [number for number, _ in won]
    assert sorted(numbers) == list(range(1, 16))
    for number, run in won:
        assert json.loads(segment(store, number).read_bytes().splitlines()[0])["run"] == run


def test_a_store_that_cannot_be_written_is_no_lost_lane(store: Store, tmp_path: Path) -> None:
    owner = owner_of(store)
    (tmp_path / "lanes" / "all").rename(tmp_path / "away")
    (tmp_path / "lanes" / "all").write_text("in the way")
    with pytest.raises(StorageFailed):
        owner.append([records.intent(row("a.jpg"))])
    assert "a.jpg" not in owner.rows


# ---- checkpoints


def test_readers_start_at_a_checkpoint_which_is_compressed(store: Store) -> None:
    owner = owner_of(store)
    owner.append([records.intent(row("a.jpg"))])
    owner.checkpoint()
    owner.append([records.started("a.jpg", "j1")])
    segment(store, 2).unlink()  # below the checkpoint, no run reads it

    assert segment(store, 3).read_bytes()[:2] == b"\x1f\x8b"
    assert read_lane(store, "all", run=owner.run).rows == owner.rows
    owner.checkpoint()
    segment(store, 4).unlink()
    assert read_lane(store, "all", run=owner.run).rows == owner.rows


def test_a_checkpoint_is_wanted_every_so_many_segments(store: Store) -> None:
    owner = owner_of(store)
    owner.view.head = CHECKPOINT_EVERY - 1
    assert not owner.wants_checkpoint
    owner.view.head = CHECKPOINT_EVERY
    assert owner.wants_checkpoint
    owner.view.checkpoint = 1
    assert not owner.wants_checkpoint


def test_only_what_is_old_and_long_below_a_checkpoint_is_removed(store: Store) -> None:
    def age(number: int, seconds: float) -> None:
        then = time.time() - seconds
        os.utime(segment(store, number), (then, then))

    owner = owner_of(store)
    for _ in range(3):
        owner.append([])
    owner.checkpoint()  # 5
    owner.append([])
    for number in (1, 3, 4, 5, 6):
        age(number, KEEP + 60)
    age(2, KEEP - 60)
    owner.checkpoint()  # 7: from now on readers need neither 5 nor 6, but a reader may be reading them

    there = sorted(int(path.name[:8]) for path in segment(store, 1).parent.iterdir())
    assert there == [2, 5, 6, 7]
    assert read_lane(store, "all", run=owner.run).rows == owner.rows


# ---- who holds it


def test_a_lane_is_held_until_it_is_parked_or_released(store: Store) -> None:
    owner = owner_of(store)
    holder = read_lane(store, "all").holder
    assert holder is not None and (holder.run, holder.title) == ("night1", "run 'night1'")
    owner.append([records.intent(row("a.jpg"))])
    assert read_lane(store, "all").holder is not None

    owner.park([records.started("a.jpg", "j1")])
    view = read_lane(store, "all")
    assert (view.holder, view.is_parked, view.rows["a.jpg"].state) == (None, True, State.STARTED)

    owner = owner_of(store)
    owner.release()
    view = read_lane(store, "all")
    assert (view.holder, view.is_parked) == (None, False)
    owner.release()  # again: nothing is owned, nothing is written
    assert read_lane(store, "all").head == view.head

    owner_of(store).checkpoint(release=True)
    assert read_lane(store, "all").holder is None
    owner_of(store).checkpoint()
    assert read_lane(store, "all").holder is not None


def test_all_lanes_are_seen_in_one_listing(store: Store) -> None:
    owner_of(store, lane="01of02").append([])
    owner_of(store, lane="02of02")
    (Path(store.root) / "lanes" / "02of02" / "notes.txt").write_text("x")
    lanes = list_lanes(store)
    assert {lane: [entry.name for entry in entries] for lane, entries in lanes.items()} == {
        "01of02": ["00000001.jsonl", "00000002.jsonl"],
        "02of02": ["00000001.jsonl"],
    }
    assert read_lane(store, "01of02", lanes["01of02"]).head == 2


@dataclass
class FakeTime:
    """A monotonic clock that moves only during a sleep."""

    now: float = 1000.0
    during: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.during()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    clock = FakeTime()
    stand_in = SimpleNamespace(monotonic=lambda: clock.now, time=time.time)
    for module in (ledger_module, owners):
        monkeypatch.setattr(module, "time", stand_in)
    return clock


def test_the_same_run_goes_on_at_once(store: Store, fake: FakeTime) -> None:
    owner_of(store)
    again = ledger_of(store)
    owners.wait_for_owner(again, fake.sleep)
    assert fake.now == 1000.0
    assert again.take()


@pytest.mark.parametrize("end", ["park", "release"])
def test_a_lane_that_was_let_go_is_free_at_once(store: Store, fake: FakeTime, end: str) -> None:
    getattr(owner_of(store), end)()
    newcomer = ledger_of(store, "night2")
    owners.wait_for_owner(newcomer, fake.sleep)
    assert fake.now == 1000.0


def test_another_run_is_refused_as_soon_as_the_owner_moves(store: Store, fake: FakeTime) -> None:
    owner = owner_of(store)
    newcomer = ledger_of(store, "night2")

    def live() -> None:
        fake.now += HEARTBEAT
        owner.beat()

    fake.during = live
    with pytest.raises(LaneHeld, match=r"is locked by run 'night1', which is still running\. Set retries"):
        owners.wait_for_owner(newcomer, fake.sleep)
    assert fake.now < 1000.0 + owners.ABANDONED
    assert owner.owned


def test_another_run_takes_a_lane_whose_head_did_not_move(store: Store, fake: FakeTime) -> None:
    sleeper = owner_of(store)
    newcomer = ledger_of(store, "night2")
    owners.wait_for_owner(newcomer, fake.sleep)
    assert owners.ABANDONED <= fake.now - 1000.0 < owners.ABANDONED + 5
    assert newcomer.take()
    with pytest.raises(LaneLost):
        sleeper.append([])


def test_waiting_can_be_ended(store: Store, fake: FakeTime) -> None:
    owner_of(store)

    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    fake.during = stop
    with pytest.raises(Stopped):
        owners.wait_for_owner(ledger_of(store, "night2"), fake.sleep)


def test_an_owner_with_nothing_to_say_shows_that_it_lives(store: Store, fake: FakeTime) -> None:
    owner = owner_of(store)
    head = owner.head
    fake.now += HEARTBEAT
    owner.beat()
    assert owner.head == head
    fake.now += 1
    owner.beat()
    assert owner.head == head + 1
    owner.beat()
    assert owner.head == head + 1
    assert read_lane(store, "all").holder is not None


def test_who_owns_nothing_does_not_beat(store: Store, fake: FakeTime) -> None:
    owner = owner_of(store)
    owner.park()
    head = owner.head
    fake.now += 10 * HEARTBEAT
    owner.beat()
    assert read_lane(store, "all").head == head
