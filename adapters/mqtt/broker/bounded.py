"""How the parts of a connection wait: never longer than it lasts, nor than they were given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

from hub.ports.clock import Clock

T = TypeVar("T")


class Bounded(Protocol):
    """What is wanted, or ConnectionError: after so many seconds, or when the connection is lost before."""

    async def __call__(self, wanted: Awaitable[T], seconds: float) -> T: ...


async def before(lost: asyncio.Future[str], clock: Clock, wanted: Awaitable[T], seconds: float) -> T:
    """What is wanted; raises ConnectionError as `Bounded` says. `lost` tells why there is no connection any more."""
    task = asyncio.ensure_future(wanted)
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_at(clock.monotonic() + seconds, resolve, over)
    try:
        waited: set[asyncio.Future[Any]] = {task, over, lost}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ConnectionError(lost.result() if lost.done() else "the broker does not answer")
    finally:
        timer.cancel()
        over.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def resolve(future: asyncio.Future[None]) -> None:
    """Let those go on who wait for it."""
    if not future.done():
        future.set_result(None)
