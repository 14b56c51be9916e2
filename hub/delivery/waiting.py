"""HTTP requests that wait for the end of their call: at most so many of one account.

Which calls are waited for, for how long, and what is said to who gets no seat is each dialect's own.
"""

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
    """The seats of those who wait, `most` for each account."""

    def __init__(self, hub: Hub, most: int) -> None:
        self._hub = hub
        self._most = most
        self._seated: Counter[str] = Counter()

    @contextmanager
    def seat(self, account: str) -> Iterator[bool]:
        """A seat for the length of the block, taken before anything is awaited; False when all of the account's are
        taken."""
        if self._seated[account] >= self._most:
            yield False
            return
        self._seated[account] += 1
        try:
            yield True
        finally:
            self._seated[account] -= 1
            if not self._seated[account]:
                del self._seated[account]

    async def ended(self, request: Request, call: CallId, until: float) -> CallState | None:
        """The call once it has ended, or as it stands at monotonic time `until`. A client that goes away ends the wait
        and nothing else."""
        state: CallState | None = None
        async with anyio.create_task_group() as tasks:

            async def leave() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(leave)
            state = await self._hub.calls.wait_end(call, until)
            tasks.cancel_scope.cancel()
        return state
