"""Client of the service: HTTP and jobs. Imports neither Airflow nor anything about files and pictures."""
