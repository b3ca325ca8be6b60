"""
What a Dag file costs because of us, each time it is parsed: the smallest of several processes, in milliseconds.

``airflow.sdk`` is imported first in every Dag file; counted is what comes on top of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 7
OPERATORS = "airflow_provider_perfectlyclear.operators.perfectlyclear"
LIMITS = {"importing the operators": 30.0, "parsing a file with one operator": 60.0}

DAG = f"""
from airflow.sdk import DAG
from {OPERATORS} import PerfectlyClearCatalogOperator

with DAG("one", schedule=None):
    PerfectlyClearCatalogOperator(
        task_id="correct", source="/data/in", destination="/data/out", correction={{"output_quality": 90}}
    )
"""

PROBE = """
import airflow.sdk, runpy, sys, time
from airflow.sdk import DAG
began = time.perf_counter()
{statement}
print((time.perf_counter() - began) * 1000)
"""


def milliseconds(statement: str) -> float:
    """Run the statement in fresh processes after ``import airflow.sdk``; return the smallest time."""
    times = []
    for _ in range(RUNS):
        probe = [sys.executable, "-c", PROBE.format(statement=statement)]
        said = subprocess.run(probe, check=True, capture_output=True, text=True).stdout
        times.append(float(said.split()[-1]))
    return min(times)


def main() -> int:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "one.py"
        file.write_text(DAG)
        found = {
            "importing the operators": milliseconds(f"import {OPERATORS}"),
            "parsing a file with one operator": milliseconds(f"runpy.run_path({str(file)!r})"),
        }
    for what, spent in found.items():
        print(f"{what:36}{spent:8.1f} ms over airflow.sdk (at most {LIMITS[what]:g})")
    print(json.dumps({**found, "seconds": round(time.perf_counter() - began, 1)}))
    return 0 if all(spent <= LIMITS[what] for what, spent in found.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
