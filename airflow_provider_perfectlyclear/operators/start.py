"""A correction in steps, for Dags that do something between them: start, (wait with the sensor,) download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_perfectlyclear import limits
from airflow_provider_perfectlyclear.adapters.connection import DEFAULT_CONN_ID
from airflow_provider_perfectlyclear.adapters.events import harmless
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

#: The XCom key of the uploaded file, so that it can be corrected again without another upload.
FILE_KEY = "file_key"


class PerfectlyClearStartCorrectionOperator(BaseOperator):
    """
    Upload a file and start its correction; return the job id.

    **Without ``state_path`` each try is one paid call: a retry may pay again**, and when the answer to the paid call
    is lost, the task fails without retrying. With it, the intent is recorded before the call and the job id after it:
    a retry or clear in the same Dag run returns the job that was started for this source and correction, as long as
    the source has the same bytes, also under another map index. Another Dag run starts, and pays, anew.

    If a try died in between, or its answer was lost, the next one asks once more with the same file key, at the
    earliest a minute later. If the service refuses that, the next one uploads the file anew. Both may pay twice, and
    the log says so.

    The file key is under a second XCom key, ``file_key``.

    :param source: the file: an absolute local path, a URL such as ``s3://bucket/a.jpg``, or an ObjectStoragePath.
    :param file_key: instead of ``source``: the service's ``fileKey`` of a file that is uploaded already.
    :param correction: parameters of the service's ``/pfc``, in snake case, as a mapping, a ``Correction`` or
        JSON. None: the service's AI preset selection.
    :param file_type: ``"image"`` or ``"video"``. None: found out from the first bytes; with a ``file_key``, image.
    :param perfectlyclear_conn_id: Airflow's connection to the service.
    :param source_conn_id: Airflow's connection to the source's store.
    :param state_path: a folder or prefix for the record of what was started; many tasks may share one.
    :param accept_ledger: the id of a record whose absence is accepted; a message names it.
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
    template_fields_renderers = {"correction": "json"}
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
        """Upload, then make the one paid call."""
        from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook

        with told_to_airflow(), PerfectlyClearHook(self.perfectlyclear_conn_id) as hook:
            if not self.source and limits.is_none(self.file_key or None):
                raise ConfigurationError(
                    "Give source or file_key, one of them. Neither was given: did an upstream task return nothing?"
                )
            if self.source and self.file_key:
                raise ConfigurationError("Give source or file_key, one of them.")
            correction = arguments.parse_correction(self.correction, file_type=self.file_type)
            start = self._start_once if self.state_path else self._start
            file_key, job_id = start(hook, correction, context)
            context["ti"].xcom_push(key=FILE_KEY, value=file_key)
            return job_id

    def _start(self, hook: PerfectlyClearHook, correction: Correction, context: Context) -> tuple[str, str]:
        file_key, file_type, _ = self._uploaded(hook, correction)
        context["ti"].xcom_push(key=FILE_KEY, value=file_key)  # also when the answer to the next call is lost
        self.log.info("Starting a correction of file key %s. From here on, a retry pays again.", file_key)
        return file_key, hook.start(file_key, arguments.parse_correction(correction, file_type=file_type))

    def _start_once(
        self, hook: PerfectlyClearHook, correction: Correction, context: Context
    ) -> tuple[str, str]:
        from airflow_provider_perfectlyclear.adapters.object_storage import open_state
        from airflow_provider_perfectlyclear.catalog.idempotent_start import StartOnce

        ti = context["ti"]
        once = StartOnce(
            hook.get_conn(),
            open_state(self.state_path, None),
            correction=correction,
            source=self._source(hook, correction),
            task_key=task_key(ti),
            run_key=run_key(ti),
            title=run_title(ti),
            expects=recall(context),
            accept_ledger=self.accept_ledger or None,
        )

        def keep(said: Mapping[str, Any]) -> None:
            with harmless("The place of the record"):
                remember(context, said)

        row = once.run(keep)
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
    Fetch a finished job's corrected file, check it, and put it in its place, whole; return its path or URL.

    Costs nothing, so a retry does not either.

    :param job_id: the service's job id.
    :param destination: where the file goes; with a slash at the end it is named after its job.
    :param perfectlyclear_conn_id: Airflow's connection to the service.
    :param destination_conn_id: Airflow's connection to the destination's store.
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
        """Land the file."""
        from airflow_provider_perfectlyclear.hooks.files import fetch_job
        from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook

        with told_to_airflow(), PerfectlyClearHook(self.perfectlyclear_conn_id) as hook:
            return fetch_job(hook.get_conn(), self.job_id, self.destination, conn_id=self.destination_conn_id)
