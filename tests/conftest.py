"""For all tests: the table of faults."""

from tests.faults.table import (  # noqa: F401
    pytest_runtest_makereport,
    pytest_sessionfinish,
    pytest_terminal_summary,
    row,
)
