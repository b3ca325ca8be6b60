"""What users get: the wheel, the source distribution, and what a package index shows of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath
from posixpath import normpath

import pytest

pytest.importorskip("hatchling", reason="the build backend is not installed: pip install hatchling")

import hatch_build

ROOT = Path(__file__).parents[2]
URL = "https://git.example.com/team/project"
DOCUMENTATION = "airflow_provider_perfectlyclear/documentation/"
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)|(?:href|src)=[\"']([^\"']+)", re.MULTILINE)


@dataclass(frozen=True)
class Built:
    """A wheel and a source distribution of this checkout."""

    wheel: Path
    sdist: Path

    @property
    def metadata(self) -> Message:
        """What a package index reads."""
        return metadata_of(self.wheel)

    @property
    def description(self) -> str:
        """The page that a package index shows."""
        return str(self.metadata.get_payload())


def build(folder: Path, root: Path = ROOT, **variables: str) -> Built:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PROJECT_")}
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=root,
        env={**kept, **variables},
        check=True,
        capture_output=True,
    )
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def links(markdown: str) -> list[str]:
    return [next(filter(None, found)) for found in LINK.findall(re.sub(r"(?ms)^```.*?^```", "", markdown))]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("hosted"), PROJECT_URL=f"{URL}/")


def test_the_description_without_a_project_url_has_no_relative_link(plain: Built) -> None:
    assert all(link.startswith("https://") for link in links(plain.description))
    assert "`python -m airflow_provider_perfectlyclear docs` lists them" in plain.description
    assert "Manage presets (`docs/presets.md`)" in plain.description
    assert plain.metadata.get_all("Project-URL") is None


def test_the_description_with_a_project_url_links_to_files_of_the_repository(hosted: Built) -> None:
    found = links(hosted.description)
    assert all(link.startswith("https://") for link in found)
    below = [link.removeprefix(f"{URL}/blob/HEAD/") for link in found if link.startswith(URL)]
    assert len(below) == len([link for link in links((ROOT / "README.md").read_text()) if "://" not in link])
    assert all((ROOT / path.partition("#")[0]).exists() for path in below)


def test_the_project_urls_lead_to_the_project(hosted: Built) -> None:
    urls = dict(line.split(", ") for line in hosted.metadata.get_all("Project-URL", []))
    assert urls.keys() == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert urls["Homepage"] == URL
    for label in ("Documentation", "Changelog"):
        assert (ROOT / urls[label].removeprefix(f"{URL}/blob/HEAD/")).is_file()


def test_a_host_that_shows_files_elsewhere_can_be_named(tmp_path: Path) -> None:
    built = build(tmp_path, PROJECT_URL=URL, PROJECT_FILES_URL=f"{URL}/src/branch/main")
    assert f"]({URL}/src/branch/main/docs/catalog.md)" in built.description


def test_the_wheel_holds_the_pages_and_what_they_link_to(plain: Built) -> None:
    with zipfile.ZipFile(plain.wheel) as archive:
        names = set(archive.namelist())
        pages = [name for name in names if name.startswith(DOCUMENTATION) and name.endswith(".md")]
        assert {f"{DOCUMENTATION}docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= set(pages)
        for page in pages:
            for link in links(archive.read(page).decode()):
                if "://" in link or link.startswith("#"):
                    continue
                target = normpath(str(PurePosixPath(page).parent / link.partition("#")[0]))
                assert any(f"{name}/".startswith(f"{target}/") for name in names), f"{page}: {link}"


def test_the_installed_package_prints_its_pages(plain: Built, tmp_path: Path) -> None:
    with zipfile.ZipFile(plain.wheel) as archive:
        archive.extractall(tmp_path)
    said = subprocess.run(
        [sys.executable, "-m", "airflow_provider_perfectlyclear", "docs", "catalog"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout == (ROOT / "docs" / "catalog.md").read_text()


@pytest.mark.parametrize("version, copies", [("editable", False), ("standard", True)])
def test_an_editable_installation_copies_no_pages(version: str, copies: bool) -> None:
    included: dict[str, str] = {}
    hook = hatch_build.Pages(str(ROOT), {}, None, None, "", "wheel")
    hook.initialize(version, {"force_include": included})
    assert bool(included) is copies


def files_of(sdist: Path) -> set[str]:
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive if not member.isdir()}


def test_the_source_distribution_holds_what_its_tests_need(plain: Built) -> None:
    needed = (
        "Makefile",
        ".ci/run",
        "demo/run.py",
        "benchmarks/import_time.py",
        "hatch_build.py",
        "docs/hook.md",
    )
    assert {*needed, "tests/conftest.py", "example_dags/tenants.py"} <= files_of(plain.sdist)
    assert {f"constraints/{path.name}" for path in (ROOT / "constraints").iterdir()} <= files_of(plain.sdist)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no git checkout")
def test_the_source_distribution_holds_the_files_of_the_repository_and_no_other(plain: Built) -> None:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    assert files_of(plain.sdist) - {"PKG-INFO"} == files


def test_a_wheel_built_from_the_source_distribution_keeps_its_urls(hosted: Built, tmp_path: Path) -> None:
    with tarfile.open(hosted.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    again = build(tmp_path / "built", root=unpacked)
    assert again.description.strip() == hosted.description.strip()
    assert again.metadata.get_all("Project-URL") == hosted.metadata.get_all("Project-URL")
    with zipfile.ZipFile(again.wheel) as ours, zipfile.ZipFile(hosted.wheel) as theirs:
        assert set(ours.namelist()) == set(theirs.namelist())


# --- what the build does to a README


README = """# Title

See [a page](docs/a.md#part), [`b.py`](examples/b.py), [below](#part), [elsewhere](https://example.com/x) and
![a picture](docs/a.png).

```md
[code](docs/a.md)
```
"""


def test_links_become_names_of_files() -> None:
    assert hatch_build.without_links(README) == (
        f"# Title\n\n{hatch_build.NOTE}\n\n"
        "See a page (`docs/a.md`), `examples/b.py`, below, [elsewhere](https://example.com/x) and\n"
        "a picture.\n\n```md\n[code](docs/a.md)\n```\n"
    )


def test_links_become_absolute() -> None:
    assert hatch_build.with_absolute_links(README, "https://h/blob", "https://h/raw") == (
        "# Title\n\nSee [a page](https://h/blob/docs/a.md#part), [`b.py`](https://h/blob/examples/b.py), "
        "[below](https://h/blob/README.md#part), [elsewhere](https://example.com/x) and\n"
        "![a picture](https://h/raw/docs/a.png).\n\n```md\n[code](docs/a.md)\n```\n"
    )


def test_a_kind_of_link_that_the_build_does_not_rewrite_is_refused() -> None:
    with pytest.raises(ValueError, match="write it inline"):
        hatch_build.without_links("# Title\n\n[a page]\n\n[a page]: docs/a.md\n")
