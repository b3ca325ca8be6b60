"""The same promises on a real object store: nothing paid twice in silence, nothing half visible."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_perfectlyclear.errors import LaneLost, StorageFailed
from airflow_provider_perfectlyclear.storage import Store, open_store
from tests.faults.servers import Relay
from tests.faults.table import Row
from tests.s3.conftest import SandboxOnS3
from tests.s3.server import BUCKET, RECORDS, Server
from tests.support.invariants import (
    check_invariants,
)
from tests.unit.catalog.ledger.test_kills import AT_ONCE, LATER, ONE_BY_ONE, killed, the_next_try_finishes

NAMES = ["a.jpg", "b/c.jpg", "d.jpg", "e.jpg", "ü #1 %.jpg"]
RENDITIONS = {"web": {"long": 40}, "print": {"output_type": "png"}}
OUTPUTS = sorted([*(f"web/{name}" for name in NAMES), *(f"print/{name[:-4]}.png" for name in NAMES)])


def on_s3(moment: str, ambiguous: int, *what: Any) -> Any:
    """A row of the table, with two renditions of each picture."""
    return killed(moment, ambiguous, *what, where=", on S3")


@pytest.mark.parametrize(
    ("route", "when", "ambiguous"),
    [
        on_s3("before /pfc", 0, "put", "committed"),
        on_s3("while /pfc is sent", 2, "pfc", "before"),
        on_s3("after /pfc was accepted", 2, "pfc", "committed"),
        on_s3("after its answer", 2, "pfc", "answered"),
        on_s3("after the record", 0, "status", "before"),
        on_s3("in a download", 0, "download", "answering"),
    ],
)
def test_a_worker_killed_by_the_service_pays_nothing_twice_in_silence(
    row: Row, sandbox: SandboxOnS3, route: str, when: str, ambiguous: int
) -> None:
    sandbox.put(*NAMES)
    # Two at a time, so that both starts of a picture are lost at once; or one, so that none is being started.
    in_flight = 2 if ambiguous else 1
    sandbox.options = {**ONE_BY_ONE, "renditions": RENDITIONS, "max_in_flight": in_flight}
    sandbox.emulator.fault({"route": route, "nth": 3}, {"kill": {"pid": "peer", "when": when}})

    assert sandbox.work(constants=LATER if route == "pfc" else AT_ONCE) is None

    row.consumed(sandbox.emulator)
    the_next_try_finishes(sandbox, OUTPUTS, up_to(ambiguous), row)


@pytest.mark.parametrize(
    ("verb", "part", "ambiguous"),
    [
        on_s3("before publishing", 0, "publish", "web/b/c.jpg"),
        on_s3("before the manifest", 0, "publish", "manifest.jsonl"),
        on_s3("before the intent is there", 0, "create", "lanes/all/00000002.jsonl"),
        on_s3("before started is there", 2, "create", "lanes/all/00000003.jsonl"),
    ],
)
def test_a_worker_killed_at_an_object_pays_nothing_twice(
    row: Row, sandbox: SandboxOnS3, verb: str, part: str, ambiguous: int
) -> None:
    sandbox.put(*NAMES)
    sandbox.options = {**ONE_BY_ONE, "renditions": RENDITIONS, "max_in_flight": 2}

    assert sandbox.work(die_before=[verb, part], constants=AT_ONCE) is None

    row.consumed("the worker ended by SIGKILL")
    the_next_try_finishes(sandbox, OUTPUTS, up_to(ambiguous), row)


def up_to(ambiguous: int) -> set[int]:
    """The two renditions of a picture are started at the same time: one of them may have been answered."""
    return set(range(ambiguous + 1)) - ({0} if ambiguous else set())


@pytest.mark.fault("F36", "credentials of S3 that may not write", "run STORAGE_FAILED")
def test_who_may_not_write_at_all_pays_nothing(row: Row, sandbox: SandboxOnS3) -> None:
    sandbox.put(*NAMES)
    said = sandbox.work(storage_options=sandbox.server.options_of("reader"))

    assert said is not None and said.get("code") == "STORAGE_FAILED", said
    assert sandbox.prefix in said["message"]
    assert sandbox.accepted == 0
    row.consumed("the server has denied to write")
    done = sandbox.work()
    assert done is not None and done["summary"]["paid"] == len(NAMES), done
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F36", "credentials of S3 that may write the record only", "run STORAGE_FAILED")
def test_who_may_not_write_pictures_keeps_what_it_paid(row: Row, sandbox: SandboxOnS3) -> None:
    """The record lies in another bucket. The jobs stay open, and who may write fetches them free."""
    sandbox.put(*NAMES)
    sandbox.record, sandbox.options = f"s3://{RECORDS}/{sandbox.prefix}", {"poll_interval": 0.1}
    said = sandbox.work(storage_options=sandbox.server.options_of("reader"))

    assert said is not None and said.get("code") == "STORAGE_FAILED", said
    paid = sandbox.accepted
    assert paid > 0 and sandbox.outputs == []
    row.consumed("the server has denied to write")
    done = sandbox.work()
    assert done is not None and done["summary"]["corrected"] == len(NAMES), done
    assert sandbox.accepted == len(NAMES) == done["summary"]["paid"]
    after = sandbox.work(run="the night after")
    assert after is not None and after["summary"]["unchanged"] == len(NAMES)
    assert sandbox.accepted == len(NAMES)
    row.held(check_invariants(sandbox))


def test_the_second_night_and_a_migrated_bucket_pay_nothing(sandbox: SandboxOnS3) -> None:
    sandbox.put(*NAMES)
    first = sandbox.correct("monday")
    again = sandbox.correct("tuesday")
    files = sandbox.server.filesystem()
    for path in files.find(f"{BUCKET}/{sandbox.prefix}/in"):  # the same bytes, sent again in another way
        data = files.cat_file(path)
        with files.open(path, "wb", block_size=5 * 2**20) as copy:
            copy.write(data)

    migrated = sandbox.correct("wednesday")

    assert first["paid"] == len(NAMES) == sandbox.accepted
    assert (again["paid"], migrated["paid"]) == (0, 0)
    assert migrated["unchanged"] == len(NAMES)


def test_only_one_of_many_creates_a_name(s3: Server) -> None:
    store = open_store(s3.filesystem(), f"s3://{BUCKET}/race")
    won: list[int] = []

    def create(number: int) -> None:
        mine = open_store(s3.filesystem(), f"s3://{BUCKET}/race")
        if mine.create("segment", b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert store.read("segment") == b"%d" % won[0]
    assert store.probe("lanes")


def test_two_runs_on_one_destination_pay_once(sandbox: SandboxOnS3) -> None:
    sandbox.put(*(f"{number:02d}.jpg" for number in range(30)))
    workers = [sandbox.start(run=f"run-{number}") for number in range(2)]
    said = [sandbox.end(worker, 120) or {} for worker in workers]

    assert sandbox.accepted == 30
    refused = [one for one in said if "is locked by run" in one.get("message", "")]
    assert len(refused) <= 1
    assert any("summary" in one and one["summary"]["corrected"] == 30 for one in said)


def test_a_bucket_that_is_not_there_is_named(sandbox: SandboxOnS3, s3: Server) -> None:
    missing = open_store(s3.filesystem(), "s3://no-such-bucket/x")

    assert list(missing.list()) == []
    with pytest.raises(StorageFailed, match=r"s3://no-such-bucket/x/a\.jpg cannot be written"):
        missing.write("a.jpg", b"x")


def test_an_owner_that_lost_its_lane_writes_nothing_more(sandbox: SandboxOnS3) -> None:
    sandbox.put("a.jpg")
    first = sandbox.catalog_run("monday")
    first.ledger.load()
    assert first.ledger.take()
    second = sandbox.catalog_run("monday")
    second.ledger.load()
    assert second.ledger.take()

    with pytest.raises(LaneLost):
        first.ledger.append([])


def test_a_large_video_passes_through_in_bounded_memory(sandbox: SandboxOnS3, tmp_path: Path) -> None:
    """The worker is a process of its own whose memory is told by the operating system."""
    size = 150 * 2**20
    video = tmp_path / "film.mp4"
    with open(video, "wb") as file:
        file.write(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom")
        file.truncate(size)
    sandbox.server.filesystem().put_file(str(video), f"{BUCKET}/{sandbox.prefix}/in/film.mp4")
    done = sandbox.work(within=200)

    assert done is not None and done["summary"]["corrected"] == 1, done
    assert done["grew"] < 100
    entry = sandbox.store("out").stat("film.mp4")
    assert isinstance(sandbox.store("out"), Store) and entry is not None and entry.size == size


class WithoutConditions(Relay):
    """An older gateway in front of the server: it knows no conditional PUT."""

    def __init__(self, server: Server, status: str, code: str) -> None:
        self._answer = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n"
            f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
        ).encode()
        super().__init__(server.endpoint)

    def answer(self, connection: socket.socket, data: bytes) -> None:
        if b"\r\nif-none-match:" in data.partition(b"\r\n\r\n")[0].lower():
            connection.sendall(self._answer)
        else:
            super().answer(connection, data)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(status, code, marks=pytest.mark.fault("F91", status, "run STORAGE_FAILED"))
        for status, code in [
            ("501 Not Implemented", "NotImplemented"),
            ("405 Method Not Allowed", "MethodNotAllowed"),
        ]
    ],
)
def test_a_store_without_conditional_puts_is_named_with_its_remedy(
    row: Row, sandbox: SandboxOnS3, status: str, code: str
) -> None:
    sandbox.put(*NAMES)
    gateway = WithoutConditions(sandbox.server, status, code)
    there = {**sandbox.server.storage_options, "endpoint_url": gateway.url}

    said = sandbox.work(storage_options=there)

    assert said is not None and said.get("code") == "STORAGE_FAILED", said
    assert "only if it is absent" in said["message"] and "allow_unlocked_store=True" in said["message"]
    assert sandbox.accepted == 0
    row.consumed("the gateway has answered so")
    unlocked = {**sandbox.options, "allow_unlocked_store": True}
    sandbox.options = unlocked
    done = sandbox.work(storage_options=there)
    assert done is not None and done["summary"]["corrected"] == len(NAMES), done
    again = sandbox.work(run="the night after", storage_options=there)
    assert again is not None and again["summary"]["unchanged"] == len(NAMES), again
    gateway.close()
    row.held(check_invariants(sandbox))
