"""The notification channels of all applications: which there is, where its reader stands, and when it ends.

A channel is a view of the application's default channel (decisions G): the log and its other listeners never notice
that it comes and goes. The position is a stored reader of that channel; when the record goes, the head is stored, so
that the next one begins after what was lost with it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import anyio

from hub.core.channels import DEFAULT, Channel, full_name
from hub.core.hub import Hub
from hub.delivery.listening import Listening
from hub.delivery.openings import Opening
from hub.dialects.pelion.channel_age import before_younger, too_old
from hub.dialects.pelion.channel_life import Life
from hub.dialects.pelion.record import PelionChannel, channel_of, channel_record
from hub.dialects.pelion.view import PelionView
from hub.dialects.pelion.wire import PULL, WEBSOCKET, Serialization
from hub.model.errors import BadRequest, NotFound, StorageFailed
from hub.model.event import Gap, Position
from hub.model.principal import Principal
from hub.model.record import Kind
from hub.ports.clock import monotonic_at

READER = "pelion"
DELETED = 1000
DISPLACED = 1001
YOUNG = timedelta(minutes=10)
NEWS = timedelta(seconds=2)
QUIET = timedelta(hours=48)
IDLE: Mapping[str, timedelta] = {WEBSOCKET: timedelta(hours=24), PULL: timedelta(minutes=10)}
COOLDOWN = timedelta(seconds=1)
COMING_BACK = timedelta(minutes=10)
"""Nobody could come while the hub was down: after a start this long is left for it."""
SAVING_TIME = timedelta(seconds=5)

_SECOND = timedelta(seconds=1)

log = logging.getLogger("hub.pelion")
audit = logging.getLogger("hub.audit")


@dataclass(frozen=True, slots=True)
class Batch:
    """One NotificationMessage, and the position of a reader that has it."""

    body: bytes
    upto: Position


class PelionChannels:
    """The channels of all applications, by the application's id. A method that writes raises StorageFailed."""

    def __init__(self, hub: Hub, listening: Listening) -> None:
        self._hub = hub
        self._listening = listening
        self._began = hub.clock.monotonic()
        self._lives: dict[str, Life] = {}

    # Which there is.

    def life(self, application: str) -> Life:
        """What is known of the application's channel while the hub runs, whether there is one now or not."""
        life = self._lives.get(application)
        if life is None:
            life = self._lives[application] = Life(self._hub.clock)
        return life

    def get(self, application: str) -> PelionChannel | None:
        """The application's channel; None if there is none, or its idle time is over."""
        found = channel_of(self._hub.directory.record(Kind.CHANNEL, application))
        return None if found is None or self._over(found) else found

    def all(self) -> list[PelionChannel]:
        """Every channel that is stored, those whose time is over too."""
        records = self._hub.directory.records(Kind.CHANNEL)
        return [found for record in records if (found := channel_of(record)) is not None]

    def connected(self, application: str) -> bool:
        """Whether the channel has an open socket."""
        return self._listening.seats.held(_name(application), READER)

    def _over(self, found: PelionChannel) -> bool:
        """Whether the channel has been idle for too long. Who is there keeps it, however quiet it is."""
        clock, life = self._hub.clock, self.life(found.application)
        if life.seen is None:
            life.seen = min(clock.monotonic(), monotonic_at(clock, found.seen))
        if life.polling or self.connected(found.application):
            return False
        now = clock.monotonic()
        longest = IDLE.get(found.kind, QUIET)
        if now - self._began < min(longest, COMING_BACK) / _SECOND:
            return False
        quiet = life.active is not None and now - life.active >= QUIET / _SECOND
        return quiet or (found.kind in IDLE and now - life.seen >= longest / _SECOND)

    # Making and deleting.

    async def make(
        self,
        principal: Principal,
        kind: str,
        options: Serialization | None = None,
        url: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[PelionChannel, bool]:
        """Register a channel of the kind, or put another in its place; the second value says whether it is new.

        What waits is kept when it was there. Raises BadRequest (`channel-of-another-kind`) while a channel of another
        kind exists.
        """
        async with self.life(principal.application).lock:
            before = await self._present(principal.application, kind)
            return await self._make(principal, before, kind, options, url, headers or {}), before is None

    async def refuse_another(self, application: str, kind: str) -> None:
        """Raise BadRequest (`channel-of-another-kind`) while there is a channel of another kind."""
        async with self.life(application).lock:
            await self._present(application, kind)

    async def pull(self, principal: Principal) -> PelionView:
        """The view of a poll that begins now; it makes the channel if there is none.

        In the second after a DELETE it does not: such a poll leaves the place to a channel of another kind. Raises
        BadRequest (`channel-of-another-kind`).
        """
        life = self.life(principal.application)
        async with life.lock:
            before = await self._present(principal.application, PULL)
            if before is None and life.cooling:
                return PelionView(Serialization(), life.deleted_at)
            before = before or await self._make(principal, None, PULL, None, "", {})
            life.polling = True
            return before.view

    def polled(self, application: str) -> None:
        """The poll that `pull` began is over."""
        life = self.life(application)
        if life.polling:
            life.polling = False
            life.seen = self._hub.clock.monotonic()

    async def delete(self, application: str, kind: str) -> None:
        """Remove the channel; its queue is lost and its sockets are closed. Raises NotFound."""
        life = self.life(application)
        async with life.lock:
            found = self.get(application)
            if found is None or found.kind != kind:
                raise NotFound("there is no such channel", code="channel-not-found")
            await self._remove(found)
            life.end(DELETED, "the channel was deleted")

    async def delete_pull(self, principal: Principal) -> bool:
        """Remove the channel if it is one of long polls, whose open poll is ended; returns whether there was one.

        For a second polls do not make it anew (`pull`), whether there was one or not.
        """
        life = self.life(principal.application)
        async with life.lock:
            found = self.get(principal.application)
            if found is not None and found.kind != PULL:
                return False
            if found is not None:
                await self._remove(found)
            life.deleted_at = (await self.channel(principal.application, principal.account)).position
            life.cool(COOLDOWN)
            life.end_polls(DELETED, "the channel was deleted")
            return found is not None

    async def revise(self, channel: PelionChannel, **changes: Any) -> PelionChannel | None:
        """Store these members anew; None, storing nothing, if the channel was registered anew or removed meanwhile."""
        async with self.life(channel.application).lock:
            now = channel_of(self._hub.directory.record(Kind.CHANNEL, channel.application))
            if now is None or now.token != channel.token:
                return None
            now = replace(now, **changes)
            await self._hub.directory.put(channel_record(now))
            return now

    async def end(self, channel: PelionChannel, why: str) -> None:
        """Remove a channel that nobody asked to be removed, unless it was registered anew meanwhile."""
        life = self.life(channel.application)
        async with life.lock:
            now = channel_of(self._hub.directory.record(Kind.CHANNEL, channel.application))
            if now is not None and now.token == channel.token:
                audit.warning(
                    "notification channel removed",
                    extra={"application": channel.application, "kind": channel.kind, "why": why},
                )
                await self._remove(now)

    async def end_if_over(self, channel: PelionChannel) -> bool:
        """Remove a channel whose idle time is over; whether it was."""
        async with self.life(channel.application).lock:
            return await self._present(channel.application) is None

    async def _present(self, application: str, kind: str | None = None) -> PelionChannel | None:
        found = channel_of(self._hub.directory.record(Kind.CHANNEL, application))
        if found is not None and self._over(found):
            audit.info("notification channel removed", extra={"application": application, "why": "idle"})
            await self._remove(found)
            found = None
        if found is not None and kind is not None and found.kind != kind:
            raise BadRequest("a channel of another kind exists", code="channel-of-another-kind")
        return found

    async def _make(
        self,
        principal: Principal,
        before: PelionChannel | None,
        kind: str,
        options: Serialization | None,
        url: str,
        headers: Mapping[str, str],
    ) -> PelionChannel:
        life, now = self.life(principal.application), self._hub.clock.now()
        token = secrets.token_hex(8)
        if before is not None:
            made = replace(
                before, options=options, seen=now, key=principal.key_id, token=token, url=url, headers=headers,
                failing=None,
            )  # fmt: skip
        else:
            channel = await self.channel(principal.application, principal.account)
            start = await self._beginning(principal.application, channel)
            # The SDK subscribes at the moment of its first poll; a first value that came in between is news.
            news = await before_younger(self._hub.channels, channel, now - NEWS)
            made = PelionChannel(
                principal.application, principal.account, kind, options, channel.position, now, now, principal.key_id,
                token, url, headers, news=max(start.offset, news),
            )  # fmt: skip
            await self._hub.engine.log.store_position(channel.name, READER, start)
            life.begin(start)
            if kind != PULL:
                # Of a poll in the second after a DELETE nothing may be left that takes events away.
                life.end_polls(DISPLACED, "another kind of channel was made")
        life.seen = self._hub.clock.monotonic()
        await self._hub.directory.put(channel_record(made))
        life.show(made.view)
        audit.info(
            "notification channel made" if before is None else "notification channel registered again",
            extra={"application": principal.application, "kind": kind, "key": principal.key_id},
        )
        return made

    async def _remove(self, found: PelionChannel) -> None:
        channel = await self.channel(found.application, found.account)
        await self._hub.engine.log.store_position(channel.name, READER, channel.position)
        self.life(found.application).finish(channel.position)
        await self._hub.directory.delete(Kind.CHANNEL, found.application)

    @contextmanager
    def connecting(self, application: str, opening: Opening) -> Iterator[None]:
        """A socket or a poll comes, stays and goes within the block; `delete` ends it wherever it stands."""
        life = self.life(application)
        life.openings.add(opening)
        try:
            yield
        finally:
            life.openings.discard(opening)

    # What waits.

    async def channel(self, application: str, account: str) -> Channel:
        """The default channel of the application, of which its notification channel is a view."""
        return await self._hub.channels.open(_name(application), account)

    async def place(self, application: str, channel: Channel) -> tuple[Position, Gap | None]:
        """Where the reader stands, and what was given up before it: too old, or more than the queue holds."""
        life = self.life(application)
        if life.position is None:
            stored = await self._hub.engine.log.position(channel.name, READER)
            found = stored or await self._beginning(application, channel)
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
        given up since.
        """
        position, gap = await self.place(application, channel)
        while True:
            page = await self._hub.channels.read(channel, position, view.options.max_chunk_size)
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
        position = self.life(application).position
        if position is not None:
            await self.store(application, channel, position)

    def moved(self, application: str, position: Position) -> None:
        """As `store`, in memory only: for a reader whose position is stored by somebody else."""
        self.life(application).moved(position)

    async def queue_size(self, application: str, account: str) -> int:
        """How many events wait; -1 when the position belongs to another life of the channel."""
        channel = await self.channel(application, account)
        position, _ = await self.place(application, channel)
        if position.epoch != channel.epoch:
            return -1
        return max(0, min(channel.head - position.offset, channel.head - channel.first + 1))

    async def saw(self, application: str) -> None:
        """A socket was open until now: the channel's time without one begins here."""
        self.life(application).seen = self._hub.clock.monotonic()
        found = channel_of(self._hub.directory.record(Kind.CHANNEL, application))
        if found is not None:
            await self.revise(found, seen=self._hub.clock.now())

    async def _beginning(self, application: str, channel: Channel) -> Position:
        known = self.life(application).position, await self._hub.engine.log.position(channel.name, READER)
        lost = max([place.offset for place in known if place is not None and place.epoch == channel.epoch], default=0)
        young = await before_younger(self._hub.channels, channel, self._hub.clock.now() - YOUNG)
        return Position(channel.epoch, max(lost, young))


def _name(application: str) -> str:
    return full_name(application, DEFAULT)

