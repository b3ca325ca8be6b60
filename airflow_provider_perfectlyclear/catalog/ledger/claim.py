"""A run's hold on its ledger: find it, make sure that it is the right one, wait, probe the store, take, let go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from airflow_provider_perfectlyclear.api.text import counted, were
from airflow_provider_perfectlyclear.catalog.ledger import identity
from airflow_provider_perfectlyclear.catalog.ledger.identity import Expected, Identity
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.other_lanes import CatalogLanes, SingleLanes
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.ledger.segments import LANES
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.errors import (
    ConfigurationError,
    LedgerNotFound,
    RunStopped,
    StorageFailed,
)
from airflow_provider_perfectlyclear.storage import Store

log = logging.getLogger(__name__)


class Claim:
    """
    A run's hold on its ledger.

    :param home: the state folder.
    :param ledger: the run's lane.
    :param lanes: the lanes beside it.
    :param root: the source's URI: where sources lie of which an old ledger does not say it.
    :param destination: the destination, as an identity names it.
    :param service: the service's base URL.
    :param expects: what the last run of the same task said of its ledger, if it is known.
    """

    def __init__(
        self,
        home: Store,
        ledger: Ledger,
        lanes: CatalogLanes | SingleLanes,
        *,
        root: str,
        destination: str,
        service: str,
        options: Options,
        expects: Expected | None,
    ) -> None:
        self.identity: Identity | None = None
        self._home = home
        self._ledger = ledger
        self._lanes = lanes
        self._root = root
        self._about = (destination, service)
        self._options = options
        self._expects = expects
        self._is_unproved = False

    def read_identity(self) -> None:
        """Read which ledger this is."""
        self.identity = identity.read(self._home, self._expects)
        self._ledger.id = self.identity.ledger if self.identity else ""

    def load(self, sleep: Callable[[float], None], *, resumed: bool) -> None:
        """
        Read the ledger, once nobody else works in its lane, and make sure that it is the right one.

        :param sleep: seconds to let pass; may raise to end the wait.
        :param resumed: the run has been here before.
        :raises LaneHeld: another run works in it.
        :raises LedgerNotFound: an earlier run or try has left a ledger, and it is not here.
        :raises LedgerMismatch: it is about another destination or service.
        """
        before = self.identity
        self._is_unproved = True
        self.read_identity()
        if before is not None and (self.identity is None or self.identity.ledger != before.ledger):
            raise LedgerNotFound(
                f"This run has read ledger {before.ledger} in {self._home.uri('')}, and it is not there now. Mount or "
                "restore it: every worker must see it."
            )
        self._lanes.load(sleep)
        if resumed and self._ledger.head == 0 and not self._ledger.rows:
            raise LedgerNotFound(
                f"This run was deferred, and what it had written to {self._home.uri('')} is not there now. Every "
                "worker must see the ledger: put state_path, or the destination, on a shared store."
            )
        accepted = self._options.accept_ledger
        seq = self._ledger.seq
        identity.check_expected(self.identity, self._expects, state=self._home, seq=seq, accepted=accepted)
        self._check_identity()
        self._is_unproved = False
        self._adopt_old_rows()

    @property
    def must_be_written(self) -> bool:
        """Whether a run with nothing to do has to write the ledger: the user has given up the one that is lost."""
        return self.identity is None and bool(self._options.accept_ledger)

    def catch_up(self, *, may_pay: bool) -> bool:
        """
        Read the whole lane after a resume.

        The run kept only its own rows: enough to land open jobs, as long as no task for a single picture may have
        landed a newer one. Without the paid calls of other runs it must not start a job.

        :param may_pay: whether the run may still start a job.
        :returns: False when another lane has news: plan again.
        """
        if not may_pay and not self._lanes.may_have_news():
            return True
        self._ledger.read_rest()
        self._ledger.is_contested = self._lanes.is_contested
        return self._lanes.catch_up()

    def leaves(self, output: str) -> bool:
        """Return whether a task for this picture alone works on the output now."""
        return self._lanes.leaves(output)

    def rows(self, state: State) -> list[Row]:
        """Return the rows of a state, without the outputs that are left to a task for this picture alone."""
        return [
            row for row in self._ledger.rows.values() if row.state is state and not self.leaves(row.output)
        ]

    def _check_identity(self) -> None:
        destination, service = self._about
        right = identity.check(
            self.identity,
            state=self._home,
            destination=destination,
            service=service,
            accepted=self._options.accept_ledger,
        )
        if not right and self.identity is not None and not self._options.plan_only:
            self.identity = identity.replace(self._home, self.identity, destination, service)

    def _adopt_old_rows(self) -> None:
        """Rows of earlier versions do not say in which folder their sources lay: in this run's, as far as is known."""
        rows = self._ledger.rows
        old = [row for row in rows.values() if not row.root]
        if old:
            log.info(
                "%s %s recorded by an earlier version of this package; the sources are taken to lie in %s",
                counted(len(old), "output"),
                were(len(old)),
                self._root,
            )
        for row in old:
            rows[row.output] = replace(row, root=self._root)

    def take(self) -> bool:
        """
        Own the lane. False: another run was faster, and what was read is stale.

        :raises ConfigurationError: the store cannot tell two owners apart, and that was not allowed.
        """
        if self._ledger.owned:
            return self._lanes.settle()
        self._home.prepare()
        self._ledger.store.prepare()
        if self._ledger.head == 0:
            self._probe()
        is_new = self._ledger.head == 0
        if self.identity is None:
            made = identity.create(self._home, *self._about)
            if made is None:
                return False
            self.identity = made
            self._ledger.id = made.ledger
        self._ledger.is_contested = self._lanes.is_contested
        if not self._ledger.take():
            return False
        if is_new and identity.read(self._home) != self.identity:  # another volume is mounted there by now
            self._ledger.abandon()
            return False
        return self._lanes.settle()

    def unlock(self) -> None:
        """Do without "create if absent" where the user allows that and the store has none."""
        if self._options.allow_unlocked_store:
            self._ledger.store.prepare()
            self._home.unlocked = self._ledger.store.unlocked = not self._is_exclusive()

    def _probe(self) -> None:
        if not self._options.allow_unlocked_store and not self._is_exclusive():
            raise ConfigurationError(
                f"{self._ledger.store.uri('')} cannot create a file only if it is absent, so two runs could pay for "
                "the same picture. Put state_path on another store, or, if runs never overlap, set "
                "allow_unlocked_store=True."
            )

    def _is_exclusive(self) -> bool:
        try:
            return self._ledger.store.probe(LANES)
        except StorageFailed:
            if self._options.allow_unlocked_store:  # it knows no "only if absent" at all
                return False
            raise

    @contextmanager
    def letting_go(self) -> Iterator[None]:
        """However a try ends, its lane is free for the next, unless its process dies."""
        try:
            yield
        except BaseException:  # Airflow's timeout of a task is no Exception
            with suppress(RunStopped):
                self._ledger.release()
            raise

    def memory(self) -> dict[str, Any] | None:
        """
        Return what the next run of the same task should expect of the ledger, as plain data.

        :returns: None when there is none, it is not known to be the right one, or a resume has read only a part of it:
            the next run would take it for that.
        """
        if self.identity is None or self._is_unproved or not self._ledger.complete:
            return None
        rows = self._ledger.rows.values()
        return {
            "ledger": self.identity.ledger,
            "place": self._home.uri(""),
            "outputs": sum(row.state is State.LANDED for row in rows),
            "seq": self._ledger.seq,
        }
