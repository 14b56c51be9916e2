"""The directory's records: revisions checked and written in one commit, secrets sealed before they leave memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hub.engines.sqlite import sql
from hub.engines.sqlite.channel_log import packed
from hub.engines.sqlite.heads import PackedDraft
from hub.engines.sqlite.moments import to_micros
from hub.engines.sqlite.operation import Operation, Transaction
from hub.engines.sqlite.readers import Readers
from hub.engines.sqlite.rows import pack, unpack
from hub.engines.sqlite.writer import Writer
from hub.model.errors import RevisionConflict
from hub.model.event import EventDraft
from hub.model.record import Kind, Record
from hub.ports.clock import Clock
from hub.ports.engine import Sealer

_SQL = sql.load("directory")


def _context(kind: Kind, id: str) -> bytes:
    """What a sealed secret is bound to: the record it belongs to."""
    return f"{kind.value}/{id}".encode()


class _Write(Operation[Sequence[Record]]):
    """Records put or removed at their revisions, with the events that tell of it."""

    __slots__ = ("_accounts", "_at", "_drafts", "_records", "_rows")

    def __init__(
        self, records: Sequence[Record], rows: Sequence[tuple[Any, ...]] | None, drafts: Sequence[PackedDraft],
        accounts: Mapping[str, str], at: int,
    ) -> None:
        self._records = records
        self._rows = rows
        self._drafts = drafts
        self._accounts = accounts
        self._at = at

    def apply(self, tx: Transaction) -> Sequence[Record]:
        run, seen = tx.cursor.execute, set()
        for record in self._records:
            row = run(_SQL["revision"], (record.kind.value, record.id)).fetchone()
            found = row[0] if row is not None else 0
            if found != record.revision or (record.kind, record.id) in seen:
                raise RevisionConflict(
                    f"{record.kind.value} {record.id} is at revision {found}, not at {record.revision}"
                )
            seen.add((record.kind, record.id))
        # Before the records: it may refuse, and a refusal has written nothing.
        tx.heads.add_all(self._drafts, self._accounts, self._at)
        if self._rows is None:
            for record in self._records:
                run(_SQL["delete"], (record.kind.value, record.id))
            return ()
        for row in self._rows:
            run(_SQL["put"], row)
        return [replace(record, revision=record.revision + 1) for record in self._records]


class _Put(_Write):
    """As _Write; refused when the disk is nearly full."""

    __slots__ = ()

    growing = True


class SqliteDirectory:
    """Records by kind and id."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock, sealer: Sealer) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._sealer = sealer

    async def put(
        self, records: Sequence[Record], drafts: Sequence[EventDraft] = (), accounts: Mapping[str, str] = {}
    ) -> Sequence[Record]:
        """Write records and their events in one commit; RevisionConflict, writing nothing, if one moved."""
        rows = [(
            record.kind.value, record.id, record.account, record.revision + 1, pack(record.body), self._sealed(record),
        ) for record in records]
        return await self._writer.submit(_Put(records, rows, packed(drafts), accounts, to_micros(self._clock.now())))

    async def get(self, kind: Kind, id: str) -> Record | None:
        """One record, secret unsealed."""

        def look(connection: sqlite3.Connection) -> Record | None:
            row = connection.execute(_SQL["get"], (kind.value, id)).fetchone()
            return None if row is None else self._record(kind, row)

        return await self._readers.read(look)

    async def list(self, kind: Kind) -> Sequence[Record]:
        """All records of a kind, by id, secrets unsealed."""

        def look(connection: sqlite3.Connection) -> list[Record]:
            return [self._record(kind, row) for row in connection.execute(_SQL["list"], (kind.value,))]

        return await self._readers.read(look)

    async def delete(
        self, records: Sequence[Record], drafts: Sequence[EventDraft] = (), accounts: Mapping[str, str] = {}
    ) -> None:
        """Remove records at their revisions, with the events that tell of it; RevisionConflict if one moved."""
        await self._writer.submit(_Write(records, None, packed(drafts), accounts, to_micros(self._clock.now())))

    def _sealed(self, record: Record) -> bytes | None:
        if record.secret is None:
            return None
        return self._sealer.seal(record.secret, _context(record.kind, record.id))

    def _record(self, kind: Kind, row: tuple[str, str, int, bytes, bytes | None]) -> Record:
        id_, account, revision, body, sealed = row
        secret = None if sealed is None else self._sealer.unseal(sealed, _context(kind, id_))
        return Record(kind, id_, account, unpack(body), secret, revision)
