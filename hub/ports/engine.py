"""The engine seam: five small groups that hold everything the hub may not lose.

An engine keeps facts; it decides nothing but its guarded updates. Every write is durable when its
coroutine returns. `on_commit` is called on the event loop, once per commit that has events and in commit
order, with the events of that commit, before any coroutine that waited for that commit resumes (decisions F3).
One contract suite in `tests/contracts/engine.py` runs on every engine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from hub.model.call import Call, CallState, Stage
from hub.model.delivery import Delivery, DeliveryDraft
from hub.model.event import ChannelInfo, Event, EventDraft, Page, Position, ReaderInfo
from hub.model.ids import CallId, Incarnation
from hub.model.outcome import Outcome
from hub.model.query import Query, Stretch
from hub.model.record import Kind, Record


@dataclass(frozen=True, slots=True)
class IdempotencyMark:
    """What is remembered of a request that carried an Idempotency-Key: its fingerprint and its calls."""

    application: str
    key: str
    fingerprint: bytes
    expires_at: datetime
    calls: tuple[CallId, ...] = ()
    answer: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The calls are on disk. `claimed` went to SENT in the same commit (attempt 1)."""

    claimed: frozenset[CallId]


@dataclass(frozen=True, slots=True)
class Remembered:
    """The idempotency key was used before; nothing was written."""

    mark: IdempotencyMark


@dataclass(frozen=True, slots=True)
class End:
    """The end of one call, written whole or not at all. `made`: the instance that it made, for searches of jobs."""

    call: CallId
    outcome: Outcome
    at: datetime
    drafts: tuple[EventDraft, ...] = ()
    deliveries: tuple[DeliveryDraft, ...] = ()
    made: str | None = None


@dataclass(frozen=True, slots=True)
class CallQuery:
    """Filters of a listing of calls; newest first; `after` is the last id of the page before."""

    account: str
    application: str | None = None
    device: str | None = None
    ref: str | None = None
    stages: tuple[Stage, ...] = ()
    ending: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: CallId | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of the jobs of one array, or of commands, and its place among all that the query finds."""

    states: tuple[CallState, ...]
    place: Stretch


class Journal(Protocol):
    """The calls. Stages move only as `model/lifecycle.py` allows; a guard that fails is told, not raised."""

    async def accept(
        self,
        calls: Sequence[Call],
        incarnation: Incarnation,
        send_now: Collection[CallId] = (),
        mark: IdempotencyMark | None = None,
    ) -> Accepted | Remembered:
        """Take responsibility for all calls in one commit, claiming `send_now` in the same.

        With a mark whose (application, key) is remembered and not expired nothing is written and the older mark
        is returned.
        """
        ...

    async def recall(self, application: str, key: str, now: datetime) -> IdempotencyMark | None:
        """The mark of an idempotency key that has not expired."""
        ...

    async def claim(self, ids: Collection[CallId], incarnation: Incarnation, at: datetime) -> frozenset[CallId]:
        """ACCEPTED or PARKED -> SENT, attempt + 1; returns those that moved. The written intent to send."""
        ...

    async def release(
        self, ids: Collection[CallId], incarnation: Incarnation, *, park: bool = False, retry_used: bool = False
    ) -> frozenset[CallId]:
        """SENT -> ACCEPTED (or PARKED), if this incarnation holds the claim; returns those that moved."""
        ...

    async def park(self, ids: Collection[CallId]) -> frozenset[CallId]:
        """ACCEPTED -> PARKED."""
        ...

    async def adopt(self, ids: Collection[CallId], incarnation: Incarnation) -> frozenset[CallId]:
        """Take over SENT and WAITING calls of an earlier incarnation after a restart."""
        ...

    async def checkpoint(self, call: CallId, incarnation: Incarnation, note: bytes) -> bool:
        """Store the adapter's note and move SENT (or WAITING) -> WAITING; False if the call had moved on."""
        ...

    async def finish(self, end: End) -> int | None:
        """End a call: outcome, channel events and delivery rows in one commit; the only road to a completion.

        Returns the offset of the first draft (0 without drafts), or None, changing nothing, if the call had ended.
        A draft's channel that does not exist is made. Raises StorageFailed if the commit did not happen.
        """
        ...

    async def get(self, call: CallId) -> CallState | None:
        """One call as it stands."""
        ...

    async def list(self, query: CallQuery) -> Sequence[CallState]:
        """A page of calls, newest first."""
        ...

    async def jobs(self, account: str, device: str, query: Query) -> JobPage:
        """The calls of one device that were accepted with `job`, by a query of `model/job_shape.py`: as
        `model/query.py` finds them; without an order the oldest first. Raises OutOfRange."""
        ...

    async def commands(self, application: str, organisation: str, device: str, query: Query) -> JobPage:
        """The calls that an organisation sent to a device through an application with `spec.command`, by a query of
        `model/command.py`'s shape; without an order the oldest first. Raises OutOfRange."""
        ...

    def open_calls(self) -> AsyncIterator[Sequence[CallState]]:
        """Every call that has not ended, oldest first, in pages: how the dispatcher is rebuilt at start."""
        ...

    def under_way_since(self, adapter: str, since: datetime) -> AsyncIterator[Sequence[CallState]]:
        """The calls of one adapter that were claimed at least once and had not ended before `since`, oldest first, in
        pages: a walk through the whole journal."""
        ...

    async def forget(self, ended_before: datetime, keep: int, limit: int = 500) -> int:
        """Remove ended calls older than `ended_before` or beyond `keep` in number, oldest first; at most `limit` rows.

        Expired marks and dead letters older than `ended_before` go with them; a call that an unexpired mark names
        stays. Returns how many rows went: less than `limit` means that nothing is left to remove.
        """
        ...


class ChannelLog(Protocol):
    """Named, ordered, retained logs of events."""

    async def open(self, channel: str, account: str) -> ChannelInfo:
        """The channel, made (with a fresh epoch) if there was none."""
        ...

    async def append(self, drafts: Sequence[EventDraft], accounts: Mapping[str, str]) -> Sequence[Event]:
        """Add events in one commit; missing channels are made for `accounts[channel]`."""
        ...

    async def read(self, channel: str, after: Position, limit: int, max_bytes: int = 1 << 20) -> Page:
        """Events after a position, at most `limit` and about `max_bytes`.

        A gap is told when the epoch is another (`reason="epoch"`) or the next offset is no longer retained
        (`"retention"`); the page then begins at what there is. Raises NotFound for no such channel.
        """
        ...

    async def channels(self, account: str | None = None) -> Sequence[ChannelInfo]:
        """All channels, of one account or of all."""
        ...

    async def info(self, channel: str) -> ChannelInfo | None:
        """One channel, None if there is none; it is not made by looking."""
        ...

    async def delete(self, channel: str) -> bool:
        """Remove a channel with its events and stored positions; a new one of that name gets a new epoch."""
        ...

    async def store_position(self, channel: str, reader: str, position: Position, *, forward_only: bool = True) -> None:
        """Remember how far a named reader came, and that it was here now; an older position of the same epoch moves
        nothing."""
        ...

    async def position(self, channel: str, reader: str) -> Position | None:
        """The stored position of a named reader."""
        ...

    async def readers(self, *, application: str | None = None, channel: str | None = None) -> Sequence[ReaderInfo]:
        """Named readers of one channel, of an application's channels, or of all; by channel and name."""
        ...

    async def forget_reader(self, channel: str, reader: str) -> None:
        """Remove a named reader's position."""
        ...

    async def trim(self, before: datetime, max_events: int, max_bytes: int, limit: int = 500) -> int:
        """Remove events that retention no longer covers, at most `limit` per commit; returns how many."""
        ...


@dataclass(frozen=True, slots=True)
class LetterSearch:
    """Narrows a listing of dead letters. `since` and `until` (exclusive) are about when they died; `first` and `last`
    about their ids, both included; `after` is (dead_at, id) of the last letter of the page before."""

    application: str | None = None
    ids: tuple[int, ...] | None = None
    first: int | None = None
    last: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: tuple[datetime, int] | None = None


class Outbox(Protocol):
    """Deliveries to listeners that are not connected."""

    async def due(
        self,
        now: datetime,
        limit: int,
        exclude: Collection[str] = (),
        exclude_applications: Collection[str] = (),
        exclude_accounts: Collection[str] = (),
    ) -> Sequence[Delivery]:
        """Rows due at `now`, oldest first, skipping the endpoints in `exclude`, and whatever is these applications'
        (the first part of the channel's name) or accounts'."""
        ...

    async def next_due(self, after: datetime | None = None) -> datetime | None:
        """When the next row is due (of those due later than `after`), None when there is none."""
        ...

    async def event(self, delivery: int) -> Event | None:
        """The event that a row carries, also when its channel retains it no longer; None when the row is gone."""
        ...

    async def delivered(self, delivery: int) -> None:
        """The receiver took it: the row goes."""
        ...

    async def failed(self, delivery: int, error: str, due_at: datetime | None) -> None:
        """An attempt failed: due again at `due_at`, or a dead letter when None."""
        ...

    async def dead(
        self, account: str, endpoint: str | None = None, limit: int = 100, search: LetterSearch | None = None
    ) -> Sequence[Delivery]:
        """Dead letters, the one that died last first."""
        ...

    async def replay(self, deliveries: Collection[int], due_at: datetime) -> int:
        """Make dead letters due again, with the same event and so the same message id."""
        ...


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
