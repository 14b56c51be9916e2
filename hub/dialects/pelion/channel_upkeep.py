"""What keeps the notification channels in order: it weighs their queues, stores when they were last used, and removes
those whose idle time is over."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from hub.core.channels import Channel
from hub.core.hub import Hub
from hub.dialects.pelion.channel import PelionChannels
from hub.dialects.pelion.channel_backlog import Backlog, weigh
from hub.dialects.pelion.channel_life import Life
from hub.dialects.pelion.record import PelionChannel, channel_of
from hub.dialects.pelion.wire import PULL
from hub.model.errors import HubError
from hub.model.event import Position
from hub.model.record import Kind, Record
from hub.ports.clock import monotonic_at

LOOK = 60.0
PAGE = 1000
SAVE_EVERY = timedelta(hours=1)
SETTLED = timedelta(minutes=10)
"""After so long without an event the moment of the last one is stored."""

_SECOND = timedelta(seconds=1)

log = logging.getLogger("hub.pelion")


class Upkeep:
    """Looks at every channel once a minute, and at a new one at once."""

    def __init__(self, hub: Hub, channels: PelionChannels) -> None:
        self._hub = hub
        self._clock = hub.clock
        self._channels = channels
        self._fresh: set[str] = set()
        self._wake = asyncio.Event()
        hub.directory.follow(Kind.CHANNEL, self._changed)

    async def run(self) -> None:
        """Keep them until cancelled. Call while the hub is running."""
        try:
            due = self._clock.monotonic()
            while True:
                self._wake.clear()
                all_due = self._clock.monotonic() >= due
                if all_due:
                    due = self._clock.monotonic() + LOOK
                fresh, self._fresh = self._fresh, set()
                for found in self._channels.all():
                    if all_due or found.application in fresh:
                        await self._tend(found)
                if all_due:
                    await self._tidy()
                if self._clock.monotonic() >= due:
                    continue
                timer = self._clock.call_at(due, self._wake.set)
                try:
                    await self._wake.wait()
                finally:
                    timer.cancel()
        finally:
            for found in self._channels.all():
                self._channels.life(found.application).unfollow()

    def _changed(self, application: str, record: Record | None) -> None:
        life = self._channels.life(application)
        if channel_of(record) is not None and life.followed is None:
            self._fresh.add(application)
            self._wake.set()

    async def _tend(self, found: PelionChannel) -> None:
        try:
            if await self._channels.end_if_over(found):
                return
            life = self._channels.life(found.application)
            channel = await self._channels.queue.channel(found.application, found.account)
            if life.followed is not channel:
                await self._follow(found, life, channel)
            await self._save(found, life)
        except HubError as error:
            log.warning("the notification channel of %s could not be looked after: %s", found.application, error)

    async def _tidy(self) -> None:
        try:
            await self._channels.withdrawals.tidy()
        except HubError as error:
            log.warning("what was taken back could not be tidied up: %s", error)

    async def _follow(self, found: PelionChannel, life: Life, channel: Channel) -> None:
        """Weigh what waits, then follow what comes; between the last look and the joining there is no await."""
        position, _ = await self._channels.queue.place(found.application, channel)
        backlog = Backlog(self._hub.limits.pelion_queue)
        newest = await self._newest(channel)
        while position.epoch != channel.epoch or position.offset < channel.head:
            page = await self._hub.channels.read(channel, position, PAGE)
            if page.gap is not None:
                position = Position(page.epoch, page.gap.next)
            for event in page.events:
                backlog.add(event.offset, weigh(event))
                newest = event.at
            if page.events:
                position = page.events[-1].position
            elif page.gap is None or channel.deleted:
                return  # it is being deleted under our eyes: the next look finds what is there then
        if life.position is not None and life.position.epoch == channel.epoch:
            backlog.moved(life.position.offset)
        active = found.active if newest is None else max(found.active, newest)
        life.follow(channel, backlog, min(self._clock.monotonic(), monotonic_at(self._clock, active)))

    async def _newest(self, channel: Channel) -> datetime | None:
        """When the newest event came, None if the log has it no longer."""
        if not channel.head:
            return None
        page = await self._hub.channels.read(channel, Position(channel.epoch, channel.head - 1), 1)
        return page.events[-1].at if page.events else None

    async def _save(self, found: PelionChannel, life: Life) -> None:
        """Store how the idle times stand: seldom while there is traffic, and exactly once it is over."""
        now, wall = self._clock.monotonic(), self._clock.now()
        changes: dict[str, datetime] = {}
        if life.active is not None:
            active = wall - timedelta(seconds=now - life.active)
            behind = active - found.active
            settled = now - life.active >= SETTLED / _SECOND
            if behind >= SAVE_EVERY or (settled and behind >= _SECOND):
                changes["active"] = active
        if found.kind != PULL and self._channels.connected(found.application) and wall - found.seen >= SAVE_EVERY:
            changes["seen"] = wall
        if changes:
            await self._channels.revise(found, **changes)
