"""From two listings and the ledger to what is to be done, and why. Pure: nothing is read, sent or written here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State, source_uri
from airflow_provider_perfectlyclear.catalog.naming import folded, output_name, refusal_key, size_of
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan, Refusal, Verdict
from airflow_provider_perfectlyclear.catalog.shards import in_shard
from airflow_provider_perfectlyclear.catalog.types import Reprocess
from airflow_provider_perfectlyclear.errors import InvalidSource
from airflow_provider_perfectlyclear.media import EXTENSIONS
from airflow_provider_perfectlyclear.reasons import REFUSED_HERE, Reason
from airflow_provider_perfectlyclear.storage import Entry, check_name, same_fingerprint

#: How files with a time in the future are called in the plan's line.
FUTURE = "with a time in the future"


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
    :param root: the source's URI.
    :param refuses: why the destination cannot hold a name.
    :param misreads: why the source would read a name as another.
    :param has_folders: the destination has folders, so that no name can be a file and a folder at once.
    """

    destination: Mapping[str, int]
    rows: Mapping[str, Row]
    digests: Mapping[str, str]
    run: str
    now: float
    closed: Collection[str] = ()
    root: str = ""
    has_folders: bool = False
    refuses: Callable[[str], str | None] = lambda name: None
    misreads: Callable[[str], str | None] = lambda name: None


def plan(list_source: Callable[[], Iterable[Entry]], known: Known, options: Options) -> Plan:
    """
    Decide about every listed file.

    :param list_source: lists the source; called once more when names collide, as the first of a pair has been
        decided about by the time that the second is seen.
    """
    made, clashes = _pass(list_source(), known, options, {})
    if clashes:
        made = _pass(list_source(), known, options, clashes)[0]
    made.order(known.rows, oldest_first=options.reprocess == "always")
    return made


def _pass(
    source: Iterable[Entry], known: Known, options: Options, clashes: Mapping[str, list[str]]
) -> tuple[Plan, dict[str, list[str]]]:
    made, names = Plan(), _Names(known.has_folders)
    shard = options.shard_of()
    for entry in source:
        mine = in_shard(entry.name, shard)
        if options.min_age and entry.modified is not None and entry.modified > known.now:
            made.notes[FUTURE] += mine
        if not _selects(options, entry, known.now):
            made.ignored += mine
            made.listed += mine
            continue
        for item in _outputs(entry, options, known.root):
            key = folded(item.output)
            names.take(key, item.source)
            made.elsewhere += not mine
            if mine:
                made.listed += 1
                _decide(made, item, clashes.get(key), known, options)
    return made, names.clashes


class _Names:
    """
    The names of all outputs, as a disk without case sees them, and the sources that clash over one.

    :param has_folders: a name clashes also with a name below it.
    """

    def __init__(self, has_folders: bool) -> None:
        self._taken: dict[str, str] = {}
        self._folders: dict[str, tuple[str, str]] | None = {} if has_folders else None
        self.clashes: dict[str, list[str]] = {}

    def take(self, name: str, source: str) -> None:
        """Note that an output of ``source`` is called ``name``."""
        first = self._taken.setdefault(name, source)
        if first != source:
            self._clash(name, first, source)
        if self._folders is None:
            return
        if name in self._folders:
            other, its_source = self._folders[name]
            self._clash(name, its_source, source)
            self._clash(other, its_source, source)
        for folder in _parents(name):
            if folder in self._taken:
                self._clash(folder, self._taken[folder], source)
                self._clash(name, self._taken[folder], source)
            self._folders.setdefault(folder, (name, source))

    def _clash(self, name: str, first: str, second: str) -> None:
        self.clashes.setdefault(name, [first]).append(second)


def _parents(name: str) -> Iterator[str]:
    at = name.rfind("/")
    while at > 0:
        yield name[:at]
        at = name.rfind("/", 0, at)


def _selects(options: Options, entry: Entry, now: float) -> bool:
    name = entry.name
    if name.startswith(".") or "/." in name:
        return False
    if options.min_age and entry.modified is not None and 0 <= now - entry.modified < options.min_age:
        return False
    if options.pattern is None:
        _, dot, extension = name.rpartition(".")
        wanted = bool(dot) and extension.lower() in EXTENSIONS
    else:
        wanted = _matches(name, options.pattern, options.case_sensitive)
    return wanted and not _matches(name, options.exclude, options.case_sensitive)


def _matches(name: str, patterns: Iterable[str], case_sensitive: bool) -> bool:
    """Compare a pattern with ``/`` to the whole relative path, another to the last part of it."""
    if not case_sensitive:
        name, patterns = name.lower(), [pattern.lower() for pattern in patterns]
    last = name.rpartition("/")[2]
    return any(fnmatchcase(name if "/" in pattern else last, pattern) for pattern in patterns)


def _outputs(entry: Entry, options: Options, root: str) -> Iterable[Item]:
    for rendition, correction in options.corrections.items():
        output = output_name(entry.name, correction, rendition=rendition, template=options.name_template)
        yield Item(output, entry.name, entry.size, entry.fingerprint, rendition, Verdict.NEW, root=root)


def _decide(made: Plan, item: Item, clash: list[str] | None, known: Known, options: Options) -> None:
    size = size_of(item.output, known.destination)
    row = known.rows.get(item.output)
    made.paid_or_there += size is not None or (row is not None and row.is_paid)
    if (refusal := _refusal(item, clash, known, options.name_template)) is not None:
        made.refuse(refusal, known.rows)
        return
    if (bad := _bad_source(item, known, options)) is not None:
        made.known_bad.append(bad)
        return
    if row is not None:  # one object for each name
        item = item._replace(output=row.output)
    digest = known.digests[item.rendition]
    verdict = verdict_on(item, size, row, digest, options, known.run)
    is_own = verdict is Verdict.UNCHANGED and row is not None and row.run == known.run
    if verdict is Verdict.OPEN or is_own:
        made.own.append(item.output)
    elif not made.leave_alone(item, row, verdict):
        item = item._replace(reason=verdict, existed=size is not None)
        made.todo.append(with_hints(item, row, digest, options, known.run))


def _bad_source(item: Item, known: Known, options: Options) -> Row | None:
    """Return the row of a source that was found bad beside an output that was paid for, and is bad still."""
    row = known.rows.get(refusal_key(item.output))
    is_about_source = row is not None and row.code in REFUSED_HERE and is_same_source(row, item)
    if row is None or not is_about_source or not _is_unchanged(row, item):
        return None
    return row if _is_bad(row, options, known.run) else None


def _refusal(item: Item, clash: list[str] | None, known: Known, template: str | None) -> Refusal | None:
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
    if (why := known.misreads(item.source)) is not None:
        return Refusal(item, "UNSAFE_NAME", why)
    if (why := known.refuses(item.output)) is not None:
        return Refusal(item, "NAME_REFUSED", why)
    for folder in known.closed:
        # Also where a disk would take it for the folder: in other case, or as a file of its name.
        if folded(f"{item.output}/").startswith(folded(f"{folder}/")):
            reason = f"{item.output!r} would be written into {folder!r}, where the source or the ledger lies"
            return Refusal(item, "UNSAFE_NAME", reason)
    return None


def with_hints(item: Item, row: Row | None, digest: str, options: Options, run: str) -> Item:
    """
    Add what may spare a job, or forbids one.

    A result may still be at the service, the bytes may be those that the verdict of before was about, and the user may
    have asked for the output by name.

    :param item: with its reason, and whether an output stands.
    :param row: what the ledger says of its output.
    :param digest: of the correction.
    """
    paid_before = item.existed or (row is not None and row.is_paid and item.reason != Verdict.JOB_LOST)
    item = item._replace(by_name=_is_by_name(item, row, options.reprocess, run), paid_before=paid_before)
    if row is None:
        return item
    if item.reason == Verdict.OUTPUT_MISSING:
        is_its_own = row.digest == digest and is_same_source(row, item) and _is_unchanged(row, item)
        return item._replace(job_id=row.job_id if is_its_own else None, free_only=not item.by_name)
    if item.reason == Verdict.JOB_LOST:
        return item._replace(job_id=row.job_id)
    settled = (row.state is State.LANDED and item.existed) or _stays_bad(row, options)
    if item.reason == Verdict.SOURCE_CHANGED and settled and _same_correction(row, digest, options.reprocess):
        return item._replace(sha256=row.sha256 or None)
    return item


def _is_by_name(item: Item, row: Row | None, reprocess: Reprocess, run: str) -> bool:
    """Whether the user has asked to pay for just this, once in a run, whatever the ledger holds."""
    if row is not None and row.paid_by == run:
        return False
    if reprocess == "failed":
        return row is not None and row.is_known_bad
    return reprocess == "always" or (reprocess == "missing" and item.reason == Verdict.OUTPUT_MISSING)


def _same_correction(row: Row, digest: str, reprocess: Reprocess) -> bool:
    return row.digest == digest or reprocess in ("source_changed", "missing")


def _is_bad(row: Row, options: Options, run: str) -> bool:
    """Whether a failure is not to be tried again; what this run tried, its retries leave alone."""
    return _stays_bad(row, options) or (
        row.is_known_bad and row.run == run and not _is_let_through(row, options)
    )


def _stays_bad(row: Row, options: Options) -> bool:
    tried_again = options.reprocess in ("failed", "always") or _is_let_through(row, options)
    return row.is_known_bad and not tried_again


def _is_let_through(row: Row, options: Options) -> bool:
    """Whether only the check that has refused a source is left out now: it was never tried."""
    return row.code == Reason.TRUNCATED_SOURCE and not options.check_source


def verdict_on(
    item: Item, size: int | None, row: Row | None, digest: str, options: Options, run: str
) -> Verdict:
    """
    Decide whether an output is left alone, or why it is to be made.

    :param size: of the output as listed, None when it is not there.
    :param row: what the ledger says, None when it says nothing.
    :param digest: of the correction.
    """
    reprocess = options.reprocess
    if row is None:
        return Verdict.NEW if size is None else _verdict_on_unknown(reprocess)
    if row.state.is_open:
        return Verdict.OPEN
    same_source = is_same_source(row, item) and _is_unchanged(row, item)
    same_correction = _same_correction(row, digest, reprocess)
    if row.state is State.FAILED:
        if reprocess == "missing" and size is not None and row.code != Reason.COPY_INTERRUPTED:
            return Verdict.UNCHANGED
        return _verdict_on_failed(row, same_source, same_correction, _is_bad(row, options, run))
    if not is_same_source(row, item):
        return Verdict.OTHER_SOURCE
    if reprocess == "always" and row.paid_by != run:
        return Verdict.ALWAYS
    if size is None:
        return _verdict_on_missing(row, same_source, same_correction, reprocess, run)
    if row.size is not None and size != row.size:
        return Verdict.EDITED
    if not same_source and reprocess != "missing":
        return Verdict.SOURCE_CHANGED
    return Verdict.UNCHANGED if same_correction else Verdict.CORRECTION_CHANGED


def is_same_source(row: Row, item: Item) -> bool:
    """Whether a row was made from the item's source; rows of earlier versions do not say where theirs lay."""
    return not (row.root and item.root) or row.source_uri == source_uri(item.root, item.source)


def _is_unchanged(row: Row, item: Item) -> bool:
    return same_fingerprint(row.fingerprint, item.fingerprint)


def _verdict_on_unknown(reprocess: Reprocess) -> Verdict:
    """Something else has made the output, or the ledger is lost."""
    by_name = {"missing": Verdict.UNCHANGED, "always": Verdict.ALWAYS}
    return by_name.get(reprocess, Verdict.NOT_IN_LEDGER)


def _verdict_on_missing(
    row: Row, same_source: bool, same_correction: bool, reprocess: Reprocess, run: str
) -> Verdict:
    """Take another content or correction for another output. The same is fetched again, or gone: not paid again."""
    if reprocess != "missing":
        if not same_source:
            return Verdict.SOURCE_CHANGED
        if not same_correction:
            return Verdict.CORRECTION_CHANGED
    asked = reprocess == "missing" and row.paid_by != run
    return Verdict.GONE if row.gone and not asked else Verdict.OUTPUT_MISSING


def _verdict_on_failed(row: Row, same_source: bool, same_correction: bool, bad: bool) -> Verdict:
    """:param bad: failed for good, and not to be tried again."""
    if not same_source:
        return Verdict.SOURCE_CHANGED
    if not same_correction:
        return Verdict.CORRECTION_CHANGED
    if bad:
        return Verdict.KNOWN_BAD
    return Verdict.JOB_LOST if row.code == "JOB_LOST" else Verdict.FAILED_BEFORE
