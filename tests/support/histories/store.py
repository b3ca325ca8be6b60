"""Stores in memory. A process may wait, sleep or die before and after each of their operations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from airflow_provider_perfectlyclear.storage import Entry
from tests.support.histories.clock import EPOCH, Killed, Process

#: How often an operation takes long enough for others to come between, and how long on average (seconds).
SLOW, LATENCY = 0.12, 0.3
#: Called with the process, a file's name and its bytes, once it exists.
Seen = Callable[[Process, str, bytes], None]


@dataclass
class Folder:
    """
    What a store holds: name -> bytes, number of its version, and Unix seconds.

    :param can_go: it is a mount. While it is away, a process sees the empty folder of its own machine.
    """

    files: dict[str, tuple[bytes, int, float]] = field(default_factory=dict)
    versions: int = 0
    can_go: bool = False

    def put(self, name: str, data: bytes, now: float) -> None:
        self.versions += 1
        self.files[name] = (data, self.versions, now)


class ModelStore:
    """
    The verbs of ``Store`` that a run uses.

    :param process: which process looks at it.
    :param place: the address of its root.
    :param seen: called when a file was written to the folder itself.
    """

    has_folders = True
    protocol = "memory"

    def __init__(
        self, process: Process, folder: Folder, place: str, seen: Seen | None = None, prefix: str = ""
    ) -> None:
        self.process, self.folder, self.root = process, folder, place
        self.seen, self.prefix = seen, prefix
        self.part_tag, self.unlocked = "0", False

    @property
    def place(self) -> str:
        return f"memory://{self.root}"

    @property
    def files(self) -> dict[str, tuple[bytes, int, float]]:
        return self._here.files

    @property
    def _here(self) -> Folder:
        if not (self.folder.can_go and self.process.is_away):
            return self.folder
        return self.process.own.setdefault(id(self.folder), Folder())

    def _pause(self) -> None:
        clock = self.process.clock
        if self.process.is_dead:
            raise Killed
        if clock.dice.random() < SLOW:
            clock.wait(clock.dice.expovariate(1 / LATENCY))

    # ---- places

    def uri(self, name: str) -> str:
        return f"{self.place}/{name}" if name else self.place

    def child(self, folder: str) -> ModelStore:
        root = f"{self.root}/{folder}"
        return type(self)(self.process, self.folder, root, self.seen, f"{self.prefix}{folder}/")

    def relative(self, other: ModelStore) -> str | None:
        if other.root == self.root:
            return ""
        inside = other.root.startswith(f"{self.root}/")
        return other.root[len(self.root) + 1 :] if inside else None

    # ---- reading

    def list(self, *, prune: Collection[str] = (), look: object = None) -> Iterator[Entry]:
        self._pause()
        outside, skip = tuple(f"{folder}/" for folder in prune), len(self.prefix)
        found = [
            Entry(name[skip:], len(data), str(version), at)
            for name, (data, version, at) in self.files.items()
            if name.startswith(self.prefix) and not name[skip:].startswith(outside)
        ]
        self._pause()
        yield from sorted(found, key=lambda entry: entry.name)

    def stat(self, name: str) -> Entry | None:
        self._pause()
        found = self.files.get(self.prefix + name)
        return None if found is None else Entry(name, len(found[0]), str(found[1]), found[2])

    def read(self, name: str) -> bytes | None:
        self._pause()
        found = self.files.get(self.prefix + name)
        return None if found is None else found[0]

    def open(self, name: str) -> BytesIO:
        data = self.read(name)
        if data is None:
            raise FileNotFoundError(name)
        return BytesIO(data)

    # ---- writing

    def create(self, name: str, data: bytes) -> bool:
        self._pause()
        created = self._created(self.prefix + name)
        if created or self._overwrites:
            self._put(name, data)
        self._pause()
        return created or self._lies

    def _put(self, name: str, data: bytes) -> None:
        self._here.put(self.prefix + name, data, EPOCH + self.process.clock.now)
        if self.seen is not None and self._here is self.folder:
            self.seen(self.process, self.prefix + name, data)

    _overwrites = _lies = False

    def _created(self, name: str) -> bool:
        return name not in self.files

    def write(self, name: str, data: bytes) -> None:
        self._pause()
        self._put(name, data)
        self._pause()

    def delete(self, name: str) -> None:
        self._pause()
        self.files.pop(self.prefix + name, None)

    # ---- what a store in memory has no part in

    def probe(self, folder: str) -> bool:
        return True

    def prepare(self) -> None: ...

    def sweep(self, parts: object) -> None: ...

    def parts(self, folder: str) -> Iterator[Entry]:
        yield from ()

    def refuses(self, name: str) -> str | None:
        return None

    def leads_out(self, folder: str) -> bool:
        return False

    def has_folder(self, name: str) -> bool:
        return False

    def is_there(self) -> bool:
        return True

    def file_in_the_way(self) -> None:
        return None


class OverwritingStore(ModelStore):
    """As an old s3fs: asked to create, it replaces. There is no fence."""

    def _put(self, name: str, data: bytes) -> None:
        self._here.put(self.prefix + name, data, self.process.clock.now)
        if self.seen is not None and self._here is self.folder:
            self.seen(self.process, self.prefix + name, data)

    _overwrites = _lies = True


class DeafStore(ModelStore):
    """A process that loses a number is not told, and goes on."""

    _lies = True


def bytes_of(shelf: Any, name: str) -> bytes | None:
    """The bytes under a name, without waiting."""
    found = shelf.files.get(shelf.prefix + name)
    return None if found is None else found[0]
