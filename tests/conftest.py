"""For all tests: the table of faults, and which tests stay together when several run at a time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.table import (  # noqa: F401
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_runtest_makereport,
    pytest_sessionfinish,
    pytest_terminal_summary,
    row,
)

#: The tests in such a folder share a server that takes long to start: they run in one process.
TOGETHER = ("tests/airflow/", "tests/s3/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n``: tests go to free workers, but for those that share a server."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid)

    return Scheduling(config, log)
