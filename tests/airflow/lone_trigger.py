"""
A trigger alone on an event loop, in a process whose wall clock a test may set.

Reads the trigger's kwargs, to which it adds the ``deadline`` that its timeout makes now; writes its event, with the
``seconds`` that it took and the time of day as it saw it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time

from airflow_provider_perfectlyclear.triggers.perfectlyclear import PerfectlyClearJobsTrigger


async def main() -> None:
    kwargs, began = json.loads(sys.stdin.read()), time.monotonic()
    deadline = time.time() + kwargs["timeout"]
    async for event in PerfectlyClearJobsTrigger(**kwargs, deadline=deadline).run():
        seen = {"seconds": time.monotonic() - began, "time": time.time()}
        print(json.dumps({**event.payload, **seen}), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    asyncio.run(main())
