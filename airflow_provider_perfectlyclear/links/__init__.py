"""Link on a task's page. Imports and serialized Dags use this path."""

from airflow_provider_perfectlyclear.links.perfectlyclear import PerfectlyClearReportLink

__all__ = ["PerfectlyClearReportLink"]
