"""How each version of Airflow hides a secret in its logs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import cast

#: Modules that hold ``mask_secret``: of Airflow 3.1 and newer, 3.0, and 2.
_MASKERS = (
    "airflow.sdk.log",
    "airflow.sdk.execution_time.secrets_masker",
    "airflow.utils.log.secrets_masker",
)


def masker() -> Callable[[str], None]:
    """Return the function with which this version of Airflow hides a secret in its logs."""
    for module in _MASKERS:
        try:
            return cast("Callable[[str], None]", import_module(module).mask_secret)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"This Airflow has mask_secret in none of {', '.join(_MASKERS)}.")


async def amask(secret: str) -> None:
    try:
        from airflow.sdk.log import amask_secret
    except ImportError:  # before Airflow 3.3
        await asyncio.to_thread(masker(), secret)
    else:
        await amask_secret(secret)
