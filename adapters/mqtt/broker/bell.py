"""Something that is waited for, by any number of those who wait, until it is so or until a time of theirs."""

from __future__ import annotations

import asyncio

from adapters.mqtt.broker.bounded import resolve
from hub.ports.clock import Clock


class Bell:
    """Whoever waits goes on when it rings; it remembers nothing for those who come later."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Let all go on who wait now."""
        for waiting in self._waiting:
            resolve(waiting)

    async def rung(self, until: float | None = None) -> bool:
        """Return when it rings, or at a monotonic time; whether that is still ahead."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        timer = None if until is None else self._clock.call_at(until, resolve, waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)
            if timer is not None:
                timer.cancel()
        return until is None or self._clock.monotonic() < until
