"""
Take one safeguard at a time out of a copy of the package, and see which faults of the table catch it.

``python -m tests.faults.without`` takes all of them, one after the other, a minute or two each; with names, only those.
Only the part of the table is played that is nearest to each: more of it may catch it, too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WIRE, KILLS, OWNERS = (
    "tests/faults/test_wire.py",
    "tests/unit/catalog/ledger/test_kills.py",
    "tests/unit/catalog/ledger/test_owners.py",
)


@dataclass(frozen=True)
class Safeguard:
    """
    What protects, and how it is taken out.

    :param file: below the package.
    :param text: of the file; occurs once.
    :param instead: what takes its place.
    :param near: the arguments of pytest that choose the part of the table.
    :param also: further safeguards against the same, taken out with it: file, text, what takes its place.
    """

    name: str
    file: str
    text: str
    instead: str
    near: tuple[str, ...]
    also: tuple[tuple[str, str, str], ...] = ()


def safeguard(
    name: str, file: str, text: str, instead: str, faults: str, *also: tuple[str, str, str]
) -> Safeguard:
    """One whose part of the table is the rows of some faults."""
    return Safeguard(
        name, file, text, instead, ("tests/faults", "tests/unit/catalog", "--fault", faults), also
    )


SAFEGUARDS = [
    Safeguard(
        "record before pay",
        "catalog/engine/start.py",
        "not self._recorder.append(*intents)",
        "any(self._recorder.note(one) for one in intents)",
        (KILLS,),
    ),
    Safeguard(
        "temporary name",
        "storage/local.py",
        "            place_whole(self.root, self.path_to_write(name), self.part_tag, copy, os.replace)",
        "            with open(self.path(name), 'wb') as part:\n                copy(part)",
        (KILLS, "tests/faults/test_stores.py", "tests/faults/test_invariants.py"),
    ),
    Safeguard(
        "keyless storage client",
        "api/transfers.py",
        'headers={"Content-Length": str(size)}',
        'headers={"Content-Length": str(size), "X-API-KEY": self._settings.api_key}',
        (WIRE, "-k", "F7 or F8 or F9"),
    ),
    Safeguard(
        "losing a number",
        "catalog/ledger/lane.py",
        "ours = self.store.create(",
        "ours = None is not self.store.create(",
        (OWNERS,),
    ),
    Safeguard(
        "redo guard",
        "catalog/plan/brakes.py",
        "_guard_redo(made, options, where)\n    new",
        "new",
        ("tests/faults/test_plans.py",),
    ),
    Safeguard(
        "deadline of a request",
        "api/wire.py",
        "return self._ends - time.monotonic()",
        "return 3600.0",
        (WIRE, "-k", "F12"),
    ),
    Safeguard(
        "deadline of a job",
        "catalog/engine/status_checks.py",
        "return now >= (ends if self._deadline is None else min(ends, self._deadline))",
        "return False",
        (WIRE, "-k", "F15 or F17 or F22"),
    ),
    Safeguard(
        "no blind repeat of /pfc",
        "api/conversation.py",
        "(outcome.trouble is Trouble.LOST and call.repeatable)",
        "outcome.trouble is Trouble.LOST",
        (WIRE, "tests/faults/test_connections.py", "-k", "F4 or F12 or F13 or lost_start"),
    ),
    # ---- the second round
    safeguard(
        "walk to the end", "catalog/transfer/verify.py", "    if missing:\n", "    if False:\n", "F10,F66"
    ),
    safeguard("check of sources", "catalog/transfer/source.py", "if check and (", "if False and (", "F66"),
    safeguard(
        "size warns only",
        "catalog/transfer/verify.py",
        "if other_size and wanted",
        "if other_size or wanted",
        "F106",
    ),
    safeguard(
        "ledger of this place", "catalog/ledger/identity.py", "    if not other:\n", "    if True:\n", "F85"
    ),
    safeguard(
        "ledger of the last run",
        "catalog/ledger/identity.py",
        "if known is None or known.ledger != expected.ledger:",
        "if False:",
        "F63,F64",
    ),
    safeguard("parked ledger", "catalog/ledger/claim.py", "if resumed and self", "if False and self", "F63"),
    safeguard(
        "first night", "catalog/plan/brakes.py", "if knows_nothing and most", "if False and most", "F65"
    ),
    safeguard(
        "content index",
        "catalog/engine/earlier_results.py",
        "held = self.index.find(sha256, digest, paid_by=self.run if item.by_name else None)",
        "held = None",
        "F62,F76,F83",
    ),
    safeguard(
        "equal pictures lead",
        "catalog/engine/uploader.py",
        "if self.twins.lead(file.sha256, prepared.digest, anew=was_paid):",
        "if self.twins.lead(file.sha256, prepared.digest, anew=was_paid) or True:",
        "F62",
    ),
    safeguard(
        "gone is not paid",
        "catalog/plan/decide.py",
        "free_only=not item.by_name)",
        "free_only=False)",
        "F75,F76",
    ),
    safeguard(
        "proof of absence",
        "catalog/engine/earlier_results.py",
        "        except (NotFound, UrlGone):\n            return Past.GONE",
        "        except PerfectlyClearError:\n            return Past.GONE",
        "F75",
    ),
    safeguard(
        "id of an answer",
        "api/calls.py",
        'if _is_job_id(data.get("_id")) and data["_id"] != job_id:',
        "if False:",
        "F68",
    ),
    safeguard(
        "a copy's content",
        "catalog/transfer/reuse.py",
        "not digest.hexdigest().startswith(held.output_sha256)",
        "False",
        "F62",
    ),
    safeguard(
        "all who were told a job",
        "catalog/engine/disputed_jobs.py",
        "return found if all(row.file_key for row in leads.values()) else []",
        "return []",
        "F68",
    ),
    safeguard(
        "job id given before",
        "catalog/engine/disputed_jobs.py",
        "self._disputes.has(job_id) or self._known.is_anothers(row, job_id)",
        "self._disputes.has(job_id)",
        "F68",
    ),
    safeguard("only 4xx refuses", "api/calls.py", "if 400 <= answer.status < 500 and", "if True or", "F74"),
    safeguard(
        "refused for good",
        "catalog/engine/start_answers.py",
        "return ItemFailed(str(refusal), code=Reason.PICTURE_REFUSED)",
        "return refusal",
        "F72",
    ),
    safeguard(
        "corrections as planned",
        "catalog/run.py",
        "self._corrections.use_planned(state.queries, state.digests)",
        "self._corrections.read(self.ledger)",
        "F73",
    ),
    safeguard(
        "own last segment",
        "catalog/ledger/lane.py",
        "if not ours or (number > 1 and self.store.stat(segment_name(self.lane, number - 1)) is None):",
        "if not ours:",
        "F80",
    ),
    safeguard("look, then write", "storage/base.py", "if self._looks_first():", "if False:", "F81"),
    safeguard(
        "another's source",
        "catalog/plan/decide.py",
        "return Verdict.OTHER_SOURCE",
        "return Verdict.SOURCE_CHANGED",
        "F70",
    ),
    safeguard(
        "data by its source",
        "catalog/picture.py",
        'f"{DATA}{source_uri(places.source.place, name)}"',
        'f"{DATA}{name}"',
        "F71",
    ),
    safeguard(
        "newest by sequence",
        "catalog/ledger/rows.py",
        "return self.age > other.age",
        "return self.at > other.at",
        "F69,F79",
    ),
    safeguard(
        "always is once a run",
        "catalog/plan/decide.py",
        'if reprocess == "always" and row.paid_by != run:',
        'if reprocess == "always":',
        "F77",
        ("catalog/plan/decide.py", "if row is not None and row.paid_by == run:", "if False:"),
        (
            "catalog/engine/earlier_results.py",
            "held = self.index.find(sha256, digest, paid_by=self.run if item.by_name else None)",
            "held = None if item.by_name else self.index.find(sha256, digest)",
        ),
    ),
    safeguard(
        "service that forgets",
        "catalog/engine/poll.py",
        "self._recorder.book.service_forgets = others and not self._recorder.progress.heard",
        "self._recorder.book.service_forgets = False",
        "F82",
    ),
    safeguard(
        "change time and inode", "storage/local_files.py", "{info.st_ctime_ns}-{info.st_ino}", "0-0", "F83"
    ),
    safeguard(
        "a probe of the destination",
        "storage/local.py",
        "if error.errno in _NO_NAME and self._takes_names():",
        "if False:",
        "F86",
    ),
    safeguard(
        "what costs nothing",
        "catalog/ledger/journal.py",
        "if not error.costs_nothing:  #",
        "if True:  #",
        "F87",
    ),
    safeguard("tried last", "catalog/plan/model.py", "(item.source in tried, item", "(False, item", "F87"),
    safeguard(
        "folders of junk", "catalog/plan/listing.py", "return last in JUNK or last", "return last", "F89"
    ),
    safeguard(
        "others' outputs",
        "storage/walk.py",
        "            self._look.destinations.append(folder)\n            return []\n",
        "            pass\n",
        "F90",
    ),
    safeguard("composed names", "catalog/plan/survey.py", "        add_composed(sizes)\n", "", "F92"),
    safeguard("known presets", "catalog/presets.py", "            self._refuse_known(name)\n", "", "F78"),
    safeguard(
        "dead lanes together",
        "catalog/ledger/other_lanes.py",
        "wait_for_owners([self.ledger, *others, *singles], sleep, alive=lives)",
        "[wait_for_owners([one], sleep, alive=lives) for one in (self.ledger, *others, *singles)]",
        "F98",
    ),
    safeguard(
        "the service's own times",
        "catalog/engine/status_checks.py",
        "return now - job.since if job is not None and job.found_open else None",
        "return now - job.since if job is not None else None",
        "F99",
    ),
    safeguard("fresh for a paid call", "api/client.py", ", keep_alive=False)", ")", "F100"),
    safeguard("own spool", "catalog/transfer/spool.py", "if not _is_ours(folder):", "if False:", "F101"),
    safeguard(
        "the emulator's name",
        "emulator/transport/gate.py",
        "if not self._is_this_machine(host):",
        "if False:",
        "F102",
    ),
    safeguard("secrets in words", "api/text.py", '    shown = _SAID.sub(r"\\1...", shown)\n', "", "F103"),
    safeguard(
        "the checked address",
        "api/wire.py",
        "addresses = self._addresses_of(host)",
        "addresses = [host]",
        "F104",
    ),
    safeguard(
        "record before copy",
        "catalog/engine/copies.py",
        "        while not written.wait(LOOK):",
        "        while False:",
        "F37,F35",
    ),
    safeguard(
        "set aside",
        "catalog/engine/earlier_results.py",
        "            self.aside.keep(replaces)\n",
        "            pass\n",
        "F62",
    ),
    safeguard(
        "what was taken up",
        "catalog/ledger/other_lanes.py",
        "        if self._taken_up is not None:",
        "        if False:",
        "F69",
    ),
    safeguard(
        "news of single pictures",
        "catalog/ledger/claim.py",
        "if not may_pay and not self._lanes.may_have_news():",
        "if not may_pay:",
        "F69",
        ("catalog/ledger/other_lanes.py", "            if row.state.is_open:\n", "            if False:\n"),
    ),
    safeguard(
        "another volume",
        "catalog/ledger/claim.py",
        "            if made is None:\n",
        "            if made is None and (made := identity.read(self._home)) is None:\n",
        "F63",
        ("catalog/ledger/lane.py", "        elif number == 1:\n", "        elif False:\n"),
    ),
    safeguard(
        "disputes of before",
        "catalog/engine/disputed_jobs.py",
        "rows = [row for row in self._recorder.rows.values() if row.doubt]",
        "rows = list[Row]()",
        "F68",
    ),
    safeguard(
        "404 in one attempt",
        "catalog/engine/waiting.py",
        " and not self._checks.is_losing(now)",
        "",
        "F19",
    ),
    safeguard("bounded log", "catalog/ledger/journal.py", "if count <= FAILURES_NAMED:", "if True:", "F105"),
    safeguard(
        "checkpoint in parts", "catalog/ledger/lane.py", "if part.size and part", "if False and part", "F107"
    ),
    Safeguard(
        "damaged record of a preset",
        "catalog/presets.py",
        "if self._remembered(name)[0]:",
        "if self._remembered(name)[1]:",
        ("tests/faults/test_damaged.py",),
    ),
    # ---- what was true when a run began
    Safeguard(
        "late publication",
        "catalog/engine/recorder.py",
        "if self.stood_still or isinstance(self.stopped, LaneLost):",
        "if False:",
        (OWNERS, "--fault", "F59"),
        (("catalog/engine/recorder.py", "        refuse_taken_over(self.ledger)\n", ""),),
    ),
    Safeguard(
        "an attempt that was given up",
        "catalog/engine/recorder.py",
        "        refuse_taken_over(self.ledger)\n",
        "",
        ("tests/faults/test_overtaken.py",),
    ),
    Safeguard(
        "another folder's output in every shard",
        "catalog/ledger/other_lanes.py",
        "return in_shard(row.source, self._shard) or (",
        "return in_shard(row.source, self._shard) or False and (",
        ("tests/faults/test_overtaken.py",),
    ),
    Safeguard(
        "publication over a newer output",
        "catalog/engine/recorder.py",
        "        self.refuse_late()\n        self.refuse_contested(output)",
        "        self.refuse_late()",
        ("tests/faults/test_overtaken.py",),
    ),
    Safeguard(
        "an equal picture over a newer output",
        "catalog/engine/sharing.py",
        "        if output in self._shares:  #",
        "        if False:  #",
        ("tests/faults/test_overtaken.py",),
        (
            (
                "catalog/engine/sharing.py",
                "            self._recorder.refuse_contested(row.output)",
                "            pass",
            ),
        ),
    ),
    safeguard(
        "the job of an output's content of before",
        "catalog/engine/known_jobs.py",
        "known.job_id: known for known in rows if known.job_id}",
        "known.job_id: known for known in list(rows)[:0] if known.job_id}",
        "F68",
        (
            "catalog/engine/known_jobs.py",
            "made_for = self._ledger.view.replaced_jobs.get(job_key(job_id))",
            "made_for = None",
        ),
    ),
    safeguard(
        "jobs of replaced contents",
        "catalog/engine/known_jobs.py",
        "made_for = self._ledger.view.replaced_jobs.get(job_key(job_id))",
        "made_for = None",
        "F68",
    ),
    Safeguard(
        "an unconfirmed start stays open",
        "catalog/engine/start_answers.py",
        "if again and not isinstance(error, StartRefused):",
        "if False:",
        ("tests/faults/test_overtaken.py",),
    ),
    Safeguard(
        "a start that was given up stays declared",
        "catalog/ledger/bills.py",
        " or _gives_up_a_start(before, record)",
        "",
        ("tests/faults/test_engine.py", "--fault", "F68"),
    ),
]


def rows_that_catch(safeguard: Safeguard, folder: Path) -> Iterator[str]:
    """The ways of the table that fail without it."""
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "HEAD"], capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)
    take_out(folder, safeguard.name, safeguard.file, safeguard.text, safeguard.instead)
    for also in safeguard.also:
        take_out(folder, safeguard.name, *also)
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-n", "3", "-p", "no:cacheprovider", *safeguard.near],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    ).stdout
    yield from re.findall(r"^(F\d+ +)BAD (.*)$", said, re.MULTILINE)


def take_out(folder: Path, name: str, file: str, text: str, instead: str) -> None:
    """Change one place of the copy."""
    path = folder / "airflow_provider_perfectlyclear" / file
    before = path.read_text()
    assert before.count(text) == 1, f"{name}: not found once in {file}"
    path.write_text(before.replace(text, instead))


def main() -> int:
    chosen = [one for one in SAFEGUARDS if not sys.argv[1:] or one.name in sys.argv[1:]]
    missed = 0
    for safeguard in chosen:
        with tempfile.TemporaryDirectory() as folder:
            rows = list(rows_that_catch(safeguard, Path(folder)))
        faults = ", ".join(dict.fromkeys(number.strip() for number, _ in rows)) or "NOTHING"
        print(f"without {safeguard.name}: caught by {faults} ({len(rows)} ways)", flush=True)
        missed += not rows
    print(f"{len(chosen)} safeguards, {missed} of them caught by no row")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
