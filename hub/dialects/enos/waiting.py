"""Requests that wait for the end of their call: at most so many of one account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from starlette.requests import Request

from hub.core.hub import Hub
from hub.dialects.enos.failure import SYNC_FULL, Failure
from hub.model.call import Call, CallState
from hub.ports.clock import monotonic_at

GRACE = 5.0


class Waiting:
    """Those who wait."""

    def __init__(self, hub: Hub, most: int) -> None:
        self._hub = hub
        self._most = most
        self._seated: Counter[str] = Counter()

    @contextmanager
    def seat(self, account: str) -> Iterator[None]:
        """A seat for the length of the block, taken before anything is awaited. Raises Failure when as many of the
        account wait as may."""
        if self._seated[account] >= self._most:
            raise Failure(SYNC_FULL)
        self._seated[account] += 1
        try:
            yield
        finally:
            self._seated[account] -= 1
            if not self._seated[account]:
                del self._seated[account]

    async def ended(self, request: Request, call: Call) -> CallState | None:
        """The call once it has ended, or as it stands when the hub goes down. A client that goes away ends the wait and
        nothing else."""
        state: CallState | None = None
        # The deadline ends the call; the rest is for writing that down.
        until = monotonic_at(self._hub.clock, call.deadline) + GRACE
        async with anyio.create_task_group() as tasks:

            async def leave() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(leave)
            state = await self._hub.calls.wait_end(call.id, until)
            tasks.cancel_scope.cancel()
        return state
