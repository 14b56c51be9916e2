"""The hand-over of a device's events to the hub: in order, beside the reading, acknowledged when the hub holds them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from adapters.websocket.registration import Registration
from hub.model.errors import StorageFailed
from hub.ports.adapter import AdapterContext, DeviceEvent, EventKind

ROOM = 64


class Handover:
    """A bounded queue of events that one task hands over. `acknowledge(seq)` is called for those that have a number."""

    def __init__(self, registration: Registration, ctx: AdapterContext, acknowledge: Callable[[int], None]) -> None:
        self._registration = registration
        self._ctx = ctx
        self._acknowledge = acknowledge
        self._waiting: deque[tuple[DeviceEvent, int | None]] = deque()
        self._some = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, event: DeviceEvent, seq: int | None = None) -> None:
        """Queue an event; waits for room, so that a device that tells more than the disk takes is read more slowly."""
        while len(self._waiting) >= ROOM:
            self._room.clear()
            await self._room.wait()
        self._waiting.append((event, seq))
        self._some.set()

    async def run(self) -> bool:
        """Hand over event after event. Returns True when the device signed off.

        Returns False when the hub could not take one: going on would acknowledge later events before it, so the
        connection has to end, and the device tells all again when it is back. Raises UnknownDevice when the hub has no
        such device any more.
        """
        registration = self._registration
        while True:
            while self._waiting:
                event, seq = self._waiting[0]
                if seq is None or seq > registration.last_event:
                    if not await self._accepted(event):
                        return False
                    if seq is not None:
                        registration.last_event = seq
                if seq is not None:
                    self._acknowledge(seq)
                self._waiting.popleft()
                self._room.set()
                if event.kind is EventKind.DEREGISTERED:
                    return True
            self._some.clear()
            await self._some.wait()

    def rest(self) -> list[DeviceEvent]:
        """What was not handed over and would not be told again: late answers have no acknowledgement."""
        rest = [event for event, seq in self._waiting if seq is None]
        self._waiting.clear()
        return rest

    async def _accepted(self, event: DeviceEvent) -> bool:
        try:
            async with self._registration.reporting:
                if event.kind in (EventKind.ASLEEP, EventKind.AWAKE):
                    self._registration.asleep = event.kind is EventKind.ASLEEP
                await self._ctx.accept(event)
        except StorageFailed:
            return False
        return True
