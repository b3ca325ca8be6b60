"""The documentation, taken apart: blocks, tables, messages; and the messages that source code has."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_provider_perfectlyclear"
DOCUMENTS = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
#: Placeholder for names and numbers in a quoted message.
ANY = "..."

_SPAN = re.compile(r"`([^`]+)`")
_CELLS = re.compile(r"(?<!\\)\|")
_PERCENT = re.compile(r"%[-+0-9.,]*[sdrfgx]")


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


# ---- blocks


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """All fenced blocks of all documents, those of some languages if any are named."""
    found = [block for document in DOCUMENTS for block in _blocks(document)]
    return [block for block in found if not languages or block.language in languages]


def _blocks(document: str) -> Iterator[Block]:
    lines = text_of(document).splitlines()
    began: int | None = None
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("```"):
            continue
        if began is None:
            began = number
            continue
        indent = len(lines[began]) - len(lines[began].lstrip())
        inner = [each[indent:] for each in lines[began + 1 : number]]
        yield Block(document, began + 1, lines[began].strip().removeprefix("```"), "\n".join(inner))
        began = None
    assert began is None, f"{document}:{began} is never closed"


# ---- tables


@dataclass(frozen=True)
class Row:
    """A row of a table, and the names of its columns."""

    heading: str
    columns: tuple[str, ...]
    cells: tuple[str, ...]

    def cell(self, column: str) -> str:
        return self.cells[self.columns.index(column)]


def rows(document: str) -> Iterator[Row]:
    """Every row of every table."""
    heading, columns = "", None
    for line in text_of(document).splitlines():
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
        if not line.startswith("|"):
            columns = None
        elif columns is None:
            columns = _cells(line)
        elif set(line) - set("|- "):
            yield Row(heading, columns, _cells(line))


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace("\\|", "|") for cell in _CELLS.split(line)[1:-1])


def spans(text: str) -> list[str]:
    """The texts in backticks."""
    return _SPAN.findall(text)


# ---- messages


def says(message: str, quoted: str) -> bool:
    """Whether a message is the one that is quoted, ``...`` standing for anything."""
    return re.search(ANY_THING.join(map(re.escape, quoted.split(ANY))), message, re.DOTALL) is not None


ANY_THING = ".*"


def is_in_source(quoted: str, *places: Path) -> bool:
    """Whether a quoted message is what some literal, f-string or %-format of the source is formatted from."""
    wanted = tuple(quoted.split(ANY))
    return any(_fits(wanted, literal) for place in places or (PACKAGE,) for literal in literals(place))


@functools.cache
def literals(place: Path) -> tuple[tuple[str, ...], ...]:
    """Each text of the source that a person might read, as its constant parts in order."""
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    return tuple(parts for file in files for parts in _literals(ast.parse(file.read_text())))


def _literals(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in documentation:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield tuple(_PERCENT.split(node.value))
        elif isinstance(node, ast.JoinedStr):
            yield tuple(_parts(node))


def _parts(node: ast.JoinedStr) -> Iterator[str]:
    """The constant parts; two values side by side have an empty one between them."""
    part = ""
    for value in node.values:
        if isinstance(value, ast.Constant):
            part += str(value.value)
        else:
            yield part
            part = ""
    yield part


def _fits(wanted: tuple[str, ...], literal: tuple[str, ...]) -> bool:
    """Whether each part of a quoted message is in a constant part of the literal, in the same order."""
    if max(map(len, wanted)) < 10:  # it would be found anywhere
        return False
    place, offset = 0, 0
    for part in wanted:
        while place < len(literal) and (found := literal[place].find(part, offset)) < 0:
            place, offset = place + 1, 0
        if place == len(literal):
            return False
        offset = found + len(part)
    return True
