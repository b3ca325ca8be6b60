"""
From two listings and the ledger to what is to be done, and why. Pure: nothing is read, sent or written here.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.ledger.records import Row, State
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.types import Reprocess
from airflow_provider_perfectlyclear.errors import ConfigurationError, InvalidSource, PlanRefused
from airflow_provider_perfectlyclear.media import EXTENSIONS
from airflow_provider_perfectlyclear.storage import Entry, check_name

#: The redo guard stops a run that would pay again for more than this share of the existing outputs ...
REDO_SHARE = 0.10
#: ... and for more than this many.
REDO_COUNT = 20

_TEMPLATE_FIELDS = ("{path}", "{dir}", "{stem}", "{ext}", "{rendition}")
_FIELD = re.compile("|".join(map(re.escape, _TEMPLATE_FIELDS)))


class Item(NamedTuple):
    """
    One output to be made.

    :param output: its name at the destination.
    :param source: its source's name.
    :param size: the source's size in bytes, as listed.
    :param fingerprint: the source's fingerprint, as listed.
    :param rendition: which of the run's corrections; ``""`` when there is one.
    :param reason: why it is to be made, e.g. ``new``.
    :param existed: whether an output stands there already.
    :param job_id: the job that the output was made by, asked for its result before anything else is done: free.
    :param sha256: of the bytes that the ledger's output was made from; the same bytes need no new job.
    :param root: the URI of the folder that ``source`` is relative to.
    :param free_only: only what is free may be tried: a result that is proved gone counts as
        ``gone_from_destination``, and nothing is started.
    :param by_name: the user has asked for it by name (``reprocess``): it is paid even if the ledger holds its content.
    :param paid_before: it, or what stands in its place, was paid for before.
    """

    output: str
    source: str
    size: int
    fingerprint: str
    rendition: str
    reason: str
    existed: bool = False
    job_id: str | None = None
    sha256: str | None = None
    root: str = ""
    free_only: bool = False
    by_name: bool = False
    paid_before: bool = False


class Refusal(NamedTuple):
    """An output that cannot be made, found before anything was paid."""

    item: Item
    code: str
    reason: str


@dataclass
class Plan:
    """
    What a run will do. ``listed`` = ``unchanged`` + ``ignored`` + the rest, each output in exactly one state.

    :param todo: what is to be made, in the order of the listing.
    :param refused: what cannot be made, and was not known before.
    :param known_bad: what failed for good before, for the same content and correction.
    :param edited: outputs that somebody else changed; left alone.
    :param own: outputs that earlier tries of the same run have landed, or left open.
    :param existing: how many of the listed outputs stand at the destination.
    :param elsewhere: how many outputs of other shards were seen.
    """

    todo: list[Item] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    known_bad: list[Row] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    listed: int = 0
    ignored: int = 0
    unchanged: int = 0
    existing: int = 0
    elsewhere: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the source has no picture at all; a shard may have none when there are few."""
        return self.listed == self.ignored and not self.elsewhere

    @property
    def reasons(self) -> Counter[str]:
        """Why each item is to be made, counted."""
        return Counter(item.reason for item in self.todo)

    def line(self) -> str:
        """What a person reads before the first paid call."""
        why = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.reasons.items()))
        others = {
            "known bad": len(self.known_bad),
            "refused": len(self.refused),
            "edited at destination": len(self.edited),
            "ignored": self.ignored,
        }
        rest = "".join(f", {count:,} {name}" for name, count in others.items() if count)
        return (
            f"to correct: {len(self.todo):,}{f' ({why})' if why else ''}; {self.unchanged:,} unchanged{rest}"
        )

    @property
    def pays_much_again(self) -> bool:
        """Whether so much that exists would be made again that it is hardly meant."""
        again = sum(item.existed for item in self.todo)
        return again > REDO_COUNT and again > REDO_SHARE * self.existing

    def guard_redo(self, where: str) -> None:
        """
        Stop before much that exists is paid for again.

        :param where: the destination, for the message.
        :raises PlanRefused: too many outputs that exist would be made again.
        """
        if not self.pays_much_again:
            return
        again = Counter(item.reason for item in self.todo if item.existed)
        why = ", ".join(f"{number:,} {reason}" for reason, number in again.most_common())
        raise PlanRefused(
            f"{again.total():,} of the {self.existing:,} corrected pictures in {where} would be corrected and "
            f"paid again ({why}); nothing was started. If that is meant, set max_new_jobs={len(self.todo)} "
            'or reprocess="always"; if the catalog was corrected before by something else, or its state '
            'folder was lost, reprocess="missing" corrects only what has no output; after a change of the '
            'correction, reprocess="source_changed" corrects only new and changed pictures.'
        )

    def refuse(self, refusal: Refusal, rows: Mapping[str, Row]) -> None:
        """
        Leave an output out of what is to be made: said once, and known from then on.

        :param rows: the ledger; what it knows to be refused for the same reason is no news.
        """
        row = rows.get(refusal_key(refusal.item.source, refusal.item.rendition))
        if row is not None and row.reason == refusal.reason:
            self.known_bad.append(row)
        else:
            self.refused.append(refusal)

    def settle(self, digests: Mapping[str, str | None], own: Collection[str] = ()) -> list[Item]:
        """
        Take out what has other fingerprints but the same bytes: it is unchanged.

        :param digests: source -> SHA-256 of its bytes.
        :param own: outputs that this very run has made, or found bad.
        :returns: what was taken out.
        """
        settled, rest = list[Item](), list[Item]()
        for item in self.todo:
            same = item.sha256 is not None and digests.get(item.source) == item.sha256
            (settled if same else rest).append(item)
        self.todo = rest
        mine = [item.output for item in settled if item.output in own]
        self.own += mine
        self.unchanged += len(settled) - len(mine)
        return settled


@dataclass(frozen=True)
class Known:
    """
    What a plan is made against.

    :param destination: output name -> size in bytes, as listed.
    :param rows: the ledger: output name -> row. Open rows are somebody else's business.
    :param digests: rendition -> digest of its correction.
    :param run: this run's key (``reprocess="always"`` means once a run).
    :param now: Unix seconds, for ``min_age``.
    :param closed: folders of the destination in which the source or the state lies: nothing is written there.
    """

    destination: Mapping[str, int]
    rows: Mapping[str, Row]
    digests: Mapping[str, str]
    run: str
    now: float
    closed: Collection[str] = ()


def plan(list_source: Callable[[], Iterable[Entry]], known: Known, options: Options) -> Plan:
    """
    Decide about every listed file.

    :param list_source: lists the source; called once more when names collide, as the first of a pair has been
        decided about by the time that the second is seen.
    """
    made, clashes = _pass(list_source(), known, options, {})
    return _pass(list_source(), known, options, clashes)[0] if clashes else made


def _pass(
    source: Iterable[Entry], known: Known, options: Options, clashes: Mapping[str, list[str]]
) -> tuple[Plan, dict[str, list[str]]]:
    made, taken, found = Plan(), dict[str, str](), dict[str, list[str]]()
    shard = options.shard_of()
    for entry in source:
        mine = in_shard(entry.name, shard)
        if not _selects(options, entry, known.now):
            made.ignored += mine
            made.listed += mine
            continue
        for item in _outputs(entry, options):
            folded = _folded(item.output)
            first = taken.setdefault(folded, item.source)
            if first != item.source:
                found.setdefault(folded, [first]).append(item.source)
            made.elsewhere += not mine
            if mine:
                made.listed += 1
                _decide(made, item, clashes.get(folded), known, options)
    return made, found


def _selects(options: Options, entry: Entry, now: float) -> bool:
    name = entry.name
    if name.startswith(".") or "/." in name:
        return False
    if options.min_age and entry.modified is not None and now - entry.modified < options.min_age:
        return False
    if options.pattern is None:
        _, dot, extension = name.rpartition(".")
        wanted = bool(dot) and extension.lower() in EXTENSIONS
    else:
        wanted = _matches(name, options.pattern)
    return wanted and not _matches(name, options.exclude)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """A pattern with ``/`` is for the whole relative path, another for the last part of it."""
    last = name.rpartition("/")[2]
    return any(fnmatchcase(name if "/" in pattern else last, pattern) for pattern in patterns)


def in_shard(name: str, shard: tuple[int, int] | None) -> bool:
    """Whether a source is in a shard: by its name alone, so that it stays when others come."""
    return shard is None or zlib.crc32(name.encode("utf-8", "surrogatepass")) % shard[1] == shard[0] - 1


def _folded(name: str) -> str:
    """As a file system without case, or with another normal form, sees it; the same object if it can be."""
    folded = unicodedata.normalize("NFC", name).casefold()
    return name if folded == name else folded


def _outputs(entry: Entry, options: Options) -> Iterable[Item]:
    for rendition, correction in options.corrections.items():
        output = output_name(entry.name, correction, rendition=rendition, template=options.name_template)
        yield Item(output, entry.name, entry.size, entry.fingerprint, rendition, "new")


def output_name(
    source: str, correction: Correction, *, rendition: str = "", template: str | None = None
) -> str:
    """
    The name of an output: the source's own, with the extension of what will come back.

    :param template: ``{path}``, ``{dir}``, ``{stem}``, ``{ext}`` and ``{rendition}`` are replaced.
    :raises ConfigurationError: the template has an unknown field.
    """
    folder, _, last = source.rpartition("/")
    stem, dot, extension = last.rpartition(".")
    if not dot:
        stem, extension = last, ""
    extension = output_extension(extension, correction)
    path = f"{folder}/" * bool(folder) + stem + f".{extension}" * bool(extension)
    if template is None:
        return f"{rendition}/{path}" if rendition else path
    values = dict(zip(_TEMPLATE_FIELDS, (path, folder, stem, extension, rendition), strict=True))
    name = _FIELD.sub(lambda field: values[field[0]], template)
    return name.replace("//", "/").lstrip("/") if not folder else name


def check_template(template: str | None, renditions: bool) -> None:
    """
    :raises ConfigurationError: a field is unknown, or outputs of one picture would share a name.
    """
    if template is None:
        return
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        fields = ", ".join(_TEMPLATE_FIELDS)
        raise ConfigurationError(f"name_template={template!r} has an unknown field; it may have {fields}.")
    if renditions and "{rendition}" not in template:
        raise ConfigurationError(f"name_template={template!r} needs {{rendition}}: each picture has several.")


def output_extension(extension: str, correction: Correction) -> str:
    """The extension of what comes back for a file with ``extension`` (without the dot)."""
    kind = extension.lower()
    if kind in ("mp4", "mov"):
        return extension
    wanted = correction.output_type
    if wanted is None and correction.remove_background:
        wanted = "png"
    if wanted in (None, "original"):
        return extension
    same = kind == wanted or (wanted == "jpg" and kind == "jpeg")
    return extension if same else str(wanted)


def refusal_key(source: str, rendition: str = "") -> str:
    """
    The ledger's name for a source that was refused for its name. No output begins with ``/``, so what the
    ledger knows about outputs stays.
    """
    return f"/{rendition}/{source}" if rendition else f"/{source}"


def _decide(made: Plan, item: Item, clash: list[str] | None, known: Known, options: Options) -> None:
    size = known.destination.get(item.output)
    made.existing += size is not None
    if (refusal := _refusal(item, clash, known.closed, options.name_template)) is not None:
        made.refuse(refusal, known.rows)
        return
    row = known.rows.get(item.output)
    verdict = verdict_on(item, size, row, known.digests[item.rendition], options.reprocess, known.run)
    if verdict == "open" or (verdict == "unchanged" and row is not None and row.run == known.run):
        made.own.append(item.output)
    elif verdict == "unchanged":
        made.unchanged += 1
    elif verdict == "known bad" and row is not None:
        made.known_bad.append(row)
    elif verdict == "edited":
        made.edited.append(item.output)
    else:
        item = item._replace(reason=verdict, existed=size is not None)
        made.todo.append(with_hints(item, row, known.digests[item.rendition], options.reprocess))


def _refusal(
    item: Item, clash: list[str] | None, closed: Collection[str], template: str | None
) -> Refusal | None:
    if clash is not None:
        names = " and ".join(repr(name) for name in sorted(set(clash))[:3])
        # Without a template of the user's own, none would tell them apart: they differ in what it has no field for.
        remedy = f", or change name_template={template!r}" if template else ""
        reason = f"{names} would all be written as {item.output!r}; rename or exclude all but one{remedy}"
        return Refusal(item, "NAME_COLLISION", reason)
    try:
        check_name(item.output)
    except InvalidSource as error:
        return Refusal(item, error.code, error.reason)
    for folder in closed:
        # Also where a disk would take it for the folder: in other case, or as a file of its name.
        if _folded(f"{item.output}/").startswith(_folded(f"{folder}/")):
            reason = f"{item.output!r} would be written into {folder!r}, where the source or the ledger lies"
            return Refusal(item, "UNSAFE_NAME", reason)
    return None


def with_hints(item: Item, row: Row | None, digest: str, reprocess: Reprocess) -> Item:
    """
    Add what may spare a job: a result still at the service, or the bytes that the verdict of before was about.

    :param item: with its reason.
    :param row: what the ledger says of its output.
    :param digest: of the correction.
    """
    if row is None:
        return item
    if item.reason == "output missing" and row.digest == digest and row.fingerprint == item.fingerprint:
        return item._replace(job_id=row.job_id)
    settled = row.state is State.LANDED or _stays_bad(row, reprocess)
    if item.reason == "source changed" and settled and _same_correction(row, digest, reprocess):
        return item._replace(sha256=row.sha256 or None)
    return item


def _same_correction(row: Row, digest: str, reprocess: Reprocess) -> bool:
    return row.digest == digest or reprocess in ("source_changed", "missing")


def _stays_bad(row: Row, reprocess: Reprocess) -> bool:
    return row.is_known_bad and reprocess not in ("failed", "always")


def verdict_on(
    item: Item, size: int | None, row: Row | None, digest: str, reprocess: Reprocess, run: str
) -> str:
    """
    ``unchanged``, ``known bad``, ``edited``, ``open``, or the reason why an output is to be made.

    :param size: of the output as listed, None when it is not there.
    :param row: what the ledger says, None when it says nothing.
    :param digest: of the correction.
    """
    if row is None:
        if size is None:
            return "new"
        return {"missing": "unchanged", "always": "always"}.get(reprocess, "not in the ledger")
    if row.state.is_open:
        return "open"
    same_source = row.fingerprint == item.fingerprint
    same_correction = _same_correction(row, digest, reprocess)
    if row.state is State.FAILED:
        if reprocess == "missing" and size is not None:
            return "unchanged"
        bad = _stays_bad(row, reprocess) or (row.is_known_bad and row.run == run)
        return _verdict_on_failed(row, same_source, same_correction, bad)
    if reprocess == "always" and row.run != run:
        return "always"
    if size is None:
        return "output missing"
    if row.size is not None and size != row.size:
        return "edited"
    if not same_source and reprocess != "missing":
        return "source changed"
    return "unchanged" if same_correction else "correction changed"


def _verdict_on_failed(row: Row, same_source: bool, same_correction: bool, bad: bool) -> str:
    """:param bad: failed for good, and not to be tried again; what this run tried, its retries leave alone."""
    if not same_source:
        return "source changed"
    if not same_correction:
        return "correction changed"
    if bad:
        return "known bad"
    return "job lost" if row.code == "JOB_LOST" else "failed before"
