from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_perfectlyclear.emulator.testing import perfectlyclear_emulator  # noqa: F401
from tests.airflow.harness import Airflow, AirflowHome


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"airflow", "airflow_home"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("airflow")


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> AirflowHome:
    """An Airflow without processes, for ``dags_test``."""
    home = AirflowHome(tmp_path_factory.mktemp("airflow_home"))
    home.create()
    return home


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """The whole Airflow, one for the session. It logs at DEBUG, so that tests that search for secrets can find them."""
    with Airflow(
        tmp_path_factory.mktemp("airflow"),
        env={"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG", "AIRFLOW__CORE__TEST_CONNECTION": "Enabled"},
    ) as running:
        yield running
