"""
The dice of the storm: everything that happens in one seed, drawn before any of it is played.

So a seed's scenario depends on the seed alone, however fast the machine is. What the service and the workers make of it
when they run side by side may differ a little from one time to the next.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

#: What ``cache`` may mean. A seed's own reading, so that each emulator serves the seeds of one.
READINGS = ("free", "billed", "done-only")

NAMES = [
    "a.jpg",
    "b/c.jpg",
    "ü #1 %.jpg",
    "new\nline.jpg",
    "😀.jpg",
    "x&y+z?.jpg",
    "d/e/f.jpg",
    "PLAIN.JPG",
    "g h.jpeg",
    "%2e%2e.jpg",
    "-rf.jpg",
    "con.jpg",
    "שלום.jpg",
    "{{ ds }}.jpg",
    "c/=cmd().jpg",
    "c/::group::.jpg",
    "n" * 251 + ".jpg",
]
#: Two pictures that one output's name would do for: neither can be made.
TWINS = ["twin.jpg", "Twin.jpg"]

RENDITIONS = {"web": {"long": 40}, "print": {"output_type": "png"}}
CORRECTIONS = (None, None, None, {"preset": "Vivid"}, {"cache": False}, {"preset": "none"})

MOMENTS = ("before", "committed", "answering", "answered")
ROUTES = ("upload", "put", "pfc", "status", "download")
FREE_ROUTES = ("upload", "put", "status", "download")
JSON_ROUTES = ("upload", "status")
GARBLES = ("html", "null", "list", "empty", "cut_json", "huge", "not_utf8", "utf16", "gzip_bomb")
WAITS = ("0", "1", "86400", "-1", "soon", "Wed, 21 Oct 2015 07:28:00 GMT")

LOST_STARTS: tuple[dict[str, Any], ...] = (
    {"reset": "before"},
    {"reset": "committed"},
    {"reset": "answering"},
    {"close": "committed"},
    {"silence": "committed"},
    {"answer": {"status": 502, "body": "<html>", "commit": True}},
    {"answer": {"status": 503, "body": "", "commit": False}},
    {"answer": {"status": 500, "json": {"error": "x"}, "commit": True}},
    {"remove": ["statusEndpoint"]},
    *({"garble": kind} for kind in GARBLES),
)
BAD_DOWNLOADS: tuple[dict[str, Any], ...] = (
    {"close": {"when": "answering", "after": 200}},
    {"reset": "answering"},
    {"truncate": 300},
    {"scramble": 0},
    {"drip": {"bytes_per_second": 3000, "chunk": 300}},
    {"framing": "close"},
)
BAD_STATUS: tuple[dict[str, Any], ...] = (
    {"expired": True},
    {"remove": ["correctedFile"]},
    {"patch": {"status": "ARCHIVED"}},
    {"answer": {"status": 404, "json": {}}},
)
#: No job is over for as long as this lasts.
STILL: dict[str, Any] = {"patch": {"status": "PROCESSING", "correctedFile": None}}

# File system calls, and a part of the path: below the house's root, or anywhere.
DEATHS = (
    ("os.rename", "/out/"),
    ("os.rename", "manifest.jsonl"),
    ("os.rename", "run.json.gz"),
    ("os.rename", "progress.json"),
    ("os.link", "lanes/all/"),
    ("os.mkdir", "/out/"),
    ("open", "/in/"),
    ("open", ".pfc-"),
    *[("open", "perfectlyclear-spool-")] * 4,  # once before, and thrice while and after it is fetched
    ("os.remove", ".pfc-"),
    ("os.remove", "run.json.gz"),
    ("os.scandir", "/out"),
    ("os.scandir", "/in"),
)
FAILURES = (
    ("os.rename", "/out/", "EIO"),
    ("os.rename", "/out/", "ENOSPC"),
    ("os.rename", "manifest.jsonl", "ENOSPC"),
    ("os.rename", "run.json.gz", "EIO"),
    ("os.rename", "progress.json", "EACCES"),
    ("os.link", "lanes/all/", "EIO"),
    ("os.link", "lanes/all/", "ENOSPC"),
    ("os.mkdir", "/out/", "EACCES"),
    ("open", "/in/", "EIO"),
    ("open", ".pfc-", "ENOSPC"),
    ("open", "perfectlyclear-spool-", "ENOSPC"),
    ("open", "lanes/all/", "EIO"),
    ("os.remove", ".pfc-", "EIO"),
    ("os.scandir", "/out", "EIO"),
    ("os.scandir", "/in", "EIO"),
)


@dataclass(frozen=True)
class Picture:
    """
    A file at the source.

    :param number: of its content; no two are alike.
    :param kind: ``good``; ``empty``, ``text`` or ``cut``; or ``twin``: good, if its name were.
    """

    name: str
    number: int
    kind: str = "good"


@dataclass(frozen=True)
class Fault:
    """An instruction for the emulator."""

    route: str
    do: dict[str, Any]
    nth: int = 1
    times: int | None = 1

    @property
    def match(self) -> dict[str, Any]:
        return {"route": self.route, "nth": self.nth, "times": self.times}


@dataclass(frozen=True)
class Edit:
    """What somebody does to the source: ``put`` a picture, ``touch`` or ``remove`` a name."""

    what: str
    picture: Picture


@dataclass(frozen=True)
class Spell:
    """
    What one try meets.

    :param faults: of the service.
    :param worker: what its worker is told beside the usual.
    :param edits: of the source, before it begins, or while it stands still.
    :param rival: another run: ``beside`` it, ``after`` it, or while it is ``stopped``.
    :param stands_still: seconds, if something stops it.
    :param goes_on: how, if it is deferred: ``resume``; ``twice``, by two workers at once; ``clear``: from the start.
    """

    faults: tuple[Fault, ...] = ()
    worker: dict[str, Any] = field(default_factory=dict)
    edits: tuple[Edit, ...] = ()
    rival: str = ""
    stands_still: float = 0.0
    goes_on: str = "resume"


class Script:
    """
    One seed.

    :param seed: of the dice.
    """

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.reading = READINGS[seed % len(READINGS)]
        self._numbers = iter(range(1000))
        self.pictures = self._catalog()
        self.has_rival = self._perhaps(0.3)
        self.options = self._options()
        #: Whether a run that has ended is cleared, and so met by the rest of the weather too.
        self.is_cleared = self._perhaps(0.15)
        self.spells = [self._spell() for _ in range(self.dice.randint(1, 4))]

    def _perhaps(self, probability: float) -> bool:
        return self.dice.random() < probability

    # ---- what is there

    def _catalog(self) -> list[Picture]:
        names = self.dice.sample(NAMES, self.dice.randint(1, 8))
        if self._perhaps(0.06):
            names += [f"many/{number:02d}.jpg" for number in range(self.dice.randint(10, 35))]
        found = [Picture(name, next(self._numbers), self._kind()) for name in names]
        if self._perhaps(0.05):
            found += [Picture(name, next(self._numbers), "twin") for name in TWINS]
        return found

    def _kind(self) -> str:
        return "good" if self._perhaps(0.88) else self.dice.choice(["empty", "text", "cut"])

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "transfers": self.dice.randint(1, 4),
            "max_in_flight": self.dice.choice([1, 2, 4, 8, 50]),
            "poll_interval": self.dice.choice([0.05, 0.1, 0.3]),
            "max_failures": self.dice.choice([0, 0, 1, "50%", "100%"]),
            "on_ambiguous": self.dice.choice(["auto"] * 6 + ["restart", "fail"]),
            "reprocess": self.dice.choice(["changed"] * 6 + self._other_reprocess()),
            "deferrable": self._perhaps(0.35),
            "job_timeout": self.dice.choice([1.0, 5.0, 30.0]),
            "correction": self.dice.choice(CORRECTIONS),
        }
        if self._perhaps(0.25):
            options["renditions"] = RENDITIONS
        return options

    def _other_reprocess(self) -> list[str]:
        """What is paid again on purpose by each run is only for a run that is alone."""
        return ["missing", "source_changed", *(() if self.has_rival else ("always", "failed"))]

    # ---- what happens to it

    def _spell(self) -> Spell:
        faults = [*self._trouble(), *self._lost_starts(), *self._bad_answers(), *self._jobs()]
        worker, deaths = self._death()
        return Spell(
            faults=(*faults, *deaths),
            worker=worker,
            edits=tuple(self._edits()),
            rival=self.dice.choice(["beside", "after", "stopped", ""]) if self.has_rival else "",
            stands_still=self.dice.choice([0.05, 0.5, 2.5]),
            goes_on=self.dice.choice(["resume", "resume", "resume", "twice", "clear"]),
        )

    def _nth(self) -> int:
        return self.dice.choice([1, 1, 2, 3, 4, 6])

    def _trouble(self) -> list[Fault]:
        """What is hidden by asking again."""
        found = []
        for _ in range(self.dice.randint(0, 3)):
            route = self.dice.choice((*FREE_ROUTES, "presets"))
            found.append(Fault(route, self._one_trouble(route), self._nth(), self.dice.randint(1, 2)))
        return found

    def _one_trouble(self, route: str) -> dict[str, Any]:
        wait = {"Retry-After": self.dice.choice(WAITS)} if self._perhaps(0.7) else {}
        kind = self.dice.randrange(8)
        if kind < 2:
            return {
                "answer": {"status": self.dice.choice([500, 502, 503, 504]), "headers": wait, "body": "no"}
            }
        if kind == 2:
            return {"answer": {"status": 429, "headers": wait}}
        if kind == 3:
            return {"delay": {"seconds": 0.5, "when": self.dice.choice(MOMENTS[:3])}}
        if kind == 4:
            return {self.dice.choice(["reset", "close"]): self.dice.choice(MOMENTS[:3])}
        if kind == 5 and self._perhaps(0.3):
            return {"silence": "before"}
        if route in JSON_ROUTES:
            return {"garble": self.dice.choice(GARBLES)}
        return {"reset": {"when": "reading", "after": 500}} if route == "put" else {"reset": "before"}

    def _lost_starts(self) -> list[Fault]:
        if not self._perhaps(0.45):
            return []
        many = self.dice.choice([1, 1, 1, 2, 4])
        return [Fault("pfc", self.dice.choice(LOST_STARTS), self._nth(), many)]

    def _bad_answers(self) -> list[Fault]:
        found = []
        if self._perhaps(0.25):
            found.append(
                Fault("download", self.dice.choice(BAD_DOWNLOADS), self._nth(), self.dice.randint(1, 2))
            )
        if self._perhaps(0.2):
            found.append(Fault("status", self.dice.choice(BAD_STATUS), self._nth()))
        if self._perhaps(0.06):
            found.append(Fault("upload", {"expired": True}, self._nth()))
        if self._perhaps(0.05):
            found.append(Fault("put", {"truncate": 400}, self._nth()))  # enough to be unlike any other
        if self._perhaps(0.04):
            found.append(
                Fault("pfc", {"answer": {"status": self.dice.choice([400, 402, 409, 429])}}, self._nth())
            )
        return found

    def _jobs(self) -> list[Fault]:
        found = []
        if self._perhaps(0.12):
            outcome = self.dice.choice(["FAILED", "REJECTED", "lost", "lost"])
            found.append(Fault("pfc", {"outcome": outcome}, self._nth()))
        if self._perhaps(0.1 if self.options["job_timeout"] > 1.0 else 0.5):
            forever = self.options["job_timeout"] == 1.0
            found.append(Fault("status", STILL, self._nth(), None if forever else self.dice.randint(5, 15)))
        return found

    def _death(self) -> tuple[dict[str, Any], list[Fault]]:
        """What its worker is told to do to itself, and what the service does to it."""
        fate = self.dice.random()
        if fate < 0.35:
            return {}, [self._signal("SIGKILL")]
        if fate < 0.5:
            return {"die_at": (*self.dice.choice(DEATHS), self.dice.randint(1, 8))}, []
        if fate < 0.62:
            call = self.dice.choice(FAILURES)
            return {"fail_at": (*call, self.dice.choice([1, 1, 2, 5]), self._nth())}, []
        if fate < 0.72:
            return {}, [self._signal("SIGTERM")]
        if fate < 0.84:
            return {}, [self._signal("SIGSTOP")]
        return ({"key": "a-wrong-key"}, []) if fate < 0.87 else ({}, [])

    def _signal(self, name: str) -> Fault:
        route = self.dice.choice(ROUTES)
        when = self.dice.choice((*MOMENTS, "reading") if route == "put" else MOMENTS)
        return Fault(route, {"kill": {"pid": "peer", "when": when, "signal": name}}, self._nth())

    def _edits(self) -> list[Edit]:
        if not self._perhaps(0.3):
            return []
        return [self._edit() for _ in range(self.dice.randint(1, 2))]

    def _edit(self) -> Edit:
        good = [picture for picture in self.pictures if picture.kind == "good"]
        kind, number = self.dice.random(), next(self._numbers)
        if kind < 0.3 or len(good) < 2:
            return Edit("put", Picture(f"later/{number}.jpg", number, self._kind()))
        chosen = self.dice.choice(good[1:])  # one stays as it is, so that there is always something
        if kind < 0.65:
            return Edit("put", Picture(chosen.name, number, self._kind()))
        return Edit("touch" if kind < 0.8 else "remove", chosen)

    # ---- what may come of it

    @property
    def excuses(self) -> Counter[str]:
        """By reason code: for how many sources it may be the last word, though they are good."""
        found: Counter[str] = Counter()
        cached = (self.options["correction"] or {}).get("cache", True)
        if self.options["on_ambiguous"] == "fail" or (self.options["on_ambiguous"] == "auto" and not cached):
            found["START_UNKNOWN"] = 1000  # each kill may leave as many as were being started
        for fault in (fault for spell in self.spells for fault in spell.faults):
            outcome = fault.do.get("outcome")
            if outcome in ("FAILED", "REJECTED"):
                found[outcome] += 1
            elif fault.route == "pfc" and 400 <= fault.do.get("answer", {}).get("status", 0) < 500:
                found["PICTURE_REFUSED"] += (
                    fault.times or 1000
                )  # one that is refused alone is that picture's matter
            elif outcome == "lost":
                found["JOB_LOST"] += 1
            elif fault.do.get("answer", {}).get("status") == 404:  # once is enough if the job's time was up
                found["JOB_LOST"] += 1
            elif fault.route == "put" and "truncate" in fault.do:
                found["FAILED"] += 1
                found["REJECTED"] += 1
            elif fault.route == "download" and {"truncate", "scramble", "framing"} & fault.do.keys():
                found["CORRUPT_OUTPUT"] += 1
        found["JOB_LOST_AGAIN"] = max(0, found.pop("JOB_LOST", 0) - 1)
        return found
