"""
The hook in an operator of one's own: one picture in several looks, to choose a preset by eye.

The picture is uploaded once and corrected once per preset. ``start`` makes exactly one paid call and never
repeats it, so a retry of this operator pays again: fine for a trial with three looks. For catalogs use
``PerfectlyClearCatalogOperator``, which keeps a record of what was paid.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, BaseOperator, Param

from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class TryPresetsOperator(BaseOperator):
    """
    Correct one picture with each of several presets.

    :param source: path of the picture.
    :param presets: names of presets.
    :param folder: where the outputs go, named ``<picture>-<preset>.jpg``.
    :param perfectlyclear_conn_id: Airflow's connection to the service.
    """

    template_fields: Sequence[str] = ("source", "presets", "folder")

    def __init__(
        self,
        *,
        source: str,
        presets: Sequence[str] | str,
        folder: str,
        perfectlyclear_conn_id: str = "perfectlyclear_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.presets = presets
        self.folder = folder
        self.perfectlyclear_conn_id = perfectlyclear_conn_id

    def execute(self, context: Context) -> dict[str, str | None]:
        with PerfectlyClearHook(self.perfectlyclear_conn_id) as hook:
            file_key = hook.upload(self.source)
            jobs = {preset: self._start(hook, file_key, preset) for preset in self.presets}
            hook.wait_all(list(jobs.values()), timeout=900)
            # Where there is nothing to fetch, download raises JobFailed or JobRejected with the reason.
            return {preset: hook.download(job_id, self._look(preset)) for preset, job_id in jobs.items()}

    def _start(self, hook: PerfectlyClearHook, file_key: str, preset: str) -> str:
        return hook.start(file_key, {"preset": preset, "output_type": "jpg", "long": 1024})

    def _look(self, preset: str) -> str:
        return f"{self.folder}/{PurePosixPath(self.source).stem}-{preset}.jpg"


with DAG(
    "custom_operator",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    render_template_as_native_obj=True,  # so that "{{ params.presets }}" is a list
    params={
        "source": Param("/data/photos/catalog/portrait.jpg", type="string"),
        "presets": Param(["Universal", "Vivid", "Details"], type="array"),
        "folder": Param("/data/photos/looks", type="string"),
    },
    doc_md=__doc__,
    tags=["perfectly clear", "example"],
):
    TryPresetsOperator(
        task_id="try_presets",
        source="{{ params.source }}",
        presets="{{ params.presets }}",
        folder="{{ params.folder }}",
    )
