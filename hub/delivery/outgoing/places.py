"""Places for requests under way: so many in all, a share of them for each tenant.

Who finds none waits in the line of its tenant, and the lines take turns, so that a tenant whose receivers hang holds
up itself: the others find room beside its share. When several together have everything, whoever has nothing under way
still gets one of a few that are kept for that.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hub.model.errors import Unavailable
from hub.ports.clock import Clock

KEPT = 16
"""One place in so many is kept, beside the others, for those who have nothing under way."""


class Places:
    """`most` places, of which one tenant has `share` at the same time."""

    def __init__(self, most: int, share: int, clock: Clock) -> None:
        self._most = most
        self._share = share
        self._clock = clock
        self._taken: Counter[str] = Counter()
        # Lines in the order of their turns; whoever gave up is passed over. The future says whether there is a place.
        self._lines: dict[str, deque[asyncio.Future[bool]]] = {}

    @asynccontextmanager
    async def place(self, tenant: str, patience: float) -> AsyncIterator[None]:
        """Hold a place within the block. Raises Unavailable (`too-busy`) after `patience` seconds without one."""
        await self._take(tenant, patience)
        try:
            yield
        finally:
            self._leave(tenant)

    async def _take(self, tenant: str, patience: float) -> None:
        given: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(tenant, deque()).append(given)
        self._give()
        timer = self._clock.call_at(self._clock.monotonic() + patience, _too_late, given)
        try:
            found = await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled() and given.result():
                self._leave(tenant)
            else:
                self._forget(tenant, given)
            raise
        finally:
            timer.cancel()
        if not found:
            self._forget(tenant, given)
            raise Unavailable("too many requests are under way", code="too-busy", retry_after=5)

    def _leave(self, tenant: str) -> None:
        self._taken[tenant] -= 1
        if not self._taken[tenant]:
            del self._taken[tenant]
        self._give()

    def _forget(self, tenant: str, given: asyncio.Future[bool]) -> None:
        line = self._lines.get(tenant)
        if line is not None and given in line:
            line.remove(given)
            if not line:
                del self._lines[tenant]

    def _give(self) -> None:
        """Give out what is free, one to each tenant and round."""
        again = True
        while again:
            again = False
            for tenant in tuple(self._lines):
                taken = self._taken.total()
                if taken >= self._most + self._most // KEPT:
                    return
                if self._taken[tenant] < (self._share if taken < self._most else 1):
                    again |= self._give_one(tenant)

    def _give_one(self, tenant: str) -> bool:
        line = self._lines.pop(tenant)
        while line:
            given = line.popleft()
            if not given.done():
                given.set_result(True)
                self._taken[tenant] += 1
                break
        if line:
            # Behind all the others now.
            self._lines[tenant] = line
        return bool(line)


def _too_late(given: asyncio.Future[bool]) -> None:
    if not given.done():
        given.set_result(False)
