"""Preset methods of the hook. Imports little: custom operators import the hook while their Dag is parsed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseHook

if TYPE_CHECKING:
    from airflow_provider_perfectlyclear.api.client import Client
    from airflow_provider_perfectlyclear.api.models import Preset
    from airflow_provider_perfectlyclear.hooks.files import Source, Target


class PresetMethods(BaseHook):
    """Part of the hook that reads and changes the account's presets."""

    def get_conn(self) -> Client:
        """Return the hook's client."""
        raise NotImplementedError

    def iter_presets(self) -> Iterator[Preset]:
        """Yield all presets of the account, read page by page."""
        from airflow_provider_perfectlyclear.hooks import presets

        return presets.iterate(self.get_conn())

    def get_preset(self, preset_id: str) -> Preset:
        """
        Return one preset.

        :param preset_id: The service's ``presetId``.
        :raises NotFound: The service has no such preset.
        """
        from airflow_provider_perfectlyclear.api import calls

        return self.get_conn().send(calls.get_preset(preset_id))

    def find_preset(self, name: str) -> Preset | None:
        """
        Return the preset with an exact name.

        :param name: The name, as corrections use it.
        :returns: None if no preset has the name.
        """
        from airflow_provider_perfectlyclear.hooks import presets

        return presets.find(self.get_conn(), name=name)

    def upload_preset(
        self, name: str, file: Source, description: str = "", if_exists: str = "fail"
    ) -> Preset:
        """
        Upload a preset. Does nothing if the preset exists with the same content.

        If the upload fails, the hook removes the incomplete preset.

        :param name: The preset's exact name, as corrections use it.
        :param file: A path, a URL, an ``ObjectStoragePath``, bytes, or an open binary file.
        :param description: Free text. Default ``""``.
        :param if_exists: What to do if a preset of that name has other content: ``"fail"`` (the default), ``"skip"``,
            or ``"replace"``, which uploads the new one first and deletes the old one last.
        :returns: The preset, with its new id if the hook created it.
        :raises ConfigurationError: A preset of that name has other content, and ``if_exists`` is ``"fail"``.
        :raises TransferFailed: The upload failed, or the download of the existing preset's file to compare it.
        """
        from airflow_provider_perfectlyclear.hooks import presets

        preset, done = presets.upload(
            self.get_conn(), name, file, description=description, if_exists=if_exists
        )
        self.log.info("Preset %r: %s", name, done)
        return preset

    def download_preset(self, preset_id: str, destination: Target) -> str | None:
        """
        Download a preset's file.

        :param preset_id: The service's ``presetId``.
        :param destination: A path, a URL, an ``ObjectStoragePath``, or a file open for writing bytes.
        :returns: The file's path or URL. None for an open file.
        :raises NotFound: The service has no such preset.
        :raises ProtocolError: The preset has no file.
        :raises TooLarge: The file has more than 16 MiB.
        """
        from airflow_provider_perfectlyclear.hooks import presets

        return presets.download(self.get_conn(), preset_id, destination)

    def delete_preset(self, preset_id: str) -> None:
        """
        Delete a preset.

        :param preset_id: The service's ``presetId``.
        :raises NotFound: The service has no such preset, and an earlier request of this call did not delete it.
        """
        from airflow_provider_perfectlyclear.api import calls

        self.get_conn().send(calls.delete_preset(preset_id))
