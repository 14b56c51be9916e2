"""A rig of the broker mode on a test bench: its own broker where one is to be killed, the context double above."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from adapters.mqtt.broker.adapter import BrokerAdapter
from adapters.mqtt.broker.double import DeviceDouble
from adapters.mqtt.broker.mosquitto import PROGRAM, Mosquitto
from adapters.mqtt.broker.rig import Rig, create_rig
from hub.ports.adapter import DeviceRequest, DeviceResponse
from tests.clock import ManualClock
from tests.contracts.context import ContextDouble
from tests.require import require

PATIENCE = 5.0
_numbers = itertools.count()


class Bench:
    """The rig, what its adapter tells the hub, and the clock."""

    def __init__(self, rig: Rig, ctx: ContextDouble) -> None:
        self.rig = rig
        self.ctx = ctx
        self.clock: ManualClock = ctx.clock

    @property
    def adapter(self) -> BrokerAdapter:
        return self.rig.adapter

    @property
    def broker(self) -> Mosquitto:
        return self.rig.broker

    def request(self, device: str, method: str = "POST", **more: Any) -> DeviceRequest:
        more.setdefault("call_id", f"0197f000-0000-7000-9000-{next(_numbers):012x}")
        more.setdefault("deadline", self.clock.monotonic() + 30)
        more.setdefault("target", self.rig.target)
        return DeviceRequest(device=device, method=method, **more)

    async def call(self, device: str, method: str = "POST", **more: Any) -> DeviceResponse:
        """One call whose answer the hub holds, so that it is acknowledged."""
        async with asyncio.timeout(PATIENCE):
            response = await self.adapter.call(self.request(device, method, **more))
        if response.held is not None:
            response.held()
        return response

    async def begin(self, device: str, **more: Any) -> tuple[DeviceRequest, asyncio.Task[DeviceResponse]]:
        request = self.request(device, **more)
        return request, asyncio.get_running_loop().create_task(self.adapter.call(request))

    async def call_barrier(self, double: DeviceDouble) -> None:
        """A whole round trip with a device: what it sent before has been dealt with."""
        double.go()
        assert (await self.call(double.address, payload=b"barrier")).payload == b"barrier"

    async def up(self) -> None:
        """The adapter is at its broker again; the clock passes the pauses before attempts, and no time of theirs."""
        links = self.adapter.links
        async with asyncio.timeout(PATIENCE):
            while not all(link.up for link in links):
                if all(link.up or link.resting for link in links):
                    self.clock.advance(60)
                    await turns(3)
                await turns()

    async def turns(self, n: int = 20) -> None:
        """Let the loop go round."""
        await turns(n)


async def turns(n: int = 1) -> None:
    """Let the loop go round."""
    for _ in range(n):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Return once something is so that nobody rings for."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await turns()


@asynccontextmanager
async def bench(
    speak: str = "mqtt5", *, broker: Mosquitto | None = None, account: str | None = None,
    ctx: ContextDouble | None = None, **settings: Any,
) -> AsyncIterator[Bench]:
    """A rig with a started adapter."""
    require(PROGRAM)
    if broker is not None:
        settings["url"] = broker.url
    rig = create_rig(None, inflight=settings.pop("window", 16), variant=speak, **settings)  # type: ignore[arg-type]
    if broker is not None:
        rig.broker = broker
    ctx = ctx or ContextDouble({} if account is None else {"account": account})
    await rig.open(ctx)
    try:
        yield Bench(rig, ctx)
    finally:
        ctx.release_accept()
        await rig.close()
