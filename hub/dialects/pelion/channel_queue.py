"""What waits in an application's notification channel: the log of its default channel behind a stored reader."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import anyio

from hub.core.channels import DEFAULT, Channel, full_name
from hub.core.hub import Hub
from hub.dialects.pelion.channel_age import before_younger, too_old
from hub.dialects.pelion.channel_life import Life
from hub.dialects.pelion.view import PelionView
from hub.model.errors import StorageFailed
from hub.model.event import Gap, Position

READER = "pelion"
YOUNG = timedelta(minutes=10)
SAVING_TIME = timedelta(seconds=5)

_SECOND = timedelta(seconds=1)

log = logging.getLogger("hub.pelion")


@dataclass(frozen=True, slots=True)
class Batch:
    """One NotificationMessage, and the position of a reader that has it."""

    body: bytes
    upto: Position


class ChannelQueue:
    """The queues of all applications, by the application's id. A method that writes raises StorageFailed."""

    def __init__(self, hub: Hub, life: Callable[[str], Life]) -> None:
        self._hub = hub
        self._life = life

    async def lose(self, application: str, account: str) -> Position:
        """Give up what waits; the position of a reader that has nothing to wait for."""
        channel = await self.channel(application, account)
        await self._hub.engine.log.store_position(channel.name, READER, channel.position)
        return channel.position

    async def channel(self, application: str, account: str) -> Channel:
        """The default channel of the application, of which its notification channel is a view."""
        return await self._hub.channels.open(full_name(application, DEFAULT), account)

    async def place(self, application: str, channel: Channel) -> tuple[Position, Gap | None]:
        """Where the reader stands, and what was given up before it: too old, or more than the queue holds."""
        life = self._life(application)
        if life.position is None:
            stored = await self._hub.engine.log.position(channel.name, READER)
            found = stored or await self.beginning(application, channel)
            life.position = life.position or found
        position = life.position
        if position.epoch != channel.epoch:
            return position, None  # the log tells
        old, lost = await too_old(self._hub, channel, position), life.lost
        upto = max(old, lost)
        if upto <= position.offset:
            return position, None
        gap = Gap(position.offset + 1, upto, upto, "retention" if old >= lost else "overflow")
        return Position(channel.epoch, upto), gap

    async def next(
        self, application: str, channel: Channel, view: PelionView, upto: Position | None = None
    ) -> Batch | None:
        """The first message of what waits, None when there is nothing to tell.

        With the `upto` of a batch that was not taken it is that batch again, byte for byte, less what the queue has
        given up since, and what the application has taken back.
        """
        position, gap = await self.place(application, channel)
        while True:
            page = await self._hub.channels.read(channel, position, view.page)
            if page.gap is not None:
                gap = page.gap if gap is None or page.gap.start is None else replace(page.gap, start=gap.start)
                position = Position(page.epoch, page.gap.next)
            events = page.events
            if upto is not None and upto.epoch == page.epoch and position.offset < upto.offset:
                events = tuple(event for event in events if event.offset <= upto.offset)
            body, told = view.first(events, gap)
            if told:
                position = Position(page.epoch, told)
            if body is None and gap is not None:
                body = view.gap(gap, channel.name, page.epoch)
            if body is not None:
                return Batch(body, position)
            # Nothing of this is told: it need not be looked at again.
            self.moved(application, position)
            if not page.events:
                return None

    async def store(self, application: str, channel: Channel, position: Position) -> None:
        """The reader has everything up to here. A position that cannot be stored costs a repetition after a restart."""
        self.moved(application, position)
        with anyio.move_on_after(SAVING_TIME / _SECOND, shield=True):
            try:
                await self._hub.engine.log.store_position(channel.name, READER, position)
            except StorageFailed as failure:
                log.warning("the position of %s was not stored: %s", application, failure)

    async def settle(self, application: str, channel: Channel) -> None:
        """Store where the reader stands, with what it passed over because nothing of it is told."""
        position = self._life(application).position
        if position is not None:
            await self.store(application, channel, position)

    def moved(self, application: str, position: Position) -> None:
        """As `store`, in memory only: for a reader whose position is stored by somebody else."""
        self._life(application).moved(position)

    async def size(self, application: str, account: str) -> int:
        """How many events wait; -1 when the position belongs to another life of the channel."""
        channel = await self.channel(application, account)
        position, _ = await self.place(application, channel)
        if position.epoch != channel.epoch:
            return -1
        return max(0, min(channel.head - position.offset, channel.head - channel.first + 1))

    async def beginning(self, application: str, channel: Channel) -> Position:
        """Where the reader of a new channel begins: after what was lost with the one before, or is too old."""
        known = self._life(application).position, await self._hub.engine.log.position(channel.name, READER)
        lost = max([place.offset for place in known if place is not None and place.epoch == channel.epoch], default=0)
        young = await before_younger(self._hub.channels, channel, self._hub.clock.now() - YOUNG)
        return Position(channel.epoch, max(lost, young))
