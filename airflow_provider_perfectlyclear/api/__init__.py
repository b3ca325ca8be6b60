"""The service: HTTP and jobs. Imports no Airflow, and knows no files and no pictures."""
