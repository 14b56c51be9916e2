"""No more than so many requests a second: a bucket of tokens that fills with time."""

from __future__ import annotations

from hub.ports.clock import Clock


class Pace:
    """`rate` turns a second, and as many at once after a rest."""

    def __init__(self, clock: Clock, rate: float) -> None:
        self._clock = clock
        self._rate = rate
        self._left = rate
        self._at = clock.monotonic()

    async def turn(self) -> None:
        """Return when it is one's turn."""
        while True:
            now = self._clock.monotonic()
            self._left = min(self._rate, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left >= 1 - 1e-9:
                self._left -= 1
                return
            await self._clock.sleep_until(now + (1 - self._left) / self._rate)
