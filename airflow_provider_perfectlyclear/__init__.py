"""Apache Airflow provider for the Perfectly Clear Web API v2."""

__version__ = "0.1.0"
