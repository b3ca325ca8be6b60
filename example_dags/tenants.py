"""
One task for each tenant: its own pictures, its own correction, its own record.

A tenant is a folder below ``PHOTOS_TENANTS`` with its pictures in ``originals`` and, if it has wishes of its own, a
``correction.json``. The corrected pictures go to ``corrected`` beside them. One tenant's bad picture fails that
tenant's task and no other. A new tenant is a new folder; this file stays as it is.

======================  ===============================  ===================================
PHOTOS_TENANTS          a folder with one for each       default: /data/photos/tenants
PHOTOS_SCHEDULE         when; empty: only on demand      default: 0 2 * * *
======================  ===============================  ===================================
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, task

from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearCatalogOperator

TENANTS = os.environ.get("PHOTOS_TENANTS", "/data/photos/tenants")


@task
def tenants(root: str) -> list[dict[str, Any]]:
    """What differs from tenant to tenant. ``perfectlyclear_conn_id`` could as well: each pays with its own key."""
    folders = sorted(folder for folder in ObjectStoragePath(root).iterdir() if folder.is_dir())
    return [
        {
            "source": str(folder / "originals"),
            "destination": str(folder / "corrected"),
            "correction": wishes_of(folder),
        }
        for folder in folders
    ]


def wishes_of(folder: ObjectStoragePath) -> dict[str, Any]:
    """A tenant's own correction, or the service's choice."""
    file = folder / "correction.json"
    return json.loads(file.read_text()) if file.exists() else {}


with DAG(
    "tenants",
    schedule=os.environ.get("PHOTOS_SCHEDULE", "0 2 * * *") or None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["perfectly clear", "example"],
):
    PerfectlyClearCatalogOperator.partial(
        task_id="correct",
        if_empty="succeed",  # a tenant without pictures is no fault
        max_new_jobs=5000,  # for each tenant and night: more is a mistake, and nothing is started
        deferrable=True,
        retries=3,
        map_index_template="{{ task.source }}",
    ).expand_kwargs(tenants(TENANTS))
