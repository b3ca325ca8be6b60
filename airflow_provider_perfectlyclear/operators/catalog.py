"""A whole catalog of pictures, corrected by one task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

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
    Correct a folder of photographs and videos, each paid for once.

    What is unchanged since the last run costs nothing. Everything that can be landed is landed, then the task
    fails if more pictures failed than ``max_failures`` allows. A retry goes on where the last try ended.

    Returns a summary of the counts (under 2 kB); every picture that was not unchanged is in its ``manifest``.

    :param source: a folder or prefix, or a list of files (then ``source_root`` is required): an absolute
        local path, a URL such as ``s3://bucket/prefix`` or ``s3://conn_id@bucket/prefix``, or an
        ObjectStoragePath.
    :param destination: the folder or prefix of the corrected pictures; local folders are made when missing.
    :param correction: parameters of the service's ``/pfc``, in snake case, as a mapping, a ``Correction`` or
        JSON; or the name of a file of JSON, ending in ``.json``, beside the Dag's file or in its
        ``template_searchpath``. None: the service's AI preset selection.
    :param renditions: instead of ``correction``: name -> correction, as a mapping, JSON or the name of such a
        file; one upload makes several outputs.
    :param reprocess: what is done again: ``"changed"`` (source or correction changed), ``"source_changed"``,
        ``"missing"`` (only what has no output), ``"failed"`` (also what failed for good), ``"always"``.
    :param pattern: which files, such as ``"*.jpg"``, one or several. None: every type the service takes.
    :param exclude: which of them not.
    :param min_age: leave files younger than this (seconds) for the next run.
    :param source_root: the folder that a list of files lies in; names in the destination are relative to it.
    :param name_template: how outputs are named, of ``{path}``, ``{dir}``, ``{stem}``, ``{ext}`` and
        ``{rendition}``. None: ``{path}``, with renditions ``{rendition}/{path}``.
    :param shard: ``"3/16"``: only this part of the catalog, by a hash of the path; see :func:`shards`.
    :param plan_only: say what would be done and what it would cost; start nothing.
    :param max_new_jobs: maximum number of paid calls: if the plan needs more, the task fails before it starts any.
        A first run of more than 1,000 needs it as a confirmation.
    :param max_paid_again: how many outputs that were paid for before may be paid for again: a count, or a share such
        as ``"10%"``. None: the redo guard decides.
    :param limit: start at most this many in this Dag run; the rest waits for the next.
    :param max_failures: how many pictures may fail: a count, or a share such as ``"2%"``.
    :param if_empty: when the source has no picture: ``"fail"``, ``"skip"`` or ``"succeed"``.
    :param if_unchanged: when there is nothing to do: ``"succeed"`` or ``"skip"`` (no asset event).
    :param timeout: seconds (or timedelta) for the whole task, deferrals included. None: no limit.
    :param job_timeout: seconds (or timedelta) for one job, from its start.
    :param perfectlyclear_conn_id: Airflow's connection to the service.
    :param source_conn_id: Airflow's connection to the source's store.
    :param destination_conn_id: Airflow's connection to the destination's store.
    :param deferrable: wait in the triggerer, without holding a worker slot.
    :param transfers: how many pictures are uploaded or downloaded at the same time.
    :param max_in_flight: how many jobs may be open at the same time, at most 1,000.
    :param poll_interval: seconds between two questions about a young job; older jobs are asked less often.
    :param verify: what to do when an output's type or size differs from the request: ``"fail"`` fails on another type,
        ``"strict"`` also on another size, ``"warn"`` on neither.
    :param on_ambiguous: when the answer to a paid call was lost: ``"auto"``, ``"fail"`` or ``"restart"``.
    :param state_path: where the record of what was paid lies. None: ``.perfectlyclear`` in the destination.
    :param allow_unlocked_store: allow a store without atomic create-if-absent. The lock does not work there: make
        sure runs never overlap.
    :param accept_ledger: the id of a ledger whose absence, or whose other destination or service, is accepted; a
        message names it.
    :param manifest: ``"all"``: the manifest lists every output; ``"changed"``: only those that were not unchanged.
    :param case_sensitive: whether ``pattern`` and ``exclude`` tell ``.JPG`` from ``.jpg``.
    :param check_source: refuse an original that is evidently cut short, before it is paid.
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
    template_fields_renderers = {"correction": "json", "renditions": "json"}
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
        """Put corrections that stand in files into their places."""
        arguments.read_files(self, "correction", context)
        arguments.read_files(self, "renditions", context)
        if context is None:
            arguments.check_when_parsed(self, self.correction, self.renditions)

    def _make_run(self, client: Client, context: Context) -> CatalogRun:
        from airflow_provider_perfectlyclear.catalog.run import CatalogRun

        source, files = self._source()
        destination = open_folder(self.destination, conn_id=self.destination_conn_id, argument="destination")
        return CatalogRun(
            client=client,
            source=source,
            destination=destination,
            state=open_state(self.state_path, destination),
            run_key=run_key(context["ti"]),
            options=self._options(),
            files=files,
            title=run_title(context["ti"]),
            expects=recall(context),
        )

    def _places(self) -> tuple[Any, Any]:
        return self.source_root or self.source, self.destination

    def _source(self) -> tuple[Store, list[str] | None]:
        """Open the source: a folder, or a list of files below their root."""
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
    Name every part of a catalog that is corrected by several mapped tasks: ``.expand(shard=shards(16))``.

    :param n: how many parts, 1 to 999. Another number later pays nothing again: a run
        reads the records of other numbers too.
    :returns: ``["1/16", ..., "16/16"]``.
    :raises ConfigurationError: ``n`` is something else.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_SHARDS:
        raise ConfigurationError(f"shards({n!r}): give a whole number from 1 to {MAX_SHARDS}.")
    return [f"{number}/{n}" for number in range(1, n + 1)]
