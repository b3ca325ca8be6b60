"""The service for custom operators and tasks: every step by itself, or a whole correction with its record."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_perfectlyclear.adapters.connection import (
    CONN_TYPE,
    DEFAULT_CONN_ID,
    aget_settings,
    arenewer,
    get_settings,
    renewer,
)

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_perfectlyclear.api.client import AsyncClient, Client
    from airflow_provider_perfectlyclear.api.models import Correction, JobStatus, Preset
    from airflow_provider_perfectlyclear.hooks.correct import Corrected
    from airflow_provider_perfectlyclear.hooks.files import Source, Target

#: Threads that share a hook share its client. Not the hook's own: operators that keep a hook are copied with it.
_ONE_AT_A_TIME = threading.Lock()


class PerfectlyClearHook(BaseHook):
    """
    The Perfectly Clear Web API v2, by an Airflow connection.

    ``correct`` keeps a record, so that a repeated call goes on instead of paying again. The single steps
    (``upload``, ``start``, ``wait``, ``download``) keep none: each ``start`` is one paid call.

    What goes wrong is raised as :class:`~airflow_provider_perfectlyclear.errors.PerfectlyClearError`. Use as a context
    manager, or call :meth:`close`, to give back the sockets at once.

    :param perfectlyclear_conn_id: Airflow's connection id.
    """

    conn_name_attr = "perfectlyclear_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = CONN_TYPE
    hook_name = "Perfectly Clear"

    def __init__(self, perfectlyclear_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.perfectlyclear_conn_id = perfectlyclear_conn_id
        self._client: Client | None = None
        self._videos = set[str]()  # file keys of what was uploaded as one

    def __enter__(self) -> PerfectlyClearHook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the clients

    def get_conn(self) -> Client:
        """
        Return the hook's client, made at the first call; it may be used by several threads.

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
        Make a client for triggers; close it with ``await client.aclose()``. Never blocks the event loop.

        :raises ConfigurationError: the connection is missing, has no API key, or a field of it is wrong.
        """
        from airflow_provider_perfectlyclear.api.client import AsyncClient

        settings = await aget_settings(self.perfectlyclear_conn_id)
        return AsyncClient(settings, renew=arenewer(settings))

    def close(self) -> None:
        """Give back the sockets. The hook may be used again."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def test_connection(self) -> tuple[bool, str]:
        """
        List one preset, which costs nothing, and say which part is at fault if that fails. Under 10 seconds.

        :returns: whether it works, and a sentence.
        """
        from airflow_provider_perfectlyclear.hooks.connection_test import diagnose

        return diagnose(self.perfectlyclear_conn_id)

    # --- one step at a time

    def upload(self, source: Source, *, file_type: str = "image", name: str | None = None) -> str:
        """
        Upload a picture or video, which costs nothing.

        :param source: a path, a URL (``s3://conn_id@bucket/a.jpg``), an ObjectStoragePath, bytes, or an open
            binary file.
        :param file_type: the service's ``fileType``, ``image`` or ``video``.
        :param name: what messages call it, where the source has no name.
        :returns: the service's ``fileKey``; it may be corrected more than once.
        :raises InvalidSource: it is empty or is not there.
        :raises TransferFailed: the upload did not come through.
        """
        from airflow_provider_perfectlyclear.hooks.files import opened

        with opened(source, name) as (open_body, size):
            file_key = self.get_conn().upload(open_body, size=size, file_type=file_type)
        if file_type == "video":
            self._videos.add(file_key)
        return file_key

    def start(self, file_key: str, correction: Mapping[str, Any] | Correction | str | None = None) -> str:
        """
        Start a correction. **One paid call**: never sent twice, so calling ``start`` again pays again.

        :param file_key: the ``fileKey`` of :meth:`upload`.
        :param correction: parameters of ``/pfc`` in snake case; None: the service's AI preset selection. What this hook
            has uploaded as a video is corrected as one; for a file key from elsewhere say ``file_type="video"`` here.
        :returns: the service's job id.
        :raises InvalidCorrection: before anything is sent.
        :raises StartRefused: the service said no; nothing was started.
        :raises StartUnknown: the answer was lost: it may have been started; the error holds the file key.
        """
        from airflow_provider_perfectlyclear.api import calls
        from airflow_provider_perfectlyclear.api.models import Correction, FileType

        wanted = Correction.parse(correction)
        if wanted.file_type is None and file_key in self._videos:
            wanted = wanted.model_copy(update={"file_type": FileType.VIDEO})
        return self.get_conn().send(calls.start(file_key, wanted))

    def status(self, job_id: str) -> JobStatus:
        """
        Ask how a job does, which costs nothing.

        :param job_id: the job id of :meth:`start`.
        :returns: its state, the service's words, and what it found.
        :raises NotFound: the service does not know the job.
        """
        from airflow_provider_perfectlyclear.api import calls

        return self.get_conn().send(calls.status(job_id))

    def wait(self, job_id: str, *, timeout: float = 3600, poll_interval: float = 2.0) -> JobStatus:
        """
        Wait until a job is final, whatever its end: COMPLETED, FAILED or REJECTED.

        :param job_id: the job id of :meth:`start`.
        :param timeout: seconds.
        :param poll_interval: seconds between two questions while the job is young.
        :returns: the job's last status.
        :raises JobTimeout: still open when the time was up; asking again later is free.
        :raises JobLost: the service does not know the job: nothing but 404 for a minute.
        :raises Unavailable: nothing but failures for ten minutes.
        """
        return self.wait_all([job_id], timeout=timeout, poll_interval=poll_interval)[job_id]

    def wait_all(
        self, job_ids: Sequence[str], *, timeout: float = 3600, poll_interval: float = 2.0
    ) -> dict[str, JobStatus]:
        """
        Wait until all jobs are final, whatever their ends.

        :param job_ids: job ids of :meth:`start`, oldest first.
        :param timeout: seconds for all of them.
        :param poll_interval: seconds between two questions about a young job.
        :returns: job id -> status, in the order given.
        :raises JobTimeout: some were still open when the time was up.
        :raises JobLost: the service does not know one of them; raised when the others are final.
        :raises Unavailable: nothing but failures for ten minutes.
        """
        from airflow_provider_perfectlyclear.hooks.wait import wait_for

        return wait_for(self.get_conn(), job_ids, timeout=timeout, poll_interval=poll_interval)

    def download(self, job_id: str, destination: Target) -> str | None:
        """
        Fetch a finished job's corrected file, check it, and put it in its place, whole.

        :param job_id: the job id of :meth:`start`.
        :param destination: a path, a URL, an ObjectStoragePath, or a file open for writing bytes. With a slash at
            the end it is a folder, in which the file is named after its job.
        :returns: the file's path or URL; None for an open file.
        :raises JobFailed: or JobRejected: there is no corrected file, for the service's reason.
        :raises JobTimeout: there is none yet: the job is still open.
        :raises CorruptOutput: what came is not a whole picture or video.
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
        Correct one file and wait for it. A repeated call goes on with what is paid already.

        :param source: a path, a URL or an ObjectStoragePath.
        :param destination: likewise; a slash at the end keeps the name.
        :param correction: parameters of ``/pfc`` in snake case; None: the service's AI preset selection.
        :param timeout: seconds.
        :param state_path: where the record lies. None: ``.perfectlyclear`` in the destination's folder.
        :returns: where it is, its job, its file key, its size in bytes and the service's counters.
        :raises InvalidSource: it is not there, is empty, or no picture or video; nothing was paid.
        :raises JobFailed: or JobRejected: the service's verdict.
        :raises JobTimeout: not done in time; a repeated call goes on with the same job.
        :raises StartUnknown: it may have been started and paid, and is not started again by itself.
        :raises LaneHeld: somebody else corrects this output now.
        """
        from airflow_provider_perfectlyclear.hooks.correct import correct

        return correct(
            self.get_conn(), source, destination, correction, timeout=timeout, state_path=state_path
        )

    # --- presets

    def iter_presets(self) -> Iterator[Preset]:
        """List all presets of the account, page by page."""
        from airflow_provider_perfectlyclear.hooks import presets

        return presets.iterate(self.get_conn())

    def get_preset(self, preset_id: str) -> Preset:
        """
        Ask for one preset.

        :param preset_id: the service's ``presetId``.
        :raises NotFound: there is none.
        """
        from airflow_provider_perfectlyclear.api import calls

        return self.get_conn().send(calls.get_preset(preset_id))

    def find_preset(self, name: str) -> Preset | None:
        """
        Find a preset by its exact name.

        :param name: the name that a correction's ``preset`` would say.
        :returns: None when there is none.
        """
        from airflow_provider_perfectlyclear.hooks import presets

        return presets.find(self.get_conn(), name=name)

    def upload_preset(
        self, name: str, file: Source, description: str = "", if_exists: str = "fail"
    ) -> Preset:
        """
        Make a preset of a file. What is half done when something fails is removed again, and a preset that has
        the same content already is left as it is.

        :param name: what corrections will call it.
        :param file: a path, a URL, an ObjectStoragePath, bytes, or an open binary file.
        :param description: free text.
        :param if_exists: when there is one of that name: ``"replace"`` (the old one goes last), ``"skip"`` or
            ``"fail"``.
        :returns: the preset, with its new id if it was made.
        :raises ConfigurationError: one of that name has other content, and ``if_exists`` is ``"fail"``.
        :raises TransferFailed: the file did not go up, or the other's did not come down to be compared.
        """
        from airflow_provider_perfectlyclear.hooks import presets

        preset, done = presets.upload(
            self.get_conn(), name, file, description=description, if_exists=if_exists
        )
        self.log.info("Preset %r: %s", name, done)
        return preset

    def download_preset(self, preset_id: str, destination: Target) -> str | None:
        """
        Fetch a preset's file.

        :param preset_id: the service's ``presetId``.
        :param destination: a path, a URL, an ObjectStoragePath, or a file open for writing bytes.
        :returns: the file's path or URL; None for an open file.
        :raises NotFound: there is no such preset.
        :raises ProtocolError: it has no file.
        :raises TooLarge: the file has more than 16 MB.
        """
        from airflow_provider_perfectlyclear.hooks import presets

        return presets.download(self.get_conn(), preset_id, destination)

    def delete_preset(self, preset_id: str) -> None:
        """
        Delete a preset.

        :param preset_id: the service's ``presetId``.
        :raises NotFound: there is none; one that a lost answer leaves gone was deleted.
        """
        from airflow_provider_perfectlyclear.api import calls

        self.get_conn().send(calls.delete_preset(preset_id))

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
