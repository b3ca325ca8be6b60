"""
One picture, corrected on demand: trigger this Dag with the picture's place, from the UI or another system.

A destination that ends in a slash keeps the picture's name. A retry goes on with the same job and does not pay
again.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, Param

from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearCorrectOperator

with DAG(
    "correct_one",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={
        "source": Param("/data/photos/catalog/portrait.jpg", type="string", description="a path or URL"),
        "destination": Param("/data/photos/corrected/", type="string", description="a folder/ or a file"),
        "correction": Param({"long": 2048, "output_type": "jpg"}, type="object"),
    },
    doc_md=__doc__,
    tags=["perfectly clear", "example"],
):
    PerfectlyClearCorrectOperator(
        task_id="correct",
        source="{{ params.source }}",
        destination="{{ params.destination }}",
        correction="{{ params.correction | tojson }}",
        deferrable=True,
        retries=2,
    )
