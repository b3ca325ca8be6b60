"""Source, destination and state folder of a run, as one value."""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
    def destination_uri(self) -> str:
        """The address of the destination, for messages."""
        return "nowhere" if self.destination is None else self.destination.uri("")

    def check_destination(self) -> None:
        """
        Check that no file stands in the place of the destination's folder.

        Each step would fail on it in words of its own.

        :raises ConfigurationError: one does.
        """
        if self.destination is not None and (file := self.destination.file_in_the_way()) is not None:
            raise ConfigurationError(
                f"destination {self.destination.uri('')} cannot be a folder: {file} is a file. Name another "
                "destination."
            )
