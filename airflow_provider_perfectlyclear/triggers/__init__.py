"""Airflow's triggers for the service."""
