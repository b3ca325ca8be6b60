"""Outputs of a catalog run, for downstream tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: States of outputs that exist at the destination.
STANDING = ("corrected", "unchanged")


def corrected_outputs(summary: Mapping[str, Any], *, unchanged: bool = True) -> list[dict[str, Any]]:
    """
    Return the outputs of a catalog run that exist at its destination, from the run's manifest.

    :param summary: The catalog operator's return value.
    :param unchanged: Include outputs that the run left unchanged. Requires the operator's ``manifest="all"``, its
        default. Default True.
    :returns: One mapping for each output, with ``uri`` (absolute), ``output``, ``source_uri``, ``state`` and the other
        columns of the manifest.
    :raises ConfigurationError: The summary names no manifest, as with ``plan_only``, or the manifest does not exist.
    """
    from airflow_provider_perfectlyclear.adapters.object_storage import open_file
    from airflow_provider_perfectlyclear.errors import ConfigurationError

    place = summary.get("manifest")
    if not place:
        raise ConfigurationError("The summary names no manifest: give what the catalog operator returned.")
    store, name = open_file(place, argument="manifest")
    data = store.read(name)
    if data is None:
        raise ConfigurationError(f"There is no manifest {place}.")
    wanted = STANDING if unchanged else STANDING[:1]
    lines = (json.loads(line) for line in data.splitlines()[1:])
    return [line for line in lines if line.get("state") in wanted]
