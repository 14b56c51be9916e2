"""How long a broker may take to answer: longer while it says something else, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from adapters.mqtt.broker.bounded import before
from hub.ports.clock import Clock

T = TypeVar("T")
MOST, MOST_SAID_AGAIN = 12, 4
"""So many times the seconds that are given, in all: a broker may drop what it owes, and go on with others. What is said
again does not wait behind all that was there before it, and not for so long."""


class Patience:
    """Of one connection after the other. `paused`: nothing is read on purpose."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.paused = False
        self.heard_at = 0.0
        self._went_on = 0.0

    def heard(self) -> None:
        """The broker said something."""
        self.heard_at = self._clock.monotonic()

    def pause(self, paused: bool) -> None:
        """Nothing is read any more, or again."""
        self.paused = paused
        self.heard_at = self._went_on = self._clock.monotonic()

    def over(self, seconds: float) -> bool:
        """Whether nothing was heard for so long, though it was read."""
        return not self.paused and self._clock.monotonic() - self.heard_at >= seconds

    async def answer(
        self, lost: asyncio.Future[str], wanted: Awaitable[T], seconds: float, again: Callable[[], None] | None = None
    ) -> T:
        """What is wanted, as `Bounded` says; `lost` tells why there is no connection any more."""
        begun = self._clock.monotonic()
        most = (MOST if again is None else MOST_SAID_AGAIN) * seconds

        def since() -> float:
            # While nothing is read nothing can be heard, which is not the broker's fault: and what waits to be read is
            # ahead of any answer.
            if self.paused:
                return self._clock.monotonic()
            return min(self.heard_at, max(begun, self._went_on) + most - seconds)

        def anew() -> None:
            if again is not None and not self.paused:
                again()

        return await before(lost, self._clock, wanted, seconds, since, anew)
