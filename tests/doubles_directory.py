"""A directory store in memory that a test can hold up or make fail."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hub.model.errors import RevisionConflict, StorageFailed
from hub.model.event import EventDraft
from hub.model.record import Kind, Record


class StoreInMemory:
    """`ports.engine.Directory`, with its revisions. `failing`: no commit happens. `gate`: commits wait for it."""

    def __init__(self) -> None:
        self.records: dict[tuple[Kind, str], Record] = {}
        self.commits: list[list[Record]] = []
        self.drafts: list[EventDraft] = []
        self.accounts: dict[str, str] = {}
        self.failing = False
        self.gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()

    async def put(
        self, records: Sequence[Record], drafts: Sequence[EventDraft] = (), accounts: Mapping[str, str] = {}
    ) -> Sequence[Record]:
        await self._commit()
        for record in records:
            held = self.records.get((record.kind, record.id))
            if (held.revision if held else 0) != record.revision:
                raise RevisionConflict(record.id)
        stored = [replace(record, revision=record.revision + 1) for record in records]
        self.records.update({(record.kind, record.id): record for record in stored})
        self.commits.append(stored)
        self._told(drafts, accounts)
        return stored

    async def get(self, kind: Kind, id: str) -> Record | None:
        return self.records.get((kind, id))

    async def list(self, kind: Kind) -> Sequence[Record]:
        return sorted((record for record in self.records.values() if record.kind is kind), key=lambda it: it.id)

    async def delete(
        self, records: Sequence[Record], drafts: Sequence[EventDraft] = (), accounts: Mapping[str, str] = {}
    ) -> None:
        await self._commit()
        for record in records:
            held = self.records.get((record.kind, record.id))
            if held is None or held.revision != record.revision:
                raise RevisionConflict(record.id)
        for record in records:
            del self.records[record.kind, record.id]
        self._told(drafts, accounts)

    async def _commit(self) -> None:
        self.waiting.set()
        if self.gate is not None:
            await self.gate.wait()
        else:
            await asyncio.sleep(0)
        if self.failing:
            raise StorageFailed("the disk says no")

    def _told(self, drafts: Sequence[EventDraft], accounts: Mapping[str, str]) -> None:
        self.drafts += drafts
        self.accounts.update(accounts)
