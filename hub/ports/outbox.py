"""The outbox of an engine: deliveries that are due, and dead letters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from hub.model.delivery import Delivery
from hub.model.event import Event


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
