"""A share of the exchanges: so many at a time, the others in the order in which they came, and fairly: however much
is wanted of one device, only so much of it stands in line with what is wanted of the others."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from hub.ports.adapter import Busy, Delivery
from hub.ports.clock import Clock


class Share:
    """Places for what the adapter asks by itself; whoever got one gives it back."""

    def __init__(self, clock: Clock, most: int) -> None:
        self._clock = clock
        self._most = self._free = most
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nobody has a place or waits for one."""
        return self._free == self._most and not self._waiting

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


class FairShare:
    """A share of `most` places. What is wanted of one device has at most `each` of them, or stands at most so often in
    line for one; the rest waits in a line of the device's own."""

    def __init__(self, clock: Clock, most: int, each: int) -> None:
        self._clock = clock
        self._each = each
        self._all = Share(clock, most)
        self._own: dict[str, Share] = {}

    def __len__(self) -> int:
        """Of how many devices something is wanted now."""
        return len(self._own)

    async def take(self, device: str, until: float) -> None:
        """Wait for a place. Raises Busy (NOT_SENT) at monotonic `until`."""
        own = self._own.get(device)
        if own is None:
            own = self._own[device] = Share(self._clock, self._each)
        try:
            await own.take(until)
            try:
                await self._all.take(until)
            except BaseException:
                own.give()
                raise
        finally:
            self._tidy(device, own)

    def give(self, device: str) -> None:
        """Give a place back."""
        self._all.give()
        own = self._own[device]
        own.give()
        self._tidy(device, own)

    def _tidy(self, device: str, own: Share) -> None:
        if own.idle and self._own.get(device) is own:
            del self._own[device]
