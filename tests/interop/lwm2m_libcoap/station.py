"""An LwM2M adapter on real sockets, and libcoap's programs beside it."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.lwm2m.adapter import LwM2MAdapter
from adapters.lwm2m.memory import remembered
from adapters.lwm2m.registration import Registration
from adapters.lwm2m.settings import LwM2MSettings
from hub.ports.adapter import DeviceRequest, DeviceResponse
from hub.ports.clock import SystemClock
from tests.wires.lwm2m_context import LwM2MContext

PATIENCE = 15.0
_numbers = itertools.count()


class Station:
    """A started adapter; `port` and `secure` are where it is."""

    def __init__(self, ctx: LwM2MContext, adapter: LwM2MAdapter) -> None:
        self.ctx = ctx
        self.adapter = adapter

    @property
    def port(self) -> int:
        return int(self.adapter.health()["port"])

    @property
    def secure(self) -> int:
        return int(self.adapter.health()["dtls_port"])

    def request(self, device: str, method: str, target: str, **more: Any) -> DeviceRequest:
        more.setdefault("deadline", self.ctx.clock.monotonic() + PATIENCE)
        return DeviceRequest(f"call-{next(_numbers)}", device, method, target, **more)

    async def call(self, device: str, method: str, target: str, **more: Any) -> DeviceResponse:
        return await self.adapter.call(self.request(device, method, target, **more))


@asynccontextmanager
async def station(ctx: LwM2MContext | None = None, **more: Any) -> AsyncIterator[Station]:
    """An adapter on free ports of the loopback."""
    ctx = ctx or LwM2MContext(SystemClock())  # type: ignore[arg-type]
    adapter = LwM2MAdapter(LwM2MSettings(port=0, dtls_port=0, open=True, **more))
    await adapter.start(ctx)
    try:
        yield Station(ctx, adapter)
    finally:
        await adapter.stop(1)
        assert ctx.tasks == 0


async def run(program: Path, *args: str, within: float = PATIENCE) -> str:
    """What a program says, once it has ended well."""
    process = await asyncio.create_subprocess_exec(
        program, *args, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(within):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, out.decode()
    return out.decode()


@asynccontextmanager
async def server(program: Path) -> AsyncIterator[int]:
    """libcoap's example server on a free port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        program, "-A", "127.0.0.1", "-p", str(port), "-d", "10", stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.terminate()
        await process.wait()


def device_at(ctx: LwM2MContext, name: str, port: int) -> None:
    """Let a device at this port be registered since before the start, as after a restart of the hub."""
    registration = Registration(name, name, f"location-{name}", ("127.0.0.1", port), None, 1, ctx.clock.now())
    registration.expires = ctx.clock.monotonic() + 3600
    ctx.kept[name] = remembered(registration, ctx.clock)
