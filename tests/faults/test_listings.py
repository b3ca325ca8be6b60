"""What lies at a source and what a destination takes: names, folders, times, and the worker's own temporary files."""

from __future__ import annotations

import errno
import os
import tempfile
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.run import catalog_run
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool, sweep_spools
from airflow_provider_perfectlyclear.errors import CatalogFailed, ConfigurationError, StorageFailed
from airflow_provider_perfectlyclear.storage import LocalStore, open_store, same_fingerprint
from tests.faults.ledgers import catalog, done
from tests.faults.nights import NAMES
from tests.faults.table import Row
from tests.support.invariants import check_invariants
from tests.support.sandbox import Sandbox, jpeg

THEN = 1_760_000_000


# ---- F83


@pytest.mark.fault("F83", "a burst renumbered", "hidden")
def test_other_content_of_the_same_size_and_time_is_seen(row: Row, sandbox: Sandbox) -> None:
    """Uncompressed pictures of one second: the first is deleted and the others are renumbered."""
    for number in range(1, 6):
        path = sandbox.source / f"burst_{number}.bmp"
        Image.new("RGB", (40, 30), (number * 40, 0, 0)).save(path)
        os.utime(path, (THEN, THEN))
    done(catalog(sandbox, "monday", {"output_type": "png"}).execute())
    before = [(sandbox.destination / f"burst_{number}.png").read_bytes() for number in range(1, 6)]
    (sandbox.source / "burst_1.bmp").unlink()
    for number in range(2, 6):
        (sandbox.source / f"burst_{number}.bmp").rename(sandbox.source / f"burst_{number - 1}.bmp")
    summary = done(catalog(sandbox, "tuesday", {"output_type": "png"}).execute())
    assert (summary["paid"], summary["corrected"]) == (0, 4)  # each content was paid for under another name
    after = [(sandbox.destination / f"burst_{number}.png").read_bytes() for number in range(1, 5)]
    assert after == before[1:]
    row.consumed("five of one size and time")
    (sandbox.destination / "burst_5.png").unlink()
    row.held(check_invariants(sandbox))


def test_a_fingerprint_of_an_earlier_version_is_still_known() -> None:
    assert same_fingerprint("100-17", "100-17-18-19")
    assert not same_fingerprint("100-17", "100-171-18-19") and not same_fingerprint("100-17", "101-17-18-19")
    assert not same_fingerprint("100-17-18-19", "100-17-18-20") and not same_fingerprint("100-ab", "100-ab-2")


# ---- F86


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, marks=pytest.mark.fault("F86", errno.errorcode[code], "item NAME_REFUSED"))
        for code in (errno.EINVAL, errno.EILSEQ)
    ],
)
def test_one_name_that_the_destination_refuses_is_one_pictures_matter(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    sandbox.put("ab:c.jpg", "c.jpg", "d.jpg")
    replace = os.replace

    def as_ntfs(source: Any, target: Any) -> None:
        if ":" in os.path.basename(target):
            raise OSError(code, os.strerror(code))
        replace(source, target)

    monkeypatch.setattr(os, "replace", as_ntfs)
    with pytest.raises(CatalogFailed, match="NAME_REFUSED"):
        catalog(sandbox, "monday").execute()
    sandbox.put("e.jpg")
    summary = done(catalog(sandbox, "tuesday").execute())
    assert (summary["known_bad"], summary["corrected"]) == (1, 1)
    assert sandbox.outputs == ["c.jpg", "d.jpg", "e.jpg"]
    row.consumed("refused once")
    row.held(check_invariants(sandbox))


def test_a_destination_that_takes_no_name_at_all_has_failed(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(sandbox.destination)
    store.prepare()
    (sandbox.root / "file").write_bytes(b"x")

    def refuse(source: Any, target: Any) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StorageFailed):
        store.publish("a.jpg", sandbox.root / "file")


@pytest.mark.fault("F86", "a key of 1,025 bytes", "item NAME_REFUSED")
@pytest.mark.fault("F94", "a name with ?versionId=", "item UNSAFE_NAME")
def test_a_key_that_s3_always_refuses_is_found_before_it_is_paid(row: Row, sandbox: Sandbox) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    class Bucket(MemoryFileSystem):  # type: ignore[misc]
        protocol = "s3"

    store = open_store(Bucket(), "/media/out")
    assert store.refuses("a/" * 400 + "b.jpg") is None
    assert "1,025 bytes" in str(store.refuses("n" * (1025 - len("media/out/"))))
    assert "version" in str(store.refuses("a.jpg?versionId=x.jpg"))
    sandbox.put(*NAMES)
    (sandbox.source / "x.jpg?versionId=y.jpg").write_bytes(jpeg(60))
    run = catalog(sandbox, max_failures=1)
    run.places.source.refuses = store.refuses  # type: ignore[method-assign]
    summary = done(run.execute())
    assert (summary["corrected"], summary["failed"], sandbox.accepted) == (4, 1, 4)
    assert summary["failures"][0]["reason"].startswith("UNSAFE_NAME")
    row.consumed("it is named")
    row.held(check_invariants(sandbox))


# ---- F81


@pytest.mark.fault("F81", "a share through fsspec's own create", "run CONFIGURATION")
def test_a_store_that_looks_first_and_writes_then_is_refused_before_anything_is_paid(
    row: Row, sandbox: Sandbox
) -> None:
    sandbox.put(*NAMES)
    share = DirFileSystem(path=str(sandbox.destination), fs=LocalFileSystem(auto_mkdir=True))
    local = catalog(sandbox)
    refused = catalog_run(
        local.client,
        Places(local.places.source, LocalStore(sandbox.destination), open_store(share, ".perfectlyclear")),
        local.options,
        "share",
        title="a share",
    )
    with pytest.raises(ConfigurationError, match="two runs could pay for the same picture"):
        refused.execute()
    assert sandbox.emulator.bill()["accepted"] == 0
    row.consumed("refused")
    assert done(local.execute())["corrected"] == len(NAMES)
    row.held(check_invariants(sandbox))


# ---- F87


@pytest.mark.fault("F87", "25 originals without permission, first of all", "items SOURCE_UNREADABLE")
def test_originals_that_cannot_be_read_stop_no_others_and_are_read_last_the_next_night(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    archived = [f"{number:02d}.jpg" for number in range(25)]
    sandbox.put(*archived, *NAMES)
    tried: list[str] = []
    read = LocalStore.open

    def denied(store: LocalStore, name: str) -> Any:
        if store.root == str(sandbox.source):
            tried.append(name)
            if name in archived:
                raise PermissionError(errno.EACCES, "Permission denied")
        return read(store, name)

    monkeypatch.setattr(LocalStore, "open", denied)
    with pytest.raises(CatalogFailed) as failure:
        catalog(sandbox, "monday").execute()
    assert "SOURCE_UNREADABLE" in str(failure.value) and failure.value.retry_helps
    assert sandbox.outputs == NAMES
    sandbox.put("z.jpg")
    tried.clear()
    with pytest.raises(CatalogFailed):
        catalog(sandbox, "tuesday").execute()
    assert sandbox.outputs == [*NAMES, "z.jpg"]
    assert tried.index("z.jpg") < 4  # so many are read at once
    monkeypatch.undo()
    row.consumed("25 refused")
    assert done(catalog(sandbox, "wednesday").execute())["corrected"] == len(archived)
    row.held(check_invariants(sandbox))


# ---- F88 to F90


@pytest.mark.fault("F88", "a folder without permission", "run CATALOG_FAILED")
def test_a_folder_that_cannot_be_read_is_named_and_the_others_go_on(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.put(*NAMES)
    for folder in ("private", ".hidden", "skipped"):
        (sandbox.source / folder).mkdir()
    scandir = os.scandir

    def denied(path: Any) -> Any:
        if isinstance(path, str) and os.path.basename(path) in ("private", ".hidden", "skipped"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(CatalogFailed) as failure:
        catalog(sandbox, exclude=("skipped/*",)).execute()
    assert "1 folder of the source could not be read: private: Permission denied" in str(failure.value)
    assert failure.value.retry_helps and sandbox.outputs == NAMES
    monkeypatch.undo()
    assert done(catalog(sandbox, "tuesday").execute())["unchanged"] == 4
    row.consumed("it is named")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F89", "@eaDir, #recycle and others", "hidden")
def test_what_network_drives_leave_in_folders_is_passed_over(
    row: Row, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sandbox.put(*NAMES)
    for folder in ("@eaDir", "b/@eaDir", "#recycle", "$RECYCLE.BIN", "~snapshot", "__MACOSX", "lost+found"):
        (sandbox.source / folder).mkdir(exist_ok=True)
        (sandbox.source / folder / "thumb.jpg").write_bytes(jpeg(80))
    summary = done(catalog(sandbox).execute())
    assert (summary["corrected"], summary["listed"]) == (4, 4)
    assert "2 folders @eaDir passed over" in caplog.text and "1 folder recycle passed over" in caplog.text
    row.consumed("seven folders")
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F90", "another catalog's destination", "hidden")
def test_another_catalogs_outputs_are_no_originals(
    row: Row, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sandbox.put(*NAMES)
    done(catalog(sandbox, "other", destination=sandbox.source / "web").execute())
    summary = done(catalog(sandbox, "monday").execute())
    assert (summary["corrected"], summary["paid"], sandbox.outputs) == (4, 4, NAMES)
    assert "1 folder of another catalog's outputs passed over" in caplog.text
    chained = done(
        catalog(sandbox, "chain", source=sandbox.source / "web", destination=sandbox.root / "x").execute()
    )
    assert chained["corrected"] == 4  # named on purpose, it is a source like any other
    row.consumed("its four outputs are not corrected again")
    row.held(check_invariants(sandbox, again=8))


@pytest.mark.fault("F95", "min_age and a clock ahead", "hidden")
def test_a_file_from_the_future_is_taken(
    row: Row, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.put(*NAMES)
    ahead = time.time() + 86_400
    for name in NAMES:
        os.utime(sandbox.source / name, (ahead, ahead))
    assert done(catalog(sandbox, min_age=3600).execute())["corrected"] == 4
    assert "4 files with a time in the future" in caplog.text
    row.consumed("a day ahead")
    row.held(check_invariants(sandbox))


# ---- F91


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, marks=pytest.mark.fault("F91", errno.errorcode[code], "run STORAGE_FAILED"))
        for code in (errno.EPERM, errno.EOPNOTSUPP)
    ],
)
def test_a_destination_without_hard_links_is_named_with_its_remedy(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    sandbox.put(*NAMES)

    def no_links(source: Any, target: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(StorageFailed, match=r"has no hard links .* allow_unlocked_store=True"):
        catalog(sandbox, "monday").execute()
    summary = done(catalog(sandbox, "tuesday", allow_unlocked_store=True).execute())
    assert summary["corrected"] == 4
    assert done(catalog(sandbox, "wednesday", allow_unlocked_store=True).execute())["unchanged"] == 4
    row.consumed("os.link refuses")
    monkeypatch.undo()
    row.held(check_invariants(sandbox))


# ---- F92


@pytest.mark.parametrize(
    "form",
    [
        pytest.param("NFD", marks=pytest.mark.fault("F92", "decomposed, as HFS+ does", "hidden")),
        pytest.param("NFC", marks=pytest.mark.fault("F92", "composed", "hidden")),
    ],
)
def test_a_destination_that_normalises_names_misses_no_picture(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """It lists names in its own form, and finds them in any, as the file systems of a Mac do."""
    other = "NFC" if form == "NFD" else "NFD"
    names = [unicodedata.normalize(other, name) for name in ("Äpfel/é.jpg", "ü.jpg")]
    sandbox.put(*names, "plain.jpg")
    scandir = os.scandir

    class Named:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.name = unicodedata.normalize(form, entry.name)
            self.path = entry.path
            self.is_dir, self.is_symlink, self.stat = entry.is_dir, entry.is_symlink, entry.stat

    class Listing(list[Named]):
        def __enter__(self) -> Listing:
            return self

        def __exit__(self, *_: Any) -> None: ...

    def normalising(path: Any) -> Any:
        if isinstance(path, str) and path.startswith(str(sandbox.destination)):
            found = scandir(unicodedata.normalize(other, path))
            return Listing(Named(entry) for entry in found)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", normalising)
    assert done(catalog(sandbox, "monday").execute())["paid"] == 3

    tuesday = done(catalog(sandbox, "tuesday").execute())

    assert (tuesday["unchanged"], tuesday["paid"], tuesday["corrected"]) == (3, 0, 0)
    row.consumed(f"listed in {form}")
    monkeypatch.undo()
    row.held(check_invariants(sandbox))


# ---- the worker's temporary files


@pytest.mark.fault("F101", "a link, a FIFO, another user's folder", "hidden")
def test_what_another_user_prepares_in_the_temporary_folder_is_not_touched(
    row: Row, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, victim = tmp_path / "shared", tmp_path / "victim"
    for folder in (shared, victim):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    linked, piped, whole = (shared / f"perfectlyclear-spool-{name}" for name in ("linked", "piped", "whole"))
    linked.mkdir()
    (linked / "lock").symlink_to(victim / "made")
    piped.mkdir()
    os.mkfifo(piped / "lock")
    whole.symlink_to(victim)
    others = shared / "perfectlyclear-spool-others"
    others.mkdir()
    if os.geteuid() == 0:
        os.chown(others, 65534, 65534)
    sandbox.put(*NAMES)
    assert done(catalog(sandbox).execute())["corrected"] == 4  # and does not wait for the pipe
    assert not list(victim.iterdir()) and linked.exists() and piped.exists() and whole.is_symlink()
    assert others.exists() or os.geteuid() != 0
    row.consumed("four traps")
    monkeypatch.undo()
    row.held(check_invariants(sandbox))


@pytest.mark.fault("F108", "a read-only root file system", "run CONFIGURATION")
def test_a_worker_without_a_temporary_folder_is_told_of_tmpdir(
    row: Row, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.put(*NAMES)

    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "gettempdir", none)
        for use in (Spool, sweep_spools, catalog(sandbox).execute):
            with pytest.raises(ConfigurationError, match="TMPDIR"):
                use()
    assert sandbox.accepted == 0
    assert done(catalog(sandbox).execute())["corrected"] == 4
    row.consumed("named three times")
    row.held(check_invariants(sandbox))
