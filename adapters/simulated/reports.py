"""Reports: what simulated devices tell the hub, handed over in order for each device and many devices at a time.

`ctx.accept` returns only when the hub holds an event. One device's events go one after the other; a few lines run
side by side, so that a thousand registrations share the hub's commits instead of waiting for a thousand of them.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import deque

from hub.model.errors import StorageFailed, UnknownDevice
from hub.ports.adapter import AdapterContext, DeviceEvent

LINES = 32
PAUSE = 1.0

log = logging.getLogger("hub.adapter.simulated")


class Reports:
    """Bounded queues of events, each drained by a task only while it holds something."""

    def __init__(self, ctx: AdapterContext, bound: int) -> None:
        self._ctx = ctx
        self._bound = 256 + bound // LINES * 4
        self._lines: list[deque[DeviceEvent]] = [deque() for _ in range(LINES)]
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.shed = 0

    def put(self, event: DeviceEvent) -> None:
        """Queue an event; when its queue is full it is shed and counted."""
        number = zlib.crc32(event.device.encode()) % LINES
        line = self._lines[number]
        if len(line) >= self._bound:
            self.shed += 1
            return
        line.append(event)
        if number not in self._tasks:
            self._tasks[number] = self._ctx.spawn(self._drain(number), name=f"{self._ctx.name}-reports-{number}")

    async def _drain(self, number: int) -> None:
        line = self._lines[number]
        try:
            while line:
                try:
                    await self._ctx.accept(line[0])
                except StorageFailed as failure:
                    log.warning("the hub could not take an event, trying again: %s", failure)
                    await self._ctx.clock.sleep_until(self._ctx.clock.monotonic() + PAUSE)
                    continue
                except UnknownDevice:
                    log.info("the hub has no device %s (any more), so what it tells is dropped", line[0].device)
                except Exception:
                    # A bug on the other side: loud, and not in the way of the events behind this one.
                    log.exception("the hub refused an event of %s", line[0].device)
                line.popleft()
        finally:
            del self._tasks[number]

    async def stop(self) -> None:
        """Hand nothing more over; returns when no task is left."""
        tasks = list(self._tasks.values())
        for line in self._lines:
            line.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
