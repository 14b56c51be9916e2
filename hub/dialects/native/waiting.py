"""Requests that wait for the end of their call (`Prefer: wait`): at most so many of one account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from starlette.requests import Request

from hub.core.hub import Hub
from hub.model.call import CallState
from hub.model.ids import CallId


class Waiting:
    """Those who wait."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._seated: Counter[str] = Counter()

    @contextmanager
    def seat(self, account: str) -> Iterator[bool]:
        """A seat for the length of the block; False when as many of the account wait as may.

        A preference may be passed over (RFC 7240): who gets no seat is answered as if it had not asked for one.
        """
        if self._seated[account] >= self._hub.limits.waits_per_account:
            yield False
            return
        self._seated[account] += 1
        try:
            yield True
        finally:
            self._seated[account] -= 1
            if not self._seated[account]:
                del self._seated[account]

    async def ended(self, request: Request, call: CallId, seconds: int) -> CallState | None:
        """The call once it has ended, or as it stands after `seconds`. A client that goes away ends the wait and
        nothing else."""
        state: CallState | None = None
        async with anyio.create_task_group() as tasks:

            async def leave() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(leave)
            state = await self._hub.calls.wait_end(call, self._hub.clock.monotonic() + seconds)
            tasks.cancel_scope.cancel()
        return state
