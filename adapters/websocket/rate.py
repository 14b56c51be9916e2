"""How many frames a connection may bring per second: reading pauses, and the device's own socket fills up."""

from __future__ import annotations

from hub.ports.clock import Clock


class Rate:
    """Counts frames within seconds. Not reading on is the one limit that a device cannot ignore."""

    __slots__ = ("_clock", "_counted", "_most", "_second")

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._counted = 0
        self._second = clock.monotonic()

    async def one_more(self) -> None:
        """Return when another frame may be taken."""
        now = self._clock.monotonic()
        if now - self._second >= 1.0:
            self._second, self._counted = now, 0
        self._counted += 1
        if self._counted > self._most:
            await self._clock.sleep_until(self._second + 1.0)
            self._second, self._counted = self._clock.monotonic(), 1
