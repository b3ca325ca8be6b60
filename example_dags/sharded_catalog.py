"""
A catalog too large for one task: four tasks correct it side by side, each its own part.

A picture's part follows from its name alone, so it stays where it is when others come. Each part keeps a record
of its own, and waits in the triggerer by itself. Another number of shards later pays nothing again.

Every limit counts per shard: ``max_new_jobs=1000`` lets four shards start 4,000 jobs, and ``max_failures=5``
lets 20 pictures fail. The connection's ``requests_per_second`` counts per process.

======================  ===============================  ===================================
PHOTOS_CATALOG          the originals                    default: /data/photos/catalog
PHOTOS_CORRECTED        the corrected pictures           default: /data/photos/corrected
PHOTOS_SCHEDULE         when; empty: only on demand      default: 0 2 * * *
======================  ===============================  ===================================
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearCatalogOperator, shards


@task
def add_up(summaries: Iterable[dict[str, Any]]) -> dict[str, int]:
    """One bill for the night."""
    parts = list(summaries)
    return {name: sum(part[name] for part in parts) for name in ("listed", "unchanged", "corrected", "paid")}


with DAG(
    "sharded_catalog",
    schedule=os.environ.get("PHOTOS_SCHEDULE", "0 2 * * *") or None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # two nights at once would only wait for each other
    doc_md=__doc__,
    tags=["perfectly clear", "example"],
):
    correct = PerfectlyClearCatalogOperator.partial(
        task_id="correct",
        source=os.environ.get("PHOTOS_CATALOG", "/data/photos/catalog"),
        destination=os.environ.get("PHOTOS_CORRECTED", "/data/photos/corrected"),
        correction={"output_quality": 90},
        deferrable=True,
        retries=3,
        map_index_template="{{ task.shard }}",
    ).expand(shard=shards(4))
    add_up(correct.output)
