"""What a plan is made of: items, refusals, and the plan itself. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.naming import refusal_key
from airflow_provider_perfectlyclear.storage import same_fingerprint


class Verdict(StrEnum):
    """
    What a plan decides about an output: to leave it alone, or why to make it.

    The values are stored: an item keeps its reason, and summaries and manifests count them.
    """

    UNCHANGED = "unchanged"
    #: An earlier try or run has a job for it.
    OPEN = "open"
    KNOWN_BAD = "known bad"
    EDITED = "edited"
    GONE = "gone"
    #: Its name belongs to another source.
    OTHER_SOURCE = "other source"

    NEW = "new"
    NOT_IN_LEDGER = "not in the ledger"
    SOURCE_CHANGED = "source changed"
    CORRECTION_CHANGED = "correction changed"
    OUTPUT_MISSING = "output missing"
    JOB_LOST = "job lost"
    FAILED_BEFORE = "failed before"
    ALWAYS = "always"


#: Why an item is to be made when it has failed before: these are tried last.
TRIED_BEFORE = (Verdict.FAILED_BEFORE, Verdict.JOB_LOST)


class Item(NamedTuple):
    """
    One output to be made.

    :param output: its name at the destination.
    :param source: its source's name.
    :param size: the source's size in bytes, as listed.
    :param fingerprint: the source's fingerprint, as listed.
    :param rendition: which of the run's corrections; ``""`` when there is one.
    :param reason: why it is to be made: a :class:`Verdict`, or as plain text when it was stored.
    :param existed: whether an output stands there already.
    :param job_id: the job that the output was made by, asked for its result before anything else is done: free.
    :param sha256: of the bytes that the standing output was made from; the same bytes need no new job.
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


class Settled(NamedTuple):
    """
    What the bytes of sources have settled.

    :param touched: items with another fingerprint and the bytes of before.
    :param moved: items whose source lies elsewhere now.
    """

    touched: list[Item]
    moved: list[Item]


@dataclass
class Plan:
    """
    What a run will do. ``listed`` = ``unchanged`` + ``ignored`` + the rest, each output in exactly one state.

    :param todo: what is to be made, in the order in which it is begun.
    :param refused: what cannot be made, and was not known before.
    :param known_bad: what failed for good before, for the same content and correction.
    :param edited: outputs that somebody else changed; left alone.
    :param gone: outputs that are no longer at the destination, nor at the service; not paid for again.
    :param standing: outputs that are unchanged.
    :param own: outputs that earlier tries of the same run have landed, or left open.
    :param claims: outputs whose name belongs to another source in the ledger; the bytes tell whether it has moved.
    :param paid_or_there: how many of the listed outputs stand at the destination or were paid for: ``paid_again`` is of
        these.
    :param elsewhere: how many outputs of other shards were seen.
    :param unread: folders of the source that could not be read, each with why.
    :param notes: what else a person should read in the plan's line: a word or folder name -> how often.
    """

    todo: list[Item] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    known_bad: list[Row] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    standing: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    claims: list[tuple[Item, Row]] = field(default_factory=list)
    listed: int = 0
    ignored: int = 0
    paid_or_there: int = 0
    elsewhere: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    unread: list[list[str]] = field(default_factory=list)

    @property
    def unchanged(self) -> int:
        """How many outputs are unchanged."""
        return len(self.standing)

    @property
    def is_empty(self) -> bool:
        """Whether the source has no picture at all; a shard may have none when there are few."""
        return self.listed == self.ignored and not self.elsewhere

    @property
    def payable(self) -> int:
        """How many paid calls the plan needs at the most."""
        return sum(not item.free_only for item in self.todo)

    @property
    def paid_again(self) -> int:
        """How many of them are for what was paid for before."""
        return sum(item.paid_before and not item.free_only for item in self.todo)

    @property
    def reasons(self) -> Counter[str]:
        """Why each item is to be made, counted."""
        return Counter(item.reason for item in self.todo)

    def line(self) -> str:
        """Say in one line what a person should know before the first paid call."""
        why = Counter(item.reason for item in self.todo if not item.free_only)
        said = ", ".join(f"{count:,} {reason}" for reason, count in sorted(why.items()))
        others = {
            "missing (fetched again where the service still has them, free)": len(self.todo) - self.payable,
            "gone from destination": len(self.gone),
            "known bad": len(self.known_bad),
            "refused": len(self.refused),
            "edited at destination": len(self.edited),
            "ignored": self.ignored,
            "paid again": self.paid_again,
            **self.notes,
        }
        rest = "".join(f", {count:,} {name}" for name, count in others.items() if count)
        return (
            f"to correct: {self.payable:,}{f' ({said})' if said else ''}; {self.unchanged:,} unchanged{rest}"
        )

    def leave_alone(self, item: Item, row: Row | None, verdict: Verdict) -> bool:
        """
        Take in an output that is left alone.

        :param row: what the ledger says of it, None when it says nothing.
        :returns: False when the verdict is a reason to make it.
        """
        if verdict is Verdict.KNOWN_BAD and row is not None:
            self.known_bad.append(row)
        elif verdict is Verdict.OTHER_SOURCE and row is not None:
            self.claims.append((item, row))
        elif verdict is Verdict.UNCHANGED:
            self.standing.append(item.output)
        elif verdict is Verdict.EDITED:
            self.edited.append(item.output)
        elif verdict is Verdict.GONE:
            self.gone.append(item.output)
        else:
            return False
        return True

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

    def settle(
        self, digests: Mapping[str, str | None], rows: Mapping[str, Row], own: Collection[str] = ()
    ) -> list[Item]:
        """
        Take out what has other fingerprints but the same bytes: it is unchanged, or as bad as before.

        :param digests: source -> SHA-256 of its bytes.
        :param rows: the ledger.
        :param own: outputs that this very run has made, or found bad.
        :returns: what was taken out.
        """
        settled, rest = list[Item](), list[Item]()
        for item in self.todo:
            same = item.sha256 is not None and digests.get(item.source) == item.sha256
            (settled if same else rest).append(item)
        self.todo = rest
        self._stand(settled, rows, own)
        return settled

    def settle_claims(
        self, digests: Mapping[str, str | None], rows: Mapping[str, Row], own: Collection[str] = ()
    ) -> list[Item]:
        """
        Decide about names that belong to another source: the same bytes have only moved; others are refused.

        :param digests: source -> SHA-256 of its bytes, None where it could not be read.
        :returns: what has moved.
        """
        moved = [item for item, row in self.claims if row.sha256 and digests.get(item.source) == row.sha256]
        outputs = {item.output for item in moved}
        for item, row in self.claims:
            if item.output not in outputs:
                self.refuse(Refusal(item, "NAME_COLLISION", taken(item, row)), rows)
        self.claims = []
        self._stand(moved, rows, own)
        return moved

    def _stand(self, items: list[Item], rows: Mapping[str, Row], own: Collection[str]) -> None:
        for item in items:
            row = rows.get(item.output)
            if item.output in own:
                self.own.append(item.output)
            elif row is not None and row.is_known_bad:
                self.known_bad.append(row)
            else:
                self.standing.append(item.output)

    def expect_copies(self, digests: Mapping[str, str | None], rows: Mapping[str, Row]) -> None:
        """
        Do not count as paid again what another output has the content of now, as in a series that was renumbered.

        :param digests: SHA-256 by source, of files that were read.
        :param rows: the ledger.
        """
        landed = {(row.sha256, row.digest) for row in rows.values() if row.state is State.LANDED}
        for number, item in enumerate(self.todo):
            sha256, row = digests.get(item.source), rows.get(item.output)
            if sha256 and row is not None and (sha256, row.digest) in landed and item.sha256:
                self.todo[number] = item._replace(paid_before=False)

    def order(self, rows: Mapping[str, Row], *, oldest_first: bool) -> None:
        """
        Put what has failed before last, so that it never keeps the others from being corrected.

        Before it comes what is only asked for again.

        :param oldest_first: what was made longest ago comes first, so that ``limit`` gets through all in time.
        """
        tried = {item.source for item in self.todo if _was_tried(item, rows)}
        free = {item.source for item in self.todo if item.free_only}
        ages = dict[str, tuple[int, float]]()
        for item in self.todo if oldest_first else ():
            row = rows.get(item.output)
            age = row.age if row is not None else (0, 0.0)
            ages[item.source] = min(age, ages.get(item.source, age))
        self.todo.sort(
            key=lambda item: (item.source in tried, item.source in free, ages.get(item.source, (0, 0.0)))
        )


def _was_tried(item: Item, rows: Mapping[str, Row]) -> bool:
    """Return whether the same file failed before; what is known of its output may be about another content."""
    beside = rows.get(refusal_key(item.output))
    failed = beside is not None and same_fingerprint(beside.fingerprint, item.fingerprint)
    return failed or item.reason in TRIED_BEFORE


@dataclass
class Counts:
    """
    What the plan found, for the summary.

    :param listed: outputs of the listed files, and ignored files.
    :param to_correct: how many outputs the run set out to make.
    :param reasons: why, counted.
    :param known_bad: (output, code, reason) of what failed for good in earlier runs.
    :param edited: outputs that somebody else changed.
    :param own: outputs that earlier tries of this run dealt with.
    :param is_empty: whether the source has no picture.
    :param standing: the outputs that are unchanged.
    :param gone: outputs that are no longer at the destination, nor at the service.
    :param unread: folders of the source that could not be read, each with why.
    """

    listed: int = 0
    ignored: int = 0
    unchanged: int = 0
    to_correct: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    known_bad: list[list[str]] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    is_empty: bool = False
    standing: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unread: list[list[str]] = field(default_factory=list)


def counts_of(made: Plan, run: str) -> Counts:
    """Return what the summary needs of a plan, when the plan itself is gone."""
    earlier = [row for row in made.known_bad if row.run != run]
    return Counts(
        listed=made.listed,
        ignored=made.ignored,
        unchanged=made.unchanged,
        standing=made.standing,
        to_correct=len(made.todo),
        reasons={str(reason): count for reason, count in made.reasons.items()},
        known_bad=[[row.output.lstrip("/"), row.code or "", row.reason or ""] for row in earlier],
        edited=made.edited,
        gone=made.gone,
        unread=made.unread,
        is_empty=made.is_empty,
        own=[
            *made.own,
            *(row.output for row in made.known_bad if row.run == run),
            *(item.output for item in made.todo),
            *(refusal_key(item.source, item.rendition) for item, _, _ in made.refused),
        ],
    )


def taken(item: Item, row: Row) -> str:
    """Why an output cannot be made: its name belongs to another source."""
    theirs = row.source_uri or row.source
    return (
        f"{item.output!r} was made from {theirs}, and {item.root}/{item.source} would be written over it. Rename one "
        "of them, or give this task another destination or name_template"
    )
