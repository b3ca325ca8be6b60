"""Starts that the service refuses: about one picture, or about all of them."""

from __future__ import annotations

import re

from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.ledger import records
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.result import Failure
from airflow_provider_perfectlyclear.errors import RunStopped
from airflow_provider_perfectlyclear.reasons import Reason

#: So many different pictures are refused alike, and none is accepted: it is no matter of a picture.
ALIKE = 3


class Refusals:
    """
    Refusals before the first accepted start.

    :param recorder: of the run that they may stop.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def count(self, row: Row, words: str) -> None:
        """Count a refusal: one is one picture's matter; the first three pictures that are refused alike are not."""
        refused = self._recorder.progress.refused
        refused.append([row.output, row.sha256, _alike(words)])
        same = {sha256 for _, sha256, said in refused if said == _alike(words)}
        if is_about_the_preset(row, words):
            who = f"to start the first picture, {row.source!r}"
        elif len(same) >= ALIKE:
            who = f"the first {ALIKE} pictures alike, {row.source!r} the last"
        else:
            return
        self._recorder.stop(
            RunStopped(
                f"The service refused {who}: {words.rstrip('.')}. Nothing was started; the others were not tried."
            )
        )

    def are_final(self) -> None:
        """Hold the pictures for refused for good: the service accepts others."""
        progress, rows = self._recorder.progress, self._recorder.rows
        for output, _, words in progress.refused:
            row, failure = rows.get(output), progress.failures.get(output)
            if row is not None and row.state is State.FAILED and failure is not None:
                progress.failures[output] = Failure(
                    output, failure.source, Reason.PICTURE_REFUSED, failure.reason
                )
                self._recorder.note(records.failed(row, Reason.PICTURE_REFUSED, row.reason or words))
        progress.refused = []


def is_about_the_preset(row: Row, words: str) -> bool:
    """Whether a refusal names the preset that was asked for."""
    return "preset" in (row.query or {}) and "preset" in words.lower()


def _alike(words: str) -> str:
    """Return a refusal's words without what differs from picture to picture."""
    return re.sub(r"[0-9a-fA-F-]{8,}|\d+", "#", words)
