"""Airflow's operators for the service."""
