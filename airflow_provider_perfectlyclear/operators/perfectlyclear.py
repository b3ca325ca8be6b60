"""The operators of this provider, under the path that Dags import them from."""

from __future__ import annotations

from airflow_provider_perfectlyclear.operators.catalog import PerfectlyClearCatalogOperator
from airflow_provider_perfectlyclear.operators.correct import PerfectlyClearCorrectOperator

__all__ = ["PerfectlyClearCatalogOperator", "PerfectlyClearCorrectOperator"]
