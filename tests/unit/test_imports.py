"""What importing costs and needs. Milliseconds are in benchmarks/import_time.py; here is what they come from."""

from __future__ import annotations

import json
import subprocess
import sys

PACKAGE = "airflow_provider_perfectlyclear"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def added_by(statement: str) -> set[str]:
    """Names of the modules that a statement imports in a process that has imported ``airflow.sdk``."""
    said = run(
        f"""
import json, sys
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator
before = set(sys.modules)
{statement}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    )
    return set(json.loads(said.splitlines()[-1]))


def test_importing_the_operators_adds_nothing_but_a_little_of_our_own() -> None:
    added = added_by(f"import {PACKAGE}.operators.perfectlyclear, {PACKAGE}.sensors.perfectlyclear")
    foreign = {
        name
        for name in added
        if not name.startswith((PACKAGE, "airflow.providers.common.compat"))
        and name.split(".")[0] not in sys.stdlib_module_names
    }
    assert foreign <= {"airflow.sdk.bases.operatorlink"}  # one class, which imports nothing new
    heavy = ("api.client", "catalog", "storage", "emulator", "hooks", "triggers")
    assert not [name for name in added for layer in heavy if f"{name}.".startswith(f"{PACKAGE}.{layer}.")]


def test_what_airflow_reads_at_every_start_imports_nothing() -> None:
    assert added_by(f"import {PACKAGE}.provider_info") <= {PACKAGE, f"{PACKAGE}.provider_info"}


def test_the_service_the_storage_and_the_catalog_work_without_airflow() -> None:
    run(
        f"""
import importlib, pkgutil, sys
sys.modules["airflow"] = None  # any import of it fails
for layer in ("errors", "media", "api", "storage", "catalog"):
    module = importlib.import_module("{PACKAGE}." + layer)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{{module.__name__}}."):
        importlib.import_module(found.name)
"""
    )


def test_the_emulator_works_with_nothing_else_of_ours() -> None:
    said = run(
        f"""
import json, sys
import {PACKAGE}.emulator.__main__, {PACKAGE}.emulator.testing
print(json.dumps(sorted(sys.modules)))
"""
    )
    ours = {name for name in json.loads(said) if name.startswith(f"{PACKAGE}.")}
    assert not {name for name in ours if not f"{name}.".startswith(f"{PACKAGE}.emulator.")}
    assert "airflow" not in json.loads(said)
