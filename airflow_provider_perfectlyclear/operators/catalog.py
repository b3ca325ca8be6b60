"""Operator that corrects a catalog of pictures, and names of its shards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import conf

from airflow_provider_perfectlyclear.adapters.connection import DEFAULT_CONN_ID
from airflow_provider_perfectlyclear.adapters.ledger_memory import recall
from airflow_provider_perfectlyclear.adapters.object_storage import names_below, open_folder, open_state
from airflow_provider_perfectlyclear.adapters.task_instance import run_key, run_title
from airflow_provider_perfectlyclear.errors import ConfigurationError
from airflow_provider_perfectlyclear.limits import MAX_SHARDS, is_none
from airflow_provider_perfectlyclear.operators import arguments
from airflow_provider_perfectlyclear.operators.base import CorrectingOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_perfectlyclear.api.client import Client
    from airflow_provider_perfectlyclear.api.models import Correction
    from airflow_provider_perfectlyclear.catalog.options import Options
    from airflow_provider_perfectlyclear.catalog.run import CatalogRun
    from airflow_provider_perfectlyclear.storage import Store


class PerfectlyClearCatalogOperator(CorrectingOperator):
    """
    Task that corrects a folder or prefix of photographs and videos, and pays for each only once.

    Outputs that are unchanged since the last run cost nothing. The task downloads all results that it can, and then
    fails if more pictures failed than ``max_failures`` allows. A retry continues from the ledger.

    The task returns a summary of less than 2 kB. Its ``manifest`` is the URI of a file with one line for each output.

    :param source: Folder or prefix of the source files: an absolute local path, a URL such as ``s3://bucket/prefix`` or
        ``s3://conn_id@bucket/prefix``, or an ``ObjectStoragePath``. Or a list of files, which requires ``source_root``.
    :param destination: Folder or prefix of the outputs. Must differ from ``source``. The operator creates local
        folders.
    :param correction: Parameters of the service's ``/pfc`` in snake case: a mapping, a ``Correction`` or JSON. Or the
        name of a JSON file that ends in ``.json``, beside the Dag's file or in its ``template_searchpath``. Default
        None: the service chooses a preset.
    :param renditions: Mapping of name to correction, JSON, or the name of such a file, instead of ``correction``. One
        upload makes one output for each rendition. Default None.
    :param reprocess: Which outputs to correct again: ``"changed"`` (source file or correction changed; the default),
        ``"source_changed"``, ``"missing"`` (only outputs that do not exist), ``"failed"`` (also permanent failures) or
        ``"always"``.
    :param pattern: Which files to correct, such as ``"*.jpg"``: one pattern or several. Default None: every type that
        the service takes.
    :param exclude: Which of these files to leave out: one pattern or several. Default None.
    :param min_age: Seconds. Younger files are left for the next run. Default 0.
    :param source_root: Folder that contains a list of files. Output names are relative to it. Default None.
    :param name_template: How to name outputs. Fields: ``{path}``, ``{dir}``, ``{stem}``, ``{ext}`` and ``{rendition}``.
        Default None: ``{path}``, or ``{rendition}/{path}`` with renditions.
    :param shard: Part of the catalog, such as ``"3/16"``; see :func:`shards`. Default None: the whole catalog.
    :param plan_only: Log the plan and start nothing. Default False.
    :param max_new_jobs: Maximum number of paid calls. If the plan needs more, the task fails before it starts any. A
        first run with more than 1,000 jobs requires it. Default None: no limit.
    :param max_paid_again: Number or share (``"10%"``) of existing outputs that may be paid for again. Default None: the
        redo guard decides.
    :param limit: Maximum number of jobs that one Dag run starts, retries included. The rest waits for the next run.
        Default None: no limit.
    :param max_failures: Number or share (``"2%"``) of pictures that may fail before the task fails. Default 0.
    :param if_empty: What to do if the source has no picture: ``"fail"`` (the default), ``"skip"`` or ``"succeed"``.
    :param if_unchanged: What to do if there is nothing to do: ``"succeed"`` (the default), or ``"skip"``, which sends
        no asset event.
    :param timeout: Maximum seconds (or a timedelta) for one attempt of the task, deferrals included. Default None: no
        limit.
    :param job_timeout: Maximum seconds (or a timedelta) to wait for one job, from its start. Default 3600.
    :param perfectlyclear_conn_id: Airflow connection to the service. Default ``"perfectlyclear_default"``.
    :param source_conn_id: Airflow connection to the source's store. Takes precedence over one in the URL. Default None.
    :param destination_conn_id: Airflow connection to the destination's store. Takes precedence over one in the URL.
        Default None.
    :param deferrable: Wait in the triggerer instead of in the worker. Requires a running triggerer. Default: Airflow's
        ``default_deferrable``.
    :param transfers: Number of files to upload or download at the same time, 1 to 64. Default 4.
    :param max_in_flight: Number of jobs in progress at the same time, 1 to 1,000. Default 200.
    :param poll_interval: Initial seconds between status checks of a job. Grows with the job's age, up to 30. Default
        2.0.
    :param verify: What to do when an output's type or size differs from the request: ``"fail"`` (the default) fails on
        another type, ``"strict"`` also on another size, ``"warn"`` on neither.
    :param on_ambiguous: What to do about an unconfirmed start: ``"auto"`` (the default), ``"fail"`` or ``"restart"``.
    :param state_path: Folder of the ledger. Default None: ``.perfectlyclear`` in the destination.
    :param allow_unlocked_store: Allow a store without atomic create-if-absent. The lock does not work there: make sure
        runs never overlap. Default False.
    :param accept_ledger: Id of a ledger. Accept that this ledger is absent, or belongs to another destination or
        service. The error message names the id. Default None.
    :param manifest: ``"all"`` (the default) lists every output in the manifest. ``"changed"`` leaves out outputs that
        are unchanged or ``known_bad``.
    :param case_sensitive: Whether ``pattern`` and ``exclude`` tell ``.JPG`` from ``.jpg``. Default False.
    :param check_source: Refuse a source file that is evidently cut short, before paying for it. ``False`` sends such
        files, also those that earlier runs refused. Default True.
    """

    template_fields: Sequence[str] = (
        "source",
        "destination",
        "source_root",
        "correction",
        "renditions",
        "pattern",
        "exclude",
        "name_template",
        "shard",
        "state_path",
        "perfectlyclear_conn_id",
        "source_conn_id",
        "destination_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"correction": "json", "renditions": "json"}
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        source: str | ObjectStoragePath | Sequence[str],
        destination: str | ObjectStoragePath,
        correction: Mapping[str, Any] | Correction | str | None = None,
        renditions: Mapping[str, Mapping[str, Any]] | str | None = None,
        reprocess: Literal["changed", "source_changed", "missing", "failed", "always"] = "changed",
        pattern: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        min_age: float = 0,
        source_root: str | None = None,
        name_template: str | None = None,
        shard: str | None = None,
        plan_only: bool = False,
        max_new_jobs: int | None = None,
        max_paid_again: int | str | None = None,
        limit: int | None = None,
        max_failures: int | str = 0,
        if_empty: Literal["fail", "skip", "succeed"] = "fail",
        if_unchanged: Literal["succeed", "skip"] = "succeed",
        timeout: timedelta | float | None = None,
        job_timeout: timedelta | float = 3600,
        perfectlyclear_conn_id: str = DEFAULT_CONN_ID,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        transfers: int = 4,
        max_in_flight: int = 200,
        poll_interval: float = 2.0,
        verify: Literal["strict", "fail", "warn"] = "fail",
        on_ambiguous: Literal["auto", "fail", "restart"] = "auto",
        state_path: str | None = None,
        allow_unlocked_store: bool = False,
        accept_ledger: str | None = None,
        manifest: Literal["all", "changed"] = "all",
        case_sensitive: bool = False,
        check_source: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.destination = destination
        self.correction = correction
        self.renditions = renditions
        self.reprocess = reprocess
        self.pattern = pattern
        self.exclude = exclude
        self.min_age = min_age
        self.source_root = source_root
        self.name_template = name_template
        self.shard = shard
        self.plan_only = plan_only
        self.max_new_jobs = max_new_jobs
        self.max_paid_again = max_paid_again
        self.limit = limit
        self.max_failures = max_failures
        self.if_empty = if_empty
        self.if_unchanged = if_unchanged
        self.timeout = timeout
        self.job_timeout = job_timeout
        self.perfectlyclear_conn_id = perfectlyclear_conn_id
        self.source_conn_id = source_conn_id
        self.destination_conn_id = destination_conn_id
        self.deferrable = deferrable
        self.transfers = transfers
        self.max_in_flight = max_in_flight
        self.poll_interval = poll_interval
        self.verify = verify
        self.on_ambiguous = on_ambiguous
        self.state_path = state_path
        self.allow_unlocked_store = allow_unlocked_store
        self.accept_ledger = accept_ledger
        self.manifest = manifest
        self.case_sensitive = case_sensitive
        self.check_source = check_source
        arguments.check_when_parsed(self, correction, renditions)

    def read_files(self, context: Context | None = None) -> None:
        """Replace the names of JSON files by their content."""
        arguments.read_files(self, "correction", context)
        arguments.read_files(self, "renditions", context)
        if context is None:
            arguments.check_when_parsed(self, self.correction, self.renditions)

    def _make_run(self, client: Client, context: Context) -> CatalogRun:
        from airflow_provider_perfectlyclear.catalog.places import Places
        from airflow_provider_perfectlyclear.catalog.run import catalog_run

        source, files = self._source()
        destination = open_folder(self.destination, conn_id=self.destination_conn_id, argument="destination")
        return catalog_run(
            client,
            Places(source, destination, open_state(self.state_path, destination)),
            self._options(),
            run_key(context["ti"]),
            files=files,
            title=run_title(context["ti"]),
            expects=recall(context),
        )

    def _places(self) -> tuple[Any, Any]:
        return self.source_root or self.source, self.destination

    def _source(self) -> tuple[Store, list[str] | None]:
        """Open the source: a folder, or a list of files below ``source_root``."""
        is_one = self.source is None or isinstance(self.source, str) or hasattr(self.source, "conn_id")
        if is_one:
            if self.source_root and not is_none(self.source):
                raise ConfigurationError("source_root belongs to a list of files; source is one folder.")
            return open_folder(self.source, conn_id=self.source_conn_id, argument="source"), None
        if not isinstance(self.source, Iterable):
            raise ConfigurationError(f"source is {self.source!r}: give a folder, or a list of files.")
        if not self.source_root:
            raise ConfigurationError("source is a list of files: name the folder they lie in as source_root.")
        root = open_folder(self.source_root, conn_id=self.source_conn_id, argument="source_root")
        return root, names_below(self.source_root, list(self.source))

    def _options(self) -> Options:
        from airflow_provider_perfectlyclear.catalog.options import Options

        renditions = arguments.parse_renditions(self.renditions, self.correction)
        return Options(
            correction=arguments.parse_correction(self.correction),
            renditions=renditions,
            reprocess=self.reprocess,
            pattern=arguments.words("pattern", self.pattern),
            exclude=arguments.words("exclude", self.exclude) or (),
            min_age=arguments.seconds("min_age", self.min_age),
            name_template=self.name_template or None,
            shard=self.shard or None,
            plan_only=self.plan_only,
            max_new_jobs=self.max_new_jobs,
            max_paid_again=self.max_paid_again,
            limit=self.limit,
            max_failures=self.max_failures,
            if_empty=self.if_empty,
            if_unchanged=self.if_unchanged,
            timeout=None if self.timeout is None else arguments.seconds("timeout", self.timeout),
            job_timeout=arguments.seconds("job_timeout", self.job_timeout),
            transfers=self.transfers,
            max_in_flight=self.max_in_flight,
            poll_interval=self.poll_interval,
            verify=self.verify,
            on_ambiguous=self.on_ambiguous,
            deferrable=self.deferrable,
            allow_unlocked_store=self.allow_unlocked_store,
            accept_ledger=self.accept_ledger or None,
            manifest=self.manifest,
            case_sensitive=self.case_sensitive,
            check_source=self.check_source,
        )


def shards(n: int) -> list[str]:
    """
    Return the names of all shards of a catalog, for mapped tasks: ``.expand(shard=shards(16))``.

    :param n: Number of shards, 1 to 999. You can change it later without paying again: a run reads the ledger of other
        numbers too.
    :returns: ``["1/16", ..., "16/16"]``.
    :raises ConfigurationError: ``n`` is not such a number.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_SHARDS:
        raise ConfigurationError(f"shards({n!r}): give a whole number from 1 to {MAX_SHARDS}.")
    return [f"{number}/{n}" for number in range(1, n + 1)]
