"""What a catalog's run makes of source, destination and ledger before anything is paid."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row
from airflow_provider_perfectlyclear.catalog.naming import check_template
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.plan import brakes
from airflow_provider_perfectlyclear.catalog.plan.comparison import Comparison
from airflow_provider_perfectlyclear.catalog.plan.decide import Known, plan
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan, Refusal, Settled
from airflow_provider_perfectlyclear.catalog.plan.survey import Survey
from airflow_provider_perfectlyclear.catalog.shards import in_shard
from airflow_provider_perfectlyclear.errors import ConfigurationError, PlanRefused

log = logging.getLogger(__name__)


class CatalogPlanner:
    """
    Plans a catalog.

    :param files: names below the source instead of listing it.
    :param look: called between long steps; may raise to end them.
    """

    def __init__(
        self, places: Places, options: Options, files: Iterable[str] | None, *, look: Callable[[], None]
    ) -> None:
        self._places = places
        self._options = options
        self._survey = Survey(places, options, files=files, look=look)
        self._comparison = Comparison(places.source, readers=options.transfers, look=look)

    def check_places(self) -> None:
        """
        Check that no source can be overwritten, and that outputs of renditions have different names.

        :raises ConfigurationError: one of them is not so.
        """
        source, destination = self._places.source, self._places.destination
        check_template(self._options.name_template, bool(self._options.renditions))
        self._places.check_destination()
        if destination is not None and source.relative(destination) == "":
            raise ConfigurationError(
                f"source and destination are the same place, {source.uri('')}; nothing is ever overwritten "
                "at the source: name another folder or prefix as destination."
            )

    def sweep(self, ledger: Ledger) -> None:
        """Temporary files at the destination are removed when it is listed."""

    def plan(self, ledger: Ledger, digests: Mapping[str, str]) -> Plan:
        """
        List both places and decide about every file.

        :param digests: rendition -> digest of its correction.
        """
        source, destination = self._places.source, self._places.destination
        entries, sizes = self._survey.list_both(ledger.rows)
        known = Known(
            destination=sizes,
            rows=ledger.rows,
            digests=digests,
            run=ledger.run,
            now=time.time(),
            closed=self._survey.closed,
            root=source.place,
            has_folders=destination is not None and destination.has_folders,
            refuses=destination.refuses if destination is not None else lambda name: None,
            misreads=source.refuses,
        )
        made = plan(lambda: entries, known, self._options)
        self._refuse_leaving(made, ledger.rows)
        self._survey.note_what_was_seen(made)
        for name, code, reason in sorted(self._survey.not_there):
            if in_shard(name, self._options.shard_of()):
                made.refuse(Refusal(Item(name, name, 0, "", "", "not there"), code, reason), ledger.rows)
                made.listed += 1
        return made

    def settle(self, made: Plan, ledger: Ledger) -> Settled:
        """
        Compare bytes where the names or times of files say too little.

        Reading takes long: what was only touched is told here if a brake would stop the plan otherwise, else by the
        upload.
        """
        moved = self._comparison.settle_claims(made, ledger)
        if not brakes.may_refuse(made, self._options, knows_nothing=not ledger.rows):
            return Settled([], moved)
        return Settled(self._comparison.settle_touched(made, ledger), moved)

    def brake(self, made: Plan, ledger: Ledger) -> None:
        """
        Stop before the first paid call where the plan is hardly meant.

        :raises PlanRefused: says how many jobs are needed, why, and what lets them pass.
        """
        if (
            made.is_empty and not made.unread
        ):  # with a folder unread it may have some, and the run fails for that
            self._refuse_empty(made)
        brakes.brake(made, self._options, where=self._places.destination_uri, knows_nothing=not ledger.rows)

    def _refuse_leaving(self, made: Plan, rows: Mapping[str, Row]) -> None:
        """Refuse outputs that a linked folder leads out of the destination, before anything is paid."""
        destination = self._places.destination
        if destination is None:
            return
        folders = {item.output.rpartition("/")[0] for item in made.todo}
        leaving = {folder for folder in folders if destination.leads_out(folder)}
        reason = "a link in its folder leads out of the destination"
        for item in made.todo if leaving else ():
            if item.output.rpartition("/")[0] in leaving:
                made.refuse(Refusal(item, "UNSAFE_NAME", reason), rows)
        made.todo = [item for item in made.todo if item.output.rpartition("/")[0] not in leaving]

    def _refuse_empty(self, made: Plan) -> None:
        """Refuse an empty source, which is hardly meant; an empty list of files may be: an ingestion found nothing."""
        if self._survey.was_given_nothing:
            return
        source, options = self._places.source, self._options
        if not source.is_there():
            said = f"There is no folder {source.uri('')}: is it spelt right, and mounted on this machine?"
            if options.if_empty == "fail":
                raise PlanRefused(said)
            log.warning("%s", said)
        if options.if_empty == "fail":
            pattern = f"pattern {list(options.pattern)}" if options.pattern else "the usual extensions"
            ignored = f"{counted(made.ignored, 'file')} not matching {pattern}"
            raise PlanRefused(
                f"No picture was found in {source.uri('')} ({ignored}). "
                'If that may be, set if_empty="succeed" or "skip".'
            )
