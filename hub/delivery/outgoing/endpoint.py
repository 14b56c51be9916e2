"""Endpoints that fail: since when, on disk, so that a restart forgives nothing (delivery-guarantees F6).

An endpoint that fails is tried by one delivery at a time. After five days without one success it is disabled: every
delivery is tried once and then dead. One success makes it good again.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from hub.core.directory import Directory
from hub.model.delivery import Delivery
from hub.model.record import Kind, Record
from hub.ports.clock import Clock

PATIENCE = timedelta(days=5)
MOST_REMEMBERED = 10_000

audit = logging.getLogger("hub.audit")


class Endpoints:
    """The failing endpoints, by name; all others are good and cost nothing."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._failing: dict[str, datetime] = {}

    def load(self) -> None:
        """Know the stored ones, oldest first. Call after the directory was loaded."""
        records = self._directory.records(Kind.ENDPOINT)
        since = {record.id: datetime.fromisoformat(record.body["failing_since"]) for record in records}
        self._failing = dict(sorted(since.items(), key=lambda entry: entry[1]))

    def failing(self, endpoint: str) -> bool:
        """Whether the last attempt at this endpoint failed."""
        return endpoint in self._failing

    def disabled(self, endpoint: str) -> bool:
        """Whether it has failed for five days."""
        since = self._failing.get(endpoint)
        return since is not None and self._clock.now() - since >= PATIENCE

    async def failed(self, delivery: Delivery) -> None:
        """An attempt failed. Raises StorageFailed."""
        endpoint = delivery.endpoint
        since = self._failing.get(endpoint)
        if since is None:
            now = self._clock.now()
            if len(self._failing) >= MOST_REMEMBERED:
                oldest = next(iter(self._failing))
                await self._directory.delete(Kind.ENDPOINT, oldest)
                self._failing.pop(oldest, None)
            await self._put(delivery, now, disabled=False)
            self._failing.setdefault(endpoint, now)
        elif self.disabled(endpoint):
            record = self._directory.record(Kind.ENDPOINT, endpoint)
            if record is None or not record.body.get("disabled"):
                await self._put(delivery, since, disabled=True)
                audit.warning("callback endpoint disabled", extra={"endpoint": endpoint, "since": since.isoformat()})

    async def succeeded(self, delivery: Delivery) -> None:
        """An attempt was taken. Raises StorageFailed."""
        if delivery.endpoint in self._failing:
            await self._directory.delete(Kind.ENDPOINT, delivery.endpoint)
            self._failing.pop(delivery.endpoint, None)

    async def _put(self, delivery: Delivery, since: datetime, *, disabled: bool) -> None:
        body = {"failing_since": since.isoformat(), "disabled": disabled}
        await self._directory.put(Record(Kind.ENDPOINT, delivery.endpoint, delivery.account, body))
