"""
Pictures corrected as they arrive: the catalog is never listed, only what has arrived is looked at.

``ingest_arrivals`` takes what is in the inbox into the catalog and says with an asset which files those were.
``correct_arrivals`` starts when it has, and corrects these files. When several ingestions end before it starts, it
takes the files of all of them.

A file that the event of a failed run named is not named again. Keep ``nightly_catalog`` beside it: it looks at the
whole catalog, shares the record (same destination), and so corrects and pays only what was missed.

======================  ===============================  ===================================
PHOTOS_INBOX            where pictures arrive            default: /data/photos/inbox
PHOTOS_CATALOG          the originals                    default: /data/photos/catalog
PHOTOS_CORRECTED        the corrected pictures           default: /data/photos/corrected
PHOTOS_INGEST           when to look into the inbox      default: */10 * * * *
======================  ===============================  ===================================
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Asset, ObjectStoragePath, task
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearCatalogOperator

INBOX = os.environ.get("PHOTOS_INBOX", "/data/photos/inbox")
CATALOG = os.environ.get("PHOTOS_CATALOG", "/data/photos/catalog")
CORRECTED = os.environ.get("PHOTOS_CORRECTED", "/data/photos/corrected")
SCHEDULE = os.environ.get("PHOTOS_INGEST", "*/10 * * * *") or None

arrived_pictures = Asset("arrived_pictures")


@task(outlets=[arrived_pictures])
def ingest(inbox: str, catalog: str, *, outlet_events: Any = None) -> list[str]:
    """Move what has arrived into the catalog, and name it in the asset's event."""
    arrived = sorted(path for path in ObjectStoragePath(inbox).iterdir() if path.is_file())
    if not arrived:
        raise AirflowSkipException("Nothing has arrived.")  # and no event
    for picture in arrived:
        picture.move(ObjectStoragePath(catalog) / picture.name)
    names = [picture.name for picture in arrived]
    outlet_events[arrived_pictures].extra = {"files": names}
    return names


@task
def files_of_events(*, triggering_asset_events: Any = None) -> list[str]:
    """The files of every event that this run answers, each once."""
    events = triggering_asset_events[arrived_pictures]
    return sorted({name for event in events for name in event.extra["files"]})


with DAG(
    "ingest_arrivals",
    schedule=SCHEDULE,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["perfectly clear", "example"],
):
    ingest(INBOX, CATALOG)

with DAG(
    "correct_arrivals",
    schedule=[arrived_pictures],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # one record, one owner: the next arrivals wait for these
    doc_md=__doc__,
    tags=["perfectly clear", "example"],
):
    PerfectlyClearCatalogOperator(
        task_id="correct",
        source=files_of_events(),  # names below source_root, or whole paths and URLs that lie in it
        source_root=CATALOG,
        destination=CORRECTED,
        # With a list, the redo guard compares with the listed pictures alone, and an ingestion that replaces 30
        # would trip it. This limit replaces it.
        max_new_jobs=1000,
        deferrable=True,
        retries=3,
    )
