"""What a job makes of a picture. For now: itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_provider_perfectlyclear.emulator.jobs import Blob, Made


class Broken(Exception):
    """The picture cannot be corrected; the text is the job's ``statusText``."""


def correct(source: Path, blob: Blob, target: Path, settings: Mapping[str, Any]) -> Made | None:
    """Correct a picture."""
    return None
