"""Which contents have been at which source: a check asks for them long after they were replaced or removed."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from tests.support.marks import mark_of


class Sources:
    """Everything that was ever seen at the sources of a test."""

    def __init__(self) -> None:
        #: URI or path of a file -> digests of the contents that it had.
        self.versions: dict[str, set[str]] = {}
        self._marks: dict[str, int | None] = {}
        self._known: dict[tuple[int, ...], str] = {}

    def look_at(self, folder: Path) -> None:
        """Note what lies in a folder now. Content is read once: links to one file cost nothing."""
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                try:
                    facts = path.stat()
                    state = facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
                    if state not in self._known:
                        self._known[state] = self.note(str(path), path.read_bytes())
                except OSError:  # a dangling link, a file that may not be read
                    continue
                self.versions.setdefault(str(path), set()).add(self._known[state])

    def note(self, place: str, data: bytes) -> str:
        """Note that a place has this content; returns the digest."""
        digest = sha256(data).hexdigest()
        self.versions.setdefault(place, set()).add(digest)
        if digest not in self._marks:
            self._marks[digest] = mark_of(data)
        return digest

    def pictures(self, folder: Path) -> list[str]:
        """The names of the marked pictures that were seen in a folder and are there, but for links and hidden ones."""
        marked = (place for place, versions in self.versions.items() if self._are_marked(versions))
        found = (path for path in map(Path, marked) if not path.is_symlink())
        names = (path.relative_to(folder) for path in found if path.is_relative_to(folder) and path.is_file())
        return [name.as_posix() for name in names if all(part[0].isalnum() for part in name.parts)]

    def _are_marked(self, versions: set[str]) -> bool:
        return any(self.mark(digest) is not None for digest in versions)

    def marked(self, folder: Path) -> list[str]:
        """The names of the marked pictures that lie in a folder now."""
        paths = (path for path in folder.rglob("*") if path.is_file())
        return [
            path.relative_to(folder).as_posix() for path in paths if mark_of(path.read_bytes()) is not None
        ]

    def mark(self, digest: str) -> int | None:
        """The mark of a content; None if it has none."""
        return self._marks.get(digest)
