"""
The dice of the storm: everything that happens in one seed, drawn before any of it is played.

So a seed's scenario depends on the seed alone, however fast the machine is. What the service and the workers make of it
when they run side by side may differ a little from one time to the next.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.chaos.menu import (
    BAD_DOWNLOADS,
    BAD_STATUS,
    CORRECTIONS,
    DEATHS,
    FAILURES,
    FREE_ROUTES,
    GARBLES,
    ILLNESSES,
    JSON_ROUTES,
    LOST_STARTS,
    MIXED_UP,
    MOMENTS,
    NAMES,
    PRESET_ROUTES,
    READINGS,
    REFUSALS,
    RENDITIONS,
    ROUTES,
    STILL,
    TWINS,
    WAITS,
)

#: So many outputs may have failed for a reason that is not counted.
ANY = 1000


@dataclass(frozen=True)
class Picture:
    """
    A file at the source.

    :param number: of its content.
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
    """
    A change by another person or program: ``put`` a picture at the source, ``touch`` or ``remove`` one there; ``move``
    the outputs of one away from the destination.
    """

    what: str
    picture: Picture


@dataclass(frozen=True)
class Conditions:
    """
    The conditions of one attempt.

    :param faults: of the service.
    :param worker: what its worker is told beside the usual.
    :param edits: before it begins, or while it is stopped.
    :param others: other runs, and when: ``beside`` it, ``after`` it, or while it is ``stopped``.
    :param stands_still: seconds, if something stops it.
    :param goes_on: how, if it is deferred: ``resume``; ``twice``, by two workers at once; ``clear``: from the start.
    :param without: what is not there in a try before this one: the ``state`` folder, or the whole ``destination``.
    :param hours: that pass before it, by the clock of the service.
    """

    faults: tuple[Fault, ...] = ()
    worker: dict[str, Any] = field(default_factory=dict)
    edits: tuple[Edit, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    stands_still: float = 0.0
    goes_on: str = "resume"
    without: str = ""
    hours: int = 0


class Script:
    """
    One seed.

    :param seed: of the dice.
    """

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.reading = READINGS[seed % len(READINGS)]
        self.same_job = self._perhaps(0.5)
        self._numbers = iter(range(1000))
        self.pictures = self._catalog()
        #: Other runs: ``rival``, of the same task; ``neighbour``, from another source; ``singles``, one by one.
        self.others = [
            who
            for who, share in (("rival", 0.3), ("neighbour", 0.15), ("singles", 0.2))
            if self._perhaps(share)
        ]
        self.options = self._options()
        if "renditions" in self.options and "singles" in self.others:
            self.others.remove("singles")
        self.neighbours = self._neighbours() if "neighbour" in self.others else []
        self.singles = self._singles() if "singles" in self.others else []
        #: Whether a run that has ended is cleared, so that the remaining conditions apply to it too.
        self.is_cleared = self._perhaps(0.15)
        self.tries = [self._conditions() for _ in range(self.dice.randint(1, 4))]
        if self.options["max_in_flight"] <= 2 and self._is_ill_for_long:
            self.options["job_timeout"] = 1.0  # two at a time would wait for longer than a worker may

    @property
    def _is_ill_for_long(self) -> bool:
        faults = [fault for conditions in self.tries for fault in conditions.faults]
        return any(fault.route == "status" and fault.times is None for fault in faults)

    def _perhaps(self, probability: float) -> bool:
        return self.dice.random() < probability

    # ---- what is there

    def _catalog(self) -> list[Picture]:
        names = self.dice.sample(NAMES, self.dice.randint(1, 8))
        if self._perhaps(0.06):
            names += [f"many/{number:02d}.jpg" for number in range(self.dice.randint(10, 35))]
        found = [Picture(name, next(self._numbers), self._kind()) for name in names]
        if self._perhaps(0.3):
            copied = self.dice.choices(found, k=self.dice.randint(1, 3))
            found += [replace(one, name=f"copies/{number}.jpg") for number, one in enumerate(copied)]
        if self._perhaps(0.05):
            found += [Picture(name, next(self._numbers), "twin") for name in TWINS]
        return found

    def _kind(self) -> str:
        return "good" if self._perhaps(0.88) else self.dice.choice(["empty", "text", "cut"])

    def _neighbours(self) -> list[Picture]:
        """Some would be written under a name of the catalog's; some have the same content as one of its."""
        found = []
        for number in range(self.dice.randint(1, 3)):
            other = self.dice.choice(self.pictures)
            name = other.name if self._perhaps(0.4) else f"neighbour/{number}.jpg"
            content = other.number if self._perhaps(0.3) and other.kind == "good" else next(self._numbers)
            found.append(Picture(name, content))
        return list({one.name: one for one in found}.values())

    def _singles(self) -> list[str]:
        """Those of the catalog's that have the same output when they are corrected one by one."""
        names = [one.name for one in self.pictures if "/" not in one.name and one.kind != "twin"]
        return self.dice.sample(names, min(len(names), self.dice.randint(1, 3)))

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
        return ["missing", "source_changed", *(() if self.others else ("always", "failed"))]

    # ---- what happens to it

    def _conditions(self) -> Conditions:
        faults = [
            *self._trouble(),
            *self._lost_starts(),
            *self._bad_answers(),
            *self._jobs(),
            *self._illness(),
        ]
        worker, deaths = self._death()
        return Conditions(
            faults=(*faults, *deaths),
            worker=worker,
            edits=tuple(self._edits()),
            others=tuple((who, when) for who in self.others if (when := self._when())),
            stands_still=self.dice.choice([0.05, 0.5, 2.5]),
            goes_on=self.dice.choice(["resume", "resume", "resume", "twice", "clear"]),
            without=self.dice.choice(["state", "destination"]) if self._perhaps(0.15) else "",
            hours=25 if self._perhaps(0.04) else 0,
        )

    def _when(self) -> str:
        return self.dice.choice(["beside", "after", "stopped", ""])

    def _nth(self) -> int:
        return self.dice.choice([1, 1, 2, 3, 4, 6])

    def _trouble(self) -> list[Fault]:
        """What is hidden by asking again."""
        found = []
        for _ in range(self.dice.randint(0, 3)):
            route = self.dice.choice((*FREE_ROUTES, *PRESET_ROUTES))
            found.append(Fault(route, self._one_trouble(route), self._nth(), self.dice.randint(1, 2)))
        if self._perhaps(0.15):
            route, do = self.dice.choice(MIXED_UP)
            found.append(Fault(route, do, self._nth(), self.dice.randint(1, 2)))
        return found

    def _one_trouble(self, route: str) -> dict[str, Any]:
        wait = {"Retry-After": self.dice.choice(WAITS)} if self._perhaps(0.7) else {}
        kind = self.dice.randrange(8)
        if kind < 2:
            status = self.dice.choice([500, 502, 503, 504])
            return {"answer": {"status": status, "headers": wait, "body": "no"}}
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

    def _illness(self) -> list[Fault]:
        """Until the try is over."""
        if not self._perhaps(0.1):
            return []
        route, do = self.dice.choice(ILLNESSES)
        return [Fault(route, do, self._nth(), None)]

    def _lost_starts(self) -> list[Fault]:
        if not self._perhaps(0.45):
            return []
        many = self.dice.choice([1, 1, 1, 2, 4])
        return [Fault("pfc", self.dice.choice(LOST_STARTS), self._nth(), many)]

    def _bad_answers(self) -> list[Fault]:
        found = []
        if self._perhaps(0.25):
            times = self.dice.randint(1, 2)
            found.append(Fault("download", self.dice.choice(BAD_DOWNLOADS), self._nth(), times))
        if self._perhaps(0.2):
            found.append(Fault("status", self.dice.choice(BAD_STATUS), self._nth()))
        if self._perhaps(0.06):
            found.append(Fault("upload", {"expired": True}, self._nth()))
        if self._perhaps(0.05):
            found.append(Fault("put", {"truncate": 400}, self._nth()))  # enough to be unlike any other
        if self._perhaps(0.06):
            status = self.dice.choice([400, 402, 409, 429])
            found.append(Fault("pfc", {"answer": {"status": status}}, self._nth()))
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
        if fate < 0.6:
            call = self.dice.choice(FAILURES)
            return {"fail_at": (*call, self.dice.choice([1, 1, 2, 5]), self._nth())}, []
        if fate < 0.64:
            part = "/out/" + self.dice.choice(self.pictures).name
            return {"fail_at": ("os.rename", part, self.dice.choice(REFUSALS), None, 1)}, []
        if fate < 0.73:
            return {}, [self._signal("SIGTERM")]
        if fate < 0.84:
            return {}, [self._signal("SIGSTOP")]
        return ({"key": "a-wrong-key"}, []) if fate < 0.87 else ({}, [])

    def _signal(self, name: str) -> Fault:
        route = self.dice.choice(ROUTES)
        when = self.dice.choice((*MOMENTS, "reading") if route == "put" else MOMENTS)
        return Fault(route, {"kill": {"pid": "peer", "when": when, "signal": name}}, self._nth())

    def _edits(self) -> list[Edit]:
        if not self._perhaps(0.35):
            return []
        return [self._edit() for _ in range(self.dice.randint(1, 2))]

    def _edit(self) -> Edit:
        good = [picture for picture in self.pictures if picture.kind == "good"]
        kind, number = self.dice.random(), next(self._numbers)
        if good and kind < 0.15:
            return Edit("move", self.dice.choice(good))
        if kind < 0.3 or len(good) < 2:
            return Edit("put", Picture(f"later/{number}.jpg", number, self._kind()))
        chosen = self.dice.choice(good[1:])  # one stays as it is, so that there is always something
        if kind < 0.4:
            return Edit(
                "put", Picture(chosen.name, good[0].number)
            )  # of one that stays: what is lost is paid again
        if kind < 0.7:
            return Edit("put", Picture(chosen.name, number, self._kind()))
        return Edit("touch" if kind < 0.85 else "remove", chosen)

    # ---- what may come of it

    @property
    def excuses(self) -> Counter[str]:
        """By reason code: of how many contents it may be the last word, though they are good."""
        found: Counter[str] = Counter()
        cached = (self.options["correction"] or {}).get("cache", True)
        if self.options["on_ambiguous"] == "fail" or (self.options["on_ambiguous"] == "auto" and not cached):
            found["START_UNKNOWN"] = ANY  # each kill may leave as many as were being started
        for conditions in self.tries:
            found["NAME_REFUSED"] += conditions.worker.get("fail_at", ("",) * 3)[2] in REFUSALS
            for fault in conditions.faults:
                found.update(_excused_by(fault))
        # Each time, all jobs that are open then.
        forgotten = sum(conditions.hours > 0 for conditions in self.tries)
        # While all status checks are answered with 404, a job that is the only open one is lost, too: when it has
        # been started again as well.
        alone = 2 * sum(_forgets(conditions.faults) for conditions in self.tries)
        losses = found.pop("JOB_LOST", 0) + forgotten + alone
        found["JOB_LOST_AGAIN"] = ANY if forgotten > 1 else max(0, losses - 1)
        return found

    @property
    def taken_names(self) -> set[str]:
        """Names that both sources have."""
        return {one.name for one in self.neighbours} & {one.name for one in self.pictures}


def _forgets(faults: Sequence[Fault]) -> bool:
    """Return whether status checks are answered with 404 for ever."""
    checks = (fault for fault in faults if fault.route == "status" and fault.times is None)
    return any(fault.do.get("answer", {}).get("status") == 404 for fault in checks)


def _excused_by(fault: Fault) -> Counter[str]:
    outcome, status = fault.do.get("outcome"), fault.do.get("answer", {}).get("status")
    many = ANY if fault.times is None else 1
    if outcome in ("FAILED", "REJECTED"):
        return Counter([outcome])
    if outcome == "lost":
        return Counter(["JOB_LOST"])
    if fault.route == "pfc" and 400 <= (status or 0) < 500:  # refused alone, it is that picture's matter
        return Counter(["PICTURE_REFUSED"])
    if fault.route == "status" and status == 404 and fault.times is not None:
        return Counter(["JOB_LOST"])  # once is enough if the job's time was up
    if fault.route == "download" and status == 404:  # results of old jobs are gone, too
        return Counter({"JOB_LOST": many})
    if fault.route == "put" and "truncate" in fault.do:
        return Counter(["FAILED", "REJECTED"])
    if fault.route == "download" and {"truncate", "scramble", "framing"} & fault.do.keys():
        return Counter({"CORRUPT_OUTPUT": many})
    return Counter()
