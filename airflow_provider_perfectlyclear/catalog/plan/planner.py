"""What lies at the source and at the destination, and what a run makes of it before anything is paid."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from airflow_provider_perfectlyclear.api.text import counted, one_line
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.catalog.naming import add_composed, refusal_key
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan import brakes
from airflow_provider_perfectlyclear.catalog.plan.decide import FUTURE, Known, plan
from airflow_provider_perfectlyclear.catalog.plan.listing import look_for, originals
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan, Refusal
from airflow_provider_perfectlyclear.catalog.run_state import Counts
from airflow_provider_perfectlyclear.catalog.shards import in_shard
from airflow_provider_perfectlyclear.errors import InvalidSource, PlanRefused
from airflow_provider_perfectlyclear.storage import Entry, Look, Store, check_name, digest_of, is_part

log = logging.getLogger(__name__)


class Survey:
    """
    :param source: where the pictures are.
    :param destination: where the corrected ones go; None when only data is wanted.
    :param state: never listed as a picture's place.
    :param files: names below ``source`` instead of listing it.
    :param look: called between long steps; may raise to end them.
    """

    def __init__(
        self,
        source: Store,
        destination: Store | None,
        state: Store,
        options: Options,
        *,
        files: Iterable[str] | None,
        look: Callable[[], None],
    ) -> None:
        self.source = source
        self.destination = destination
        self.state = state
        self.options = options
        self._files = None if files is None else list(dict.fromkeys(files))
        self._not_there: list[tuple[str, str, str]] = []  # name, code, reason
        self._seen = Look()
        self._look = look

    def plan(self, rows: Mapping[str, Row], digests: Mapping[str, str], *, run: str) -> Plan:
        """
        List both places, once each and at the same time, and decide about every file.

        :param rows: the ledger.
        :param digests: rendition -> digest of its correction.
        :param run: this run's key.
        """
        with ThreadPoolExecutor(2) as pool:
            here = pool.submit(self._list_source)
            there = pool.submit(self._list_destination, rows)
            self._wait_for(here, there)
            entries, sizes = here.result(), there.result()
        known = Known(
            destination=sizes,
            rows=rows,
            digests=digests,
            run=run,
            now=time.time(),
            closed=self._closed(),
            root=self.source.place,
            has_folders=self.destination is not None and self.destination.has_folders,
            refuses=self.destination.refuses if self.destination is not None else lambda name: None,
            misreads=self.source.refuses,
        )
        made = plan(lambda: entries, known, self.options)
        self._refuse_leaving(made, rows)
        self._note_what_was_seen(made)
        for name, code, reason in sorted(self._not_there):
            if in_shard(name, self.options.shard_of()):
                made.refuse(Refusal(Item(name, name, 0, "", "", "not there"), code, reason), rows)
                made.listed += 1
        return made

    def _list_source(self) -> list[Entry]:
        if self._files is None:
            self._seen = look_for(self.options.exclude)
            prune = self._inside(self.source, self.destination, self.state)
            return list(originals(list(self.source.list(prune=prune, look=self._seen)), self._seen))
        self._not_there = []
        with ThreadPoolExecutor(16) as pool:
            return [entry for entry in pool.map(self._look_for, self._files) if entry is not None]

    def _note_what_was_seen(self, made: Plan) -> None:
        """Folders that were passed over are counted by name; those that could not be read fail the run at its end."""
        made.unread = [list(one) for one in self._seen.unread]
        for folder, why in self._seen.unread[:10]:
            log.error("Folder %s of the source cannot be read: %s", one_line(folder), why)
        for name, count in self._seen.skipped.items():
            made.notes[f"folder{'s' * (count != 1)} {one_line(name, 40)} passed over"] = count
        if others := len(self._seen.destinations):
            whose = "folder of another catalog's" if others == 1 else "folders of other catalogs'"
            made.notes[f"{whose} outputs passed over"] = others
        if early := made.notes.get(FUTURE):
            log.warning(
                "%s with a time in the future: min_age does not hold them back", counted(early, "file")
            )

    def _look_for(self, name: str) -> Entry | None:
        """One of the given files. An unsafe name is not even looked for: it may lead out of the source."""
        try:
            entry = self.source.stat(check_name(name))
        except InvalidSource as refusal:
            self._not_there.append((name, refusal.code, refusal.reason))
            return None
        if entry is None:
            reason = f"there is no file {self.source.uri(name)}"
            self._not_there.append((name, "SOURCE_CHANGED", reason))
        return entry

    def _list_destination(self, rows: Mapping[str, Row]) -> dict[str, int]:
        """
        Output name -> size, kept as they arrive; temporary files that nobody owns any more are removed.

        :param rows: the ledger's, which have most of these numbers already: 100,000 more of them are 3 MB.
        """
        if self.destination is None:
            return {}
        sizes, parts = dict[str, int](), list[Entry]()
        for entry in self.destination.list(prune=self._closed()):
            if is_part(entry.name):
                parts.append(entry)
            else:
                row = rows.get(entry.name)
                sizes[entry.name] = row.size if row is not None and row.size == entry.size else entry.size
        self.destination.sweep(parts)
        add_composed(sizes)
        return sizes

    def _closed(self) -> list[str]:
        """Folders of the destination that hold no outputs: an original must never be overwritten."""
        return self._inside(self.destination, self.state, self.source) if self.destination else []

    @staticmethod
    def _inside(store: Store, *others: Store | None) -> list[str]:
        places = [store.relative(other) for other in others if other is not None]
        return [place for place in places if place]

    def may_refuse(self, made: Plan, *, knows_nothing: bool) -> bool:
        """Whether a brake would stop the plan as the listing has it."""
        return brakes.may_refuse(made, self.options, knows_nothing=knows_nothing)

    def settle_claims(self, made: Plan, rows: Mapping[str, Row], own: Collection[str]) -> list[Item]:
        """
        Names that belong to another source: whether it has only moved is told by its bytes.

        :param own: outputs that this very run has made, or found bad.
        :returns: what has moved.
        """
        if not made.claims:
            return []
        names = list(dict.fromkeys(item.source for item, _ in made.claims))
        log.info(
            "%s made from sources at another place: the bytes are compared", counted(len(names), "output")
        )
        moved = made.settle_claims(self._digests(names), rows, own)
        log.info("%d of them have only moved; now %s", len(moved), made.line())
        return moved

    def settle_touched(self, made: Plan, rows: Mapping[str, Row], own: Collection[str]) -> list[Item]:
        """
        Before the brakes judge: files that were only touched, copied or sent again are not changed.

        :param own: outputs that this very run has made, or found bad.
        :returns: what was taken out of the plan.
        """
        touched = (item for item in made.todo if item.reason == "source changed" and item.sha256)
        names = list(dict.fromkeys(item.source for item in touched))
        if not names:
            return []
        log.info(
            "%s with another size, ETag or time: the bytes are compared first", counted(len(names), "file")
        )
        digests = self._digests(names)
        settled = made.settle(digests, rows, own)
        made.expect_copies(digests, rows)
        log.info("%d of them have the same bytes as before; now %s", len(settled), made.line())
        return settled

    def _digests(self, names: Sequence[str]) -> dict[str, str | None]:
        with ThreadPoolExecutor(self.options.transfers) as pool:
            futures = [pool.submit(self._digest, name) for name in names]
            self._wait_for(*futures)
        return {name: done.result() for name, done in zip(names, futures, strict=True)}

    def _wait_for(self, *futures: Future[Any]) -> None:
        """In the deciding thread: the lane's owner must be seen to live, and to stop when it is told to."""
        try:
            while wait(futures, timeout=1.0).not_done:
                self._look()
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def _refuse_leaving(self, made: Plan, rows: Mapping[str, Row]) -> None:
        """A linked folder in the destination may lead out of it: found before anything is paid."""
        if self.destination is None:
            return
        folders = {item.output.rpartition("/")[0] for item in made.todo}
        leaving = {folder for folder in folders if self.destination.leads_out(folder)}
        reason = "a link in its folder leads out of the destination"
        for item in made.todo if leaving else ():
            if item.output.rpartition("/")[0] in leaving:
                made.refuse(Refusal(item, "UNSAFE_NAME", reason), rows)
        made.todo = [item for item in made.todo if item.output.rpartition("/")[0] not in leaving]

    def _digest(self, name: str) -> str | None:
        try:
            return digest_of(self.source, name)[0]
        except (
            Exception
        ) as error:  # whatever the store's library raises: the upload reads it again and reports
            log.debug("%s could not be read: %s", one_line(name), type(error).__name__)
            return None

    def brake(self, made: Plan, *, knows_nothing: bool) -> None:
        """
        Stop before the first paid call where the plan is hardly meant.

        :param knows_nothing: whether the ledger has no row at all.
        :raises PlanRefused: says how many jobs are needed, why, and what lets them pass.
        """
        if made.is_empty and not made.unread:  # with a folder unread nobody knows, and the run fails for that
            self._refuse_empty(made)
        where = self.destination.uri("") if self.destination is not None else "nowhere"
        brakes.brake(made, self.options, where=where, knows_nothing=knows_nothing)

    def _refuse_empty(self, made: Plan) -> None:
        if (
            self._files is not None and not self._files
        ):  # an ingestion that found nothing is no misspelt folder
            return
        if not self.source.is_there():
            said = (
                f"There is no folder {self.source.uri('')}: is it spelt right, and mounted on this machine?"
            )
            if self.options.if_empty == "fail":
                raise PlanRefused(said)
            log.warning("%s", said)
        if self.options.if_empty == "fail":
            pattern = (
                f"pattern {list(self.options.pattern)}" if self.options.pattern else "the usual extensions"
            )
            ignored = f"{counted(made.ignored, 'file')} not matching {pattern}"
            raise PlanRefused(
                f"No picture was found in {self.source.uri('')} ({ignored}). "
                'If that may be, set if_empty="succeed" or "skip".'
            )


def counts_of(made: Plan, run: str) -> Counts:
    """What the summary needs of a plan, when the plan itself is gone."""
    earlier = [row for row in made.known_bad if row.run != run]
    return Counts(
        listed=made.listed,
        ignored=made.ignored,
        unchanged=made.unchanged,
        standing=made.standing,
        to_correct=len(made.todo),
        reasons=dict(made.reasons),
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
