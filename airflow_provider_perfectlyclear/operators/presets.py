"""Operators that upload, list, get and delete presets. A second execution of a task changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_perfectlyclear.adapters.connection import DEFAULT_CONN_ID
from airflow_provider_perfectlyclear.adapters.task_instance import told_to_airflow
from airflow_provider_perfectlyclear.errors import ConfigurationError, NotFound
from airflow_provider_perfectlyclear.operators import arguments

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_perfectlyclear.api.models import Preset
    from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook


class PresetOperator(BaseOperator):
    """Base class of the preset operators: one connection, and errors as Airflow's exceptions."""

    perfectlyclear_conn_id: str
    ui_color = "#e8f1fb"

    def execute(self, context: Context) -> Any:
        """Call the service with a hook of the task's own."""
        from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook

        with told_to_airflow(), PerfectlyClearHook(self.perfectlyclear_conn_id) as hook:
            return self._do(hook)

    def _do(self, hook: PerfectlyClearHook) -> Any:
        raise NotImplementedError


class PerfectlyClearUploadPresetOperator(PresetOperator):
    """
    Task that uploads a preset file and returns the preset's id.

    A preset that has the same content already is left alone.

    :param name: The preset's exact name, as corrections use it.
    :param file: The preset file: an absolute local path, a URL such as ``s3://bucket/a.preset``, or an
        ``ObjectStoragePath``.
    :param description: Free text. Default ``""``.
    :param if_exists: What to do if a preset of that name has other content: ``"fail"`` (the default), ``"skip"``, or
        ``"replace"``, which uploads the new one first and deletes the old one last.
    :param perfectlyclear_conn_id: Airflow connection to the service. Default ``"perfectlyclear_default"``.
    """

    template_fields: Sequence[str] = ("name", "file", "description", "perfectlyclear_conn_id")

    def __init__(
        self,
        *,
        name: str,
        file: str | ObjectStoragePath,
        description: str = "",
        if_exists: Literal["replace", "skip", "fail"] = "fail",
        perfectlyclear_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.file = file
        self.description = description
        self.if_exists = if_exists
        self.perfectlyclear_conn_id = perfectlyclear_conn_id
        arguments.check_plain_when_parsed(self)

    def _do(self, hook: PerfectlyClearHook) -> str:
        made = hook.upload_preset(self.name, self.file, self.description, if_exists=self.if_exists)
        return made.preset_id


class PerfectlyClearListPresetsOperator(PresetOperator):
    """
    Task that returns all presets of the account: ``[{"preset_id", "name", "description"}]``.

    :param perfectlyclear_conn_id: Airflow connection to the service. Default ``"perfectlyclear_default"``.
    """

    template_fields: Sequence[str] = ("perfectlyclear_conn_id",)

    def __init__(self, *, perfectlyclear_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.perfectlyclear_conn_id = perfectlyclear_conn_id

    def _do(self, hook: PerfectlyClearHook) -> list[dict[str, Any]]:
        return [_plain(preset) for preset in hook.iter_presets()]


class PerfectlyClearGetPresetOperator(PresetOperator):
    """
    Task that returns a preset: ``{"preset_id", "name", "description", "destination"}``.

    It can also download the preset's file.

    :param preset_id: The service's ``presetId``. Give this or ``name``.
    :param name: The preset's exact name. Give this or ``preset_id``.
    :param destination: Where to save the preset's file. Default None: no download.
    :param perfectlyclear_conn_id: Airflow connection to the service. Default ``"perfectlyclear_default"``.
    """

    template_fields: Sequence[str] = ("preset_id", "name", "destination", "perfectlyclear_conn_id")

    def __init__(
        self,
        *,
        preset_id: str | None = None,
        name: str | None = None,
        destination: str | ObjectStoragePath | None = None,
        perfectlyclear_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.preset_id = preset_id
        self.name = name
        self.destination = destination
        self.perfectlyclear_conn_id = perfectlyclear_conn_id

    def _do(self, hook: PerfectlyClearHook) -> dict[str, Any]:
        preset = _found(hook, self.preset_id, self.name)
        place = self.destination and hook.download_preset(preset.preset_id, self.destination)
        return {**_plain(preset), "destination": place or None}


class PerfectlyClearDeletePresetOperator(PresetOperator):
    """
    Task that deletes a preset and returns whether it existed.

    :param preset_id: The service's ``presetId``. Give this or ``name``.
    :param name: The preset's exact name. Give this or ``preset_id``.
    :param if_missing: What to do if the preset does not exist: ``"ignore"`` (the default) or ``"fail"``.
    :param perfectlyclear_conn_id: Airflow connection to the service. Default ``"perfectlyclear_default"``.
    """

    template_fields: Sequence[str] = ("preset_id", "name", "perfectlyclear_conn_id")

    def __init__(
        self,
        *,
        preset_id: str | None = None,
        name: str | None = None,
        if_missing: Literal["ignore", "fail"] = "ignore",
        perfectlyclear_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.preset_id = preset_id
        self.name = name
        self.if_missing = if_missing
        self.perfectlyclear_conn_id = perfectlyclear_conn_id
        arguments.check_plain_when_parsed(self)

    def _do(self, hook: PerfectlyClearHook) -> bool:
        if self.if_missing not in ("ignore", "fail"):
            raise ConfigurationError(f"if_missing is {self.if_missing!r}: give one of 'ignore', 'fail'.")
        try:
            hook.delete_preset(_found(hook, self.preset_id, self.name).preset_id)
        except NotFound:
            if self.if_missing == "fail":
                raise
            return False
        return True


def _found(hook: PerfectlyClearHook, preset_id: str | None, name: str | None) -> Preset:
    from airflow_provider_perfectlyclear.hooks import presets

    client = hook.get_conn()
    found = presets.find(client, preset_id=preset_id, name=name)
    if found is None:
        raise presets.not_found(client, name) if name else NotFound(f"Preset {preset_id!r} not found.")
    return found


def _plain(preset: Preset) -> dict[str, Any]:
    return {"preset_id": preset.preset_id, "name": preset.name, "description": preset.description}
