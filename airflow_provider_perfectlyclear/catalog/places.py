"""Source, destination and state folder of a run: checked before it begins, and swept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from airflow_provider_perfectlyclear.catalog.naming import check_template
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.errors import ConfigurationError
from airflow_provider_perfectlyclear.storage import Store


@dataclass(frozen=True)
class Places:
    """
    The folders of a run.

    :param source: where the source files lie.
    :param destination: where the outputs go. None when only data is wanted.
    :param state: where the ledger lies.
    """

    source: Store
    destination: Store | None
    state: Store


def check(source: Store, destination: Store | None, options: Options) -> None:
    """
    Check that no source can be overwritten, and that outputs of renditions have different names.

    :raises ConfigurationError: one of them is not so.
    """
    check_template(options.name_template, bool(options.renditions))
    check_folder(destination)
    if destination is not None and source.relative(destination) == "":
        raise ConfigurationError(
            f"source and destination are the same place, {source.uri('')}; nothing is ever overwritten "
            "at the source: name another folder or prefix as destination."
        )


def check_folder(destination: Store | None) -> None:
    """
    Check that no file stands in the place of the destination's folder: each step would fail on it in words of its own.

    :raises ConfigurationError: one does.
    """
    if destination is not None and (file := destination.file_in_the_way()) is not None:
        raise ConfigurationError(
            f"destination {destination.uri('')} cannot be a folder: {file} is a file. Name another destination."
        )


def prepare(destination: Store | None, state: Store) -> None:
    """Create the folders, once the ledger is known to be the right one: until then an empty mount point stays empty."""
    if destination is not None:
        destination.prepare()
    state.prepare()


def sweep(home: Store, state: Store, folders: Iterable[str]) -> None:
    """
    Remove temporary files that a killed attempt has left.

    :param home: where the ledger's identity lies.
    :param state: the run's state folder.
    :param folders: in ``state``.
    """
    for folder in folders:
        state.sweep(list(state.parts(folder)))
    home.sweep(list(home.parts("")))
