"""How far a run is, in a line for a person."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.catalog.engine.board import Stage

if TYPE_CHECKING:
    from airflow_provider_perfectlyclear.catalog.engine.loop import Engine


def deferral_line(engine: Engine) -> str:
    """What a person reads before the task is deferred."""
    now, typical = time.monotonic(), engine.progress.typical_job
    wait: float | None = None
    if not engine.jobs:
        wait = engine.next_deadline()
    elif typical is not None:
        wait = typical - engine.jobs.youngest_age(now)
    about = ""
    if wait is not None:
        about = f" until about {time.strftime('%H:%M:%S', time.localtime(time.time() + max(0.0, wait)))}"
    unconfirmed = engine.board.count(Stage.UNCONFIRMED)
    also = f" and {counted(unconfirmed, 'unconfirmed start')}" if unconfirmed else ""
    return (
        f"Deferring{about}: {counted(len(engine.jobs), 'job')} in progress{also}. Requires a running "
        "triggerer; without one, set deferrable=False."
    )


def progress_line(engine: Engine) -> str:
    """How far it is, for a person."""
    count = engine.board.count
    in_progress = count(Stage.WAITING, Stage.READY, Stage.STARTING, Stage.RUNNING, Stage.LANDING)
    unconfirmed = f", {count(Stage.UNCONFIRMED):,} unconfirmed" if count(Stage.UNCONFIRMED) else ""
    return (
        f"{engine.progress.landed:,} corrected, {len(engine.progress.failures):,} failed, {in_progress:,} in progress, "
        f"{count(Stage.QUEUED, Stage.UPLOADING):,} queued{unconfirmed}"
    )
