"""An LwM2M adapter with devices around it, for tests: in memory, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from adapters.lwm2m import codec
from adapters.lwm2m.adapter import LwM2MAdapter
from adapters.lwm2m.block import Block, block_of
from adapters.lwm2m.codec import ACK, Message, decode
from adapters.lwm2m.double import DeviceDouble
from adapters.lwm2m.net import MemoryEndpoint, Net
from adapters.lwm2m.option import BLOCK2, ETAG
from adapters.lwm2m.settings import LwM2MSettings
from hub.ports.adapter import DeviceRequest, DeviceResponse
from tests.clock import ManualClock
from tests.wires.lwm2m_context import LwM2MContext

T = TypeVar("T")
HUB = ("192.0.2.1", 5683)
_numbers = itertools.count()


class Field:
    """The adapter, its context, and the network between it and the devices."""

    def __init__(self, ctx: LwM2MContext, net: Net, settings: LwM2MSettings) -> None:
        self.ctx = ctx
        self.clock: ManualClock = ctx.clock
        self.net = net
        self.settings = settings
        self.adapter = self._make()
        self.devices: list[DeviceDouble] = []

    def _make(self) -> LwM2MAdapter:
        return LwM2MAdapter(self.settings, MemoryEndpoint(self.net, HUB[1]))

    async def restart(self) -> None:
        """Another process of the hub on the same data: the one before had no time to say anything."""
        await self.adapter.stop(0)
        self.ctx = LwM2MContext(self.clock, self.ctx.kept)
        self.adapter = self._make()
        await self.adapter.start(self.ctx)

    def double(self, identity: str | None = None, **more: Any) -> DeviceDouble:
        """A device that has not registered."""
        name = identity or f"dev-{len(self.devices)}"
        double = DeviceDouble(name, MemoryEndpoint(self.net), HUB, self.clock, self.call_of, **more)
        self.devices.append(double)
        return double

    def call_of(self, token: bytes) -> str:
        return self.adapter.call_of(token) or token.hex()

    async def device(self, identity: str | None = None, *query: str, **more: Any) -> DeviceDouble:
        """A registered device."""
        double = self.double(identity, **more)
        await double.register(*query)
        return double

    def request(self, double: DeviceDouble, method: str = "POST", target: str = "/1/0/8", **more: Any) -> DeviceRequest:
        """A request of a call of its own, with half a minute to go."""
        more.setdefault("call_id", f"call-{next(_numbers)}")
        more.setdefault("deadline", self.clock.monotonic() + 30)
        return DeviceRequest(device=double.address, method=method, target=target, **more)

    async def call(self, double: DeviceDouble, *args: Any, **more: Any) -> DeviceResponse:
        """One call, answered within five real seconds."""
        async with asyncio.timeout(5):
            return await self.adapter.call(self.request(double, *args, **more))

    async def passing(self, awaitables: Iterable[Awaitable[T]], step: float = 0.25) -> list[T | BaseException]:
        """The results, while the clock goes on by itself."""
        gathered = asyncio.gather(*awaitables, return_exceptions=True)
        while not gathered.done():
            for _ in range(6):
                await asyncio.sleep(0)
            self.clock.advance(step)
        return await gathered

    async def turns(self, n: int = 10) -> None:
        """Let everything happen that needs no time."""
        for _ in range(n):
            await asyncio.sleep(0)


class Wire:
    """A plain end that keeps what it hears, for saying things that no proper device says."""

    def __init__(self, field: Field) -> None:
        self.end = MemoryEndpoint(field.net)
        self.heard: list[Message] = []
        self.news = asyncio.Event()
        self.end.open(self._hear)

    def _hear(self, data: bytes, peer: Any) -> None:
        self.heard.append(decode(data))
        self.news.set()

    def say(self, data: bytes) -> None:
        self.end.send(data, HUB)

    async def next(self, n: int = 1) -> Message:
        """The n-th message heard."""
        async with asyncio.timeout(5):
            while len(self.heard) < n:
                self.news.clear()
                await self.news.wait()
        return self.heard[n - 1]


@asynccontextmanager
async def field(**more: Any) -> AsyncIterator[Field]:
    """A started adapter, stopped at the end, when no task and no timer of it may be left."""
    clock = ManualClock()
    more.setdefault("open", True)
    made = Field(LwM2MContext(clock), Net(clock, seed=6), LwM2MSettings(**more))
    await made.adapter.start(made.ctx)
    try:
        yield made
    finally:
        for device in made.devices:
            device.close()
        await made.adapter.stop(1)
        assert made.ctx.tasks == 0


def answering(code: int, options: list[tuple[int, bytes]] | None = None, payload: bytes = b"") -> Any:
    """What a double's `answers` takes to answer everything alike."""
    return lambda message, body: Message(ACK, code, 0, b"", options or [], payload)


class Blocks:
    """A device that takes and gives in blocks of its own size, and may change its mind."""

    def __init__(self, body: bytes = b"", exponent: int = 6) -> None:
        self.body = body
        self.exponent = exponent
        self.etag = b"1"
        self.taken = b""
        self.wholes = 0
        self.refuse: list[int] = []
        self.sizes: list[int] = []

    def __call__(self, message: Message, payload: bytes) -> Message:
        wanted = block_of(message.first(BLOCK2)) or Block(0, False, self.exponent)
        block = Block(wanted.number, False, min(wanted.exponent, self.exponent))
        part = self.body[block.start : block.start + block.size]
        more = block.start + block.size < len(self.body)
        options = [(ETAG, self.etag), (BLOCK2, Block(block.number, more, block.exponent).encode())]
        return Message(ACK, codec.CONTENT, 0, b"", options, part)
