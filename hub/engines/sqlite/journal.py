"""The journal: calls from acceptance to their end, as the port promises it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime

from hub.engines.sqlite import commands, jobs, sql
from hub.engines.sqlite import journal_writes as writes
from hub.engines.sqlite.listings import Listings
from hub.engines.sqlite.moments import to_micros
from hub.engines.sqlite.readers import Readers
from hub.engines.sqlite.rows import mask, read_call
from hub.engines.sqlite.writer import Writer
from hub.model.call import Call, CallState, Stage
from hub.model.ids import CallId, Incarnation
from hub.model.query import Query
from hub.ports.clock import Clock
from hub.ports.engine import Accepted, CallQuery, End, IdempotencyMark, JobPage, Remembered

_SQL = sql.load("journal")

_PAGE = 500
_WHOLE_PAGE = 100


class SqliteJournal:
    """Calls in two tables that grow with each step and one that holds what was asked."""

    def __init__(self, writer: Writer, readers: Readers, walks: Readers, listings: Listings, clock: Clock) -> None:
        self._writer = writer
        self._readers = readers
        self._walks = walks
        self._listings = listings
        self._clock = clock

    async def accept(
        self,
        calls: Sequence[Call],
        incarnation: Incarnation,
        send_now: Collection[CallId] = (),
        mark: IdempotencyMark | None = None,
    ) -> Accepted | Remembered:
        """Take responsibility for all calls in one commit; StorageFull when the disk is nearly full."""
        now = 0 if mark is None else to_micros(self._clock.now())
        return await self._writer.submit(writes.Accept(calls, incarnation, send_now, mark, now))

    async def recall(self, application: str, key: str, now: datetime) -> IdempotencyMark | None:
        """The mark of an idempotency key that has not expired."""
        asked = (application, key, to_micros(now))

        def look(connection: sqlite3.Connection) -> IdempotencyMark | None:
            row = connection.execute(_SQL["get_mark"], asked).fetchone()
            return None if row is None else writes.read_mark(application, key, row)

        return await self._readers.read(look)

    async def claim(self, ids: Collection[CallId], incarnation: Incarnation, at: datetime) -> frozenset[CallId]:
        """ACCEPTED or PARKED -> SENT, attempt + 1."""
        return await self._move(writes.claim(ids, incarnation, at))

    async def release(
        self,
        ids: Collection[CallId],
        incarnation: Incarnation,
        *,
        park: bool = False,
        retry_used: bool = False,
        maybe_sent: bool = False,
    ) -> frozenset[CallId]:
        """SENT -> ACCEPTED (or PARKED), if this incarnation holds the claim."""
        return await self._move(writes.release(ids, incarnation, park, retry_used, maybe_sent))

    async def park(self, ids: Collection[CallId]) -> frozenset[CallId]:
        """ACCEPTED -> PARKED."""
        return await self._move(writes.park(ids))

    async def adopt(self, ids: Collection[CallId], incarnation: Incarnation) -> frozenset[CallId]:
        """Take over SENT and WAITING calls of an earlier incarnation; those already held are not in the answer."""
        return await self._move(writes.adopt(ids, incarnation))

    async def checkpoint(self, call: CallId, incarnation: Incarnation, note: bytes) -> bool:
        """Store the adapter's note and move to WAITING, if this incarnation holds the claim."""
        return call in await self._move(writes.checkpoint(call, incarnation, note))

    async def finish(self, end: End) -> int | None:
        """End a call; None, changing nothing, if it had ended (or never was)."""
        return await self._writer.submit(writes.Finish(end))

    async def get(self, call: CallId) -> CallState | None:
        """One call as it stands."""

        def look(connection: sqlite3.Connection) -> CallState | None:
            row = connection.execute(_SQL["get"], (call,)).fetchone()
            return None if row is None else read_call(row)

        return await self._readers.read(look)

    async def list(self, query: CallQuery) -> Sequence[CallState]:
        """A page of calls, newest first. A search: a long one holds up nobody, and is cut."""
        asked = {
            "account": query.account,
            "after": query.after,
            "application": query.application,
            "device": query.device,
            "ref": query.ref,
            "stages": mask(*(query.stages or Stage)),
            "ending": query.ending,
            "since": None if query.since is None else to_micros(query.since),
            "until": None if query.until is None else to_micros(query.until),
            "limit": max(0, query.limit),
        }

        def look(connection: sqlite3.Connection) -> list[CallState]:
            return [read_call(row) for row in connection.execute(_SQL["list"], asked)]

        return await self._listings.read(look)

    async def jobs(self, account: str, device: str, query: Query) -> JobPage:
        """A page of the jobs of one array; a search, as `list`."""
        return await self._listings.read(lambda connection: jobs.search(connection, account, device, query))

    async def commands(self, application: str, organisation: str, device: str, query: Query) -> JobPage:
        """A page of the commands of one device; a search, as `list`."""
        return await self._listings.read(
            lambda connection: commands.search(connection, application, organisation, device, query)
        )

    async def open_calls(self) -> AsyncIterator[Sequence[CallState]]:
        """Every call that had not ended when its page was read, oldest first; calls accepted meanwhile may come too."""
        after = 0
        while True:
            position = after

            def look(connection: sqlite3.Connection, position: int = position) -> tuple[list[CallState], int]:
                rows = connection.execute(_SQL["open_calls"], (position, _PAGE)).fetchall()
                return [read_call(row) for row in rows], rows[-1][18] if rows else position

            page, after = await self._readers.read(look)
            if not page:
                return
            yield page

    async def under_way_since(self, adapter: str, since: datetime) -> AsyncIterator[Sequence[CallState]]:
        """The calls of one adapter that had not ended before `since`; on a thread of its own: it may take a while."""
        after, name, moment = 0, adapter.encode(), to_micros(since)
        while True:
            position = after

            def look(connection: sqlite3.Connection, position: int = position) -> tuple[list[CallState], int]:
                asked = (position, moment, name, _WHOLE_PAGE)
                rows = connection.execute(_SQL["under_way_since"], asked).fetchall()
                return [read_call(row[:18]) for row in rows], rows[-1][18] if rows else position

            states, after = await self._walks.read(look)
            if not states:
                return
            page = [state for state in states if state.call.adapter == adapter]
            if page:
                yield page

    async def forget(self, ended_before: datetime, keep: int, limit: int = 500) -> int:
        """Remove ended calls, expired marks, dead letters; a call that an idempotency key names stays with the key."""
        now = to_micros(self._clock.now())
        return await self._writer.submit(writes.Forget(to_micros(ended_before), keep, now, limit))

    async def _move(self, move: writes.Move) -> frozenset[CallId]:
        if not move.ids:
            return frozenset()
        return await self._writer.submit(move)
