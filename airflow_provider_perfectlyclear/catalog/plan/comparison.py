"""Compare bytes before anything is paid: a source that was only touched or moved is unchanged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from airflow_provider_perfectlyclear.api.text import counted, one_line
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan, Verdict
from airflow_provider_perfectlyclear.catalog.plan.waiting import wait_for
from airflow_provider_perfectlyclear.storage import Store, digest_of

log = logging.getLogger(__name__)


class Comparison:
    """
    Reads sources to tell whether their bytes are those that an output was made from.

    :param source: where the pictures are.
    :param readers: how many are read at the same time.
    :param look: called about once a second meanwhile; may raise to end it.
    """

    def __init__(self, source: Store, *, readers: int, look: Callable[[], None]) -> None:
        self._source = source
        self._readers = readers
        self._look = look

    def settle_claims(self, made: Plan, ledger: Ledger) -> list[Item]:
        """
        Decide about names that belong to another source: its bytes tell whether it has only moved.

        :returns: what has moved.
        """
        if not made.claims:
            return []
        names = list(dict.fromkeys(item.source for item, _ in made.claims))
        log.info(
            "%s made from sources at another place: the bytes are compared", counted(len(names), "output")
        )
        moved = made.settle_claims(self._digests(names), ledger.rows, _own(ledger))
        log.info("%d of them have only moved; now %s", len(moved), made.line())
        return moved

    def settle_touched(self, made: Plan, ledger: Ledger) -> list[Item]:
        """
        Take files out of a plan that were only touched, copied or sent again: they are not changed.

        :returns: what was taken out.
        """
        touched = (item for item in made.todo if item.reason == Verdict.SOURCE_CHANGED and item.sha256)
        names = list(dict.fromkeys(item.source for item in touched))
        if not names:
            return []
        log.info(
            "%s with another size, ETag or time: the bytes are compared first", counted(len(names), "file")
        )
        digests = self._digests(names)
        settled = made.settle(digests, ledger.rows, _own(ledger))
        made.expect_copies(digests, ledger.rows)
        log.info("%d of them have the same bytes as before; now %s", len(settled), made.line())
        return settled

    def _digests(self, names: Sequence[str]) -> dict[str, str | None]:
        with ThreadPoolExecutor(self._readers) as pool:
            futures = [pool.submit(self._digest, name) for name in names]
            wait_for(*futures, look=self._look)
        return {name: done.result() for name, done in zip(names, futures, strict=True)}

    def _digest(self, name: str) -> str | None:
        try:
            return digest_of(self._source, name)[0]
        except Exception as error:  # noqa: BLE001 whatever the store's library raises: the upload reads it again
            log.debug("%s could not be read: %s", one_line(name), type(error).__name__)
            return None


def _own(ledger: Ledger) -> Collection[str]:
    """Return the outputs that this very run has made, or found bad."""
    return {row.output for row in ledger.rows.values() if row.run == ledger.run}
