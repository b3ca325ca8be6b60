"""Operator that corrects one picture or video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import conf

from airflow_provider_perfectlyclear.adapters.connection import DEFAULT_CONN_ID
from airflow_provider_perfectlyclear.adapters.ledger_memory import recall
from airflow_provider_perfectlyclear.adapters.object_storage import (
    open_file,
    open_place,
    open_state,
    parse_place,
)
from airflow_provider_perfectlyclear.adapters.task_instance import run_key, run_title
from airflow_provider_perfectlyclear.errors import ConfigurationError
from airflow_provider_perfectlyclear.operators import arguments
from airflow_provider_perfectlyclear.operators.base import CorrectingOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_perfectlyclear.api.client import Client
    from airflow_provider_perfectlyclear.api.models import Correction
    from airflow_provider_perfectlyclear.catalog.options import Options
    from airflow_provider_perfectlyclear.catalog.run import CatalogRun
    from airflow_provider_perfectlyclear.storage import Store


class PerfectlyClearCorrectOperator(CorrectingOperator):
    """
    Task that corrects one picture or video.

    A retry continues with the same job and never causes an unreported second charge. The task returns
    ``{"destination", "job_id", "file_key", "bytes", "usage", "detection_data"}``. For more than a few pictures use
    :class:`PerfectlyClearCatalogOperator`: one task, one ledger, the same guarantees.

    :param source: The file: an absolute local path, a URL such as ``s3://bucket/a.jpg`` or
        ``s3://conn_id@bucket/a.jpg``, or an ``ObjectStoragePath``.
    :param destination: The output. If it ends in ``/``, the output keeps the source file's name. None together with
        ``include_detection_data`` returns data only and requires ``state_path``.
    :param correction: Parameters of the service's ``/pfc`` in snake case: a mapping, a ``Correction`` or JSON. Or the
        name of a JSON file that ends in ``.json``, beside the Dag's file or in its ``template_searchpath``. Default
        None: the service chooses a preset.
    :param file_type: ``"image"`` or ``"video"``. Default None: from the first bytes.
    :param timeout: Maximum seconds (or a timedelta) for the task, deferrals included. Default 3600.
    :param poll_interval: Initial seconds between status checks of the job. Grows with the job's age, up to 30.
        Default 2.0.
    :param perfectlyclear_conn_id: Airflow connection to the service. Default ``"perfectlyclear_default"``.
    :param source_conn_id: Airflow connection to the source's store. Takes precedence over one in the URL. Default None.
    :param destination_conn_id: Airflow connection to the destination's store. Takes precedence over one in the URL.
        Default None.
    :param deferrable: Wait in the triggerer instead of in the worker. Requires a running triggerer. Default: Airflow's
        ``default_deferrable``.
    :param verify: What to do when the output's type or size differs from the request: ``"fail"`` (the default) fails on
        another type, ``"strict"`` also on another size, ``"warn"`` on neither.
    :param on_ambiguous: What to do about an unconfirmed start: ``"auto"`` (the default), ``"fail"`` or ``"restart"``.
    :param state_path: Folder of the ledger. Default None: ``.perfectlyclear`` in the destination's folder.
    :param allow_unlocked_store: Allow a store without atomic create-if-absent. The lock does not work there: make sure
        runs never overlap. Default False.
    :param accept_ledger: Id of a ledger. Accept that this ledger is absent, or belongs to another destination or
        service. The error message names the id. Default None.
    :param check_source: Refuse a source file that is evidently cut short, before paying for it. Default True.
    """

    template_fields: Sequence[str] = (
        "source",
        "destination",
        "correction",
        "file_type",
        "state_path",
        "perfectlyclear_conn_id",
        "source_conn_id",
        "destination_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"correction": "json"}
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        source: str | ObjectStoragePath,
        destination: str | ObjectStoragePath | None,
        correction: Mapping[str, Any] | Correction | str | None = None,
        file_type: Literal["image", "video"] | None = None,
        timeout: timedelta | float = 3600,
        poll_interval: float = 2.0,
        perfectlyclear_conn_id: str = DEFAULT_CONN_ID,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        verify: Literal["strict", "fail", "warn"] = "fail",
        on_ambiguous: Literal["auto", "fail", "restart"] = "auto",
        state_path: str | None = None,
        allow_unlocked_store: bool = False,
        accept_ledger: str | None = None,
        check_source: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.destination = destination
        self.correction = correction
        self.file_type = file_type
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.perfectlyclear_conn_id = perfectlyclear_conn_id
        self.source_conn_id = source_conn_id
        self.destination_conn_id = destination_conn_id
        self.deferrable = deferrable
        self.verify = verify
        self.on_ambiguous = on_ambiguous
        self.state_path = state_path
        self.allow_unlocked_store = allow_unlocked_store
        self.accept_ledger = accept_ledger
        self.check_source = check_source
        arguments.check_when_parsed(self, correction)

    def read_files(self, context: Context | None = None) -> None:
        """Replace the name of a JSON file by its content."""
        arguments.read_files(self, "correction", context)
        if context is None:
            arguments.check_when_parsed(self, self.correction)

    def _places(self) -> tuple[Any, Any]:
        return self.source, self.destination

    def _make_run(self, client: Client, context: Context) -> CatalogRun:
        from airflow_provider_perfectlyclear.catalog.places import Places
        from airflow_provider_perfectlyclear.catalog.single import single_run

        options = self._options()
        source, name = open_file(self.source, conn_id=self.source_conn_id, argument="source")
        destination, output = self._target()
        return single_run(
            client,
            Places(source, destination, open_state(self.state_path, destination)),
            options,
            run_key(context["ti"]),
            name,
            output=output,
            title=run_title(context["ti"]),
            expects=recall(context),
        )

    def _target(self) -> tuple[Store | None, str | None]:
        """Open the destination's folder, and return it with the output's name, if one was given."""
        if self.destination is None:
            return None, None
        place = parse_place(self.destination, conn_id=self.destination_conn_id, argument="destination")
        if place.is_folder:
            return open_place(place), None
        folder, output = place.split()
        return open_place(folder), output

    def _options(self) -> Options:
        from airflow_provider_perfectlyclear.catalog.options import Options

        correction = arguments.parse_correction(self.correction, file_type=self.file_type)
        if self.destination is None and not correction.include_detection_data:
            raise ConfigurationError(arguments.NO_DESTINATION)
        return Options(
            correction=correction,
            timeout=arguments.seconds("timeout", self.timeout),
            job_timeout=arguments.seconds("timeout", self.timeout),
            poll_interval=self.poll_interval,
            verify=self.verify,
            on_ambiguous=self.on_ambiguous,
            deferrable=self.deferrable,
            allow_unlocked_store=self.allow_unlocked_store,
            accept_ledger=self.accept_ledger or None,
            check_source=self.check_source,
        )
