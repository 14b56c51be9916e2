"""When the hub is told of which device: one report of a device at a time, many devices side by side, and who fails is
tried again by itself, ever more seldom, so that nobody waits for another's trouble."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from adapters.mqtt.broker.bounded import resolve
from adapters.mqtt.broker.device import BrokerDevice
from hub.ports.clock import Clock

AT_ONCE = 64
PAUSE_FIRST, PAUSE_MOST = 1.0, 8.0

log = logging.getLogger("hub.adapter.mqtt-broker")


class Reports:
    """`tell` tells the hub what is true of a device then; False when that has to be tried again."""

    def __init__(
        self, clock: Clock, tell: Callable[[BrokerDevice], Awaitable[bool]],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:  # fmt: skip
        self._clock = clock
        self._tell = tell
        self._spawn = spawn
        self._due: dict[BrokerDevice, None] = {}
        self._telling: set[BrokerDevice] = set()
        self._failing: set[BrokerDevice] = set()
        self._workers = 0

    def __contains__(self, device: BrokerDevice) -> bool:
        return device in self._due or device in self._telling or device.retry is not None

    def due(self, device: BrokerDevice) -> None:
        """There is something to tell. While it is tried again anyway, that is told then."""
        if device.retry is not None:
            return
        self._due[device] = None
        if self._workers < AT_ONCE:
            self._workers += 1
            self._spawn(self._work(), "presence")

    async def settled(self, device: BrokerDevice) -> None:
        """Return when nothing of a device is left to tell."""
        while device in self:
            if device.settled is None or device.settled.done():
                device.settled = asyncio.get_running_loop().create_future()
            await asyncio.shield(device.settled)

    def close(self) -> None:
        """Try nothing again."""
        for device in self._failing:
            if device.retry is not None:
                device.retry.cancel()
        self._failing.clear()
        self._due.clear()

    async def _work(self) -> None:
        try:
            while (device := next((one for one in self._due if one not in self._telling), None)) is not None:
                del self._due[device]
                self._telling.add(device)
                try:
                    await self._one(device)
                finally:
                    self._telling.discard(device)
                if device.settled is not None and device not in self:
                    resolve(device.settled)
                    device.settled = None
        finally:
            self._workers -= 1

    async def _one(self, device: BrokerDevice) -> None:
        try:
            told = await self._tell(device)
        except Exception:
            # Whatever went wrong with this one, the others are told of, and it is again.
            log.exception("a device's coming or going could not be told")
            told = False
        if told:
            device.tries = 0
            return
        self._due.pop(device, None)
        pause = min(PAUSE_MOST, PAUSE_FIRST * 2.0 ** min(device.tries, 10))
        device.tries += 1
        device.retry = self._clock.call_at(self._clock.monotonic() + pause, self._again, device)
        self._failing.add(device)

    def _again(self, device: BrokerDevice) -> None:
        device.retry = None
        self._failing.discard(device)
        self.due(device)
