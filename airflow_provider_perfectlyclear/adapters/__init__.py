"""Airflow's connections, stores, task instances and events, as values of this package."""
