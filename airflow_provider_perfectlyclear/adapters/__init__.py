"""Airflow's connections, paths, task instances and events as values of this package. Imports nothing."""
