"""The outputs of a catalog's run, for the next task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: The states of an output that stands at the destination.
STANDING = ("corrected", "unchanged")


def corrected_outputs(summary: Mapping[str, Any], *, unchanged: bool = True) -> list[dict[str, Any]]:
    """
    List what a catalog's run has left at its destination, from its manifest.

    :param summary: what the catalog operator returned.
    :param unchanged: also what was there before and needed nothing (with ``manifest="all"``, the default).
    :returns: for each output ``uri`` (absolute), ``output``, ``source_uri``, ``state`` and the other columns of the
        manifest.
    :raises ConfigurationError: the summary names no manifest, as that of ``plan_only``, or it cannot be opened.
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
