"""The notification channels of all applications: which there is, where its reader stands, and when it ends.

A channel is a view of the application's default channel (decisions G): the log and its other listeners never notice
that it comes and goes. The position is a stored reader of that channel; when the record goes, the head is stored, so
that the next one begins after what was lost with it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hub.core.channels import DEFAULT, full_name
from hub.core.hub import Hub
from hub.delivery.listening import Listening
from hub.delivery.openings import Opening
from hub.dialects.pelion.channel_age import before_younger
from hub.dialects.pelion.channel_life import Life
from hub.dialects.pelion.channel_queue import READER, ChannelQueue
from hub.dialects.pelion.record import PelionChannel, channel_of, channel_record
from hub.dialects.pelion.view import PelionView
from hub.dialects.pelion.wire import PULL, WEBSOCKET, Serialization
from hub.dialects.pelion.withdrawals import Withdrawals
from hub.dialects.pelion.withdrawn import Resource
from hub.model.errors import BadRequest, NotFound
from hub.model.principal import Principal
from hub.model.record import Kind
from hub.ports.clock import monotonic_at

DELETED = 1000
DISPLACED = 1001
NEWS = timedelta(seconds=2)
QUIET = timedelta(hours=48)
IDLE: Mapping[str, timedelta] = {WEBSOCKET: timedelta(hours=24), PULL: timedelta(minutes=10)}
COOLDOWN = timedelta(seconds=1)
COMING_BACK = timedelta(minutes=10)
"""Nobody could come while the hub was down: after a start this long is left for it."""

_SECOND = timedelta(seconds=1)

audit = logging.getLogger("hub.audit")


class PelionChannels:
    """The channels of all applications, by the application's id; `queue` is what waits in them. A method that writes
    raises StorageFailed."""

    def __init__(self, hub: Hub, listening: Listening) -> None:
        self._hub = hub
        self._listening = listening
        self._began = hub.clock.monotonic()
        self._lives: dict[str, Life] = {}
        self.queue = ChannelQueue(hub, self.life)
        self.withdrawals = Withdrawals(hub, self.queue, self.life)

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

    def view(self, channel: PelionChannel) -> PelionView:
        """What the listener of a channel sees."""
        return channel.view(self.life(channel.application).withdrawn)

    def connected(self, application: str) -> bool:
        """Whether the channel has an open socket."""
        return self._listening.seats.held(full_name(application, DEFAULT), READER)

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
        *,
        singly: bool = False,
    ) -> tuple[PelionChannel, bool]:
        """Register a channel of the kind, or put another in its place; the second value says whether it is new.

        What waits is kept when it was there. Raises BadRequest (`channel-of-another-kind`) while a channel of another
        kind exists.
        """
        async with self.life(principal.application).lock:
            before = await self._present(principal.application, kind)
            made = await self._make(principal, before, kind, options, url, headers or {}, singly=singly)
            return made, before is None

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
                return PelionView(Serialization(), life.deleted_at, withdrawn=life.withdrawn)
            before = before or await self._make(principal, None, PULL, None, "", {})
            life.polling = True
            return self.view(before)

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
            life.deleted_at = (await self.queue.channel(principal.application, principal.account)).position
            life.cool(COOLDOWN)
            life.end_polls(DELETED, "the channel was deleted")
            return found is not None

    async def withdraw(self, principal: Principal, resources: Sequence[Resource]) -> None:
        """The application has taken these back: what waits of them is told no more. Raises StorageFailed."""
        application, found = principal.application, self.get(principal.application)
        # What came before there is a channel is not told by one, but for a moment's values.
        taken = await self.withdrawals.take(application, principal.account, resources, kept=found is not None)
        if taken and found is not None:
            self.life(application).show(self.view(found))

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
        *,
        singly: bool = False,
    ) -> PelionChannel:
        life, now = self.life(principal.application), self._hub.clock.now()
        token = secrets.token_hex(8)
        if before is not None:
            made = replace(
                before, options=options, seen=now, key=principal.key_id, token=token, url=url, headers=headers,
                failing=None, singly=singly,
            )  # fmt: skip
        else:
            channel = await self.queue.channel(principal.application, principal.account)
            start = await self.queue.beginning(principal.application, channel)
            # The SDK subscribes at the moment of its first poll; a first value that came in between is news.
            news = await before_younger(self._hub.channels, channel, now - NEWS)
            made = PelionChannel(
                principal.application, principal.account, kind, options, channel.position, now, now, principal.key_id,
                token, url, headers, news=max(start.offset, news), singly=singly,
            )  # fmt: skip
            await self._hub.engine.log.store_position(channel.name, READER, start)
            life.begin(start)
            if kind != PULL:
                # Of a poll in the second after a DELETE nothing may be left that takes events away.
                life.end_polls(DISPLACED, "another kind of channel was made")
        life.seen = self._hub.clock.monotonic()
        await self._hub.directory.put(channel_record(made))
        life.show(self.view(made))
        audit.info(
            "notification channel made" if before is None else "notification channel registered again",
            extra={"application": principal.application, "kind": kind, "key": principal.key_id},
        )
        return made

    async def _remove(self, found: PelionChannel) -> None:
        self.life(found.application).finish(await self.queue.lose(found.application, found.account))
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

    async def saw(self, application: str) -> None:
        """A socket was open until now: the channel's time without one begins here."""
        self.life(application).seen = self._hub.clock.monotonic()
        found = channel_of(self._hub.directory.record(Kind.CHANNEL, application))
        if found is not None:
            await self.revise(found, seen=self._hub.clock.now())
