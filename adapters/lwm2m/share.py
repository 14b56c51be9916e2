"""A share of the exchanges: so many at a time, the others in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from hub.ports.adapter import Busy, Delivery
from hub.ports.clock import Clock


class Share:
    """Places for what the adapter asks by itself; whoever got one gives it back."""

    def __init__(self, clock: Clock, most: int) -> None:
        self._clock = clock
        self._free = most
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    async def take(self, until: float) -> None:
        """Wait for a place. Raises Busy (NOT_SENT) at monotonic `until`."""
        if self._free > 0:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[place] = None
        timer = self._clock.call_at(until, self._give_up, place)
        try:
            await place
        except asyncio.CancelledError:
            if place in self._waiting:
                del self._waiting[place]
            elif not place.cancelled() and place.exception() is None:
                self.give()  # it was ours when we were cancelled
            raise
        finally:
            timer.cancel()

    def give(self) -> None:
        """Give a place back: it is the next one's at once, so that nobody who comes later is sooner."""
        while self._waiting:
            place, _ = self._waiting.popitem(last=False)
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _give_up(self, place: asyncio.Future[None]) -> None:
        if place in self._waiting:
            del self._waiting[place]
        if not place.done():
            place.set_exception(Busy("too many observations begin at once", delivery=Delivery.NOT_SENT))
