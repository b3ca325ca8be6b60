"""
A catalog of photographs, corrected every night.

``nightly_catalog`` takes what arrived in the inbox into the catalog, corrects what is new or changed there, and
says so with an asset. ``publish_catalog`` waits for that asset and takes over.

Only what is new or changed is paid for, so a retry, a clear or a second run of the same night costs nothing.
While the service works, the task waits in the triggerer and holds no worker slot.

Needs a connection ``perfectlyclear_default`` whose password is the API key. These come from the environment:

======================  ===============================  ===================================
PHOTOS_INBOX            where pictures arrive            default: /data/photos/inbox
PHOTOS_CATALOG          the originals                    default: /data/photos/catalog
PHOTOS_CORRECTED        the corrected pictures           default: /data/photos/corrected
PHOTOS_SCHEDULE         when; empty: only on demand      default: 0 2 * * *
======================  ===============================  ===================================

The places may be object stores as well, such as ``s3://aws_default@media/corrected``.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from airflow.sdk import DAG, Asset, ObjectStoragePath, Param, task

from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearCatalogOperator

INBOX = os.environ.get("PHOTOS_INBOX", "/data/photos/inbox")
CATALOG = os.environ.get("PHOTOS_CATALOG", "/data/photos/catalog")
CORRECTED = os.environ.get("PHOTOS_CORRECTED", "/data/photos/corrected")
SCHEDULE = os.environ.get("PHOTOS_SCHEDULE", "0 2 * * *") or None

corrected_catalog = Asset("corrected_catalog")


@task
def ingest(inbox: str, catalog: str) -> int:
    """Move what has arrived into the catalog. A name that is there already is replaced: a new edit."""
    arrived = [path for path in ObjectStoragePath(inbox).iterdir() if path.is_file()]
    for picture in arrived:
        picture.move(ObjectStoragePath(catalog) / picture.name)
    return len(arrived)


@task
def publish(folder: str) -> list[str]:
    """Stand in for the next system: a shop, a CDN, a search index."""
    pictures = ObjectStoragePath(folder).iterdir()
    return sorted(picture.name for picture in pictures if not picture.name.startswith("."))


with DAG(
    "nightly_catalog",
    schedule=SCHEDULE,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # two nights at once would only wait for each other
    params={
        # Every parameter of the service, in snake case; {} lets the service choose by looking at the picture.
        "correction": Param({"output_quality": 90, "preserve_metadata": True}, type="object"),
    },
    doc_md=__doc__,
    tags=["perfectly clear", "example"],
):
    correct = PerfectlyClearCatalogOperator(
        task_id="correct",
        source=CATALOG,
        destination=CORRECTED,
        correction="{{ params.correction | tojson }}",
        deferrable=True,
        max_failures=0,  # or "2%": so many may fail before the night is red; the good ones are landed anyway
        retries=3,
        outlets=[corrected_catalog],
    )
    ingest(INBOX, CATALOG) >> correct

with DAG(
    "publish_catalog",
    schedule=[corrected_catalog],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["perfectly clear", "example"],
):
    publish(CORRECTED)
