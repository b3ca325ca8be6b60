"""A few seeds of the storm, at every test run; ``make chaos SEEDS=500`` plays many."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_perfectlyclear.emulator.testing import running_emulator
from tests.chaos.storm import Storm


@pytest.mark.parametrize("seed", range(1, 11))
def test_no_storm_pays_twice_in_silence_or_loses_a_picture(seed: int, tmp_path: Path) -> None:
    with running_emulator(job_seconds=0.2, cache="done-only", jobs=64) as emulator:
        Storm(seed, emulator, tmp_path).play()
