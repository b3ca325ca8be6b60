"""
A seeded storm: a random catalog, random faults of the service, random ends of the worker, as many tries as it takes.

``python -m tests.chaos.storm --seeds 500 --first 1`` runs many; a failure prints its seed and how to play it alone.
Each seed is one night that is retried until it ends, and a second night that must have nothing left to pay. What
happens is drawn in ``conditions.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import pprint
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from PIL import Image

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator
from airflow_provider_perfectlyclear.reasons import PERMANENT, retry_helps
from tests.chaos.conditions import Conditions, Edit, Fault, Picture, Script
from tests.chaos.menu import READINGS
from tests.support.invariants import check_invariants, every_visible_picture_is_whole
from tests.support.provenance import (
    paid_after_a_preset_was_found,
    paid_after_replacement,
    paid_by_two_lanes,
)
from tests.support.sandbox import Sandbox, jpeg
from tests.support.workers import Worker

#: Seconds after which a worker that has not ended counts as one that never will.
WORKER_SECONDS = 180.0
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
    "api.polling.GIVE_UP_AFTER": 10.0,
    "catalog.engine.recorder.STALE": 1.0,
    "catalog.engine.waiting.WORTH_DEFERRING": 0.1,
    "catalog.ledger.owners.ABANDONED": 2.0,
    "catalog.ledger.lane.HEARTBEAT": 0.4,
    "catalog.engine.start_queue.FACTOR": 1.0,
    "catalog.engine.start_queue.LEAST": 0.3,
    "catalog.engine.start_queue.UNKNOWN": 0.5,
}
SETTINGS = {"timeout": 2.0, "call_deadline": 5.0}
NEIGHBOUR, SINGLES = "neighbour", "singles"
#: What a retry of a single picture may mend.
MENDABLE = (
    "Unavailable",
    "TransferFailed",
    "StorageFailed",
    "LaneHeld",
    "LaneLost",
    "JobTimeout",
    "StartRefused",
    "JobLost:",
)


class Storm:
    """
    One seed.

    :param emulator: reset before.
    :param root: an empty folder.
    """

    def __init__(self, seed: int, emulator: Emulator, root: Path) -> None:
        self.seed = seed
        self.script = Script(seed)
        self.sandbox = Sandbox(root, emulator, run="storm", options=self.script.options)
        self.sandbox.source.mkdir()
        self.there: dict[str, Picture] = {}
        self.ever: dict[str, list[Picture]] = {}
        #: Outputs that the next task has moved on.
        self.moved: set[str] = set()
        #: What Airflow keeps of the ledger: of each run, and of the last one.
        self.memory: dict[str, dict[str, Any]] = {}
        emulator.behave(same_job=self.script.same_job)
        emulator.make_presets(2)
        for picture in self.script.pictures:
            self.edit(Edit("put", picture))
        for picture in self.script.neighbours:
            put(self.neighbour_source, picture)

    @property
    def neighbour_source(self) -> Path:
        return self.sandbox.root / "in2"

    # ---- the source, and what becomes of outputs

    def edit(self, edit: Edit) -> None:
        picture, path = edit.picture, self.sandbox.source / edit.picture.name
        if edit.what == "put":
            put(self.sandbox.source, picture)
            self.there[picture.name] = picture
            self.ever.setdefault(picture.name, []).append(picture)
        elif edit.what == "touch" and path.exists():
            os.utime(path)
        elif edit.what == "remove" and path.exists():
            path.unlink()
            del self.there[picture.name]
        elif edit.what == "move":
            self.move_on(picture.name)
        self.sandbox.look_at_sources()

    def move_on(self, name: str) -> None:
        """The next task takes a picture's outputs, and leaves nothing."""
        for output in outputs_of(name, self.sandbox.options.get("renditions")):
            if (self.sandbox.destination / output).is_file():
                (self.sandbox.destination / output).unlink()
                self.moved.add(output)

    # ---- tries

    def start(self, run: str, *, resume: bool = False, **more: Any) -> Worker:
        told: dict[str, Any] = {"constants": CONSTANTS, "settings": SETTINGS, "expects": self.expects(run)}
        if run == NEIGHBOUR:
            told["source"] = str(self.neighbour_source)
        elif run == SINGLES:
            told |= {"pictures": self.script.singles, "threads": 2}
            more = {"options": {**self.options_that_pay_once(), "deferrable": self.seed % 2 == 1}, **more}
        return self.sandbox.start(run=run, resume=resume, **{**told, **more})

    def expects(self, run: str) -> dict[str, Any] | None:
        """What Airflow knows of the ledger when a try begins. What a killed one would have said, it does not."""
        if run in self.memory:
            return {**self.memory[run], "same_run": True}
        return self.memory.get("") if run not in (NEIGHBOUR, SINGLES) else None

    def end(self, worker: Worker, run: str) -> dict[str, Any] | None:
        said = self.sandbox.end(worker, WORKER_SECONDS)
        if said is not None and said.get("memory"):
            self.memory[run] = said["memory"]
            if run != NEIGHBOUR:
                self.memory[""] = said["memory"]
        return said

    def work(self, run: str, *, resume: bool = False, **more: Any) -> dict[str, Any] | None:
        return self.end(self.start(run, resume=resume, **more), run)

    def play(self) -> None:
        """The night, its invariants, and the night after."""
        try:
            self.storm()
            self.sandbox.emulator.clear_faults()
            for run in sorted(self.sandbox.runs, key=lambda run: (run == SINGLES, run)):
                self.calm_singles() if run == SINGLES else self.calm(run)
            self.second_night()
            self.night_after()
            declared = (paid_by_two_lanes, paid_after_replacement, paid_after_a_preset_was_found)
            again = sum(paid(self.sandbox) for paid in declared)
            check_invariants(self.sandbox, again=again)
        finally:
            self.sandbox.close()

    def storm(self) -> None:
        said: dict[str, Any] | None = None
        for conditions in self.script.tries:
            is_deferred = said is not None and "waiting" in said
            resume = is_deferred and conditions.goes_on != "clear"
            if self.goes_without(conditions, resume=resume):
                resume = False
            said = self.attempt(conditions, resume=resume)
            if has_ended(said) and not self.script.is_cleared:
                return

    def goes_without(self, conditions: Conditions, *, resume: bool) -> bool:
        """A try on a machine that does not see the ledger, of which something is known: it stops, and pays nothing."""
        known = self.expects(self.sandbox.run)
        is_known = resume or (known is not None and (known["outputs"] or known.get("same_run")))
        place = self.sandbox.destination / (".perfectlyclear" if conditions.without == "state" else "")
        if not conditions.without or not is_known or not place.exists():
            return False
        aside, paid = self.sandbox.root / "aside", self.sandbox.accepted
        place.rename(aside)
        said = self.work(self.sandbox.run, resume=resume)
        assert said is not None and said.get("code") == "LEDGER_NOT_FOUND", said
        assert self.sandbox.accepted == paid, "it paid without its ledger"
        shutil.rmtree(place, ignore_errors=True)
        aside.rename(place)
        return True

    def attempt(self, conditions: Conditions, *, resume: bool) -> dict[str, Any] | None:
        """One try under these conditions; what it said."""
        self.sandbox.emulator.clear_faults()
        self.sandbox.emulator.let_pass(conditions.hours)
        for fault in conditions.faults:
            if not self.names_jobs_of_other_processes(fault):
                self.sandbox.emulator.fault(fault.match, fault.do)
        if not any("SIGSTOP" in str(fault.do) for fault in conditions.faults):
            self.change(conditions)
        workers = [self.start(self.sandbox.run, resume=resume, **conditions.worker)]
        if resume and conditions.goes_on == "twice":
            workers.append(self.start(self.sandbox.run, resume=True))
        beside = {who: self.start(who) for who, when in conditions.others if when == "beside"}
        self.wake([*workers, *beside.values()], conditions)
        said, *_ = [self.end(worker, self.sandbox.run) for worker in workers]
        for who, worker in beside.items():
            self.end(worker, who)
        # Also after a kill, and before a later run repairs the picture.
        every_visible_picture_is_whole(self.sandbox.look())
        self.others(conditions, "after")
        return said

    def names_jobs_of_other_processes(self, fault: Fault) -> bool:
        """Return whether a start would be answered with another client's job, which no ledger here knows."""
        is_alone = not any(
            conditions.others or conditions.goes_on == "twice" for conditions in self.script.tries
        )
        return fault.route == "pfc" and "another" in fault.do and not is_alone

    def others(self, conditions: Conditions, when: str) -> None:
        """Start other runs under the faults that the first has not used up."""
        for who in [who for who, then in conditions.others if then == when]:
            worker = self.start(who)
            self.wake([worker], replace(conditions, others=()))
            self.end(worker, who)

    def change(self, conditions: Conditions) -> None:
        for edit in conditions.edits:
            self.edit(edit)

    def wake(self, workers: list[Worker], conditions: Conditions) -> None:
        """Wake stopped workers after a while, in which the files change and other runs go on."""
        if not any("SIGSTOP" in str(fault.do) for fault in conditions.faults):
            return
        ends = time.monotonic() + 60
        while not all(worker.has_ended() for worker in workers) and time.monotonic() < ends:
            for worker in workers:
                if worker.is_stopped:
                    self.change(conditions)
                    self.others(conditions, "stopped")
                    time.sleep(conditions.stands_still)
                    worker.send_signal(signal.SIGCONT)
            time.sleep(0.03)

    def calm_singles(self) -> None:
        """Those that can be corrected are, after a few tries. A refusal without a request is a remembered one."""
        for _ in range(CALM_TRIES):
            asked = self.starts_asked
            said = self.work(SINGLES)
            refused = [] if said is None else said["refused"]
            if self.starts_asked == asked:
                refused = [text for text in refused if not text.startswith("StartRefused")]
            if said is not None and not any(text.startswith(MENDABLE) for text in refused):
                return
        raise AssertionError(f"no end of the single pictures: {said}")

    @property
    def starts_asked(self) -> int:
        """How many ``/pfc`` requests the service has seen."""
        return int(self.sandbox.emulator.seen()["api"]["routes"].get("pfc", 0))

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
            if self.is_all_about_what_is_gone(said, run):
                return
            if has_ended(said) and not (said and "summary" in said and self.may_be_mended(run)):
                return
        raise AssertionError(
            f"no end of run {run!r} after {CALM_TRIES} tries in the calm; the last said {said}"
        )

    def may_be_mended(self, run: str) -> bool:
        """Something failed, within ``max_failures``, that another try may land: it is not left to the night after."""
        return any(line["state"] == "failed" and retry_helps(line["code"]) for line in self.manifest(run)[1:])

    def is_all_about_what_is_gone(self, said: dict[str, Any] | None, run: str) -> bool:
        """A run goes on telling about a job that was lost, though its source is gone and it can do nothing."""
        if said is None or said.get("error") != "CatalogFailed":
            return False
        failed = (line for line in self.manifest(run)[1:] if line["state"] == "failed")
        open_again = [
            line for line in failed if line["code"] not in PERMANENT and line["code"] != "START_UNKNOWN"
        ]
        return all(line["source"] not in self.there for line in open_again)

    # ---- what must have come of it

    def every_output_is_that_of_its_source(self, failed: dict[str, str]) -> None:
        """Other contents have other sides, which a correction keeps. The invariants look at what a picture shows."""
        renditions = self.sandbox.options.get("renditions")
        mine = {output: name for name in self.ever for output in outputs_of(name, renditions)}
        theirs = {output for one in self.script.neighbours for output in outputs_of(one.name, renditions)}
        for output in self.sandbox.outputs:
            assert output in mine or output in theirs, f"{output!r} is the output of nothing"
            if output in theirs or output.startswith("web/") or self.was_once_cut(mine[output]):
                continue
            with Image.open(self.sandbox.destination / output) as picture:
                sizes = [size_of(version.number) for version in self.versions(mine[output], output in failed)]
                assert picture.size in sizes, (
                    f"{output!r} was made of something else: {picture.size}, {sizes}"
                )

    def was_once_cut(self, name: str) -> bool:
        return "cut" in (picture.kind for picture in self.ever[name])

    def versions(self, name: str, has_failed: bool) -> list[Picture]:
        """Of which contents an output may be made. What was made before stays where nothing can be made now."""
        now = self.there.get(name)
        stays = has_failed or self.sandbox.options["reprocess"] == "missing"
        return self.ever[name] if now is None or now.kind != "good" or stays else [now]

    def second_night(self) -> None:
        """
        What was edited while its start or its job was open is first landed as it was; the next run sees the edit.

        And what was moved on after the first run had paid for it is not paid twice in that run, whatever was asked for.
        """
        edited = [name for name, versions in self.ever.items() if len(versions) > 1]
        missing = self.moved if self.sandbox.options["reprocess"] == "missing" else set[str]()
        if edited or missing:
            options = self.options_that_pay_once()
            self.calm("second_night", options=options)
            reasons = self.manifest("second_night")[0]["summary"]["reasons"]
            # What waits for the answer to an equal picture's unconfirmed start has no row of its own.
            if any(line.get("code") == "START_UNKNOWN" for line in self.manifest("second_night")[1:]):
                reasons.pop("new", 0)
            assert reasons.pop("output missing", 0) <= len(missing), (reasons, missing)
            assert reasons.keys() <= {"source changed"}, reasons
            assert sum(reasons.values()) <= self.each * len(edited), reasons

    def options_that_pay_once(self) -> dict[str, Any]:
        options = dict(self.sandbox.options)
        return (
            {**options, "reprocess": "changed"} if options["reprocess"] in ("always", "failed") else options
        )

    @property
    def each(self) -> int:
        """How many outputs a picture has."""
        return len(self.sandbox.options.get("renditions", [""]))

    def manifest(self, run: str) -> list[dict[str, Any]]:
        (found,) = self.sandbox.destination.rglob(f"{run}-*/manifest.jsonl")
        return [json.loads(line) for line in found.read_text().splitlines()]

    def night_after(self) -> None:
        """Nothing is left to be done, and every good picture is landed, or is known to have no output."""
        paid = self.sandbox.accepted
        runs = {"night_after": {}, "neighbours_after": {"source": str(self.neighbour_source)}}
        for run, more in runs.items() if NEIGHBOUR in self.sandbox.runs else list(runs.items())[:1]:
            said = self.work(run, options=self.options_that_pay_once(), **more)
            assert has_ended(said), said
            assert self.sandbox.accepted == paid, f"{run} paid again"
            assert self.manifest(run)[0]["summary"]["corrected"] == 0, f"{run} had something left to land"
        first, *lines = self.manifest("night_after")
        failed = {line["output"]: line["code"] for line in first["known_bad"] + lines if "code" in line}
        gone = {line["output"] for line in lines if line["state"] == "gone_from_destination"}
        assert gone <= self.moved, f"gone, though it was not moved: {gone - self.moved}"
        self.every_good_picture_is_landed(failed, gone)
        self.every_output_is_that_of_its_source(failed)

    def every_good_picture_is_landed(self, failed: dict[str, str], gone: set[str]) -> None:
        excused: dict[str, set[tuple[int, str]]] = {}
        outputs, renditions = set(self.sandbox.outputs), self.sandbox.options.get("renditions")
        for picture in self.there.values():
            for output in outputs_of(picture.name, renditions) if picture.kind == "good" else ():
                if failed.get(output) == "NAME_COLLISION" and picture.name in self.script.taken_names:
                    assert output in outputs, f"{output!r} belongs to no source"
                elif output in failed:  # equal contents share a job, and its fate
                    rendition = output.partition("/")[0] if renditions else ""
                    excused.setdefault(failed[output], set()).add((picture.number, rendition))
                elif output not in gone:
                    assert output in outputs, f"{output!r} is missing"
        for code, contents in excused.items():
            most = self.each * self.script.excuses[code]
            assert len(contents) <= most, f"{len(contents)} contents are {code}: {failed}"


def put(folder: Path, picture: Picture) -> None:
    path = folder / picture.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content(picture))


def content(picture: Picture) -> bytes:
    """Unlike that of any other number."""
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


def folder_for_sandboxes() -> str | None:
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
            with tempfile.TemporaryDirectory(dir=folder_for_sandboxes()) as folder:
                storm = Storm(seed, emulator, Path(folder))
                try:
                    storm.play()
                except Exception:  # noqa: BLE001  # a failed seed is reported, and the next one is played
                    bad.append(seed)
                    keep = f"python -m tests.chaos.storm --seeds 1 --first {seed} --tell"
                    said = "\n".join(map(str, storm.sandbox.tries))
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
