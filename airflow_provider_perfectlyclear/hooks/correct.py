"""The hook's ``correct``: one file from upload to output, with the same ledger as the operators."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_perfectlyclear.adapters.object_storage import (
    open_file,
    open_place,
    open_state,
    parse_place,
)
from airflow_provider_perfectlyclear.adapters.task_instance import run_key
from airflow_provider_perfectlyclear.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_perfectlyclear.api.client import Client
    from airflow_provider_perfectlyclear.api.models import Correction


@dataclass(frozen=True)
class Corrected:
    """
    Result of :meth:`PerfectlyClearHook.correct`.

    :param destination: Path or URL of the output.
    :param job_id: The service's job id.
    :param file_key: The service's ``fileKey`` of the source file.
    :param size: Size of the output in bytes.
    :param usage: The service's counters.
    :param detection_data: Faces, scene and so on, if the correction asked for them.
    """

    destination: str | None
    job_id: str | None
    file_key: str | None
    size: int | None
    usage: dict[str, Any] | None
    detection_data: dict[str, Any] | None


def correct(
    client: Client,
    source: str | Path | ObjectStoragePath,
    destination: str | Path | ObjectStoragePath,
    correction: Mapping[str, Any] | Correction | str | None,
    *,
    timeout: float,
    state_path: str | None,
) -> Corrected:
    """Correct one file as the operator does, and wait in this process. Parameters as of the hook's ``correct``."""
    from airflow_provider_perfectlyclear.api.models import Correction
    from airflow_provider_perfectlyclear.catalog.options import Options
    from airflow_provider_perfectlyclear.catalog.places import Places
    from airflow_provider_perfectlyclear.catalog.single import single_run

    if timeout is None:
        raise ConfigurationError("timeout is None: give a number of seconds.")
    options = Options(correction=Correction.parse(correction), timeout=timeout, job_timeout=timeout)
    store, name = open_file(source, argument="source")
    place = parse_place(destination, argument="destination")
    folder, output = (place, None) if place.is_folder else place.split()
    target = open_place(folder)
    run = single_run(
        client,
        Places(store, target, open_state(state_path, target)),
        options,
        _run_key(),
        name,
        output=output,
    )
    summary = run.execute()
    return _corrected(summary.data)  # type: ignore[union-attr]  # what is not deferrable waits here


def _run_key() -> str:
    """Return the task instance's run key, so that a retry continues at once. Outside of a task, a random one."""
    from airflow.providers.common.compat.sdk import AirflowException, get_current_context

    try:
        return run_key(get_current_context()["ti"])
    except (RuntimeError, AirflowException):  # outside of a task: Airflow's versions raise different ones
        return str(uuid.uuid4())


def _corrected(data: Mapping[str, Any]) -> Corrected:
    return Corrected(
        destination=data.get("destination"),
        job_id=data.get("job_id"),
        file_key=data.get("file_key"),
        size=data.get("bytes"),
        usage=data.get("usage"),
        detection_data=data.get("detection_data"),
    )
