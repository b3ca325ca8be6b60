"""Stores: whole or absent, created once, and never outside the root."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from airflow_provider_perfectlyclear.errors import (
    ConfigurationError,
    InvalidSource,
    ItemFailed,
    StorageFailed,
)
from airflow_provider_perfectlyclear.storage import (
    STALE_PART,
    Entry,
    LocalStore,
    Store,
    check_name,
    digest_of,
    is_part,
    open_store,
)
from airflow_provider_perfectlyclear.storage.names import entry_of

ODD_NAMES = [
    "plain.jpg",
    "deep/er/still.jpg",
    "with space.jpg",
    "emoji 🌄/sunset 🌅.jpg",
    "תמונה.jpg",
    "\u202edesrever.jpg",
    "new\nline.jpg",
    "#?%&+.jpg",
    "100%25 off.jpg",
    "[brackets]*.jpg",
    "~home.jpg",
    "quote'\".jpg",
    "e\u0301.jpg",
    "x" * 251 + ".jpg",
]


def memory() -> MemoryFileSystem:
    """An object store of the test's own: fsspec's keeps its files in the class."""
    filesystem = type("OwnMemory", (MemoryFileSystem,), {"store": {}, "pseudo_dirs": [""]})()
    assert isinstance(filesystem, MemoryFileSystem)
    return filesystem


def file_at(path: Path, data: bytes = b"finished") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def run_child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return LocalStore(tmp_path / "root")
    return open_store(memory(), "memory://bucket/root")


# ---- what every store does


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_comes_out_as_it_went_in(store: Store, tmp_path: Path, name: str) -> None:
    store.prepare()
    assert check_name(name) == name
    store.publish(name, file_at(tmp_path / "spooled", b"12345"), "image/jpeg")

    (entry,) = store.list()
    assert (entry.name, entry.size) == (name, 5)
    assert store.stat(name) == entry
    assert store.read(name) == b"12345"
    with store.open(name) as file:
        assert file.read() == b"12345"


def test_publishing_again_replaces_and_is_seen_by_the_fingerprint(store: Store, tmp_path: Path) -> None:
    store.publish("a.jpg", file_at(tmp_path / "spooled", b"old"))
    before = store.stat("a.jpg")
    store.publish("a.jpg", file_at(tmp_path / "spooled", b"newer"))
    after = store.stat("a.jpg")

    assert store.read("a.jpg") == b"newer"
    assert before is not None and after is not None and before.fingerprint != after.fingerprint


def test_what_is_not_there_is_none_and_deleting_it_is_fine(store: Store) -> None:
    assert store.stat("a.jpg") is None
    assert store.read("a.jpg") is None
    assert list(store.list()) == []
    store.delete("a.jpg")


def test_a_folder_is_no_file(store: Store) -> None:
    store.write("folder/a.jpg", b"a")
    assert store.stat("folder") is None


def test_what_is_pruned_is_not_listed_and_what_begins_alike_is(store: Store) -> None:
    for name in ("a.jpg", "out/b.jpg", "output/c.jpg", "deep/out/d.jpg"):
        store.write(name, b"x")
    listed = sorted(entry.name for entry in store.list(prune=["out"]))
    assert listed == ["a.jpg", "deep/out/d.jpg", "output/c.jpg"]


def test_only_the_first_of_two_creates_wins(store: Store) -> None:
    assert store.create("lanes/all/1", b"first")
    assert not store.create("lanes/all/1", b"second")
    assert store.read("lanes/all/1") == b"first"


def test_a_store_that_can_lock_says_so_and_keeps_nothing_of_the_probe(store: Store) -> None:
    assert store.probe("lanes")
    assert list(store.list()) == []


def test_a_digest_is_of_all_bytes(store: Store) -> None:
    store.write("a", b"x" * (2**20 + 1))
    assert digest_of(store, "a")[1] == 2**20 + 1


# ---- names


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../up.jpg",
        "a/../../up.jpg",
        "a/..",
        "./a.jpg",
        "a//b.jpg",
        "a/",
        "C:/windows.jpg",
        "C:\\windows.jpg",
        "..\\up.jpg",
        "nul\0.jpg",
        "x" * 256,
        "folder/" + "ü" * 128 + "/a.jpg",
        os.fsdecode(b"caf\xe9.jpg"),
        "a/.pfc-0-12.part",
    ],
)
def test_a_name_that_could_leave_or_could_not_be_written_is_refused(name: str) -> None:
    with pytest.raises(InvalidSource) as failure:
        check_name(name)
    assert failure.value.code == "UNSAFE_NAME"
    str(failure.value).encode()  # it can be printed


@pytest.mark.parametrize("name", ["../up.jpg", "/etc/passwd", "nul\0.jpg", "a\\..\\b.jpg", ""])
def test_no_store_writes_under_a_name_that_could_leave(store: Store, tmp_path: Path, name: str) -> None:
    store.prepare()
    for write in (
        lambda: store.publish(name, file_at(tmp_path / "spooled")),
        lambda: store.write(name, b"x"),
        lambda: store.create(name, b"x"),
    ):
        with pytest.raises(InvalidSource):
            write()
    assert list(store.list()) == []


@pytest.mark.parametrize("name", ["a..b.jpg", "...", "ab:c.jpg", "..a/b.jpg"])
def test_a_name_that_only_looks_odd_is_taken(name: str) -> None:
    assert check_name(name) == name


def test_only_our_own_temporary_names_are_temporary() -> None:
    assert is_part("a/b/.pfc-0-1234.part")
    assert not is_part("a/pfc.part") and not is_part(".pfc-/a.jpg") and not is_part(".pfc-0.jpg")


# ---- one place inside another


@pytest.mark.parametrize(
    ("mine", "other", "expected"),
    [
        ("bucket/in", "bucket/in", ""),
        ("bucket/in", "bucket/in/", ""),
        ("bucket/in", "bucket//in", ""),
        ("bucket/in", "bucket/out/../in", ""),
        ("bucket/in", "bucket/./in/out", "out"),
        ("bucket/in", "bucket/in/out/deep", "out/deep"),
        ("bucket/in", "bucket/in2", None),
        ("bucket/in", "bucket", None),
        ("bucket", "bucket/in", "in"),
    ],
)
def test_where_one_place_lies_in_another(mine: str, other: str, expected: str | None) -> None:
    filesystem = memory()
    assert open_store(filesystem, mine).relative(open_store(filesystem, other)) == expected


def test_a_local_place_is_known_by_where_it_really_is(tmp_path: Path) -> None:
    (tmp_path / "in" / "out").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "in" / "out")
    inside = LocalStore(tmp_path / "in")

    assert inside.relative(LocalStore(tmp_path / "link")) == "out"
    assert inside.relative(LocalStore(f"{tmp_path}//in/../in/")) == ""
    assert LocalStore("/").relative(inside) == str(inside.root).lstrip("/")
    assert LocalStore(tmp_path / "link").relative(inside) is None


def test_places_of_different_filesystems_are_never_the_same(tmp_path: Path) -> None:
    assert LocalStore(tmp_path).relative(open_store(memory(), str(tmp_path))) is None


# ---- local: whole or absent


KILLED_BEFORE_RENAME = """
import os, signal, sys
from airflow_provider_perfectlyclear.storage import LocalStore
store = LocalStore(sys.argv[1])
store.part_tag = "run1"
def hook(event, arguments):
    if event == "os.rename":
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
store.publish("a.jpg", sys.argv[2])
"""


def test_a_kill_before_the_rename_leaves_the_old_file_and_a_part_that_is_swept(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "root")
    store.write("a.jpg", b"old")
    done = run_child(KILLED_BEFORE_RENAME, store.root, str(file_at(tmp_path / "spooled", b"new")))
    assert done.returncode == -signal.SIGKILL

    assert store.read("a.jpg") == b"old"
    (part,) = [entry for entry in store.list() if entry.name != "a.jpg"]
    assert is_part(part.name)

    store.part_tag = "run2"
    store.sweep([part])
    assert store.stat(part.name) is not None  # another run's, and young: it may be at work
    store.part_tag = "run1"
    store.sweep([part])
    assert [entry.name for entry in store.list()] == ["a.jpg"]


def test_an_abandoned_part_is_removed_after_a_day(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    path = file_at(tmp_path / ".pfc-other-1.part")
    long_ago = path.stat().st_mtime - STALE_PART - 1
    os.utime(path, (long_ago, long_ago))
    store.sweep(list(store.list()))
    assert list(store.list()) == []


FILE_SIZE_LIMIT = """
import resource, signal, sys
from airflow_provider_perfectlyclear.errors import StorageFailed
from airflow_provider_perfectlyclear.storage import LocalStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
store = LocalStore(sys.argv[1])
for act in (lambda: store.publish("a.jpg", sys.argv[2]), lambda: store.write("a.jpg", b"x" * 1000),
            lambda: store.create("b.jpg", b"x" * 1000)):
    try:
        act()
    except StorageFailed as error:
        print(error)
"""


def test_what_cannot_be_written_in_full_leaves_the_old_content(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "root")
    store.write("a.jpg", b"old")
    done = run_child(FILE_SIZE_LIMIT, store.root, str(file_at(tmp_path / "spooled", b"x" * 1000)))

    assert done.stdout.count("File too large") == 3, done
    assert store.read("a.jpg") == b"old"
    assert [entry.name for entry in store.list()] == ["a.jpg"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk needs root and mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_leaves_the_old_content(small_disk: Path, tmp_path: Path) -> None:
    store = LocalStore(small_disk)
    store.write("a.jpg", b"old")
    with pytest.raises(StorageFailed, match="no space left"):
        store.publish("a.jpg", file_at(tmp_path / "spooled", b"x" * 100_000))
    with pytest.raises(StorageFailed, match=r"[Nn]o space left"):
        store.create("b.jpg", b"x" * 100_000)
    assert [(entry.name, entry.size) for entry in store.list()] == [("a.jpg", 3)]


def test_a_read_only_disk_is_a_failure_of_the_store(small_disk: Path, tmp_path: Path) -> None:
    store = LocalStore(small_disk)
    store.write("a.jpg", b"old")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageFailed, match="Read-only"):
        store.publish("a.jpg", file_at(tmp_path / "spooled"))
    store.delete("a.jpg")  # housekeeping never fails a run
    assert store.read("a.jpg") == b"old"


def test_a_place_that_cannot_be_made_is_a_matter_of_configuration(tmp_path: Path) -> None:
    file_at(tmp_path / "file")
    with pytest.raises(ConfigurationError, match="cannot be made"):
        LocalStore(tmp_path / "file" / "out").prepare()
    with pytest.raises(StorageFailed, match="cannot be made"):  # which may be another matter in a minute
        LocalStore("/proc/nowhere").prepare()
    with pytest.raises(StorageFailed, match="cannot be written"):
        LocalStore("/proc/nowhere").publish("a.jpg", file_at(tmp_path / "spooled"))


@pytest.mark.parametrize("name", ["folder", "file/below.jpg", "file/deeper/below.jpg"])
def test_a_name_that_is_taken_fails_alone(tmp_path: Path, name: str) -> None:
    store = LocalStore(tmp_path / "root")
    store.write("folder/a.jpg", b"a")
    store.write("file", b"b")
    with pytest.raises(ItemFailed, match="under this name") as failure:
        store.publish(name, file_at(tmp_path / "spooled"))
    assert failure.value.code == "NAME_TAKEN"
    assert {entry.name for entry in store.list()} == {"folder/a.jpg", "file"}


# ---- local: links


def test_links_that_leave_the_root_are_not_followed(tmp_path: Path) -> None:
    file_at(tmp_path / "outside" / "secret.jpg")
    store = LocalStore(tmp_path / "root")
    store.write("real/a.jpg", b"a")
    root = Path(store.root)
    (root / "out.jpg").symlink_to(tmp_path / "outside" / "secret.jpg")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root)
    (root / "dangling.jpg").symlink_to(root / "nothing.jpg")
    (root / "inside.jpg").symlink_to(root / "real" / "a.jpg")

    assert sorted(entry.name for entry in store.list()) == ["inside.jpg", "real/a.jpg"]
    assert store.stat("out.jpg") is None
    assert store.stat("folder/secret.jpg") is None
    assert store.stat("inside.jpg") is not None


def test_nothing_is_written_through_a_link_that_leaves_the_root(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    store = LocalStore(tmp_path / "root")
    store.prepare()
    (Path(store.root) / "folder").symlink_to(tmp_path / "outside")
    for name in ("folder/a.jpg", "folder/deeper/a.jpg"):
        with pytest.raises(StorageFailed, match="a link in its path leads out"):
            store.publish(name, file_at(tmp_path / "spooled"))
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_linked_root_is_the_folder_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = LocalStore(tmp_path / "link")
    store.publish("deep/a.jpg", file_at(tmp_path / "spooled"))
    assert [entry.name for entry in store.list()] == ["deep/a.jpg"]
    assert (tmp_path / "real" / "deep" / "a.jpg").exists()


def test_what_is_no_file_is_not_listed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert list(LocalStore(tmp_path).list()) == []
    assert LocalStore(tmp_path).stat("pipe.jpg") is None


# ---- create


def test_of_many_threads_exactly_one_creates(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    results: dict[int, list[bytes]] = {number: [] for number in range(20)}
    ready = threading.Barrier(8)

    def create(who: bytes) -> None:
        ready.wait()
        for number, winners in results.items():
            if store.create(f"lane/{number}", who):
                winners.append(who)

    threads = [threading.Thread(target=create, args=(b"%d" % who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(winners) == 1 for winners in results.values())
    assert all(store.read(f"lane/{number}") == winners[0] for number, winners in results.items())


def odd_memory(pipe_file: Callable[..., None]) -> Store:
    filesystem = memory()
    filesystem.pipe_file = pipe_file.__get__(filesystem)  # type: ignore[method-assign]
    return open_store(filesystem, "bucket")


def test_a_store_that_silently_overwrites_is_found_out() -> None:
    def overwrites(self: Any, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        MemoryFileSystem.pipe_file(self, path, value)

    store = odd_memory(overwrites)
    assert not store.probe("lanes")
    assert list(store.list()) == []


class Share(AbstractFileSystem):  # type: ignore[misc]
    """What SMB, SFTP, FTP and HDFS are to fsspec: ``create`` is its default, ``exists()`` and then a write."""

    protocol = "share"


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_library_that_looks_first_and_writes_then_is_no_lock(tmp_path: Path, wrapped: bool) -> None:
    """Tried one after the other it passes; two owners at once would both be told that the number is theirs."""
    share = DirFileSystem(path=str(tmp_path), fs=LocalFileSystem(auto_mkdir=True)) if wrapped else Share()
    assert not open_store(share, "out").probe("lanes")


def test_a_create_whose_answer_was_lost_is_ours() -> None:
    def loses_its_answer(self: Any, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        MemoryFileSystem.pipe_file(self, path, value, mode=mode)
        raise TimeoutError("no answer")

    store = odd_memory(loses_its_answer)
    assert store.create("lane/1", b"ours")
    assert not store.create("lane/1", b"theirs")


def test_a_create_that_was_repeated_by_the_library_is_ours() -> None:
    def repeats(self: Any, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        MemoryFileSystem.pipe_file(self, path, value, mode=mode)
        MemoryFileSystem.pipe_file(self, path, value, mode=mode)

    assert odd_memory(repeats).create("lane/1", b"ours")


def test_a_create_that_left_nothing_has_failed() -> None:
    def fails(self: Any, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        raise PermissionError("https://store/lane/1?X-Amz-Signature=secret denied")

    with pytest.raises(StorageFailed, match="cannot be created: PermissionError") as failure:
        odd_memory(fails).create("lane/1", b"ours")
    assert "secret" not in str(failure.value)


def test_deleting_what_one_may_not_delete_fails_nothing() -> None:
    filesystem = memory()

    def denied(path: str) -> None:
        raise PermissionError("AccessDenied")

    filesystem.rm_file = denied  # type: ignore[method-assign]
    assert open_store(filesystem, "bucket").probe("lanes")


# ---- what other filesystems say of a file


@pytest.mark.parametrize(
    ("info", "tag", "modified"),
    [
        ({"ETag": '"abc"', "LastModified": datetime(2026, 1, 1, tzinfo=UTC)}, "abc", 1767225600.0),
        ({"etag": "xyz", "updated": "2026-01-01T00:00:00.000Z"}, "xyz", 1767225600.0),
        ({"mtime": 5, "created": 3.0}, "5.0", 5.0),
        ({"updated": "yesterday", "created": 3.5}, "3.5", 3.5),
        ({}, "None", None),
    ],
    ids=["s3", "gcs", "seconds", "junk", "nothing"],
)
def test_a_fingerprint_is_what_the_filesystem_says_changes(
    info: dict[str, Any], tag: str, modified: float | None
) -> None:
    entry = entry_of("a.jpg", {"size": 7, **info})
    assert entry == Entry("a.jpg", 7, tag, modified)
    assert entry.fingerprint == f"7-{tag}"


def test_a_folder_that_cannot_be_looked_through_for_temporary_files_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "scandir", fails)
    with pytest.raises(StorageFailed, match="cannot be listed"):
        list(LocalStore(tmp_path).parts(""))


def test_a_listing_that_fails_is_said_without_signatures() -> None:
    filesystem = memory()

    def fails(*_: Any, **__: Any) -> None:
        raise OSError("GET https://store/list?X-Amz-Signature=secret failed")

    filesystem.find = fails  # type: ignore[method-assign]
    with pytest.raises(StorageFailed, match="cannot be listed") as failure:
        list(open_store(filesystem, "bucket").list())
    assert "secret" not in str(failure.value)
