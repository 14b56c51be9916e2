"""How the parts of a connection wait: never longer than it lasts, nor than they were given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from hub.ports.clock import Clock, Timer

T = TypeVar("T")


class Silent(ConnectionError):
    """The connection stands, and what was wanted of the broker did not come in time."""


class Bounded(Protocol):
    """What is wanted, or Silent when nothing came for so many seconds, or too much else for some times as many, or
    ConnectionError when the connection is lost before. `again` is called when the seconds begin anew, since something
    else was heard."""

    async def __call__(self, wanted: Awaitable[T], seconds: float, again: Callable[[], None] | None = None) -> T: ...


async def before(
    lost: asyncio.Future[str], clock: Clock, wanted: Awaitable[T], seconds: float,
    since: Callable[[], float] | None = None, again: Callable[[], None] = lambda: None,
) -> T:  # fmt: skip
    """What is wanted; raises ConnectionError as `Bounded` says. `lost` tells why there is no connection any more,
    `since` when the seconds begin anew, asked when they are over; without it they are counted from now. `again` is
    called whenever they do."""
    task = asyncio.ensure_future(wanted)
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    timer: Timer

    def tick() -> None:
        nonlocal timer
        until = clock.monotonic() if since is None else since() + seconds
        if until <= clock.monotonic():
            resolve(over)
        else:
            timer = clock.call_at(until, tick)
            again()

    timer = clock.call_at(clock.monotonic() + seconds, tick)
    try:
        waited: set[asyncio.Future[Any]] = {task, over, lost}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if lost.done():
            raise ConnectionError(lost.result())
        raise Silent("the broker does not answer")
    finally:
        timer.cancel()
        over.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def at_most(clock: Clock, until: float | None, wanted: Coroutine[Any, Any, None]) -> None:
    """Return when something is done, or at a monotonic time at the latest: it is done no further then."""
    task = asyncio.ensure_future(wanted)
    timer = None if until is None else clock.call_at(until, task.cancel)
    try:
        await asyncio.wait((task,))
        if not task.cancelled():
            task.result()
    finally:
        if timer is not None:
            timer.cancel()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def resolve(future: asyncio.Future[None]) -> None:
    """Let those go on who wait for it."""
    if not future.done():
        future.set_result(None)
