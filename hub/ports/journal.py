"""The journal of an engine: every call that was taken on, how it stands and how it ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from hub.model.call import Call, CallState, Stage
from hub.model.delivery import DeliveryDraft
from hub.model.event import EventDraft
from hub.model.ids import CallId, Incarnation
from hub.model.outcome import Outcome
from hub.model.query import Query, Stretch


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
        self,
        ids: Collection[CallId],
        incarnation: Incarnation,
        *,
        park: bool = False,
        retry_used: bool = False,
        maybe_sent: bool = False,
    ) -> frozenset[CallId]:
        """SENT -> ACCEPTED (or PARKED), if this incarnation holds the claim; returns those that moved. `maybe_sent` is
        remembered from then on."""
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
        """A page of calls, newest first. A search: it is cut when it takes too long, and holds up nothing else that is
        read. Raises Unavailable when it was cut, or cannot be begun."""
        ...

    async def jobs(self, account: str, device: str, query: Query) -> JobPage:
        """The calls of one device that were accepted with `job`, by a query of `model/job_shape.py`: as
        `model/query.py` finds them; without an order the oldest first. A search, as `list`. Raises OutOfRange,
        Unavailable."""
        ...

    async def commands(self, application: str, organisation: str, device: str, query: Query) -> JobPage:
        """The calls that an organisation sent to a device through an application with `spec.command`, by a query of
        `model/command.py`'s shape; without an order the oldest first. A search, as `list`. Raises OutOfRange,
        Unavailable."""
        ...

    def open_calls(self) -> AsyncIterator[Sequence[CallState]]:
        """Every call that has not ended, oldest first, in pages: how the dispatcher is rebuilt at start."""
        ...

    def under_way_since(self, adapter: str, since: datetime) -> AsyncIterator[Sequence[CallState]]:
        """The calls of one adapter that were claimed at least once and had not ended before `since`, oldest first, in
        pages: a walk through the whole journal, which waits for no search."""
        ...

    async def forget(self, ended_before: datetime, keep: int, limit: int = 500) -> int:
        """Remove ended calls older than `ended_before` or beyond `keep` in number, oldest first; at most `limit` rows.

        Expired marks and dead letters older than `ended_before` go with them; a call that an unexpired mark names
        stays. Returns how many rows went: less than `limit` means that nothing is left to remove.
        """
        ...
