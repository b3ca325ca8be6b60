"""Airflow's sensors for the service."""
