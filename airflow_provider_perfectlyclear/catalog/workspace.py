"""What a run works in: its places, its lane of the ledger, and a folder of its own."""

from __future__ import annotations

import hashlib
import time

from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.segments import LANES
from airflow_provider_perfectlyclear.catalog.naming import slug
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.run_state import RunState
from airflow_provider_perfectlyclear.catalog.transfer.spool import sweep_spools
from airflow_provider_perfectlyclear.errors import Cancelled
from airflow_provider_perfectlyclear.storage import Store

#: How often a sleeping run looks whether it is still wanted (seconds).
LOOK_EVERY = 0.2


class Workspace:
    """
    The place of one run, which its planner, its reporter and its engine share.

    :param places: where pictures come from, go to, and where the ledger lies.
    :param lane: the run's lane of the ledger.
    :param run_key: names the task instance over all its tries, e.g. dag, run, task and map index.
    :param title: the run as a person would name it.
    :param state: the folder of such lanes and runs, below that of the ledger; None: the same.
    """

    def __init__(
        self, places: Places, lane: str, run_key: str, *, title: str, state: Store | None = None
    ) -> None:
        self.places = places
        self.state = state or places.state
        self.run = hashlib.sha256(run_key.encode()).hexdigest()[:16]
        #: The run's folder in the state folder.
        self.folder = f"runs/{slug(run_key)}-{self.run[:8]}"
        self.ledger = Ledger(self.state, lane, run=self.run, title=title)
        self.is_cancelled = False
        for store in (places.state, self.state, places.destination):
            if store is not None:
                store.part_tag = self.run[:8]

    def prepare(self) -> None:
        """Create the folders, once the ledger is known to be right: until then an empty mount point stays empty."""
        if self.places.destination is not None:
            self.places.destination.prepare()
        self.state.prepare()

    def sweep(self) -> None:
        """Remove temporary files that a killed attempt has left on this machine and beside the ledger."""
        sweep_spools()
        for folder in (LANES, f"{LANES}/{self.ledger.lane}", self.folder):
            self.state.sweep(list(self.state.parts(folder)))
        self.places.state.sweep(list(self.places.state.parts("")))

    def name_of(self, file: str) -> str:
        """Return the name of one of the run's own files, in the state folder."""
        return f"{self.folder}/{file}"

    # ---- what survives a deferral

    def read_state(self) -> RunState | None:
        """Return what an earlier worker has kept, None when nothing of it can be read."""
        packed = self.state.read(self.name_of("run.json.gz"))
        return RunState.from_bytes(packed) if packed is not None else None

    def write_state(self, state: RunState) -> None:
        """Keep what a resume needs."""
        self.state.write(self.name_of("run.json.gz"), state.to_bytes())

    def delete_state(self) -> None:
        """Remove what was kept: the run is over."""
        self.state.delete(self.name_of("run.json.gz"))

    # ---- between the steps of what takes long

    def look_up(self) -> None:
        """
        Show other runs that this one lives.

        :raises Cancelled: the task is not wanted any more.
        """
        if self.is_cancelled:
            raise Cancelled("The task was asked to stop before it began.")
        self.ledger.beat()

    def sleep(self, seconds: float) -> None:
        """Let time pass, as long as the task is wanted."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.look_up()
            time.sleep(
                LOOK_EVERY
            )  # a plain flag, looked at: the lock of an Event is no good in a signal handler
