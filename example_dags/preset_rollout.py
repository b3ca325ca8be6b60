"""
Another correction for an existing catalog: 20 pictures first, then a person's word, then the rest.

Trigger it with the new correction. ``canary`` corrects 20 pictures with it; look at them, and approve or reject under
"Required Actions". Approved, ``roll_out`` corrects the rest, unless that needs more jobs than were allowed for: then
it fails, and nothing is started. What the canary has paid for is not paid again.

Before: pause whatever else corrects into this destination, or it turns the canary's pictures back, and pays for it.
Afterwards: give it the new correction (approved), or leave it as it is (rejected: it turns the 20 back).

======================  ===============================  ===================================
PHOTOS_CATALOG          the originals                    default: /data/photos/catalog
PHOTOS_CORRECTED        the corrected pictures           default: /data/photos/corrected
PHOTOS_MAX_NEW_JOBS     what the roll-out may cost       default: 5000
======================  ===============================  ===================================

Needs Airflow 3.1 or newer, for the approval.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param

from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearCatalogOperator

CATALOG = os.environ.get("PHOTOS_CATALOG", "/data/photos/catalog")
CORRECTED = os.environ.get("PHOTOS_CORRECTED", "/data/photos/corrected")
MAX_NEW_JOBS = int(os.environ.get("PHOTOS_MAX_NEW_JOBS", "5000"))

with DAG(
    "preset_rollout",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={"correction": Param({"preset": "Vivid"}, type="object", description="the new one, whole")},
    default_args={
        "source": CATALOG,
        "destination": CORRECTED,
        "correction": "{{ params.correction | tojson }}",
        "reprocess": "changed",  # an edited custom preset counts as another correction too
        "deferrable": True,
    },
    doc_md=__doc__,
    tags=["perfectly clear", "example"],
):
    canary = PerfectlyClearCatalogOperator(
        task_id="canary",
        limit=20,  # in this Dag run, retries included
        max_paid_again=20,  # the redo guard asks how much may be paid for again
        if_unchanged="skip",  # all is corrected like this already: there is nothing to approve
        retries=2,
    )
    approval = ApprovalOperator(
        task_id="approval",
        subject="Correct the whole catalog like this?",
        body="{{ ti.xcom_pull(task_ids='canary')['corrected'] }} pictures were corrected, and "
        "{{ ti.xcom_pull(task_ids='canary')['not_started'] }} wait for your word. Which ones were corrected says "
        "`{{ ti.xcom_pull(task_ids='canary')['manifest'] }}`.",
        response_timeout=timedelta(days=3),  # then it fails, and nothing more is paid
    )
    roll_out = PerfectlyClearCatalogOperator(
        task_id="roll_out",
        max_new_jobs=MAX_NEW_JOBS,
        max_paid_again=MAX_NEW_JOBS,
        max_failures="1%",
        retries=3,
    )
    canary >> approval >> roll_out
