"""Durable names: how many an application may have, which there are, and the end of those that nobody uses.

A name is a reader's position in the channel's log and nothing else. Names of applications are stored as
`<application>/<name>`; readers of the hub's own have no slash and are left alone here.
"""

from __future__ import annotations

import logging
from datetime import timedelta

import anyio

from hub.core.channels import Channel
from hub.core.limits import Limits
from hub.delivery.seats import Seats
from hub.model.errors import StorageFailed, TooMany
from hub.model.event import Position, ReaderInfo
from hub.ports.clock import Clock
from hub.ports.engine import ChannelLog

FORGOTTEN = 4503
LOOK = timedelta(hours=1)

log = logging.getLogger("hub.delivery")


class DurableNames:
    """The names of all applications."""

    def __init__(self, channel_log: ChannelLog, seats: Seats, limits: Limits, clock: Clock) -> None:
        self._log = channel_log
        self._seats = seats
        self._limits = limits
        self._clock = clock
        # Nobody could come while the hub was down: unused time counts from here at the earliest.
        self._since = clock.now()
        self._making: dict[str, anyio.Lock] = {}

    async def place(self, channel: Channel, reader: str, position: Position, *, known: bool, exact: bool) -> None:
        """Store where a name stands: at `position` if it is `exact`, else there unless it has come further.

        Raises TooMany for a new name when the application has as many as it may, StorageFailed.
        """
        if known:
            await self._log.store_position(channel.name, reader, position, forward_only=not exact)
            return
        application = reader.partition("/")[0]
        # One at a time, so that a crowd of new names cannot run past the limit together.
        async with self._making.setdefault(application, anyio.Lock()):
            infos = await self._log.readers(application=application)
            names = {(info.channel, info.name) for info in infos if "/" in info.name}
            if (channel.name, reader) not in names and len(names) >= self._limits.readers_per_application:
                raise TooMany("the application has as many durable names as it may", code="too-many-names")
            await self._log.store_position(channel.name, reader, position, forward_only=not exact)

    async def of(self, channel: Channel) -> list[ReaderInfo]:
        """The names on a channel, as they are stored."""
        return [info for info in await self._log.readers(channel=channel.name) if "/" in info.name]

    def held(self, info: ReaderInfo) -> bool:
        """Whether a socket has the name now."""
        return self._seats.held(info.channel, info.name)

    async def forget(self, channel: Channel, reader: str) -> bool:
        """Remove a name; who holds it is told that the subscription has ended. False: there was none."""
        held = self._seats.unseat(channel.name, reader, FORGOTTEN)
        known = await self._log.position(channel.name, reader) is not None
        if known:
            await self._log.forget_reader(channel.name, reader)
        return held or known

    async def run(self) -> None:
        """Tidy once an hour, until cancelled."""
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + LOOK.total_seconds())
            try:
                await self.tidy()
            except StorageFailed as failure:
                log.warning("unused names could not be removed: %s", failure)

    async def tidy(self) -> None:
        """Forget names that nobody held for the retention time: what they had not seen is gone by then, too."""
        now, kept = self._clock.now(), self._limits.retention
        for info in await self._log.readers():
            if "/" not in info.name:
                continue
            if self.held(info):
                if now - info.used_at > kept / 4:
                    # A channel on which nothing happens moves no position; its name is in use all the same.
                    await self._log.store_position(info.channel, info.name, info.position)
            elif now - max(info.used_at, self._since) > kept:
                await self._log.forget_reader(info.channel, info.name)
