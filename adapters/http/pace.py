"""How fast one upstream is asked: no more than so many requests a second, and of those beside the rounds of questions
only a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

from hub.ports.clock import Clock

Bound = Callable[[float], AbstractContextManager[None]]
"""A block that ends by a moment of the monotonic clock, and when the hub stops, both with a CallError."""


class Pace:
    """`rate` turns a second, and as many at once after a rest; first come, first served."""

    def __init__(self, clock: Clock, rate: float) -> None:
        self._clock = clock
        self._rate = rate
        self._left = rate
        self._at = clock.monotonic()
        self._first = asyncio.Lock()

    async def turn(self) -> None:
        """Return when it is one's turn."""
        async with self._first:
            while True:
                now = self._clock.monotonic()
                self._left = min(self._rate, self._left + (now - self._at) * self._rate)
                self._at = now
                if self._left >= 1 - 1e-9:
                    self._left -= 1
                    return
                await self._clock.sleep_until(now + (1 - self._left) / self._rate)


class Beside:
    """Requests of one sort beside the rounds: at most `most` at a time, each in its turn of the pace, so that a round
    never has more than these before it."""

    def __init__(self, pace: Pace, bound: Bound, most: int) -> None:
        self._pace = pace
        self._bound = bound
        self._seats = asyncio.Semaphore(most)

    @asynccontextmanager
    async def turn(self, until: float) -> AsyncIterator[None]:
        """A place for the length of the block, by monotonic `until`. Raises what `bound` does."""
        seated = False
        try:
            with self._bound(until):
                seated = await self._seats.acquire()
                await self._pace.turn()
            yield
        finally:
            if seated:
                self._seats.release()
