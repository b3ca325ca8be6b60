"""What a run of one picture makes of its source, its output and the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from airflow_provider_perfectlyclear.api.text import one_line
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.picture import Picture
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.plan.comparison import Comparison
from airflow_provider_perfectlyclear.catalog.plan.decide import verdict_on, with_hints
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan, Settled, Verdict, taken
from airflow_provider_perfectlyclear.catalog.result import Failure
from airflow_provider_perfectlyclear.errors import ConfigurationError, InvalidSource
from airflow_provider_perfectlyclear.storage import digest_of

log = logging.getLogger(__name__)

_LEFT_ALONE = {
    Verdict.EDITED: "%s was changed at the destination after it was corrected: it is left alone, and nothing is paid. "
    "Move it away and run 'ledger forget' to correct it again.",
    Verdict.GONE: "%s is no longer at the destination, and the service no longer has it. It is not paid for again. Run "
    "'ledger forget' to correct it again.",
}


class SinglePlanner:
    """
    Plans one picture.

    :param look: called between long steps; may raise to end them.
    """

    def __init__(
        self, places: Places, options: Options, picture: Picture, *, look: Callable[[], None]
    ) -> None:
        self._places = places
        self._options = options
        self._picture = picture
        self._comparison = Comparison(places.source, readers=options.transfers, look=look)

    def check_places(self) -> None:
        """
        Check that source and output are files, and not the same one.

        :raises ConfigurationError: one of them is not so.
        """
        picture, source, destination = self._picture, self._places.source, self._places.destination
        if source.has_folder(picture.name):
            raise ConfigurationError(
                f"source {picture.uri} is a folder: name a file, or use PerfectlyClearCatalogOperator "
                "for the pictures in it."
            )
        if destination is None:
            return
        self._places.check_destination()
        if source.relative(destination) == "" and picture.name == picture.output:
            raise ConfigurationError(
                f"source and destination are the same file, {picture.uri}; a source is never "
                "overwritten: name another destination."
            )
        if destination.has_folder(picture.output):
            raise ConfigurationError(
                f"destination {destination.uri(picture.output)} is a folder: end it with a slash to keep the "
                "source's name, or name a file in it."
            )

    def sweep(self, ledger: Ledger) -> None:
        """Remove temporary files beside the output, which only a killed try of this run can have left."""
        destination = self._places.destination
        if destination is not None and ledger.view.holder is not None:
            folder = self._picture.output.rpartition("/")[0]
            destination.sweep(list(destination.parts(folder)))

    def plan(self, ledger: Ledger, digests: Mapping[str, str]) -> Plan:
        """
        Decide about the picture.

        :param digests: rendition -> digest of its correction; there is one rendition, ``""``.
        :raises PerfectlyClearError: there is no such file, its name is taken, or it failed for good before.
        """
        picture, source = self._picture, self._places.source
        entry = source.stat(picture.name)
        if entry is None:
            raise InvalidSource(f"there is no file {picture.uri}", code="SOURCE_CHANGED")
        row, digest = ledger.rows.get(picture.output), digests[""]
        size = self._standing(row)
        item = Item(
            picture.output, picture.name, entry.size, entry.fingerprint, "", Verdict.NEW, root=source.place
        )
        verdict = verdict_on(item, size, row, digest, self._options, ledger.run)
        if row is not None:
            self._refuse(item, row, verdict)
        if verdict in _LEFT_ALONE:
            log.warning(_LEFT_ALONE[verdict], one_line(picture.output))
        made = Plan(listed=1)
        if verdict is not Verdict.OPEN and not made.leave_alone(item, row, verdict):
            item = item._replace(reason=verdict, existed=size is not None)
            made.todo.append(with_hints(item, row, digest, self._options, ledger.run))
        return made

    def settle(self, made: Plan, ledger: Ledger) -> Settled:
        """Record that a source has moved. What was only touched is told by the upload."""
        return Settled([], self._comparison.settle_claims(made, ledger))

    def brake(self, made: Plan, ledger: Ledger) -> None:
        """Brakes and guards are about many."""

    def _refuse(self, item: Item, row: Row, verdict: Verdict) -> None:
        """Fail at once for what no plan can mend: a picture that failed for good, a name that another source has."""
        if verdict is Verdict.KNOWN_BAD:
            failure = Failure(row.output, row.source, row.code or "", row.reason or "")
            raise self._picture.error_of(failure, row)
        if verdict is Verdict.OTHER_SOURCE:
            # If that was this one at another place, nothing is to be done.
            has_moved = row.sha256 and digest_of(self._places.source, item.source)[0] == row.sha256
            if not has_moved:
                raise InvalidSource(taken(item, row), code="NAME_COLLISION")

    def _standing(self, row: Row | None) -> int | None:
        """Return the output's size as it stands; of what is data only, as it was recorded."""
        if self._places.destination is None:
            return 0 if row is not None and row.state is State.LANDED else None
        entry = self._places.destination.stat(self._picture.output)
        return None if entry is None else entry.size
