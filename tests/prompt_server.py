"""uvicorn without its pauses: it looks at flags ten times a second, and every served test would wait for that twice."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

PATIENCE = 5.0


class _Members(set[Any]):
    """A set that tells when the last member has gone."""

    def __init__(self) -> None:
        super().__init__()
        self._gone = asyncio.Event()

    def discard(self, element: Any) -> None:
        super().discard(element)
        if not self:
            self._gone.set()

    remove = discard

    async def gone(self) -> None:
        while self:
            self._gone.clear()
            await self._gone.wait()


class PromptServer(uvicorn.Server):
    """A server that leaves the process's signals alone, says when it is `up`, and goes when it is told to `leave`: its
    connections are asked to end, and what still runs then is cancelled after the configured time."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self.leave = asyncio.Event()
        self.server_state.connections = self._connections = _Members()
        self.server_state.tasks = self._tasks = _Members()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.leave.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self._connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                await self._connections.gone()
                await self._tasks.gone()
        except TimeoutError:
            for task in self._tasks:
                task.cancel()
        await self.lifespan.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(config: uvicorn.Config, listener: socket.socket) -> AsyncIterator[PromptServer]:
    """A server on a listening socket, answering from here to the end of the block."""
    server = PromptServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(PATIENCE):
            await server.up.wait()
        yield server
    finally:
        server.leave.set()
        async with asyncio.timeout((config.timeout_graceful_shutdown or 0) + PATIENCE):
            await task
