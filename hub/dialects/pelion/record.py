"""The notification channel of an application as Connect knows it: one record with its kind, options and beginning.

It is a view of the application's default channel (decisions G): the log and its other listeners never notice that
it comes and goes. The position is a stored reader of that channel; when the record goes, the head is stored, so
that the next one begins after what was lost with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import anyio

from hub.core.channels import DEFAULT, Channel, full_name
from hub.core.hub import Hub
from hub.delivery.listening import Listening
from hub.delivery.openings import Opening
from hub.dialects.pelion.view import PelionView
from hub.dialects.pelion.wire import WEBSOCKET, Serialization
from hub.model.errors import BadRequest, NotFound
from hub.model.event import Position
from hub.model.principal import Principal
from hub.model.record import Kind, Record

READER = "pelion"
DELETED = 1000
YOUNG = timedelta(minutes=10)
LONGEST_IDLE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class PelionChannel:
    """An application's channel record. `made` is the head when it was made, `seen` when a socket was last open."""

    kind: str
    options: Serialization | None
    made: Position
    seen: datetime

    @property
    def view(self) -> PelionView:
        """What its listener sees."""
        return PelionView(self.options or Serialization(), self.made)


class PelionChannels:
    """The records of all applications. Who has the socket of one open is known by the listeners' seats."""

    def __init__(self, hub: Hub, listening: Listening) -> None:
        self._hub = hub
        self._listening = listening
        self._began = hub.clock.now()
        self._openings: dict[str, set[Opening]] = {}
        self._locks: dict[str, anyio.Lock] = {}

    def get(self, principal: Principal) -> PelionChannel | None:
        """The application's record; None if there is none, or its time without a socket is over."""
        record = self._hub.directory.record(Kind.CHANNEL, principal.application)
        found = None if record is None else _read(record.body)
        if found is None or self.connected(principal):
            return found
        # Nobody could connect while the hub was down, so that time does not count.
        idle = self._hub.clock.now() - max(found.seen, self._began)
        return found if idle < LONGEST_IDLE else None

    def connected(self, principal: Principal) -> bool:
        """Whether the channel has an open socket."""
        return self._listening.seats.held(_name(principal), READER)

    async def make(self, principal: Principal, options: Serialization | None) -> tuple[PelionChannel, bool]:
        """Register the WebSocket kind, or refresh it; the second value says whether it is new.

        Raises BadRequest (`channel-of-another-kind`) while a channel of another kind exists.
        """
        async with self._lock(principal):
            before = self.get(principal)
            if before is not None and before.kind != WEBSOCKET:
                raise BadRequest("a channel of another kind exists", code="channel-of-another-kind")
            now = self._hub.clock.now()
            if before is None:
                channel = await self.channel(principal)
                start = await self._beginning(channel)
                made = PelionChannel(WEBSOCKET, options, channel.position, now)
                await self._hub.engine.log.store_position(channel.name, READER, Position(channel.epoch, start))
            else:
                made = PelionChannel(WEBSOCKET, options, before.made, now)
            await self._put(principal, made)
            return made, before is None

    async def delete(self, principal: Principal) -> None:
        """Remove the record; its queue is lost and its socket closed. Raises NotFound."""
        async with self._lock(principal):
            found = self.get(principal)
            if found is None or found.kind != WEBSOCKET:
                raise NotFound("there is no such channel", code="channel-not-found")
            channel = await self.channel(principal)
            await self._hub.engine.log.store_position(channel.name, READER, channel.position)
            await self._hub.directory.delete(Kind.CHANNEL, principal.application)
            for opening in tuple(self._openings.get(principal.application, ())):
                opening.end(DELETED, "the channel was deleted")

    @contextmanager
    def connecting(self, principal: Principal, opening: Opening) -> Iterator[None]:
        """A socket comes, stays and goes within the block; `delete` ends it wherever it stands."""
        mine = self._openings.setdefault(principal.application, set())
        mine.add(opening)
        try:
            yield
        finally:
            mine.discard(opening)
            if not mine and self._openings.get(principal.application) is mine:
                del self._openings[principal.application]

    async def channel(self, principal: Principal) -> Channel:
        """The default channel of the application, of which the record is a view."""
        return await self._hub.channels.open(_name(principal), principal.account)

    async def position(self, channel: Channel) -> Position:
        """Where the record's listener stands; the head if that was never stored."""
        return await self._hub.engine.log.position(channel.name, READER) or channel.position

    async def queue_size(self, principal: Principal) -> int:
        """How many events wait; -1 when the position belongs to another life of the channel."""
        channel = await self.channel(principal)
        position = await self.position(channel)
        if position.epoch != channel.epoch:
            return -1
        return max(0, min(channel.head - position.offset, channel.head - channel.first + 1))

    async def seen(self, principal: Principal) -> None:
        """A socket was open until now: the record's time without one begins here."""
        async with self._lock(principal):
            record = self._hub.directory.record(Kind.CHANNEL, principal.application)
            if record is not None:
                await self._put(principal, replace(_read(record.body), seen=self._hub.clock.now()))

    async def _beginning(self, channel: Channel) -> int:
        stored = await self._hub.engine.log.position(channel.name, READER)
        lost = stored.offset if stored is not None and stored.epoch == channel.epoch else 0
        return max(lost, await self._before_younger(channel, self._hub.clock.now() - YOUNG))

    async def _before_younger(self, channel: Channel, moment: datetime) -> int:
        """The offset after which every event is younger than `moment`, by halving: moments grow with offsets."""
        low, high = max(0, channel.first - 1), channel.head
        while low < high:
            middle = (low + high) // 2
            page = await self._hub.channels.read(channel, Position(channel.epoch, middle), 1)
            if page.events and page.events[0].at < moment:
                low = page.events[0].offset
            else:
                high = middle
        return low

    async def _put(self, principal: Principal, made: PelionChannel) -> None:
        body: dict[str, Any] = {
            "kind": made.kind,
            "options": None if made.options is None else asdict(made.options),
            "made": [made.made.epoch, made.made.offset],
            "seen": made.seen.isoformat(),
        }
        await self._hub.directory.put(Record(Kind.CHANNEL, principal.application, principal.account, body))

    def _lock(self, principal: Principal) -> anyio.Lock:
        return self._locks.setdefault(principal.application, anyio.Lock())


def _name(principal: Principal) -> str:
    return full_name(principal.application, DEFAULT)


def _read(body: Mapping[str, Any]) -> PelionChannel:
    options = body["options"]
    return PelionChannel(
        kind=body["kind"],
        options=None if options is None else Serialization(**options),
        made=Position(*body["made"]),
        seen=datetime.fromisoformat(body["seen"]),
    )
