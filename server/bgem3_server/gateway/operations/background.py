"""What runs beside the requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from bgem3_server.gateway.gateway import Gateway

_LOAD_SECONDS: Final = 1.0

log = structlog.get_logger("bgem3.gateway")


@asynccontextmanager
async def background(gateway: Gateway) -> AsyncIterator[None]:
    """Watch Triton and the GPUs while the block runs."""
    jobs: list[Coroutine[Any, Any, None]] = [gateway.readiness.run(), gateway.gpus.run()]
    if gateway.fallback_readiness is not None:
        jobs.append(gateway.fallback_readiness.run())
    if gateway.canary is not None:
        jobs.append(gateway.canary.readiness.run())
    if gateway.metrics.shared:
        jobs.append(_show_load(gateway))
    tasks = [asyncio.create_task(job) for job in jobs]
    for task in tasks:
        task.add_done_callback(_tell_failure)
    try:
        yield
    finally:
        gateway.readiness.stop()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _show_load(gateway: Gateway) -> None:
    """Keep the figures up to date for the other processes, whichever is asked for them."""
    while True:
        gateway.show_load()
        await asyncio.sleep(_LOAD_SECONDS)


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("a part of the service failed", exc_info=error)
