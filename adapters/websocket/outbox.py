"""The outbox of a connection: frames that wait for the transport, in order, and the knowledge of which of them left."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hub.ports.adapter import Delivery
from hub.ports.clock import Clock

ROOM = 1024


@dataclass(slots=True, eq=False)
class Outgoing:
    """A frame on its way; `written` once the transport has it, `withdrawn` if it shall not go any more."""

    data: bytes
    written: bool = False
    withdrawn: bool = False
    watched: asyncio.Future[bool] | None = None

    async def leaves(self, clock: Clock, deadline: float) -> bool:
        """Wait until the transport has it; False, and then it never will, at the deadline or the connection's end."""
        if self.written:
            return True
        self.watched = watched = asyncio.get_running_loop().create_future()
        timer = clock.call_at(deadline, self.told, False)
        try:
            await watched
        finally:
            timer.cancel()
            self.recall()
        return self.written

    def told(self, left: bool) -> None:
        """Whoever waits for it hears whether it left."""
        if self.watched is not None and not self.watched.done():
            self.watched.set_result(left)

    def recall(self) -> Delivery:
        """Stop it if that is still possible, and say how far it got."""
        self.withdrawn = True
        return Delivery.MAYBE if self.written else Delivery.NOT_SENT


class Outbox:
    """A bounded queue that one task empties."""

    def __init__(self) -> None:
        self._waiting: deque[Outgoing] = deque()
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether nothing more may be put in."""
        return len(self._waiting) >= ROOM

    def put(self, data: bytes, *, first: bool = False) -> Outgoing:
        """Queue a frame behind the others, or before them."""
        outgoing = Outgoing(data)
        if first:
            self._waiting.appendleft(outgoing)
        else:
            self._waiting.append(outgoing)
        self._some.set()
        return outgoing

    def give_up(self) -> None:
        """Nothing leaves any more: nobody needs to wait for it."""
        for outgoing in self._waiting:
            outgoing.told(False)

    async def empty_into(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send frame after frame, for ever."""
        while True:
            await self.drain(send)
            self._some.clear()
            await self._some.wait()

    async def drain(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what waits."""
        while self._waiting:
            outgoing = self._waiting[0]
            if not (outgoing.withdrawn or outgoing.written):
                outgoing.written = True
                outgoing.told(True)
                await send(outgoing.data)
            self._waiting.popleft()
