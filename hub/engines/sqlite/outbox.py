"""The outbox: deliveries with a due time, from their event's commit until taken, dead or replayed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime

from hub.engines.sqlite import sql
from hub.engines.sqlite.moments import to_micros, to_moment
from hub.engines.sqlite.operation import Operation, Transaction
from hub.engines.sqlite.readers import Readers
from hub.engines.sqlite.rows import read_delivery, read_event
from hub.engines.sqlite.writer import Writer
from hub.model.delivery import Delivery
from hub.model.event import Event
from hub.ports.clock import Clock
from hub.ports.engine import LetterSearch

_SQL = sql.load("outbox")


class _Delivered(Operation[None]):
    __slots__ = ("_delivery",)

    def __init__(self, delivery: int) -> None:
        self._delivery = delivery

    def apply(self, tx: Transaction) -> None:
        for channel, place in tx.cursor.execute(_SQL["take_out"], (self._delivery,)).fetchall():
            tx.cursor.execute(_SQL["drop_event"], {"channel": channel, "place": place})


class _Failed(Operation[None]):
    __slots__ = ("_delivery", "_due_at", "_error", "_now")

    def __init__(self, delivery: int, error: str, due_at: int | None, now: int) -> None:
        self._delivery, self._error, self._due_at, self._now = delivery, error, due_at, now

    def apply(self, tx: Transaction) -> None:
        died = self._now if self._due_at is None else None
        tx.cursor.execute(_SQL["failed"], (self._error, self._due_at, died, self._delivery))


class _Replay(Operation[int]):
    __slots__ = ("_deliveries", "_due_at")

    def __init__(self, deliveries: Collection[int], due_at: int) -> None:
        self._deliveries, self._due_at = tuple(deliveries), due_at

    def apply(self, tx: Transaction) -> int:
        cursor, count = tx.cursor, 0
        for delivery in self._deliveries:
            cursor.execute(_SQL["replay"], (self._due_at, delivery))
            count += cursor.rowcount
        return count


class SqliteOutbox:
    """Delivery rows; the event of a row outlives the channel's retention for as long as the row needs it."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock

    async def due(
        self,
        now: datetime,
        limit: int,
        exclude: Collection[str] = (),
        exclude_applications: Collection[str] = (),
        exclude_accounts: Collection[str] = (),
    ) -> Sequence[Delivery]:
        """Rows due at `now`, oldest first, skipping the endpoints in `exclude`, and whatever is these applications'
        or accounts'."""
        left_out = (json.dumps(list(names)) for names in (exclude, exclude_accounts, exclude_applications))
        asked = (to_micros(now), *left_out, limit)

        def look(connection: sqlite3.Connection) -> list[Delivery]:
            return [read_delivery(row) for row in connection.execute(_SQL["due"], asked)]

        return await self._readers.read(look)

    async def next_due(self, after: datetime | None = None) -> datetime | None:
        """When the next row is due (of those due later than `after`), None when there is none."""
        asked = {"after": -1 if after is None else to_micros(after)}

        def look(connection: sqlite3.Connection) -> datetime | None:
            row = connection.execute(_SQL["next_due"], asked).fetchone()
            return None if row is None else to_moment(row[0])

        return await self._readers.read(look)

    async def event(self, delivery: int) -> Event | None:
        """The event that a row carries, also when its channel no longer retains it; None when the row is gone."""

        def look(connection: sqlite3.Connection) -> Event | None:
            row = connection.execute(_SQL["event_of"], (delivery,)).fetchone()
            return None if row is None else read_event(row[0], row[1], row[2:])

        return await self._readers.read(look)

    async def delivered(self, delivery: int) -> None:
        """The receiver took it: the row goes, and its event if only the row kept it."""
        await self._writer.submit(_Delivered(delivery))

    async def failed(self, delivery: int, error: str, due_at: datetime | None) -> None:
        """An attempt failed: due again at `due_at`, or a dead letter when None."""
        again = None if due_at is None else to_micros(due_at)
        await self._writer.submit(_Failed(delivery, error, again, to_micros(self._clock.now())))

    async def dead(
        self, account: str, endpoint: str | None = None, limit: int = 100, search: LetterSearch | None = None
    ) -> Sequence[Delivery]:
        """Dead letters, the one that died last first."""
        search = search or LetterSearch()
        asked = {
            "account": account,
            "endpoint": endpoint,
            "limit": limit,
            "application": search.application,
            "ids": None if search.ids is None else json.dumps(search.ids),
            "first": search.first,
            "last": search.last,
            "since": None if search.since is None else to_micros(search.since),
            "until": None if search.until is None else to_micros(search.until),
            "after_at": None if search.after is None else to_micros(search.after[0]),
            "after_id": None if search.after is None else search.after[1],
        }

        def look(connection: sqlite3.Connection) -> list[Delivery]:
            return [read_delivery(row) for row in connection.execute(_SQL["dead"], asked)]

        return await self._readers.read(look)

    async def replay(self, deliveries: Collection[int], due_at: datetime) -> int:
        """Make dead letters due again, their attempts counted anew; returns how many were dead."""
        return await self._writer.submit(_Replay(deliveries, to_micros(due_at)))
