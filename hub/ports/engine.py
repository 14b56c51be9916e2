"""The engine seam: five small groups that hold everything the hub may not lose.

An engine keeps facts; it decides nothing but its guarded updates. Every write is durable when its
coroutine returns. `on_commit` is called on the event loop, once per commit that has events and in commit
order, with the events of that commit, before any coroutine that waited for that commit resumes (decisions F3).
The three larger groups have pages of their own (`journal.py`, `channel_log.py`, `outbox.py`); whoever uses the seam
finds all of it here. One contract suite in `tests/contracts/engine.py` runs on every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from hub.model.event import Event, EventDraft
from hub.model.record import Kind, Record
from hub.ports.channel_log import ChannelLog
from hub.ports.journal import Accepted, CallQuery, End, IdempotencyMark, JobPage, Journal, Remembered
from hub.ports.outbox import LetterSearch, Outbox

__all__ = [
    "Accepted", "Bell", "CallQuery", "ChannelLog", "Directory", "End", "Engine", "IdempotencyMark", "JobPage",
    "Journal", "LetterSearch", "OnCommit", "Outbox", "Remembered", "Ringing", "Sealer",
]  # fmt: skip


class Directory(Protocol):
    """Typed, revisioned records."""

    async def put(
        self, records: Sequence[Record], drafts: Sequence[EventDraft] = (), accounts: Mapping[str, str] = {}
    ) -> Sequence[Record]:
        """Write records and the events that tell of them in one commit; returns them with their new revisions.

        Raises RevisionConflict, writing nothing, if any record is not at the revision it carries (0 = must be new).
        """
        ...

    async def get(self, kind: Kind, id: str) -> Record | None:
        """One record, secret unsealed."""
        ...

    async def list(self, kind: Kind) -> Sequence[Record]:
        """All records of a kind."""
        ...

    async def delete(
        self, records: Sequence[Record], drafts: Sequence[EventDraft] = (), accounts: Mapping[str, str] = {}
    ) -> None:
        """Remove records at their revisions, with the events that tell of it, in one commit."""
        ...


class Ringing(Protocol):
    """A listener of the bell."""

    async def wait(self) -> None:
        """Return when the topic was rung since the last wait; several rings are one."""
        ...


class Bell(Protocol):
    """Wakes somebody; carries no data; a lost ring costs a poll."""

    def ring(self, topic: str) -> None: ...

    def listen(self, topic: str) -> AbstractContextManager[Ringing]: ...


class Sealer(Protocol):
    """Seals what must be computed with, bound to the record it belongs to (`context`)."""

    def seal(self, plain: bytes, context: bytes) -> bytes: ...

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """Raises Damaged when the key or the context is another."""
        ...


OnCommit = Callable[[Sequence[Event]], None]


class Engine(Protocol):
    """The five groups with one life."""

    @property
    def journal(self) -> Journal: ...

    @property
    def log(self) -> ChannelLog: ...

    @property
    def outbox(self) -> Outbox: ...

    @property
    def directory(self) -> Directory: ...

    @property
    def bell(self) -> Bell: ...

    async def start(self, on_commit: OnCommit) -> None:
        """Open, check, bring the schema up to date. Raises Locked, Damaged."""
        ...

    async def stop(self) -> None:
        """Write what waits, then close."""
        ...

    def health(self) -> Mapping[str, Any]:
        """`{"state": "up" | "failed", "durability": ..., ...}`; after a failed sync `failed` until the process ends."""
        ...
