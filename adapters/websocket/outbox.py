"""The outbox of a connection: frames that wait for the transport, in order, and the knowledge of which of them left."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hub.ports.adapter import Delivery

ROOM = 1024


@dataclass(slots=True, eq=False)
class Outgoing:
    """A frame on its way; `written` once the transport has it, `withdrawn` if it shall not go any more."""

    data: bytes
    written: bool = False
    withdrawn: bool = False

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
                await send(outgoing.data)
            self._waiting.popleft()
