"""Writes of records under way: each is a task of its own, and those of one record stand in line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from hub.model.record import Kind

T = TypeVar("T")


class Writes:
    """A caller that is cancelled while its commit is under way must not leave memory behind the store: the write
    goes on without it."""

    def __init__(self) -> None:
        self._lines: dict[tuple[Kind, str], tuple[asyncio.Lock, list[None]]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def settle(self) -> None:
        """Return when none is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def owned(self, write: Coroutine[Any, Any, T]) -> T:
        """Run a write to its end and return what it gives, or raise what it raises."""
        return await asyncio.shield(self.start(write))

    def start(self, write: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a write that nobody needs to wait for."""
        task = asyncio.get_running_loop().create_task(write, name="directory write")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Told to whoever waits; that the waiter left is no reason for a warning.

    @asynccontextmanager
    async def line(self, kind: Kind, id: str) -> AsyncIterator[None]:
        """Stand in line with the other writes of one record, first come first served."""
        lock, standing = self._lines.setdefault((kind, id), (asyncio.Lock(), []))
        standing.append(None)
        try:
            async with lock:
                yield
        finally:
            standing.pop()
            if not standing:
                del self._lines[kind, id]
