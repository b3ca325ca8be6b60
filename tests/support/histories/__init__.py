"""
Random histories of tasks that share a ledger. Everything that decides is the product's own code: runs, plans, claims,
lanes, engine. Only the ends are replaced: time, threads, stores, the service, and Airflow.
"""
