"""Requests that wait for their end: at most so many of one account, and none longer than the bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import anyio
from starlette.requests import Request

from hub.core.hub import Hub
from hub.model.call import CallState
from hub.model.errors import TooMany
from hub.model.ids import CallId


class Waiting:
    """The seats of those who wait."""

    def __init__(self, hub: Hub, bound: timedelta, most: int) -> None:
        self._hub = hub
        self._bound = bound
        self._most = most
        self._seated: Counter[str] = Counter()

    @property
    def until(self) -> float:
        """The monotonic time at which a wait that begins now is over."""
        return self._hub.clock.monotonic() + self._bound.total_seconds()

    @contextmanager
    def seat(self, account: str) -> Iterator[None]:
        """A seat for the length of the block. Raises TooMany when all of the account's are taken."""
        if self._seated[account] >= self._most:
            raise TooMany("Too many requests of this account wait already.", code="too-many-waits", retry_after=1)
        self._seated[account] += 1
        try:
            yield
        finally:
            self._seated[account] -= 1
            if not self._seated[account]:
                del self._seated[account]

    async def ended(self, request: Request, call: CallId) -> CallState | None:
        """The call once it has ended, or as it stands when the wait is over. A client that goes away ends the wait,
        and nothing else."""
        state: CallState | None = None
        async with anyio.create_task_group() as tasks:

            async def leave() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(leave)
            state = await self._hub.calls.wait_end(call, self.until)
            tasks.cancel_scope.cancel()
        return state
