"""Some seeds of the storm, at every test run; ``make chaos SEEDS=5000 FIRST=1000`` plays many more."""

from __future__ import annotations

import pytest

from tests.chaos.storm import play


@pytest.mark.timeout(1800)
def test_no_storm_pays_twice_in_silence_or_loses_a_picture() -> None:
    bad = play(range(1, 201))

    assert bad == [], "each is printed above, with how to play it alone"
