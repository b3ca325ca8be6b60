"""
What a build adds to the files: links in the README that work on a package index, and the pages inside the wheel.

``PROJECT_URL`` is the address of the repository, such as ``https://git.example.com/team/project``. With it, the build
writes the project's URLs and makes the README's links absolute. Without it, the README names the files instead, and
says how the installed package prints them. ``PROJECT_FILES_URL`` says where a host shows files, if that is not
``PROJECT_URL/blob/HEAD``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

#: Laid out as the repository, so that the links between the pages work there, too.
DOCUMENTATION = "airflow_provider_perfectlyclear/documentation"
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "example_dags")
NOTE = (
    "The pages and example Dags that this description names are part of the installed package:\n"
    "`python -m airflow_provider_perfectlyclear docs` lists them, and with a name it prints one.\n"
    "The source distribution holds everything else."
)

_FENCED = re.compile(r"(^```.*?^```[^\S\n]*$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[((?:`[^`]*`|[^\[\]`])*)\]\(([^()\s]+)\)")
_REFERENCE = re.compile(r"^\[[^\]]+\]:", re.MULTILINE)
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


class Pages(BuildHookInterface):
    """The documentation inside the wheel. An editable installation reads it from the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the pages."""
        if version != "editable":
            build_data["force_include"].update({page: f"{DOCUMENTATION}/{page}" for page in PAGES})


class Description(MetadataHookInterface):
    """The long description and the project's URLs."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill the dynamic fields ``readme`` and ``urls``."""
        url = os.environ.get("PROJECT_URL", "").rstrip("/")
        if "readme" in metadata and not url:
            return  # a build from a source distribution, whose PKG-INFO has both
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        files = os.environ.get("PROJECT_FILES_URL", "").rstrip("/") or f"{url}/blob/HEAD"
        text = with_absolute_links(readme, files, f"{url}/raw/HEAD") if url else without_links(readme)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = urls(url, files) if url else {}


def urls(url: str, files: str) -> dict[str, str]:
    """Return the project's URLs, as a package index lists them."""
    return {
        "Homepage": url,
        "Documentation": f"{files}/README.md",
        "Changelog": f"{files}/CHANGELOG.md",
        "Issues": f"{url}/issues",
    }


def with_absolute_links(markdown: str, files: str, images: str) -> str:
    """Return the README with links to where the host shows the repository's files and images."""

    def replace(image: str, text: str, target: str) -> str:
        path = f"README.md{target}" if target.startswith("#") else target
        return f"{image}[{text}]({images if image else files}/{path})"

    return _each_relative_link(markdown, replace)


def without_links(markdown: str) -> str:
    """Return the README with the names of files in place of links, and a note under its heading."""

    def replace(image: str, text: str, target: str) -> str:
        path = target.partition("#")[0]
        if image or not path:
            return text
        return f"`{path}`" if path.endswith(text.strip("`").rstrip("/")) else f"{text} (`{path}`)"

    heading, _, rest = _each_relative_link(markdown, replace).partition("\n")
    return f"{heading}\n\n{NOTE}\n{rest}"


def _each_relative_link(markdown: str, replace: Callable[[str, str, str], str]) -> str:
    if _REFERENCE.search(_FENCED.sub("", markdown)):
        raise ValueError(
            "README.md has a reference-style link, which the build does not rewrite: write it inline."
        )

    def one(link: re.Match[str]) -> str:
        return link[0] if _ABSOLUTE.match(link[3]) else replace(link[1], link[2], link[3])

    parts = _FENCED.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(one, part) for part in parts)
