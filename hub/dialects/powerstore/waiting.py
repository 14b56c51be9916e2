"""Requests that wait for their end: at most so many of one account, and none longer than the bound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from starlette.requests import Request

from hub.core.hub import Hub
from hub.delivery.waiting import Waiting
from hub.model.call import CallState
from hub.model.errors import TooMany
from hub.model.ids import CallId


class PowerStoreWaiting:
    """The seats of those who wait."""

    def __init__(self, hub: Hub, bound: timedelta, most: int) -> None:
        self._clock = hub.clock
        self._bound = bound
        self._waiting = Waiting(hub, most)

    @property
    def until(self) -> float:
        """The monotonic time at which a wait that begins now is over."""
        return self._clock.monotonic() + self._bound.total_seconds()

    @contextmanager
    def seat(self, account: str) -> Iterator[None]:
        """A seat for the length of the block. Raises TooMany when all of the account's are taken."""
        with self._waiting.seat(account) as seated:
            if not seated:
                raise TooMany("Too many requests of this account wait already.", code="too-many-waits", retry_after=1)
            yield

    async def ended(self, request: Request, call: CallId) -> CallState | None:
        """The call once it has ended, or as it stands when the wait is over."""
        return await self._waiting.ended(request, call, self.until)
