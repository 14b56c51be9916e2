"""The HTTP adapter on a bench: servers that do what they are told, a hub that is a double, a clock moved by hand."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from adapters.http.adapter import HttpAdapter, create
from adapters.http.double import CALL_ID, Server
from hub.ports.adapter import DeviceRequest, DeviceResponse
from tests.contracts.adapter_case import within
from tests.contracts.context import ContextDouble

_numbers = itertools.count()


class Bench:
    """One upstream `array` and what can be done with it."""

    def __init__(self, server: Server, adapter: HttpAdapter, ctx: ContextDouble) -> None:
        self.server = server
        self.adapter = adapter
        self.ctx = ctx
        self.clock = ctx.clock

    def request(self, method: str = "PATCH", target: str = "/volume/7", **more: Any) -> DeviceRequest:
        more.setdefault("call_id", f"0197f000-0000-7000-8000-{next(_numbers):012x}")
        more.setdefault("deadline", self.clock.monotonic() + 3600)
        more.setdefault("device", "array")
        if method != "GET":
            more.setdefault("payload", b'{"size":1}')
        return DeviceRequest(method=method, target=target, **more)

    def begin(self, request: DeviceRequest) -> asyncio.Task[DeviceResponse]:
        return asyncio.get_running_loop().create_task(self.adapter.call(request))

    async def call(self, *args: Any, **more: Any) -> DeviceResponse:
        return await within(self.adapter.call(self.request(*args, **more)))

    async def submitted(self, request: DeviceRequest | None = None) -> asyncio.Task[DeviceResponse]:
        """A change that its upstream holds; the task of its call."""
        self.ctx.checkpointed.clear()
        task = self.begin(request or self.request())
        await within(self.ctx.checkpointed.wait())
        return task

    async def quiet(self) -> None:
        """Let what is due be asked and answered; the clock stands still meanwhile."""
        async with asyncio.timeout(10):
            for _ in range(5):
                await asyncio.sleep(0)
            while any(place.submits is not None and place.submits.jobs.asking for place in self.places):  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def pass_time(self, seconds: float, step: float = 0.5) -> None:
        """Move the clock on, in steps."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            await self.quiet()

    @property
    def places(self) -> list[Any]:
        return list(self.adapter._places.values())

    @property
    def jobs(self) -> Any:
        return self.places[0].submits.jobs

    def asked(self, path: str = "/api/job") -> list[Any]:
        """The questions after jobs."""
        return [heard for heard in self.server.heard if heard.method == "GET" and heard.path.startswith(path)]

    def changes(self) -> list[Any]:
        """The changes that reached the upstream."""
        return [heard for heard in self.server.heard if heard.method != "GET"]

    async def restart(self, **changed: Any) -> None:
        """Another process of the hub."""
        await self.adapter.stop(1)
        self.adapter = create({**self.settings, **changed})
        await self.adapter.start(self.ctx)

    settings: dict[str, Any]


@asynccontextmanager
async def bench(upstream: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[Bench]:
    """A bench with a job upstream, unless the settings say `jobs = "none"`; nothing may be left of it."""
    server = Server("array")
    table: dict[str, Any] = {
        "jobs": "powerstore", "inflight": 1000, "call_id": CALL_ID,
        "upstreams": {"array": {"url": server.url, **(upstream or {})}}, **settings,
    }  # fmt: skip
    ctx = ContextDouble()
    server.clock = ctx.clock
    made = Bench(server, create(table), ctx)
    made.settings = table
    await server.open()
    await made.adapter.start(ctx)
    try:
        yield made
    finally:
        await within(made.adapter.stop(1))
        await within(server.close())
    assert ctx.tasks == 0
