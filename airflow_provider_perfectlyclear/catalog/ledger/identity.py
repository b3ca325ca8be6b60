"""
What a ledger is about: its id, its destination and its service, in ``ledger.json`` beside the lanes.

A ledger that is about something else, or is not where the task's last run left it, is never used in silence: what it
does not know would be paid for again.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass

from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.errors import LedgerError, LedgerMismatch, LedgerNotFound
from airflow_provider_perfectlyclear.storage import Store

NAME = "ledger.json"
#: The layout of ``ledger.json``.
LAYOUT = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """
    What a ledger is about.

    :param ledger: the ledger's id.
    :param destination: where its outputs stand; ``".."`` when the ledger lies in it, so that both may be moved
        together; ``""`` when it has only data.
    :param service: the service's base URL.
    """

    ledger: str
    destination: str
    service: str


@dataclass(frozen=True, slots=True)
class Expected:
    """
    What the last run of the same task said of its ledger, as Airflow has kept it.

    :param ledger: the ledger's id.
    :param place: the URI of the folder that it lay in.
    :param outputs: how many outputs it held.
    :param seq: its sequence number, which only grows.
    :param same_run: said by an earlier try of this very run, not by an earlier run.
    """

    ledger: str
    place: str
    outputs: int
    seq: int = 0
    same_run: bool = False


def read(state: Store, expected: Expected | None = None) -> Identity | None:
    """
    Read the identity of the ledger in a state folder; None when there is none, or one of an earlier version.

    :param expected: what the last run said of it, for the remedy.
    :raises LedgerError: it cannot be understood.
    """
    data = state.read(NAME)
    if data is None:
        return None
    try:
        said = json.loads(data)
        if said["v"] != LAYOUT:
            raise LedgerError(
                f"{state.uri(NAME)} was written by another version of this package (layout {said['v']!r}, this "
                f"version reads {LAYOUT}). Upgrade, or run the version that wrote it."
            )
        return Identity(str(said["ledger"]), str(said["destination"]), str(said["service"]))
    except (ValueError, KeyError, TypeError):
        knows = expected is not None and expected.place == state.uri("")
        accept = f" and set accept_ledger={expected.ledger!r} for one run" if expected and knows else ""
        raise LedgerError(
            f"{state.uri(NAME)} cannot be read. Restore it from a backup. If there is none, delete it{accept}: the "
            "next run writes it anew."
        ) from None


def create(state: Store, destination: str, service: str) -> Identity | None:
    """Write the identity of a ledger that has none. None: one stands, which was not there when the ledger was read."""
    identity = Identity(secrets.token_hex(8), destination, service)
    return identity if state.create(NAME, _packed(identity)) else None


def replace(state: Store, known: Identity, destination: str, service: str) -> Identity:
    """Write that the ledger is about another destination or service from now on, as the user has confirmed."""
    identity = Identity(known.ledger, destination, service)
    state.write(NAME, _packed(identity))
    return identity


def _packed(identity: Identity) -> bytes:
    # Unlike any other writer's: the store tells by the bytes whose file it is.
    return json.dumps({"v": LAYOUT, **asdict(identity), "token": secrets.token_hex(8)}).encode()


def place_of(destination: Store | None, state: Store) -> str:
    """Return the destination as an identity names it."""
    if destination is None:
        return ""
    inside = destination.relative(state)
    return ".." if inside == ".perfectlyclear" else destination.place


def check(
    known: Identity | None,
    *,
    state: Store,
    destination: str,
    service: str,
    accepted: str | None,
) -> bool:
    """
    Whether the ledger is about this destination and service; if not, whether the user has accepted that.

    :param accepted: ``accept_ledger``.
    :returns: False when it is to be made so.
    :raises LedgerMismatch: it is not, and nobody has accepted it.
    """
    if known is None:
        return True
    if destination and not known.destination and service == known.service:
        return False  # until now it had only data
    other = [
        (what, theirs, ours)
        for what, theirs, ours in (
            ("destination", known.destination, destination),
            ("service", known.service, service),
        )
        if theirs != ours and theirs and ours
    ]
    if not other:
        return True
    if accepted == known.ledger:
        return False
    said = " and ".join(f"{what} {theirs}, and this run's {what} is {ours}" for what, theirs, ours in other)
    raise LedgerMismatch(
        f"The ledger in {state.uri('')} is about {said}. Give this run a state_path or a destination of its own. Or, "
        f"if only the address has changed, set accept_ledger={known.ledger!r} to go on with this ledger."
    )


def check_expected(
    known: Identity | None,
    expected: Expected | None,
    *,
    state: Store,
    seq: int,
    accepted: str | None,
    held: str = "output",
) -> None:
    """
    Make sure that the ledger that the task's last run wrote is the one that stands here.

    :param seq: the highest sequence number that was read.
    :param accepted: ``accept_ledger``.
    :param held: one of the things that the ledger holds, for the message.
    :raises LedgerNotFound: it is not here, or an older copy of it is.
    """
    if expected is None or expected.place != state.uri("") or accepted == expected.ledger:
        return
    if not expected.outputs and not expected.same_run:
        return
    if known is None or known.ledger != expected.ledger:
        what = "no ledger is" if known is None else f"another ledger ({known.ledger}) is"
        raise LedgerNotFound(
            f"The last run of this task wrote ledger {expected.ledger} with {counted(expected.outputs, held)} to "
            f"{state.uri('')}, and {what} there now. Mount or restore it: every worker must see it. If it is lost for "
            f"good, set accept_ledger={expected.ledger!r}."
        )
    if seq < expected.seq:
        raise LedgerNotFound(
            f"The ledger in {state.uri('')} is an older copy: it ends at {seq:,}, and the last run of this task wrote "
            f"up to {expected.seq:,}. Restore the newer one. If it is lost for good, set "
            f"accept_ledger={expected.ledger!r}."
        )
