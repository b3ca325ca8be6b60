"""One client for all triggers of an event loop and connection: many clients would block the loop for seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from airflow_provider_perfectlyclear.adapters.connection import aget_settings, arenewer
from airflow_provider_perfectlyclear.api.client import AsyncClient

#: A client older than this (seconds) is not given to new triggers, so that edits of the connection take effect.
FRESH = 600.0


@dataclass
class _Shared:
    opening: asyncio.Task[AsyncClient]
    users: int = 0
    born: float = field(default_factory=time.monotonic)

    async def close(self) -> None:
        if not self.opening.done():
            self.opening.cancel()
        elif not self.opening.cancelled() and self.opening.exception() is None:
            await self.opening.result().aclose()


# Module state, because Airflow has no place for things that triggers share.
_SHARED: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_client(conn_id: str) -> AsyncIterator[AsyncClient]:
    """
    Yield the client of a connection. The last trigger that leaves closes it.

    :param conn_id: Id of the Airflow connection.
    :raises ConfigurationError: The connection is missing or wrong.
    """
    pool = _SHARED.setdefault(asyncio.get_running_loop(), {})
    shared = pool.get(conn_id)
    if shared is None or time.monotonic() - shared.born > FRESH:
        shared = pool[conn_id] = _Shared(asyncio.create_task(_open(conn_id)))
    shared.users += 1
    try:
        # Shielded: cancelling one trigger must not cancel the opening of a client that others wait for.
        yield await asyncio.shield(shared.opening)
    finally:
        shared.users -= 1
        if not shared.users:
            if pool.get(conn_id) is shared:
                del pool[conn_id]
            await asyncio.shield(shared.close())


async def _open(conn_id: str) -> AsyncClient:
    settings = await aget_settings(conn_id)
    return AsyncClient(settings, renew=arenewer(settings))
