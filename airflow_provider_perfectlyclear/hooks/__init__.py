"""Airflow's hook for the service, and its connection form and test."""
