"""Stages of the outputs of a run: one stage per output, and how many outputs are in each."""

from __future__ import annotations

from collections import Counter
from enum import Enum, auto


class Stage(Enum):
    """
    Steps from a planned output to a landed one.

    :cvar QUEUED: no transfer has begun.
    :cvar UPLOADING: a transfer thread reads the source.
    :cvar WAITING: another output with the same content and correction leads; this one shares its result.
    :cvar READY: uploaded; the start is not in the ledger yet.
    :cvar STARTING: the start is in the ledger; ``/pfc`` may be called.
    :cvar UNCONFIRMED: no response to the start.
    :cvar RUNNING: the job is in progress at the service.
    :cvar LANDING: the job is COMPLETED; the result is not at the destination yet.
    """

    QUEUED = auto()
    UPLOADING = auto()
    WAITING = auto()
    READY = auto()
    STARTING = auto()
    UNCONFIRMED = auto()
    RUNNING = auto()
    LANDING = auto()


#: Stages of an upload or a job, or of what lies between the two: together at most ``max_in_flight`` outputs.
IN_FLIGHT = (Stage.UPLOADING, Stage.READY, Stage.STARTING, Stage.RUNNING, Stage.LANDING)
#: Stages that end without a wait for the service's own time.
MOVING = (Stage.UPLOADING, Stage.READY, Stage.STARTING)


class Board:
    """Stages by output. An output that is settled, or that this run leaves, is not on the board."""

    def __init__(self) -> None:
        self._stage: dict[str, Stage] = {}
        self._counts = Counter[Stage]()

    def move(self, output: str, stage: Stage | None) -> None:
        """
        Note the stage of an output.

        :param output: its name at the destination.
        :param stage: where it stands from now on; None: it is settled.
        """
        before = self._stage.pop(output, None)
        if before is not None:
            self._counts[before] -= 1
        if stage is not None:
            self._stage[output] = stage
            self._counts[stage] += 1

    def stage(self, output: str) -> Stage | None:
        """Return where an output stands; None when it is settled or unknown."""
        return self._stage.get(output)

    def count(self, *stages: Stage) -> int:
        """Return how many outputs are in these stages; without an argument, in any."""
        return sum(self._counts[stage] for stage in stages) if stages else len(self._stage)

    @property
    def is_nearly_done(self) -> bool:
        """Whether only unconfirmed starts are left, and what waits for them: those are dealt with last."""
        return not self.count(Stage.QUEUED, *IN_FLIGHT)
