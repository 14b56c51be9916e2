"""The adapter's own background tasks: all of them end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from hub.ports.adapter import AdapterContext

MOST_TASKS = 2000


class Crew:
    """Tasks of the hub that the adapter can count and end. Whoever spawns at a stranger's word looks at `full`."""

    def __init__(self, ctx: AdapterContext, most: int = MOST_TASKS) -> None:
        self._ctx = ctx
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def full(self) -> bool:
        """Whether there are as many as there should be."""
        return len(self._tasks) >= self._most

    def spawn(self, coro: Coroutine[Any, Any, None], name: str) -> None:
        """Run it until it ends or `stop` is called; a failure is logged by the hub."""
        task = self._ctx.spawn(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel every one and return when none is left."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
