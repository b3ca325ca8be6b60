"""The operators on a real S3 server, by Airflow's connections: in the URL, and as arguments."""

from __future__ import annotations

import json

import pytest

from airflow_provider_perfectlyclear.operators.perfectlyclear import (
    PerfectlyClearCatalogOperator,
    PerfectlyClearCorrectOperator,
)
from tests.s3.conftest import SandboxOnS3
from tests.s3.server import BUCKET
from tests.support.tasks import run

NAMES = ["a.jpg", "b/c.jpg", "ü #1 %.jpg"]


@pytest.fixture(autouse=True)
def connections(sandbox: SandboxOnS3, monkeypatch: pytest.MonkeyPatch) -> None:
    options = sandbox.server.storage_options
    aws = {
        "conn_type": "aws",
        "login": options["key"],
        "password": options["secret"],
        "extra": {"endpoint_url": options["endpoint_url"], "region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_MY_STORE", json.dumps(aws))
    monkeypatch.setenv("AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT", sandbox.emulator.connection_json())


@pytest.mark.parametrize("in_the_url", [True, False])
def test_a_catalog_is_corrected_from_bucket_to_bucket(sandbox: SandboxOnS3, in_the_url: bool) -> None:
    sandbox.put(*NAMES)
    authority = f"my_store@{BUCKET}" if in_the_url else BUCKET
    arguments = {} if in_the_url else {"source_conn_id": "my_store", "destination_conn_id": "my_store"}

    def night() -> dict:
        operator = PerfectlyClearCatalogOperator(
            task_id="correct",
            source=f"s3://{authority}/{sandbox.prefix}/in",
            destination=f"s3://{authority}/{sandbox.prefix}/out",
            poll_interval=0.1,
            **arguments,
        )
        return run(operator)[0]

    assert night()["corrected"] == len(NAMES)
    assert sandbox.outputs == sorted(NAMES)
    night()  # of the same run: a retry, or a clear
    assert sandbox.accepted == len(NAMES)


def test_one_picture_is_corrected_from_bucket_to_bucket(sandbox: SandboxOnS3) -> None:
    sandbox.put("a.jpg")
    operator = PerfectlyClearCorrectOperator(
        task_id="correct",
        source=f"s3://my_store@{BUCKET}/{sandbox.prefix}/in/a.jpg",
        destination=f"s3://my_store@{BUCKET}/{sandbox.prefix}/out/",
        poll_interval=0.1,
    )

    said = run(operator)[0]

    assert sandbox.outputs == ["a.jpg"]
    assert said["bytes"] == sandbox.store("out").stat("a.jpg").size
    assert run(operator)[0]["job_id"] == said["job_id"]
    assert sandbox.accepted == 1
