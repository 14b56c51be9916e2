"""What applications have taken back while values of it waited, on disk: a restart must not tell these either.

Each taking back is a record of its own, written before it is answered and removed once the stored position of the
application's reader has passed it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import anyio.lowlevel

from hub.core.hub import Hub
from hub.dialects.pelion.channel_life import Life
from hub.dialects.pelion.channel_queue import READER, ChannelQueue
from hub.dialects.pelion.withdrawn import MOST, Resource
from hub.model.event import Position
from hub.model.record import Kind, Record

MOST_RECORDS = 1000
"""Of an application; beyond it the oldest go."""


class _Stored(NamedTuple):
    """A record: up to where it takes back, and how much."""

    upto: Position
    size: int


class Withdrawals:
    """Of all applications. Made before the directory is loaded, so that it knows what is stored."""

    def __init__(self, hub: Hub, queue: ChannelQueue, life: Callable[[str], Life]) -> None:
        self._hub = hub
        self._queue = queue
        self._life = life
        self._stored: dict[str, dict[int, _Stored]] = {}
        hub.directory.follow(Kind.WITHDRAWN, self._changed)

    async def take(self, application: str, account: str, resources: Sequence[Resource], *, kept: bool) -> bool:
        """Values of these that came until now are told no more; False if none can be waiting. Of very many the last.

        `kept`: over a restart, too. Raises StorageFailed.
        """
        channel = await self._queue.channel(application, account)
        position, _ = await self._queue.place(application, channel)
        upto = channel.position
        if not resources or (position.epoch == upto.epoch and position.offset >= upto.offset):
            return False
        resources = resources[-MOST:]
        self._life(application).withdrawn.take(resources, upto)
        if not kept:
            return True
        await anyio.lowlevel.checkpoint()  # there may be very many
        paths: dict[str, list[str | None]] = {}
        for device, path in resources:
            paths.setdefault(device, []).append(path)
        stored = self._stored.setdefault(application, {})
        number = max(stored, default=0) + 1
        stored[number] = _Stored(upto, len(resources))
        body = {"epoch": upto.epoch, "upto": upto.offset, "paths": paths}
        await self._hub.directory.put(Record(Kind.WITHDRAWN, f"{application}/{number:010}", account, body))
        # No record alone has more than all may have: the newest stays.
        while len(stored) > MOST_RECORDS or sum(record.size for record in stored.values()) > MOST:
            await self._remove(application, min(stored))
        return True

    async def tidy(self) -> None:
        """Remove what the stored positions have passed. Raises StorageFailed."""
        for application, stored in tuple(self._stored.items()):
            found = self._hub.directory.application(application)
            if found is None:
                continue
            channel = await self._queue.channel(application, found.account)
            # Not the position in memory: after a restart the stored one is where the reader goes on.
            position = await self._hub.engine.log.position(channel.name, READER)
            for number, (upto, _) in tuple(stored.items()):
                passed = position is not None and position.epoch == upto.epoch and upto.offset <= position.offset
                if passed or upto.epoch != channel.epoch:
                    await self._remove(application, number)
            if not stored:
                self._stored.pop(application, None)

    async def _remove(self, application: str, number: int) -> None:
        self._stored.get(application, {}).pop(number, None)
        await self._hub.directory.delete(Kind.WITHDRAWN, f"{application}/{number:010}")

    def _changed(self, id: str, record: Record | None) -> None:
        """A record was loaded, or else is one of ours."""
        application, _, number = id.rpartition("/")
        stored = self._stored.setdefault(application, {})
        if record is None or int(number) in stored:
            return
        body = record.body
        upto = Position(body["epoch"], body["upto"])
        resources = [(device, path) for device, paths in body["paths"].items() for path in paths]
        stored[int(number)] = _Stored(upto, len(resources))
        self._life(application).withdrawn.take(resources, upto)
