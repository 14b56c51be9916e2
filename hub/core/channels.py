"""Channels in memory: the head of every channel in use, its newest events, and who waits for more.

The log of the engine holds the truth; what is here is rebuilt from it at any time. One call-back
(`on_commit`) brings every committed event in commit order; listeners hold a position and read from
it (`read`), so that history and live are one loop. How events become bytes is `hub/delivery`'s.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import anyio

from hub.core.channel import Channel, Follower
from hub.model.errors import BadRequest, NotFound, TooMany
from hub.model.event import ChannelInfo, Event, Page, Position
from hub.ports.clock import Clock, SystemClock

if TYPE_CHECKING:
    from hub.core.limits import Limits
    from hub.ports.engine import ChannelLog

ALL_RINGS_BYTES = 64 << 20
DEFAULT = "default"

__all__ = ["ALL_RINGS_BYTES", "DEFAULT", "Channel", "Channels", "Follower", "ListedChannel", "full_name"]

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")

def full_name(application: str, name: str) -> str:
    """The full name `<application>/<name>` of a channel as the application calls it.

    Raises BadRequest for a name outside 1-128 characters of `A-Za-z0-9_.:-`, NotFound for a full
    name of another application: what is foreign looks like what is missing.
    """
    owner, slash, own = name.rpartition("/")
    if slash and owner != application:
        raise NotFound("no such channel", code="channel-not-found")
    if not _NAME.fullmatch(own):
        raise BadRequest("a channel name has 1 to 128 characters of A-Z a-z 0-9 _ . : -", code="bad-channel-name")
    return f"{application}/{own}"


@dataclass(frozen=True, slots=True)
class ListedChannel:
    """A channel of a listing: what its log knows, and how many listen now."""

    info: ChannelInfo
    listeners: int


class Channels:
    """All channels of the hub; one value, on the event loop only."""

    def __init__(self, log: ChannelLog, limits: Limits, clock: Clock | None = None) -> None:
        self._log = log
        self._limits = limits
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._channels: dict[str, Channel] = {}
        # Names that exist in the log, by application, with their accounts (None: seen in a commit only).
        self._names: dict[str, dict[str, str | None]] = {}
        self._loaded = False
        self._loading = anyio.Lock()
        self._locks: dict[str, tuple[anyio.Lock, int]] = {}
        # Events committed while their channel is being opened: the head that `log.open` told is older.
        self._opening: dict[str, list[Event]] = {}
        self._rings: OrderedDict[Channel, None] = OrderedDict()
        self._rings_bytes = 0

    def on_commit(self, events: Sequence[Event]) -> None:
        """Take the events of one commit: ring, head, followers, then waiters (decisions F3)."""
        if len(events) == 1:
            self._committed(events[0].channel, events)
            return
        by_channel: dict[str, list[Event]] = {}
        for event in events:
            by_channel.setdefault(event.channel, []).append(event)
        for name, mine in by_channel.items():
            self._committed(name, mine)

    def _committed(self, name: str, events: Sequence[Event]) -> None:
        opening = self._opening.get(name)
        if opening is not None:
            opening.extend(events)
        channel = self._channels.get(name)
        if channel is None:
            self._names.setdefault(_application(name), {}).setdefault(name, None)
            return
        for epoch, run in groupby(events, key=attrgetter("epoch")):
            if epoch != channel.epoch:
                # The name was deleted and made again; whoever holds the old channel must learn it.
                self._forget(channel)
                self._names.setdefault(_application(name), {}).setdefault(name, None)
                return
            fresh = [event for event in run if event.offset > channel.head]
            if fresh:
                self._rings_bytes += channel.take(fresh)
                self._rings[channel] = None
                self._rings.move_to_end(channel)
                self._trim_rings()
                channel.tell(fresh)

    def _trim_rings(self) -> None:
        while self._rings_bytes > ALL_RINGS_BYTES and len(self._rings) > 1:
            oldest, _ = self._rings.popitem(last=False)
            self._rings_bytes -= oldest.drop_ring()

    def _forget(self, channel: Channel) -> None:
        if self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
        self._rings.pop(channel, None)
        self._rings_bytes -= channel.drop_ring()
        if not channel.deleted:
            channel.end()

    def known(self, name: str) -> Channel | None:
        """The channel by its full name if it is in memory; no waiting."""
        return self._channels.get(name)

    async def open(self, name: str, account: str) -> Channel:
        """The channel of this full name, made if there was none.

        Raises TooMany when the application has as many channels as it may.
        """
        channel = self._channels.get(name)
        if channel is not None:
            return channel
        await self._load()
        async with self._lock(name):
            return self._channels.get(name) or await self._open(name, account)

    async def find(self, name: str) -> Channel | None:
        """The channel of this full name if it exists, in memory or in the log; never makes it."""
        channel = self._channels.get(name)
        if channel is not None:
            return channel
        await self._load()
        async with self._lock(name):
            channel = self._channels.get(name)
            if channel is not None:
                return channel
            names = self._names.get(_application(name), {})
            if name not in names:
                return None
            if names[name] is None:
                await self._load(again=True)
            account = self._names.get(_application(name), {}).get(name)
            return None if account is None else await self._open(name, account)

    async def _open(self, name: str, account: str) -> Channel:
        names = self._names.setdefault(_application(name), {})
        full = len(names) >= self._limits.channels_per_application
        if full and name not in names and not name.endswith("/" + DEFAULT):
            raise TooMany("the application has as many channels as it may", code="too-many-channels")
        # Entered before the wait, so that a crowd of new names cannot run past the limit together.
        added = name not in names
        names.setdefault(name, account)
        self._opening[name] = []
        try:
            info = await self._log.open(name, account)
        except BaseException:
            if added and not self._opening[name]:
                names.pop(name, None)
            raise
        finally:
            missed = self._opening.pop(name)
        names[name] = info.account
        channel = Channel(name, info.account, info.epoch, info.head, info.first)
        self._channels[name] = channel
        if missed:
            if missed[-1].epoch == info.epoch:
                missed = [event for event in missed if event.epoch == info.epoch]
            self._committed(name, missed)
        return channel

    async def _load(self, *, again: bool = False) -> None:
        if self._loaded and not again:
            return
        async with self._loading:
            if self._loaded and not again:
                return
            for info in await self._log.channels():
                self._names.setdefault(_application(info.name), {})[info.name] = info.account
            self._loaded = True

    async def read(self, channel: Channel, after: Position, limit: int) -> Page:
        """Events after a position, at most `limit`, with the gap before them if there is one; never beyond head.

        Memory first, then the log. Raises BadRequest for an offset that the channel has not reached:
        waiting there would be a silent hole.
        """
        if after.epoch == channel.epoch:
            if after.offset > channel.head:
                raise BadRequest("the offset is beyond the channel's head", code="bad-position")
            recent = channel.recent(after.offset, limit)
            if recent is not None:
                return Page(channel.epoch, recent)
        page = await self._log.read(channel.name, after, limit, self._limits.listener_bytes)
        if page.epoch != channel.epoch:
            # Deleted (and made again) under our eyes: the deletion tells the reader, not this page.
            return Page(channel.epoch, ())
        if page.gap is not None:
            channel.first = max(channel.first, page.gap.next + 1)
        # The log's readers can see a commit that has not been handed to the loop yet.
        head = channel.head
        if page.events and page.events[-1].offset > head:
            return replace(page, events=tuple(event for event in page.events if event.offset <= head))
        return page

    async def wait(self, channel: Channel, after: int, until: float) -> bool:
        """Wait until the channel has more than `after`, is deleted, or it is monotonic `until`.

        Returns whether there is something to read.
        """
        while channel.head <= after and not channel.deleted and self._clock.monotonic() < until:
            await channel.changed(until, self._clock)
        return channel.head > after and not channel.deleted

    async def delete(self, name: str) -> bool:
        """Remove a channel with its events and readers' positions; its listeners are told. False: there was none."""
        await self._load()
        async with self._lock(name):
            channel = self._channels.get(name)
            names = self._names.get(_application(name), {})
            # Taken out first: a commit that makes the name again may come before the delete returns.
            account = names.pop(name, None)
            try:
                existed = await self._log.delete(name)
            except BaseException:
                names.setdefault(name, account)
                raise
            if channel is not None and not channel.deleted:
                self._forget(channel)
            return existed

    async def list(self, account: str, application: str) -> list[ListedChannel]:
        """The application's channels by name; `default` is always among them."""
        default = f"{application}/{DEFAULT}"
        await self.open(default, account)
        infos = [info for info in await self._log.channels(account) if _application(info.name) == application]
        return [self._listed(info) for info in sorted(infos, key=lambda info: info.name)]

    async def info(self, name: str, account: str, application: str) -> ListedChannel | None:
        """One of the application's channels by its full name, as `list` shows it; None if there is none."""
        if name == f"{application}/{DEFAULT}":
            await self.open(name, account)
        info = await self._log.info(name) if _application(name) == application else None
        return None if info is None or info.account != account else self._listed(info)

    def _listed(self, info: ChannelInfo) -> ListedChannel:
        channel = self._channels.get(info.name)
        if channel is None or channel.epoch != info.epoch:
            return ListedChannel(info, 0)
        channel.first = max(channel.first, info.first)
        return ListedChannel(info, channel.listeners)

    @asynccontextmanager
    async def _lock(self, name: str) -> AsyncIterator[None]:
        """One opener or deleter of a name at a time; the lock lives only while it is used."""
        lock, users = self._locks.get(name, (None, 0))
        if lock is None:
            lock = anyio.Lock()
        self._locks[name] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            _, users = self._locks[name]
            if users == 1:
                del self._locks[name]
            else:
                self._locks[name] = (lock, users - 1)


def _application(name: str) -> str:
    return name.partition("/")[0]
