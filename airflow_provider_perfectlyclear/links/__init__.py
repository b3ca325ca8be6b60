"""The link on a task's page; this path is kept for imports and serialized Dags."""

from airflow_provider_perfectlyclear.links.perfectlyclear import PerfectlyClearReportLink

__all__ = ["PerfectlyClearReportLink"]
