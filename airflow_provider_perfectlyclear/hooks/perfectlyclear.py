"""Hook for custom operators and tasks: each step as a method, or a whole correction with a ledger."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from airflow_provider_perfectlyclear.adapters.connection import (
    CONN_TYPE,
    DEFAULT_CONN_ID,
    aget_settings,
    arenewer,
    get_settings,
    renewer,
)
from airflow_provider_perfectlyclear.hooks.preset_methods import PresetMethods

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_perfectlyclear.api.client import AsyncClient, Client
    from airflow_provider_perfectlyclear.api.models import Correction, JobStatus
    from airflow_provider_perfectlyclear.hooks.correct import Corrected
    from airflow_provider_perfectlyclear.hooks.files import Source, Target

#: Threads that share a hook share its client. One lock for all hooks, because Airflow copies operators with their hook
#: and a lock cannot be copied.
_ONE_AT_A_TIME = threading.Lock()


class PerfectlyClearHook(PresetMethods):
    """
    Client of the Perfectly Clear Web API v2 for one Airflow connection.

    ``correct`` writes a ledger, so a repeated call continues instead of paying again. The single steps (``upload``,
    ``start``, ``wait``, ``download``) write none: each ``start`` is one paid call.

    All errors derive from :class:`~airflow_provider_perfectlyclear.errors.PerfectlyClearError`. Use the hook as a
    context manager, or call :meth:`close`, to close its sockets at once.

    :param perfectlyclear_conn_id: Airflow connection to the service. Default ``"perfectlyclear_default"``.
    """

    conn_name_attr = "perfectlyclear_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = CONN_TYPE
    hook_name = "Perfectly Clear"

    def __init__(self, perfectlyclear_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.perfectlyclear_conn_id = perfectlyclear_conn_id
        self._client: Client | None = None
        self._videos = set[str]()  # file keys of uploaded videos

    def __enter__(self) -> PerfectlyClearHook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the clients

    def get_conn(self) -> Client:
        """
        Return the hook's client, which the first call creates. Several threads may use it.

        :raises ConfigurationError: the connection is missing, has no API key, or a field of it is wrong.
        """
        from airflow_provider_perfectlyclear.api.client import Client

        with _ONE_AT_A_TIME:
            if self._client is None:
                settings = get_settings(self.perfectlyclear_conn_id)
                self._client = Client(settings, renew=renewer(settings))
            return self._client

    async def async_client(self) -> AsyncClient:
        """
        Return a new client for triggers, without blocking the event loop. Close it with ``await client.aclose()``.

        :raises ConfigurationError: the connection is missing, has no API key, or a field of it is wrong.
        """
        from airflow_provider_perfectlyclear.api.client import AsyncClient

        settings = await aget_settings(self.perfectlyclear_conn_id)
        return AsyncClient(settings, renew=arenewer(settings))

    def close(self) -> None:
        """Close the sockets. You may use the hook again."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def test_connection(self) -> tuple[bool, str]:
        """
        List one preset, which is free, and say which part fails if it fails. Takes less than 10 s.

        :returns: Whether it works, and a sentence.
        """
        from airflow_provider_perfectlyclear.hooks.connection_test import diagnose

        return diagnose(self.perfectlyclear_conn_id)

    # --- one step at a time

    def upload(self, source: Source, *, file_type: str = "image", name: str | None = None) -> str:
        """
        Upload a picture or video, which is free.

        :param source: A path, a URL (``s3://conn_id@bucket/a.jpg``), an ``ObjectStoragePath``, bytes, or an open binary
            file.
        :param file_type: The service's ``fileType``: ``"image"`` (the default) or ``"video"``.
        :param name: Name for messages, if the source has none. Default None.
        :returns: The service's ``fileKey``. You may start it more than once.
        :raises InvalidSource: The file is empty or not there.
        :raises TransferFailed: The upload failed, after all repeats.
        """
        from airflow_provider_perfectlyclear.hooks.files import opened

        with opened(source, name) as (open_body, size):
            file_key = self.get_conn().upload(open_body, size=size, file_type=file_type)
        if file_type == "video":
            self._videos.add(file_key)
        return file_key

    def start(self, file_key: str, correction: Mapping[str, Any] | Correction | str | None = None) -> str:
        """
        Start a correction. **This is one paid call**, and calling ``start`` again pays again.

        :param file_key: The ``fileKey`` of :meth:`upload`.
        :param correction: Parameters of ``/pfc`` in snake case: a mapping, a ``Correction`` or JSON. The hook knows
            the videos that it has uploaded; for a video of another hook, add ``file_type="video"``. Default None: the
            service chooses a preset.
        :returns: The service's job id.
        :raises InvalidCorrection: A name or value is wrong. The hook sent nothing.
        :raises StartRefused: The service refused the call and started nothing.
        :raises StartUnknown: The paid call returned no job id, so the job may be running. The error has the file key.
        """
        from airflow_provider_perfectlyclear.api import calls
        from airflow_provider_perfectlyclear.api.models import Correction, FileType

        wanted = Correction.parse(correction)
        if wanted.file_type is None and file_key in self._videos:
            wanted = wanted.model_copy(update={"file_type": FileType.VIDEO})
        return self.get_conn().send(calls.start(file_key, wanted))

    def status(self, job_id: str) -> JobStatus:
        """
        Return the status of a job, which is free.

        :param job_id: The job id of :meth:`start`.
        :returns: The job's state, the service's words, and detection data.
        :raises NotFound: The service does not know the job.
        """
        from airflow_provider_perfectlyclear.api import calls

        return self.get_conn().send(calls.status(job_id))

    def wait(self, job_id: str, *, timeout: float = 3600, poll_interval: float = 2.0) -> JobStatus:
        """
        Wait until a job is final: COMPLETED, FAILED or REJECTED.

        :param job_id: The job id of :meth:`start`.
        :param timeout: Maximum seconds to wait. Default 3600.
        :param poll_interval: Initial seconds between status checks. Grows with the job's age. Default 2.0.
        :returns: The job's last status.
        :raises JobTimeout: The job is still in progress. Checking it again later is free.
        :raises JobLost: The service answered 404 for a minute.
        :raises Unavailable: Every status check failed for ten minutes.
        """
        return self.wait_all([job_id], timeout=timeout, poll_interval=poll_interval)[job_id]

    def wait_all(
        self, job_ids: Sequence[str], *, timeout: float = 3600, poll_interval: float = 2.0
    ) -> dict[str, JobStatus]:
        """
        Wait until all jobs are final: COMPLETED, FAILED or REJECTED.

        :param job_ids: Job ids of :meth:`start`, oldest first.
        :param timeout: Maximum seconds to wait for all of them. Default 3600.
        :param poll_interval: Initial seconds between status checks of a job. Grows with the job's age. Default 2.0.
        :returns: Job id -> status, in the order given.
        :raises JobTimeout: Some jobs are still in progress.
        :raises JobLost: The service answered 404 for one of the jobs for a minute. Raised when the others are final.
        :raises Unavailable: Every status check failed for ten minutes.
        """
        from airflow_provider_perfectlyclear.hooks.wait import wait_for

        return wait_for(self.get_conn(), job_ids, timeout=timeout, poll_interval=poll_interval)

    def download(self, job_id: str, destination: Target) -> str | None:
        """
        Download a finished job's result, check it, and publish it whole. This is free.

        :param job_id: The job id of :meth:`start`.
        :param destination: A path, a URL, an ``ObjectStoragePath``, or a file open for writing bytes. If it ends in
            ``/``, the file is named after its job.
        :returns: The file's path or URL. None for an open file.
        :raises JobFailed: or JobRejected: The job has no result. The error has the service's reason.
        :raises JobTimeout: The job is still in progress.
        :raises CorruptOutput: The result is not a whole picture or video, after three downloads.
        """
        from airflow_provider_perfectlyclear.hooks.files import fetch_job

        return fetch_job(self.get_conn(), job_id, destination)

    # --- the whole

    def correct(
        self,
        source: str | Path | ObjectStoragePath,
        destination: str | Path | ObjectStoragePath,
        correction: Mapping[str, Any] | Correction | str | None = None,
        *,
        timeout: float = 3600,
        state_path: str | None = None,
    ) -> Corrected:
        """
        Correct one file and wait for the result. A repeated call continues from the ledger.

        :param source: A path, a URL or an ``ObjectStoragePath``.
        :param destination: A path, a URL or an ``ObjectStoragePath``. If it ends in ``/``, the output keeps the source
            file's name.
        :param correction: Parameters of ``/pfc`` in snake case: a mapping, a ``Correction`` or JSON. Default None: the
            service chooses a preset.
        :param timeout: Maximum seconds to wait. Default 3600.
        :param state_path: Folder of the ledger. Default None: ``.perfectlyclear`` in the destination's folder.
        :returns: The output's place, job id, file key, size in bytes, and the service's counters.
        :raises InvalidSource: The file is not there, is empty, or is not a picture or video. Nothing was paid.
        :raises JobFailed: or JobRejected: The job's final status.
        :raises JobTimeout: The job is still in progress. A repeated call continues with it.
        :raises StartUnknown: The paid call returned no job id and, with ``cache=False``, is not sent again.
        :raises LaneHeld: Another run is correcting this output.
        """
        from airflow_provider_perfectlyclear.hooks.correct import correct

        return correct(
            self.get_conn(), source, destination, correction, timeout=timeout, state_path=state_path
        )

    # --- the connection form before Airflow 3.2, which reads provider_info.py instead

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the extra's fields of the connection form."""
        from airflow_provider_perfectlyclear.hooks.connection_form import widgets

        return widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the labels of the connection form."""
        from airflow_provider_perfectlyclear.hooks.connection_form import behaviour

        return behaviour()
