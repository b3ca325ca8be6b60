"""Masking of secrets in logs, for each version of Airflow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import cast

#: Modules that contain ``mask_secret``: of Airflow 3.1 and later, 3.0, and 2.
_MASKERS = (
    "airflow.sdk.log",
    "airflow.sdk.execution_time.secrets_masker",
    "airflow.utils.log.secrets_masker",
)


def masker() -> Callable[[str], None]:
    """
    Return this version's function that masks a secret in logs.

    :raises ImportError: None of the known modules has one.
    """
    for module in _MASKERS:
        try:
            return cast("Callable[[str], None]", import_module(module).mask_secret)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"This version of Airflow has no mask_secret in any of {', '.join(_MASKERS)}.")


async def amask(secret: str) -> None:
    """Mask a secret in logs, without blocking the event loop."""
    try:
        from airflow.sdk.log import amask_secret
    except ImportError:  # before Airflow 3.3
        await asyncio.to_thread(masker(), secret)
    else:
        await amask_secret(secret)
