"""The channel logs: open, append, read, stored positions, retention."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime

from hub.engines.sqlite import sql
from hub.engines.sqlite.heads import ROW_BYTES, Head, PackedDraft, read_page
from hub.engines.sqlite.moments import to_micros, to_moment
from hub.engines.sqlite.operation import Operation, Transaction
from hub.engines.sqlite.readers import Readers
from hub.engines.sqlite.rows import pack
from hub.engines.sqlite.writer import Writer
from hub.model.event import ChannelInfo, Event, EventDraft, Page, Position, ReaderInfo
from hub.ports.clock import Clock

_SQL = sql.load("log")
# Ends of a search by name: what sorts right after "/", and what sorts after every name.
_AFTER_SLASH, _AFTER_ALL = "0", "\U0010ffff"


def packed(drafts: Sequence[EventDraft]) -> list[PackedDraft]:
    """Drafts with their bodies as they will be stored."""
    return [PackedDraft(draft, pack(draft.body)) for draft in drafts]


class _Open(Operation[ChannelInfo]):
    __slots__ = ("_account", "_at", "_name")

    growing = True

    def __init__(self, name: str, account: str, at: int) -> None:
        self._name, self._account, self._at = name, account, at

    def apply(self, tx: Transaction) -> ChannelInfo:
        return tx.heads.at_hand(self._name, {self._name: self._account}, self._at).info()


class _Append(Operation[Sequence[Event]]):
    __slots__ = ("_accounts", "_at", "_drafts")

    growing = True

    def __init__(self, drafts: Sequence[PackedDraft], accounts: Mapping[str, str], at: int) -> None:
        self._drafts, self._accounts, self._at = drafts, accounts, at

    def apply(self, tx: Transaction) -> Sequence[Event]:
        return tx.heads.add_all(self._drafts, self._accounts, self._at)


class _Delete(Operation[bool]):
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def apply(self, tx: Transaction) -> bool:
        head = tx.heads.find(self._name)
        if head is None:
            return False
        tx.heads.remove(head)
        return True


class _StorePosition(Operation[None]):
    __slots__ = ("_at", "_channel", "_forward", "_position", "_reader")

    def __init__(self, channel: str, reader: str, position: Position, forward: bool, at: int) -> None:
        self._channel, self._reader, self._position, self._forward = channel, reader, position, forward
        self._at = at

    def apply(self, tx: Transaction) -> None:
        head = tx.heads.find(self._channel)
        if head is not None:
            tx.cursor.execute(_SQL["store_position"], {
                "channel": head.id, "name": self._reader, "epoch": self._position.epoch,
                "place": self._position.offset, "forward": self._forward, "used_at": self._at,
            })


class _ForgetReader(Operation[None]):
    __slots__ = ("_channel", "_reader")

    def __init__(self, channel: str, reader: str) -> None:
        self._channel, self._reader = channel, reader

    def apply(self, tx: Transaction) -> None:
        head = tx.heads.find(self._channel)
        if head is not None:
            tx.cursor.execute(_SQL["forget_reader"], (head.id, self._reader))


class _Trim(Operation[int]):
    """Oldest events that retention no longer covers, and what deleted channels left behind."""

    __slots__ = ("_before", "_limit", "_max_bytes", "_max_events")

    def __init__(self, before: int, max_events: int, max_bytes: int, limit: int) -> None:
        self._before, self._max_events, self._max_bytes, self._limit = before, max_events, max_bytes, limit

    def apply(self, tx: Transaction) -> int:
        tx.heads.flush()
        left = self._clear_gone(tx, self._limit)
        over = {"before": self._before, "max_events": self._max_events, "max_bytes": self._max_bytes}
        for (name,) in tx.cursor.execute(_SQL["over_retention"], over).fetchall():
            if left <= 0:
                break
            head = tx.heads.find(name)
            if head is not None:
                left -= self._trim(tx, head, left)
        tx.freed |= left < self._limit
        return self._limit - left

    def _trim(self, tx: Transaction, head: Head, limit: int) -> int:
        upto, size = head.first - 1, head.bytes
        for place, at, length in tx.cursor.execute(_SQL["oldest_events"], (head.id, head.first, limit)).fetchall():
            if head.head - upto <= self._max_events and size <= self._max_bytes and at >= self._before:
                break
            upto, size = place, size - length - ROW_BYTES
        count = upto - head.first + 1
        if count > 0:
            tx.heads.touch(head)
            tx.cursor.execute(_SQL["trim_events"], (head.id, head.first, upto))
            head.first, head.bytes = upto + 1, size
        return count

    def _clear_gone(self, tx: Transaction, limit: int) -> int:
        """Clear after deleted channels; gives how many rows may still be removed."""
        left, run = limit, tx.cursor.execute
        for (channel,) in run(_SQL["gone_channels"]).fetchall():
            if left > 0:
                run(_SQL["clear_gone_deliveries"], (channel, left))
                left -= tx.cursor.rowcount
            if left > 0:
                run(_SQL["clear_gone_events"], {"channel": channel, "limit": left})
                left -= tx.cursor.rowcount
            if left <= 0:
                break
            run(_SQL["forget_gone"], (channel,))
        return left


class SqliteChannelLog:
    """Logs in one table, ordered by channel and offset; where each stands is a row of its own."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock

    async def open(self, channel: str, account: str) -> ChannelInfo:
        """The channel, made (with a fresh epoch) if there was none."""
        return await self._writer.submit(_Open(channel, account, to_micros(self._clock.now())))

    async def append(self, drafts: Sequence[EventDraft], accounts: Mapping[str, str]) -> Sequence[Event]:
        """Add events in one commit; NotFound, adding none, for a missing channel that `accounts` does not name."""
        if not drafts:
            return ()
        return await self._writer.submit(_Append(packed(drafts), accounts, to_micros(self._clock.now())))

    async def read(self, channel: str, after: Position, limit: int, max_bytes: int = 1 << 20) -> Page:
        """Events after a position, at most `limit`; the page ends with the event that reaches `max_bytes`."""
        return await self._readers.read(lambda connection: read_page(connection, channel, after, limit, max_bytes))

    async def channels(self, account: str | None = None) -> Sequence[ChannelInfo]:
        """All channels by name, of one account or of all."""

        def look(connection: sqlite3.Connection) -> list[ChannelInfo]:
            rows = connection.execute(_SQL["channels"], {"account": account}).fetchall()
            return [Head(0, *row).info() for row in rows]

        return await self._readers.read(look)

    async def info(self, channel: str) -> ChannelInfo | None:
        """One channel, None if there is none."""

        def look(connection: sqlite3.Connection) -> ChannelInfo | None:
            row = connection.execute(_SQL["find_channel"], (channel,)).fetchone()
            return None if row is None else Head(*row).info()

        return await self._readers.read(look)

    async def delete(self, channel: str) -> bool:
        """Remove a channel at once for everybody; its rows are cleared by later calls of `trim`."""
        return await self._writer.submit(_Delete(channel))

    async def store_position(self, channel: str, reader: str, position: Position, *, forward_only: bool = True) -> None:
        """Remember how far a named reader came; nothing happens when the channel has been deleted meanwhile."""
        at = to_micros(self._clock.now())
        await self._writer.submit(_StorePosition(channel, reader, position, forward_only, at))

    async def position(self, channel: str, reader: str) -> Position | None:
        """The stored position of a named reader."""

        def look(connection: sqlite3.Connection) -> Position | None:
            row = connection.execute(_SQL["position"], (channel, reader)).fetchone()
            return None if row is None else Position(*row)

        return await self._readers.read(look)

    async def readers(self, *, application: str | None = None, channel: str | None = None) -> Sequence[ReaderInfo]:
        """Named readers of one channel, of an application's channels, or of all; by channel and name."""
        begin, end = ("", _AFTER_ALL) if application is None else (application + "/", application + _AFTER_SLASH)
        if channel is not None:
            begin, end = channel, channel + "\0"

        def look(connection: sqlite3.Connection) -> list[ReaderInfo]:
            rows = connection.execute(_SQL["readers"], {"begin": begin, "end": end}).fetchall()
            return [
                ReaderInfo(name, reader, Position(epoch, place), to_moment(at))
                for name, reader, epoch, place, at in rows
            ]

        return await self._readers.read(look)

    async def forget_reader(self, channel: str, reader: str) -> None:
        """Remove a named reader's position."""
        await self._writer.submit(_ForgetReader(channel, reader))

    async def trim(self, before: datetime, max_events: int, max_bytes: int, limit: int = 500) -> int:
        """Remove events beyond age, number or size, and rows of deleted channels; at most `limit` in its commit."""
        return await self._writer.submit(_Trim(to_micros(before), max_events, max_bytes, limit))
