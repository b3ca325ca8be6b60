"""Lineage of a run for OpenLineage. Requires ``apache-airflow-providers-openlineage``, so import it only on demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import Dataset
from openlineage.client.facet_v2 import RunFacet

from airflow_provider_perfectlyclear import __version__
from airflow_provider_perfectlyclear.adapters.object_storage import LOCAL, Place, parse_place
from airflow_provider_perfectlyclear.errors import ConfigurationError

#: The name of the run facet.
FACET = "perfectlyclear"


@attrs.define
class PerfectlyClearRunFacet(RunFacet):
    """
    Result of the run, over all its attempts.

    :param facts: Counts, paid calls, and the URI of the manifest.
    :param version: Version of this package.
    """

    facts: dict[str, Any]
    version: str = __version__


def lineage_of(source: Any, destination: Any, facts: Mapping[str, Any]) -> OperatorLineage[Dataset, RunFacet]:
    """
    Return the lineage of a run.

    :param source: The operator's argument, rendered. A value that is not a place adds no dataset.
    :param destination: As ``source``.
    :param facts: Content of the run facet. Empty: no facet.
    """
    return OperatorLineage(
        inputs=_datasets(source),
        outputs=_datasets(destination),
        run_facets={FACET: PerfectlyClearRunFacet(facts=dict(facts))} if facts else {},
    )


def _datasets(value: Any) -> list[Dataset]:
    try:
        namespace, name = dataset_of(parse_place(value))
    except ConfigurationError:
        return []
    return [Dataset(namespace=namespace, name=name)]


def dataset_of(place: Place) -> tuple[str, str]:
    """Return namespace and name by OpenLineage's rules: ``s3://bucket`` and the key, or ``file`` and the path."""
    if place.scheme in LOCAL:
        return "file", place.path.rstrip("/") or "/"
    bucket, _, key = place.path.partition("/")
    scheme = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}.get(place.scheme, place.scheme)
    return f"{scheme}://{bucket}", key.strip("/") or "/"
