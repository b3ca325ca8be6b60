"""
A seeded storm: a random catalog, random faults of the service, random ends of the worker, as many tries as it takes.

``python -m tests.chaos.storm --seeds 500 --first 1`` runs many; a failure prints its seed and how to play it alone.
Each seed is one night that is retried until it ends, and a second night that must have nothing left to pay. What
happens is drawn in ``weather.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import pprint
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from PIL import Image

from airflow_provider_perfectlyclear.catalog.ledger.records import KNOWN_BAD
from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from tests.catalog.conftest import House, jpeg
from tests.catalog.judge import every_visible_picture_is_whole, judge
from tests.catalog.workers import Worker
from tests.chaos.weather import READINGS, Edit, Picture, Script, Spell

#: When nothing fails any more, so many tries of a run are enough.
CALM_TRIES = 5
#: So often a try may be deferred.
DEFERRALS = 40
#: Nights that are played at the same time. They mostly wait.
AT_ONCE = 9
# So that no seed waits for as long as a user's run may.
JOB_SECONDS = 0.15
CONSTANTS = {
    "api.limiter.LONGEST_WAIT": 0.3,
    "api.retry.LONGEST_WAIT": 0.3,
    "api.retry._FIRST_WAIT": 0.02,
    "api.polling.LOST_AFTER": 0.5,
    "catalog.engine.start.STALE": 1.0,
    "catalog.engine.loop.WORTH_DEFERRING": 0.1,
    "catalog.ledger.lane.ABANDONED": 2.0,
    "catalog.ledger.lane.HEARTBEAT": 0.4,
    "catalog.engine.start_queue.FACTOR": 1.0,
    "catalog.engine.start_queue.LEAST": 0.3,
    "catalog.engine.start_queue.UNKNOWN": 0.5,
}
SETTINGS = {"timeout": 2.0, "call_deadline": 5.0}
RIVAL = "rival"


class Storm:
    """
    One seed.

    :param emulator: reset before.
    :param root: an empty folder.
    """

    def __init__(self, seed: int, emulator: Emulator, root: Path) -> None:
        self.script = Script(seed)
        self.house = House(root, emulator, run="storm", options=self.script.options)
        self.house.source.mkdir()
        self.there: dict[str, Picture] = {}
        self.ever: dict[str, list[Picture]] = {}
        for picture in self.script.pictures:
            self.edit(Edit("put", picture))

    # ---- the source

    def edit(self, edit: Edit) -> None:
        picture, path = edit.picture, self.house.source / edit.picture.name
        if edit.what == "put":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(picture))
            self.there[picture.name] = picture
            self.ever.setdefault(picture.name, []).append(picture)
        elif edit.what == "touch" and path.exists():
            os.utime(path)
        elif edit.what == "remove" and path.exists():
            path.unlink()
            del self.there[picture.name]

    # ---- tries

    def start(self, run: str, *, resume: bool = False, **more: Any) -> Worker:
        return self.house.start(
            run=run, resume=resume, **{"constants": CONSTANTS, "settings": SETTINGS, **more}
        )

    def work(self, run: str, *, resume: bool = False, **more: Any) -> dict[str, Any] | None:
        return self.house.end(self.start(run, resume=resume, **more))

    def play(self) -> None:
        """The night, its invariants, and the night after."""
        try:
            self.storm()
            self.house.emulator.clear_faults()
            for run in sorted(self.house.runs):
                self.calm(run)
            self.second_night()
            self.night_after()
            judge(self.house)
        finally:
            self.house.close()

    def storm(self) -> None:
        said: dict[str, Any] | None = None
        for spell in self.script.spells:
            is_deferred = said is not None and "waiting" in said
            said = self.meet(spell, resume=is_deferred and spell.goes_on != "clear")
            if has_ended(said) and not self.script.is_cleared:
                return

    def meet(self, spell: Spell, *, resume: bool) -> dict[str, Any] | None:
        """One try in that weather; what it said."""
        self.house.emulator.clear_faults()
        for fault in spell.faults:
            self.house.emulator.fault(fault.match, fault.do)
        if not any("SIGSTOP" in str(fault.do) for fault in spell.faults):
            self.change(spell)
        workers = [self.start(self.house.run, resume=resume, **spell.worker)]
        if resume and spell.goes_on == "twice":
            workers.append(self.start(self.house.run, resume=True))
        if spell.rival == "beside":
            workers.append(self.start(RIVAL))
        self.wake(workers, spell)
        said = [self.house.end(worker) for worker in workers][0]
        every_visible_picture_is_whole(self.house.look())  # whoever was killed, and before anybody repairs it
        if spell.rival == "after":
            self.rival(spell)
        return said

    def rival(self, spell: Spell) -> None:
        """Another run meets what the first has left of the weather."""
        worker = self.start(RIVAL)
        self.wake([worker], replace(spell, rival=""))
        self.house.end(worker)

    def change(self, spell: Spell) -> None:
        for edit in spell.edits:
            self.edit(edit)

    def wake(self, workers: list[Worker], spell: Spell) -> None:
        """Whoever is stopped stands still for a while; meanwhile the world goes on."""
        if not any("SIGSTOP" in str(fault.do) for fault in spell.faults):
            return
        ends = time.monotonic() + 60
        while not all(worker.has_ended() for worker in workers) and time.monotonic() < ends:
            for worker in workers:
                if worker.is_stopped:
                    self.change(spell)
                    if spell.rival == "stopped":
                        self.rival(spell)
                    time.sleep(spell.stands_still)
                    worker.send_signal(signal.SIGCONT)
            time.sleep(0.03)

    def calm(self, run: str, **more: Any) -> None:
        """Nothing fails any more: a few tries bring the run to its end."""
        said: dict[str, Any] | None = None
        for _ in range(CALM_TRIES):
            said = self.work(run, **more)
            for _ in range(DEFERRALS):
                if said is None or "waiting" not in said:
                    break
                time.sleep(0.05)  # a trigger would wait for the jobs
                said = self.work(run, resume=True, **more)
            if has_ended(said) or self.is_all_about_what_is_gone(said, run):
                return
        raise AssertionError(
            f"no end of run {run!r} after {CALM_TRIES} tries in the calm; the last said {said}"
        )

    def is_all_about_what_is_gone(self, said: dict[str, Any] | None, run: str) -> bool:
        """A run goes on telling about a job that was lost, though its source is gone and it can do nothing."""
        if said is None or said.get("error") != "CatalogFailed":
            return False
        failed = (line for line in self.manifest(run)[1:] if line["state"] == "failed")
        open_again = [
            line for line in failed if line["code"] not in KNOWN_BAD and line["code"] != "START_UNKNOWN"
        ]
        return all(line["source"] not in self.there for line in open_again)

    # ---- what must have come of it

    def every_output_is_that_of_its_source(self, failed: dict[str, str]) -> None:
        """All sources have other sides, which a correction keeps."""
        renditions = self.house.options.get("renditions")
        mine = {output: name for name in self.ever for output in outputs_of(name, renditions)}
        for output in self.house.outputs:
            assert output in mine, f"{output!r} is the output of nothing"
            name = mine[output]
            if output.startswith("web/") or "cut" in (picture.kind for picture in self.ever[name]):
                continue
            with Image.open(self.house.destination / output) as picture:
                sizes = [size_of(version.number) for version in self.versions(name, output in failed)]
                assert picture.size in sizes, (
                    f"{output!r} was made of something else: {picture.size}, {sizes}"
                )

    def versions(self, name: str, has_failed: bool) -> list[Picture]:
        """Of which contents an output may be made. What was made before stands where nothing can be made now."""
        now = self.there.get(name)
        stands = has_failed or self.house.options["reprocess"] == "missing"
        return self.ever[name] if now is None or now.kind != "good" or stands else [now]

    def second_night(self) -> None:
        """What was edited while its start or its job was open is first landed as it was; the next run sees the edit."""
        edited = [name for name, versions in self.ever.items() if len(versions) > 1]
        if edited:
            options = self.options_that_pay_once()
            self.calm("second_night", options=options)
            reasons = self.manifest("second_night")[0]["summary"]["reasons"]
            assert reasons.keys() <= {"source changed"}, reasons
            assert sum(reasons.values()) <= self.each * len(edited), reasons

    def options_that_pay_once(self) -> dict[str, Any]:
        options = dict(self.house.options)
        return (
            {**options, "reprocess": "changed"} if options["reprocess"] in ("always", "failed") else options
        )

    @property
    def each(self) -> int:
        """How many outputs a picture has."""
        return len(self.house.options.get("renditions", [""]))

    def manifest(self, run: str) -> list[dict[str, Any]]:
        (found,) = self.house.destination.rglob(f"{run}-*/manifest.jsonl")
        return [json.loads(line) for line in found.read_text().splitlines()]

    def night_after(self) -> None:
        """Nothing is left to be done, and every good picture is landed, or is known to have no output."""
        paid = self.house.accepted
        said = self.work("night_after", options=self.options_that_pay_once())
        assert has_ended(said), said
        assert self.house.accepted == paid, "the night after paid again"
        first, *lines = self.manifest("night_after")
        assert first["summary"]["corrected"] == 0, "the night after had something left to land"
        failed = {line["output"]: line["code"] for line in first["known_bad"] + lines if "code" in line}
        self.every_good_picture_is_landed(failed)
        self.every_output_is_that_of_its_source(failed)

    def every_good_picture_is_landed(self, failed: dict[str, str]) -> None:
        excused: Counter[str] = Counter()
        outputs, renditions = set(self.house.outputs), self.house.options.get("renditions")
        for picture in self.there.values():
            for output in outputs_of(picture.name, renditions) if picture.kind == "good" else ():
                if output in failed:
                    excused[failed[output]] += 1
                else:
                    assert output in outputs, f"{output!r} is missing"
        for code, number in excused.items():
            assert number <= self.each * self.script.excuses[code], f"{number} outputs are {code}: {failed}"


def content(picture: Picture) -> bytes:
    """Unlike any other picture's."""
    if picture.kind == "empty":
        return b""
    if picture.kind == "text":
        return b"no picture, number %d" % picture.number
    data = jpeg(picture.number, size_of(picture.number))
    return data[: 400 + picture.number] if picture.kind == "cut" else data


def size_of(number: int) -> tuple[int, int]:
    return 60 + number, 44


def outputs_of(name: str, renditions: Any) -> list[str]:
    return [f"web/{name}", f"print/{name.rpartition('.')[0]}.png"] if renditions else [name]


def has_ended(said: dict[str, Any] | None) -> bool:
    """No retry is left to do anything."""
    return said is not None and (
        "summary" in said or (said.get("error") == "CatalogFailed" and not said["retry_helps"])
    )


# ---- many


def folder_for_houses() -> str | None:
    """In memory if that can be: what is tested is killed processes, not a power cut."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def play(seeds: Iterable[int], *, tell: bool = False) -> list[int]:
    """Play them all, several at a time; returns those that violated something. ``tell``: what is drawn for each."""
    queues: dict[str, SimpleQueue[int]] = {reading: SimpleQueue() for reading in READINGS}
    for seed in seeds:
        queues[READINGS[seed % len(READINGS)]].put(seed)
    busy = [reading for reading in READINGS for _ in range(min(AT_ONCE // 3, queues[reading].qsize()))]
    with ThreadPoolExecutor(len(busy)) as pool:
        shares = [pool.submit(play_from, queues[reading], reading, tell) for reading in busy]
        return sorted(seed for share in shares for seed in share.result())


def play_from(seeds: SimpleQueue[int], reading: str, tell: bool) -> list[int]:
    bad = []
    with running_emulator(job_seconds=JOB_SECONDS, cache=reading, jobs=64) as emulator:
        while True:
            try:
                seed = seeds.get_nowait()
            except Empty:
                return bad
            if tell:
                pprint.pp(vars(Script(seed)), width=110)
            emulator.reset()
            with tempfile.TemporaryDirectory(dir=folder_for_houses()) as folder:
                storm = Storm(seed, emulator, Path(folder))
                try:
                    storm.play()
                except Exception:  # whatever went wrong: the seed is what matters
                    bad.append(seed)
                    keep = f"python -m tests.chaos.storm --seeds 1 --first {seed} --tell"
                    said = "\n".join(map(str, storm.house.tries))
                    print(f"seed {seed}: {keep}\n{said}\n{traceback.format_exc()}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--tell", action="store_true", help="print what is drawn for each seed")
    chosen = parser.parse_args()
    bad = play(range(chosen.first, chosen.first + chosen.seeds), tell=chosen.tell)
    print(f"{chosen.seeds} seeds, {len(bad)} violations{f': {bad}' if bad else ''}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
