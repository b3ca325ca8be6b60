"""Operators that correct in separate steps: start and download. The sensor waits in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_perfectlyclear import limits
from airflow_provider_perfectlyclear.adapters.connection import DEFAULT_CONN_ID
from airflow_provider_perfectlyclear.adapters.ledger_memory import recall, remember
from airflow_provider_perfectlyclear.adapters.task_instance import (
    run_key,
    run_title,
    task_key,
    told_to_airflow,
)
from airflow_provider_perfectlyclear.errors import ConfigurationError
from airflow_provider_perfectlyclear.operators import arguments

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_perfectlyclear.api.models import Correction
    from airflow_provider_perfectlyclear.catalog.start_source import Sent, StartSource
    from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook

#: XCom key of the file key, to correct the file again without another upload.
FILE_KEY = "file_key"


class PerfectlyClearStartCorrectionOperator(BaseOperator):
    """
    Task that uploads a file and starts its correction. It returns the job id, and the file key as XCom ``file_key``.

    **Without ``state_path`` each attempt is one paid call, so a retry may pay again.** If the paid call gets no
    response, the task fails and Airflow does not retry it. With ``state_path``, the operator records the start before
    the call and the job id after it. A retry or clear in the same Dag run returns the same job, also under another
    map index, as long as the source file has the same bytes. Another Dag run starts, and pays for, another job.

    After an unconfirmed start, the next attempt sends the call once more with the same file key, at the earliest a
    minute later. If the service refuses that call, the attempt after it uploads the file again. Both may pay twice,
    and the log says so.

    :param source: The file to upload: an absolute local path, a URL such as ``s3://bucket/a.jpg``, or an
        ``ObjectStoragePath``. Give this or ``file_key``.
    :param file_key: The service's ``fileKey`` of a file that is uploaded already. Give this or ``source``.
    :param correction: Parameters of the service's ``/pfc`` in snake case: a mapping, a ``Correction`` or JSON. Default
        None: the service chooses a preset.
    :param file_type: ``"image"`` or ``"video"``. Default None: from the first bytes; with ``file_key``, image.
    :param perfectlyclear_conn_id: Airflow connection to the service. Default ``"perfectlyclear_default"``.
    :param source_conn_id: Airflow connection to the source's store. Takes precedence over one in the URL. Default None.
    :param state_path: Folder of the ledger of started jobs. Several tasks may share it. Default None: no ledger.
    :param accept_ledger: Id of a ledger. Accept that this ledger is absent. The error message names the id. Default
        None.
    """

    template_fields: Sequence[str] = (
        "source",
        "file_key",
        "correction",
        "file_type",
        "state_path",
        "perfectlyclear_conn_id",
        "source_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"correction": "json"}
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        source: str | ObjectStoragePath | None = None,
        file_key: str | None = None,
        correction: Mapping[str, Any] | Correction | str | None = None,
        file_type: Literal["image", "video"] | None = None,
        perfectlyclear_conn_id: str = DEFAULT_CONN_ID,
        source_conn_id: str | None = None,
        state_path: str | None = None,
        accept_ledger: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.file_key = file_key
        self.correction = correction
        self.file_type = file_type
        self.perfectlyclear_conn_id = perfectlyclear_conn_id
        self.source_conn_id = source_conn_id
        self.state_path = state_path
        self.accept_ledger = accept_ledger
        arguments.check_when_parsed(self, correction)

    def execute(self, context: Context) -> str:
        """Upload the file, then send the paid call."""
        from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook

        with told_to_airflow(), PerfectlyClearHook(self.perfectlyclear_conn_id) as hook:
            if not self.source and limits.is_none(self.file_key or None):
                raise ConfigurationError(
                    "Give either source or file_key. Neither was given: did an upstream task return nothing?"
                )
            if self.source and self.file_key:
                raise ConfigurationError("Give either source or file_key.")
            correction = arguments.parse_correction(self.correction, file_type=self.file_type)
            start = self._start_once if self.state_path else self._start
            file_key, job_id = start(hook, correction, context)
            context["ti"].xcom_push(key=FILE_KEY, value=file_key)
            return job_id

    def _start(self, hook: PerfectlyClearHook, correction: Correction, context: Context) -> tuple[str, str]:
        file_key, file_type, _ = self._uploaded(hook, correction)
        context["ti"].xcom_push(
            key=FILE_KEY, value=file_key
        )  # before the paid call, which may get no response
        self.log.info("Starting a correction of file key %s. From here on, a retry pays again.", file_key)
        return file_key, hook.start(file_key, arguments.parse_correction(correction, file_type=file_type))

    def _start_once(
        self, hook: PerfectlyClearHook, correction: Correction, context: Context
    ) -> tuple[str, str]:
        from airflow_provider_perfectlyclear.adapters.object_storage import open_state
        from airflow_provider_perfectlyclear.catalog.idempotent_start import Starter, StartOnce

        ti = context["ti"]
        once = StartOnce(
            hook.get_conn(),
            open_state(self.state_path, None),
            correction=correction,
            source=self._source(hook, correction),
            starter=Starter(task_key(ti), run_key(ti), run_title(ti)),
            expects=recall(context),
            accept_ledger=self.accept_ledger or None,
        )

        row = once.run(partial(remember, context))
        return str(row.file_key), str(row.job_id)

    def _source(self, hook: PerfectlyClearHook, correction: Correction) -> StartSource:
        from airflow_provider_perfectlyclear.adapters.object_storage import open_file
        from airflow_provider_perfectlyclear.catalog.start_source import StartSource

        upload = partial(self._uploaded, hook, correction)
        if self.file_key:
            return StartSource(self.file_key, upload)
        return StartSource.of_file(
            *open_file(self.source, conn_id=self.source_conn_id, argument="source"), upload
        )

    def _uploaded(self, hook: PerfectlyClearHook, correction: Correction) -> Sent:
        from airflow_provider_perfectlyclear.catalog.start_source import HashedBody, Sent
        from airflow_provider_perfectlyclear.hooks.files import file_type_of, opened

        if self.file_key:
            return Sent(self.file_key, str(correction.file_type or "image"))
        assert self.source is not None  # execute has refused an operator that has neither
        with opened(self.source, conn_id=self.source_conn_id) as (open_body, size):
            file_type = file_type_of(open_body, correction.file_type and str(correction.file_type))
            body = HashedBody(open_body)
            file_key = hook.get_conn().upload(body.open, size=size, file_type=file_type)
            return Sent(file_key, file_type, body.sha256)


class PerfectlyClearDownloadOperator(BaseOperator):
    """
    Task that downloads a finished job's result, checks it and publishes it whole.

    It returns the path or URL. A retry is free.

    :param job_id: The service's job id.
    :param destination: The output: a path, a URL or an ``ObjectStoragePath``. If it ends in ``/``, the output is
        named after the job.
    :param perfectlyclear_conn_id: Airflow connection to the service. Default ``"perfectlyclear_default"``.
    :param destination_conn_id: Airflow connection to the destination's store. Takes precedence over one in the URL.
        Default None.
    """

    template_fields: Sequence[str] = (
        "job_id",
        "destination",
        "perfectlyclear_conn_id",
        "destination_conn_id",
    )
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        job_id: str,
        destination: str | ObjectStoragePath,
        perfectlyclear_conn_id: str = DEFAULT_CONN_ID,
        destination_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.destination = destination
        self.perfectlyclear_conn_id = perfectlyclear_conn_id
        self.destination_conn_id = destination_conn_id

    def execute(self, context: Context) -> str | None:
        """Download and publish the file."""
        from airflow_provider_perfectlyclear.hooks.files import fetch_job
        from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook

        with told_to_airflow(), PerfectlyClearHook(self.perfectlyclear_conn_id) as hook:
            return fetch_job(hook.get_conn(), self.job_id, self.destination, conn_id=self.destination_conn_id)
