"""The catalog: pictures, what is to be done about them, and the record of what was. No Airflow in here."""
