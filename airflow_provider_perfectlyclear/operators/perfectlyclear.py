"""Operators of this provider. Dags import them from this module."""

from __future__ import annotations

from airflow_provider_perfectlyclear.operators.catalog import PerfectlyClearCatalogOperator, shards
from airflow_provider_perfectlyclear.operators.correct import PerfectlyClearCorrectOperator
from airflow_provider_perfectlyclear.operators.presets import (
    PerfectlyClearDeletePresetOperator,
    PerfectlyClearGetPresetOperator,
    PerfectlyClearListPresetsOperator,
    PerfectlyClearUploadPresetOperator,
)
from airflow_provider_perfectlyclear.operators.start import (
    PerfectlyClearDownloadOperator,
    PerfectlyClearStartCorrectionOperator,
)
from airflow_provider_perfectlyclear.outputs import corrected_outputs

__all__ = [
    "PerfectlyClearCatalogOperator",
    "PerfectlyClearCorrectOperator",
    "PerfectlyClearDeletePresetOperator",
    "PerfectlyClearDownloadOperator",
    "PerfectlyClearGetPresetOperator",
    "PerfectlyClearListPresetsOperator",
    "PerfectlyClearStartCorrectionOperator",
    "PerfectlyClearUploadPresetOperator",
    "corrected_outputs",
    "shards",
]
