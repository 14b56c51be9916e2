"""A receiver of callbacks on loopback: real HTTP, its answers chosen by the test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Got:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Answering = Callable[[Got], Awaitable[web.StreamResponse]]


class Receiver:
    """Remembers requests in `got`, answers by `status` and `headers`, or holds them until `let_go` is set."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.status = 204
        self.statuses: dict[str, int] = {}
        self.headers: dict[str, str] = {}
        self.body = b""
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.got: asyncio.Queue[Got] = asyncio.Queue()
        self.under_way = 0
        self.most_under_way = 0

    async def next(self) -> Got:
        """The next request."""
        async with asyncio.timeout(PATIENCE):
            return await self.got.get()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            body = await request.read()
            self.got.put_nowait(Got(request.method, request.path_qs, dict(request.headers), body))
            await self.let_go.wait()
            status = self.statuses.get(request.path, self.status)
            return web.Response(status=status, headers=self.headers, body=self.body)
        finally:
            self.under_way -= 1


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver that listens from here to the end of the block."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    receiver = Receiver(listener.getsockname()[1])
    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{rest:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield receiver
    finally:
        receiver.let_go.set()
        await runner.cleanup()
