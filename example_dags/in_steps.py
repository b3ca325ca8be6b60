"""
A correction in steps, for Dags that do something of their own between them: ingest, start, wait, fetch.

Each new picture goes its own way through a mapped task group, so one that is rejected fails alone. Its ``wait`` is
deferred: no worker is held while the service works. A retry or clear goes on with the jobs of its Dag run; a new run
starts what has no corrected file, and pays for it. Where nothing happens between the steps, and for more than some
hundred pictures, use ``PerfectlyClearCatalogOperator``: one task for all of them, which remembers over all runs.

======================  ===============================  ===================================
PHOTOS_CATALOG          the originals                    default: /data/photos/catalog
PHOTOS_CORRECTED        the corrected pictures           default: /data/photos/corrected
======================  ===============================  ===================================
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, ObjectStoragePath, task, task_group

from airflow_provider_perfectlyclear.operators.perfectlyclear import (
    PerfectlyClearDownloadOperator,
    PerfectlyClearStartCorrectionOperator,
)
from airflow_provider_perfectlyclear.sensors.perfectlyclear import PerfectlyClearJobSensor

CATALOG = os.environ.get("PHOTOS_CATALOG", "/data/photos/catalog")
CORRECTED = os.environ.get("PHOTOS_CORRECTED", "/data/photos/corrected")


@task
def ingest(catalog: str, corrected: str) -> list[dict[str, str]]:
    """The pictures that have no corrected file yet."""
    originals = sorted(path for path in ObjectStoragePath(catalog).iterdir() if path.suffix == ".jpg")
    ways = [(path, ObjectStoragePath(corrected) / path.name) for path in originals]
    return [{"source": str(path), "destination": str(target)} for path, target in ways if not target.exists()]


@task_group
def correct(source: str, destination: str) -> None:
    """One picture's way."""
    start = PerfectlyClearStartCorrectionOperator(
        task_id="start",
        source=source,
        correction={"output_type": "jpg"},
        state_path=f"{CORRECTED}/.starts",  # with a record of its start, a retry goes on with the same job
        retries=3,
        map_index_template="{{ task.source }}",
    )
    wait = PerfectlyClearJobSensor(
        task_id="wait",
        job_ids=start.output,
        timeout=timedelta(hours=2).total_seconds(),
        deferrable=True,
    )
    PerfectlyClearDownloadOperator(
        task_id="fetch",
        job_id=wait.output,
        destination=destination,
        retries=3,
    )


with DAG(
    "in_steps",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    max_active_runs=1,
    doc_md=__doc__,
    tags=["perfectly clear", "example"],
):
    correct.expand_kwargs(ingest(CATALOG, CORRECTED))
