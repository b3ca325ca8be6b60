"""The documentation pages and example Dags that travel with the package."""

from __future__ import annotations

import difflib
from pathlib import Path

from airflow_provider_perfectlyclear.errors import PerfectlyClearError

#: What the command ``docs`` shows, relative to the repository or to the folder that a wheel holds instead of it.
PATTERNS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "example_dags/*.py")
LIST = "python -m airflow_provider_perfectlyclear docs"
_PACKAGE = Path(__file__).parent


def list_pages(package: Path = _PACKAGE) -> dict[str, Path]:
    """
    Return the files by their names, such as ``docs/catalog.md``.

    :param package: The folder of this package.
    :raises PerfectlyClearError: The installation has no pages.
    """
    for root, mark in ((package / "documentation", "README.md"), (package.parent, "hatch_build.py")):
        if (root / mark).is_file():
            found = [path for pattern in PATTERNS for path in sorted(root.glob(pattern))]
            return {path.relative_to(root).as_posix(): path for path in found}
    raise PerfectlyClearError(
        "This installation has no documentation pages. Install airflow-provider-perfectlyclear from its wheel."
    )


def title_of(page: Path) -> str:
    """Return the first heading of a page, or the first line of an example Dag's docstring."""
    lines = [line.strip(' "#') for line in page.read_text(encoding="utf-8").splitlines()]
    return next(filter(None, lines), "")


def find_page(name: str, pages: dict[str, Path]) -> Path:
    """
    Return a page by its name, with or without its folder and suffix: ``catalog`` is ``docs/catalog.md``.

    :raises PerfectlyClearError: No page has that name, or more than one has.
    """
    wanted = name.removeprefix("./").lower()
    forms = {path: {each.lower() for each in _forms(path)} for path in pages}
    matches = [path for path in pages if wanted in forms[path]]
    if len(matches) == 1:
        return pages[matches[0]]
    if matches:
        raise PerfectlyClearError(f"{name!r} is the name of {' and '.join(matches)}. Give one of them.")
    near = difflib.get_close_matches(wanted, [form for each in forms.values() for form in sorted(each)], n=1)
    meant = [path for path in pages if near and near[0] in forms[path]]
    hint = f" Did you mean {meant[0]}?" if meant else ""
    raise PerfectlyClearError(f"There is no page {name!r}.{hint} To list all pages, run: {LIST}")


def _forms(path: str) -> set[str]:
    file = path.rpartition("/")[2]
    return {path, path.rpartition(".")[0], file, file.rpartition(".")[0]}
