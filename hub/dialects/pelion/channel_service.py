"""The notification channels with all that runs for them: what the composition root makes, runs and drains."""

from __future__ import annotations

import asyncio

from hub.core.hub import Hub
from hub.delivery.listening import Listening
from hub.delivery.outgoing.guard import Guard
from hub.dialects.pelion.callback_reader import CallbackReaders
from hub.dialects.pelion.channel import PelionChannels
from hub.dialects.pelion.channel_upkeep import Upkeep


class ChannelService:
    """One per hub, made before the hub runs. `guard` judges the addresses of callbacks."""

    def __init__(self, hub: Hub, listening: Listening, guard: Guard) -> None:
        self.guard = guard
        self.channels = PelionChannels(hub, listening)
        self.readers = CallbackReaders(hub, self.channels, guard)
        self._upkeep = Upkeep(hub, self.channels)

    async def run(self) -> None:
        """Serve until cancelled. Call while the hub is running."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._upkeep.run())
            group.create_task(self.readers.run())

    async def drain(self, until: float) -> None:
        """Begin no PUT any more and let the ones under way end, at most to monotonic `until`."""
        await self.readers.drain(until)
