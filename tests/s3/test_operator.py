"""The operators on a real S3 server, by Airflow's connections: in the URL, and as arguments."""

from __future__ import annotations

import json

import pytest

from airflow_provider_perfectlyclear.operators.perfectlyclear import (
    PerfectlyClearCatalogOperator,
    PerfectlyClearCorrectOperator,
)
from tests.provider.parts import run
from tests.s3.conftest import HouseOnS3
from tests.s3.server import BUCKET

NAMES = ["a.jpg", "b/c.jpg", "ü #1 %.jpg"]


@pytest.fixture(autouse=True)
def connections(house: HouseOnS3, monkeypatch: pytest.MonkeyPatch) -> None:
    options = house.server.storage_options
    aws = {
        "conn_type": "aws",
        "login": options["key"],
        "password": options["secret"],
        "extra": {"endpoint_url": options["endpoint_url"], "region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_MY_STORE", json.dumps(aws))
    monkeypatch.setenv("AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT", house.emulator.connection_json())


@pytest.mark.parametrize("in_the_url", [True, False])
def test_a_catalog_is_corrected_from_bucket_to_bucket(house: HouseOnS3, in_the_url: bool) -> None:
    house.put(*NAMES)
    authority = f"my_store@{BUCKET}" if in_the_url else BUCKET
    arguments = {} if in_the_url else {"source_conn_id": "my_store", "destination_conn_id": "my_store"}

    def night() -> dict:
        operator = PerfectlyClearCatalogOperator(
            task_id="correct",
            source=f"s3://{authority}/{house.prefix}/in",
            destination=f"s3://{authority}/{house.prefix}/out",
            poll_interval=0.1,
            **arguments,
        )
        return run(operator)[0]

    assert night()["corrected"] == len(NAMES)
    assert house.outputs == sorted(NAMES)
    night()  # of the same run: a retry, or a clear
    assert house.accepted == len(NAMES)


def test_one_picture_is_corrected_from_bucket_to_bucket(house: HouseOnS3) -> None:
    house.put("a.jpg")
    operator = PerfectlyClearCorrectOperator(
        task_id="correct",
        source=f"s3://my_store@{BUCKET}/{house.prefix}/in/a.jpg",
        destination=f"s3://my_store@{BUCKET}/{house.prefix}/out/",
        poll_interval=0.1,
    )

    said = run(operator)[0]

    assert house.outputs == ["a.jpg"]
    assert said["bytes"] == house.store("out").stat("a.jpg").size
    assert run(operator)[0]["job_id"] == said["job_id"]
    assert house.accepted == 1
