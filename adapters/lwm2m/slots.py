"""How many requests a device works on, and who waits until it takes another one."""

from __future__ import annotations

import asyncio
from collections import deque

from hub.ports.clock import Clock


class Slots:
    """The requests under way to one device, `open` of `most`. A device that registers anew from where it was keeps
    them: it is still asked what it was asked."""

    __slots__ = ("_waiting", "most", "open")

    def __init__(self, most: int) -> None:
        self.most = most
        self.open = 0
        self._waiting: deque[asyncio.Future[None]] | None = None

    @property
    def free(self) -> int:
        """How many more it takes now; none while somebody waits for one."""
        return 0 if self._waiting else self.most - self.open

    async def wait(self, clock: Clock, until: float) -> None:
        """Stand in line until there is something to look at, at the latest until `until`."""
        waiting = self._waiting = self._waiting if self._waiting is not None else deque()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(future)
        timer = clock.call_at(until, _resolve, future)
        woken = False
        try:
            await future
            woken = True
        finally:
            timer.cancel()
            if future in waiting:
                waiting.remove(future)
            if not waiting and self._waiting is waiting:
                self._waiting = None
            if not woken:
                self.wake()  # it may have been our turn when we were cancelled: it is the next one's

    def done(self) -> None:
        """Give one back."""
        self.open -= 1
        self.wake()

    def wake(self) -> None:
        """Let the next in line look again."""
        if self._waiting:
            _resolve(self._waiting[0])

    def wake_all(self) -> None:
        """Let everybody look again."""
        for future in list(self._waiting or ()):
            _resolve(future)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
