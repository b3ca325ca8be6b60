"""The command that prints the documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_perfectlyclear.__main__ import main
from airflow_provider_perfectlyclear.errors import PerfectlyClearError
from airflow_provider_perfectlyclear.pages import find_page, list_pages, title_of

ROOT = Path(__file__).parents[2]


def test_docs_lists_every_page_with_its_title(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docs"]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {page.name for page in (ROOT / "docs").glob("*.md")} == {
        name.removeprefix("docs/") for name in listed if name.startswith("docs/")
    }
    assert listed["docs/presets.md"] == "Manage presets"
    assert listed["example_dags/nightly_catalog.py"] == "A catalog of photographs, corrected every night."


@pytest.mark.parametrize("name", ["presets", "presets.md", "docs/presets", "docs/presets.md", "Presets"])
def test_docs_prints_a_page_by_any_form_of_its_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docs", name]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "presets.md").read_text()


def test_an_unknown_page_is_refused_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docs", "preset"]) == 1
    assert capsys.readouterr().err == (
        "There is no page 'preset'. Did you mean docs/presets.md? To list all pages, run: "
        "python -m airflow_provider_perfectlyclear docs\n"
    )


def test_a_name_that_two_pages_have_is_refused_with_both() -> None:
    pages = {name: Path(name) for name in ("docs/one.md", "example_dags/one.py")}
    with pytest.raises(PerfectlyClearError, match=r"docs/one\.md and example_dags/one\.py"):
        find_page("one", pages)
    assert find_page("one.py", pages) == Path("example_dags/one.py")


def test_an_installation_without_pages_says_so(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()  # of some other package
    (tmp_path / "docs" / "other.md").write_text("# Other")
    with pytest.raises(PerfectlyClearError, match="has no documentation pages"):
        list_pages(tmp_path / "airflow_provider_perfectlyclear")


def test_every_page_has_a_title() -> None:
    assert all(title_of(page) for page in list_pages().values())


def test_a_reader_that_stops_early_causes_no_traceback() -> None:
    command = [sys.executable, "-m", "airflow_provider_perfectlyclear", "docs", "troubleshooting"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141  # as shells say of SIGPIPE
