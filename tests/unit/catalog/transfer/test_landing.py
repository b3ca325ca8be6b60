"""Bytes on their way: what is sent is what was listed, and what is published is whole and as asked for."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client, Downloaded
from airflow_provider_perfectlyclear.api.models import Correction, JobStatus
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.catalog.transfer.landing import Lander
from airflow_provider_perfectlyclear.catalog.transfer.source import MAX_SOURCE, Staged, staged
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool, sweep_spools
from airflow_provider_perfectlyclear.catalog.transfer.verify import Wanted, check
from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from airflow_provider_perfectlyclear.errors import (
    CorruptOutput,
    InvalidSource,
    JobFailed,
    JobRejected,
    NotFound,
    ProtocolError,
    SourceUnreadable,
    StorageFailed,
    TransferFailed,
    UrlExpired,
)
from airflow_provider_perfectlyclear.media import JPEG
from airflow_provider_perfectlyclear.storage import LocalStore, Store, open_store
from tests.support.sandbox import jpeg


def read_so_far() -> int:
    """Bytes that this process has read."""
    return psutil.Process().io_counters().read_chars


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def spool() -> Iterator[Spool]:
    with Spool() as made:
        yield made
        assert [path.name for path in made.folder.iterdir()] == ["lock"]  # nothing is left on the way
    assert not made.folder.exists()


@pytest.fixture(params=["local", "remote"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return LocalStore(tmp_path / "in")
    own = type("OwnMemory", (MemoryFileSystem,), {"store": {}, "pseudo_dirs": [""]})
    return open_store(own(), "memory://bucket/in")


@contextmanager
def staged_as_listed(source: Store, name: str, spool: Spool) -> Iterator[Staged]:
    entry = source.stat(name)
    assert entry is not None
    with staged(source, name, entry.size, entry.fingerprint, spool) as file:
        yield file


# ---- sources


def test_a_source_is_hashed_and_can_be_read_again_and_again(source: Store, spool: Spool) -> None:
    data = jpeg()
    source.write("b/a.tif", data)  # its name says nothing
    with staged_as_listed(source, "b/a.tif", spool) as file:
        assert (file.size, file.sha256, file.kind) == (len(data), hashlib.sha256(data).hexdigest(), JPEG)
        for _ in range(2):
            with file.open() as body:
                assert body.read() == data
        file.unchanged()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"this is a text", "no picture or video"),
        (b"<html>", "no picture or video"),
        (b"\xff\xd8", "no picture or video"),
    ],
)
def test_what_is_no_picture_is_refused_for_this_content(
    source: Store, spool: Spool, data: bytes, reason: str
) -> None:
    source.write("a.jpg", data)
    with pytest.raises(InvalidSource, match=reason) as failure, staged_as_listed(source, "a.jpg", spool):
        pass
    assert failure.value.code == "INVALID_SOURCE"


def test_a_source_that_changed_or_vanished_since_it_was_listed_is_no_failure_for_good(
    source: Store, spool: Spool
) -> None:
    source.write("a.jpg", jpeg())
    entry = source.stat("a.jpg")
    assert entry is not None
    source.write("a.jpg", jpeg() + b"more")
    with pytest.raises(InvalidSource) as failure, staged(source, "a.jpg", entry.size, "x", spool):
        pass
    assert failure.value.code == "SOURCE_CHANGED"
    source.delete("a.jpg")
    with pytest.raises(InvalidSource) as failure, staged(source, "a.jpg", entry.size, "x", spool):
        pass
    assert failure.value.code == "SOURCE_CHANGED"


def test_a_local_source_that_changes_while_it_is_sent_is_noticed(tmp_path: Path, spool: Spool) -> None:
    source = LocalStore(tmp_path)
    source.write("a.jpg", jpeg())
    with staged_as_listed(source, "a.jpg", spool) as file:
        then = time.time() - 100
        os.utime(tmp_path / "a.jpg", (then, then))
        with pytest.raises(InvalidSource) as failure:
            file.unchanged()
    assert failure.value.code == "SOURCE_CHANGED"


def test_a_remote_source_that_changes_while_it_is_sent_is_sent_as_it_was_hashed(spool: Spool) -> None:
    own = type("OwnMemory", (MemoryFileSystem,), {"store": {}, "pseudo_dirs": [""]})
    source = open_store(own(), "bucket")
    source.write("a.jpg", jpeg(1))
    with staged_as_listed(source, "a.jpg", spool) as file:
        source.write("a.jpg", jpeg(2))
        file.unchanged()
        with file.open() as body:
            assert hashlib.sha256(body.read()).hexdigest() == file.sha256


def test_a_file_too_large_to_be_sent_is_refused_by_its_size_alone(tmp_path: Path, spool: Spool) -> None:
    with open(tmp_path / "a.mov", "wb") as file:
        file.truncate(6 * 2**30)
    before = read_so_far()
    with (
        pytest.raises(InvalidSource, match="6,442,450,944 bytes; at most 5,368,709,120"),
        staged_as_listed(LocalStore(tmp_path), "a.mov", spool),
    ):
        pass
    assert MAX_SOURCE == 5 * 2**30
    assert read_so_far() - before < 2**20  # nothing of it was read


def test_a_source_that_cannot_be_read_says_so(spool: Spool) -> None:
    class Denied(MemoryFileSystem):  # type: ignore[misc]
        def open(self, *_: Any, **__: Any) -> Any:
            raise PermissionError("https://store/a.jpg?X-Amz-Signature=secret")

    with (
        pytest.raises(SourceUnreadable, match="cannot be read: PermissionError") as failure,
        staged(open_store(Denied(), "bucket"), "a.jpg", 5, "x", spool),
    ):
        pass
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError(errno.EIO, "Input/output error"), SourceUnreadable), (FileNotFoundError(), InvalidSource)],
)
def test_a_source_that_cannot_be_read_again_while_it_is_sent_is_one_pictures_matter(
    tmp_path: Path, spool: Spool, error: OSError, expected: type[Exception]
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    with pytest.raises(expected), staged_as_listed(LocalStore(tmp_path), "a.jpg", spool):
        raise error


TEMPORARY_FOLDER_FULL = """
import resource, signal
from fsspec.implementations.memory import MemoryFileSystem
from airflow_provider_perfectlyclear.catalog.transfer.source import staged
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool
from airflow_provider_perfectlyclear.errors import StorageFailed
from airflow_provider_perfectlyclear.storage import open_store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
source = open_store(MemoryFileSystem(), "bucket")
source.write("a.jpg", b"\\xff\\xd8\\xff" + b"x" * 9997)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
with Spool() as spool:
    try:
        with staged(source, "a.jpg", 10_000, "x", spool):
            pass
    except StorageFailed as error:
        print(error)
"""


def test_a_temporary_folder_that_cannot_be_written_is_said_in_one_line(
    own_temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Spool() as spool:
        monkeypatch.setattr(tempfile, "mkstemp", full)
        with pytest.raises(StorageFailed, match=f"{own_temporary_folder} cannot be written: No space"):
            spool.file().__enter__()
    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(StorageFailed, match=f"{own_temporary_folder} cannot be written: No space"):
        Spool()


def full(**_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_temporary_folder_is_not_blamed_on_the_source(own_temporary_folder: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(own_temporary_folder)}
    done = subprocess.run(
        [sys.executable, "-c", TEMPORARY_FOLDER_FULL], capture_output=True, text=True, env=environment
    )
    expected = f"The worker's temporary folder {own_temporary_folder} cannot be written: File too large\n"
    assert (done.stdout, done.returncode) == (expected, 0), done.stderr


def test_a_folder_whose_lock_was_made_anew_is_not_swept(
    own_temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner made it when another's sweep had just deleted the first one, which a third still had open."""
    folder = own_temporary_folder / "perfectlyclear-spool-new"
    folder.mkdir()
    owned: list[IO[str]] = []
    flock = fcntl.flock

    def slow(lock: IO[str], how: int) -> None:
        if not owned:
            (folder / "lock").unlink()
            owned.append((folder / "lock").open("w"))
            flock(owned[0], fcntl.LOCK_EX)
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    sweep_spools()
    assert (folder / "lock").exists()
    owned[0].close()
    sweep_spools()
    assert not folder.exists()


# ---- what a result is held to


def picture(form: str, size: tuple[int, int] = (640, 480)) -> bytes:
    data = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(data, form)
    return data.getvalue()


def checked(
    tmp_path: Path,
    data: bytes,
    correction: dict[str, Any] | None = None,
    *,
    has_length: bool = True,
    strict: bool = True,
    original: tuple[int, int] | None = None,
    source_sha256: str = "",
    missing: str | None = None,
) -> list[str]:
    """The warnings about a fetched file."""
    path = tmp_path / "fetched"
    path.write_bytes(data)
    got = Downloaded(
        size=len(data),
        declared=len(data) if has_length else None,
        content_type=None,
        etag=None,
        sha256=hashlib.sha256(data).hexdigest(),
    )
    answer: dict[str, Any] = {"status": "COMPLETED"}
    if original:
        answer["originalDimensions"] = {"width": original[0], "height": original[1]}
    wanted = Wanted(Correction(**(correction or {})), source_sha256, verify="strict" if strict else "warn")
    return check(path, got, wanted, JobStatus.read("job", answer), missing)[1]


@pytest.mark.parametrize(
    ("correction", "data", "original"),
    [
        ({}, picture("JPEG"), None),
        ({"output_type": "jpg"}, picture("JPEG"), None),
        ({"output_type": "original"}, picture("PNG"), None),
        ({"remove_background": True}, picture("PNG"), None),
        ({"width": 640}, picture("JPEG"), None),
        ({"width": 641}, picture("JPEG"), None),
        ({"height": 480}, picture("PNG"), None),
        ({"width": 640}, picture("JPEG", (480, 640)), None),
        ({"long": 640}, picture("JPEG", (480, 640)), None),
        ({"short": 480}, picture("WEBP"), None),
        ({"scale": 200}, picture("JPEG"), (320, 240)),
        ({"scale": 200}, picture("JPEG", (480, 640)), (320, 240)),
        ({"scale": 200}, picture("JPEG"), None),
        ({"width": 9999, "autocrop": True}, picture("JPEG"), None),
        ({"width": 640}, picture("TIFF"), None),
        ({"output_type": "png"}, b"\0\0\0\x18ftypisom" + b"\0" * 60, None),
    ],
)
def test_what_is_as_asked_for_passes(
    tmp_path: Path, correction: dict[str, Any], data: bytes, original: tuple[int, int] | None
) -> None:
    assert checked(tmp_path, data, correction, original=original) == []


@pytest.mark.parametrize(
    ("correction", "data", "original", "said"),
    [
        ({"output_type": "jpg"}, picture("PNG"), None, "jpg was asked for, png came"),
        ({"output_type": "png"}, picture("JPEG"), None, "png was asked for, jpg came"),
        ({"remove_background": True}, picture("JPEG"), None, "png was asked for, jpg came"),
        ({"width": 800}, picture("JPEG"), None, "width 800 was asked for, 640 x 480 came"),
        ({"height": 477}, picture("PNG"), None, "height 477 was asked for"),
        ({"long": 480}, picture("JPEG"), None, "long 480 was asked for"),
        ({"short": 640}, picture("JPEG"), None, "short 640 was asked for"),
        ({"scale": 50}, picture("JPEG"), (640, 480), "scaled width 320 was asked for"),
    ],
)
def test_what_is_not_as_asked_for_fails_or_is_only_warned_about(
    tmp_path: Path, correction: dict[str, Any], data: bytes, original: tuple[int, int] | None, said: str
) -> None:
    with pytest.raises(CorruptOutput, match=said):
        checked(tmp_path, data, correction, original=original, strict=True)
    (warning,) = checked(tmp_path, data, correction, original=original, strict=False)
    assert said in warning


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("data", [b"", b"<Error><Code>AccessDenied</Code></Error>", b"\0" * 5000])
def test_what_is_no_picture_never_passes(tmp_path: Path, data: bytes, strict: bool) -> None:
    with pytest.raises(CorruptOutput, match="no picture or video"):
        checked(tmp_path, data, strict=strict)


@pytest.mark.parametrize("strict", [True, False])
def test_what_is_cut_short_never_passes(tmp_path: Path, strict: bool) -> None:
    with pytest.raises(CorruptOutput, match="cut short: its end"):
        checked(tmp_path, jpeg(), missing="its end (EOI) is missing", strict=strict)


def test_a_result_identical_to_the_source_is_warned_about(tmp_path: Path) -> None:
    data = jpeg()
    assert checked(tmp_path, data, source_sha256=hashlib.sha256(data).hexdigest()) == [
        "the corrected file is identical to the source"
    ]


# ---- over the wire


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with running_emulator(job_seconds=0.0) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Iterator[Emulator]:
    running.reset()
    yield running
    assert running.unconsumed() == []


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Client]:
    with Client(Settings(api_key=emulator.key, base_url=emulator.base_url)) as made:
        yield made


@pytest.fixture
def destination(tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "out")


class Job:
    """A finished job, to be landed."""

    def __init__(self, client: Client, destination: Store, spool: Spool, **correction: Any) -> None:
        self.client, self.destination, self.spool = client, destination, spool
        self.correction = Correction(**correction)
        data = jpeg()
        self.sha256 = hashlib.sha256(data).hexdigest()
        key = client.upload(lambda: io.BytesIO(data), size=len(data))
        self.id = client.send(calls.start(key, self.correction))

    def status(self) -> JobStatus:
        until = time.monotonic() + 60
        while not (status := self.client.send(calls.status(self.id))).state.is_final:
            assert time.monotonic() < until
        return status

    def land(
        self, output: str = "b/a.jpg", *, strict: bool = True, status: JobStatus | None = None
    ) -> list[str]:
        wanted = Wanted(self.correction, self.sha256, verify="strict" if strict else "warn")
        lander = Lander(self.client, self.destination, self.spool)
        done = lander.land(status or self.status(), output, wanted)
        published = self.destination.stat(output)
        assert published is not None and published.size == done.size
        return done.warnings


@pytest.fixture
def job(client: Client, destination: Store, spool: Spool) -> Job:
    return Job(client, destination, spool)


def nothing_stands_at(destination: Store) -> bool:
    return list(destination.list()) == []


def test_a_result_is_published_whole(job: Job, destination: Store) -> None:
    assert job.land() == []
    with Image.open(destination.open("b/a.jpg")) as published:
        published.load()
        assert published.size == (64, 48)


def test_a_download_cut_within_its_length_is_hidden(job: Job, emulator: Emulator) -> None:
    emulator.fault("download", {"close": {"when": "answering", "after": 300}})
    assert job.land() == []


def test_a_download_that_is_always_cut_leaves_the_job_open(
    job: Job, emulator: Emulator, destination: Store
) -> None:
    emulator.fault("download", {"close": {"when": "answering", "after": 300}}, times=3)
    with pytest.raises(TransferFailed, match="after 300 bytes"):
        job.land()
    assert nothing_stands_at(destination)


CUT_WITHOUT_LENGTH = [{"framing": "close"}, {"truncate": 900}]


def test_a_download_cut_without_a_length_is_fetched_once_more(job: Job, emulator: Emulator) -> None:
    emulator.fault("download", CUT_WITHOUT_LENGTH)
    assert job.land() == []


def test_a_result_that_is_always_cut_is_corrupt(job: Job, emulator: Emulator, destination: Store) -> None:
    emulator.fault("download", CUT_WITHOUT_LENGTH, times=3)
    with pytest.raises(CorruptOutput, match="cut short"):
        job.land()
    assert nothing_stands_at(destination)
    assert emulator.bill()["accepted"] == 1  # fetching again is free


def test_wrong_bytes_are_never_published(job: Job, emulator: Emulator, destination: Store) -> None:
    emulator.fault("download", {"scramble": 0}, times=3)
    with pytest.raises(CorruptOutput, match="no picture or video"):
        job.land()
    assert nothing_stands_at(destination)


def test_wrong_bytes_once_are_hidden(job: Job, emulator: Emulator) -> None:
    emulator.fault("download", {"scramble": 0})
    assert job.land() == []


def test_an_expired_url_is_asked_for_again(job: Job, emulator: Emulator) -> None:
    job.status()
    emulator.fault("status", {"expired": True})
    assert job.land() == []
    assert emulator.bill()["accepted"] == 1


def test_a_url_that_is_always_refused_leaves_the_job_open(job: Job, emulator: Emulator) -> None:
    job.status()
    emulator.fault("status", {"expired": True}, times=3)
    with pytest.raises(UrlExpired):
        job.land()


def test_a_finished_job_that_names_no_file_is_asked_once_more(job: Job, emulator: Emulator) -> None:
    job.status()
    emulator.fault("status", {"patch": {"correctedFile": None}})
    assert job.land() == []


def test_a_finished_job_that_never_names_a_file_stays_open(
    job: Job, emulator: Emulator, destination: Store
) -> None:
    job.status()
    emulator.fault("status", {"patch": {"correctedFile": None}}, times=3)
    with pytest.raises(ProtocolError, match="names no correctedFile"):
        job.land()
    assert nothing_stands_at(destination)


@pytest.mark.parametrize(("said", "error"), [("FAILED", JobFailed), ("REJECTED", JobRejected)])
def test_the_service_s_verdict_ends_a_job(job: Job, emulator: Emulator, said: str, error: type) -> None:
    job.status()
    emulator.fault("status", {"patch": {"status": said, "statusText": "no image data"}})
    with pytest.raises(error, match="no image data"):
        job.land()


def test_a_job_that_is_forgotten_between_two_fetches_says_so(job: Job, emulator: Emulator) -> None:
    status = job.status()
    emulator.fault("download", {"scramble": 0})
    emulator.fault("status", {"outcome": "lost"})
    with pytest.raises(NotFound):
        job.land(status=status)


def test_a_stale_status_is_asked_for_a_fresh_url_first(
    client: Client, destination: Store, spool: Spool, emulator: Emulator
) -> None:
    job = Job(client, destination, spool)
    stale = job.status().model_copy(update={"corrected_file": "http://127.0.0.1:9/gone"})
    wanted = Wanted(job.correction, job.sha256)
    Lander(client, destination, spool).land(stale, "a.jpg", wanted, fresh=False)
    assert destination.stat("a.jpg") is not None


def test_a_result_of_another_size_fails_for_good_or_is_warned_about(
    client: Client, destination: Store, spool: Spool, emulator: Emulator
) -> None:
    job = Job(client, destination, spool)
    job.correction = Correction(width=4000)  # what was asked for is not what the job was given
    with pytest.raises(CorruptOutput, match="width 4000 was asked for, 64 x 48 came"):
        job.land()
    assert nothing_stands_at(destination)
    assert len(job.land(strict=False)) == 1


def test_a_result_that_is_not_what_its_name_says_is_warned_about(job: Job) -> None:
    assert job.land("a.heic") == ["the corrected file is a jpg, whatever its name says"]
    assert job.land("a.jpeg") == []
    assert job.land("noext") == []


def test_a_destination_that_fails_is_not_tried_with_other_bytes(
    client: Client, spool: Spool, emulator: Emulator
) -> None:
    job = Job(client, LocalStore("/proc/nowhere"), spool)
    with pytest.raises(StorageFailed, match="cannot be written"):
        job.land()
    assert emulator.seen()["storage"]["routes"] == {"put": 1, "download": 1}


def test_when_only_data_is_wanted_nothing_is_fetched(
    client: Client, destination: Store, spool: Spool, emulator: Emulator
) -> None:
    job = Job(client, destination, spool)
    wanted = Wanted(job.correction, job.sha256)
    done = Lander(client, None, spool).land(job.status(), "a.jpg", wanted)
    assert done.size is None
    assert emulator.seen()["storage"]["routes"] == {"put": 1}


# ---- the spool


def test_the_folder_of_a_dead_process_is_removed_and_of_a_living_one_is_not(
    own_temporary_folder: Path,
) -> None:
    with Spool() as alive:
        code = (
            "import os; from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool; s = Spool(); "
            "(s.folder / 'half.jpg').write_bytes(b'x'); os._exit(9)"
        )
        environment = {**os.environ, "TMPDIR": str(own_temporary_folder)}
        assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 9
        assert len(list(own_temporary_folder.glob("perfectlyclear-spool-*"))) == 2
        with Spool() as another:
            left = set(own_temporary_folder.glob("perfectlyclear-spool-*"))
            assert left == {alive.folder, another.folder}


def test_a_folder_that_was_swept_before_it_could_be_locked_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, own_temporary_folder: Path
) -> None:
    real, first = fcntl.flock, []

    def swept_first(file: Any, how: int) -> None:
        if not first:
            first.append(Path(file.name).parent)
            (first[0] / "lock").unlink()
            first[0].rmdir()
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", swept_first)
    with Spool() as spool, spool.file() as path:
        path.write_bytes(b"x")
    assert first[0] != spool.folder
