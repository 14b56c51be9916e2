"""A core on a real SQLite engine, with a scripted adapter and a clock that tests move by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hub.core.hub import Hub
from hub.core.intake import Taken
from hub.core.limits import Limits
from hub.core.sealing import AesGcmSealer
from hub.engines.sqlite import SqliteEngine
from hub.model.call import Call, CallSpec, CallState
from hub.model.device import Device, Presence, Registration
from hub.model.event import Event, Position
from hub.model.ids import CallId
from hub.model.principal import Principal, Scope
from hub.model.record import Kind, Record
from hub.ports.adapter import (
    API_VERSION,
    AdapterContext,
    Capabilities,
    DeviceRequest,
    DeviceResponse,
    Observation,
    ObserveSpec,
    Unsupported,
)
from hub.ports.adapter import Delivery as Sent
from tests.clock import ManualClock

PRINCIPAL = Principal("acme", "shop", "test", frozenset(Scope))
SEAL = AesGcmSealer(bytes(range(32)))


@dataclass
class Attempt:
    """One attempt that the adapter was asked for; the test answers it."""

    request: DeviceRequest
    answer: asyncio.Future[DeviceResponse] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def reply(self, status: int = 200, payload: bytes = b"", **native: Any) -> None:
        self.answer.set_result(DeviceResponse(status, payload, native=native))

    def fail(self, error: Exception) -> None:
        self.answer.set_exception(error)


class ScriptedAdapter:
    """An adapter whose attempts wait for the test to answer them, and whose windows the test sets."""

    api_version: ClassVar[int] = API_VERSION

    def __init__(self, **capabilities: Any) -> None:
        self.capabilities = Capabilities(
            role=frozenset({"serve"}), methods=frozenset({"GET", "PUT", "POST", "DELETE", "INVOKE"}), **capabilities
        )
        self.ctx: AdapterContext | None = None
        self.attempts: asyncio.Queue[Attempt] = asyncio.Queue()
        self.resumed: asyncio.Queue[tuple[Attempt, bytes]] = asyncio.Queue()
        self.away: dict[str, Presence] = {}
        self.busy: dict[str, int] = {}
        self.most_busy: dict[str, int] = {}
        self.on_call: Callable[[DeviceRequest], DeviceResponse | None] = lambda request: None

    async def start(self, ctx: AdapterContext) -> None:
        self.ctx = ctx

    async def stop(self, grace: float) -> None:
        self.ctx = None

    async def call(self, req: DeviceRequest) -> DeviceResponse:
        self.busy[req.device] = self.busy.get(req.device, 0) + 1
        self.most_busy[req.device] = max(self.most_busy.get(req.device, 0), self.busy[req.device])
        try:
            answer = self.on_call(req)
            if answer is not None:
                return answer
            attempt = Attempt(req)
            self.attempts.put_nowait(attempt)
            return await attempt.answer
        finally:
            self.busy[req.device] -= 1

    async def resume(self, req: DeviceRequest, note: bytes) -> DeviceResponse:
        attempt = Attempt(req)
        self.resumed.put_nowait((attempt, note))
        return await attempt.answer

    async def observe(self, spec: ObserveSpec, deadline: float) -> tuple[DeviceResponse, Observation]:
        raise Unsupported(delivery=Sent.NOT_SENT)

    def presence(self, device: str) -> Presence:
        return self.away.get(device, Presence.ONLINE)

    def window(self, device: str) -> int:
        if device in self.away:
            return 0
        return self.capabilities.per_device_inflight - self.busy.get(device, 0)

    def lane(self, device: str) -> str:
        return device

    def health(self) -> Mapping[str, Any]:
        return {"state": "up"}

    async def next(self) -> Attempt:
        """The next attempt that the core makes."""
        async with asyncio.timeout(5):
            return await self.attempts.get()


class Core:
    """A running core with the device `lamp` (and more on demand), as tests see it."""

    def __init__(self, hub: Hub, adapter: ScriptedAdapter, clock: ManualClock) -> None:
        self.hub = hub
        self.adapter = adapter
        self.clock = clock

    async def device(self, id: str) -> Device:
        return await self.hub.directory.put_device(
            Device(id, "acme", "scripted", id, registration=Registration.REGISTERED, presence=Presence.ONLINE)
        )

    def spec(self, **changes: Any) -> CallSpec:
        given: dict[str, Any] = {
            "account": "acme", "application": "shop", "ref": "r", "device": "lamp", "method": "POST",
            "target": "/x", "channel": "shop/default", "dialect": "native",
        }
        return CallSpec(**{**given, **changes})

    async def submit(self, **changes: Any) -> Call:
        """Submit one call that must be taken; the call."""
        verdict = (await self.hub.intake.submit(PRINCIPAL, [self.spec(**changes)])).verdicts[0]
        assert isinstance(verdict, Taken), verdict
        return verdict.call

    async def ended(self, call: Call) -> CallState:
        """The call once it has ended; fails after five real seconds."""
        async with asyncio.timeout(5):
            state = await self.hub.calls.wait_end(call.id, self.clock.monotonic() + 1e9)
        assert state is not None and state.outcome is not None
        return state

    async def events(self, name: str = "shop/default") -> list[Event]:
        channel = await self.hub.channels.open(name, "acme")
        page = await self.hub.channels.read(channel, Position(channel.epoch, 0), 10_000)
        return list(page.events)

    async def settle(self) -> None:
        """Let everything that is under way in the engine and the loop come to rest."""
        for _ in range(3):
            await self.hub.engine.journal.park([CallId("nobody")])
            await asyncio.sleep(0)


@asynccontextmanager
async def running_core(
    folder: Path,
    clock: ManualClock | None = None,
    limits: Limits | None = None,
    away: str | None = None,
    **capabilities: Any,
) -> AsyncIterator[Core]:
    """A core on the folder's data; leave it and enter it again for a restart. `away`: a device that is offline."""
    clock = clock or ManualClock()
    adapter = ScriptedAdapter(**capabilities)
    if away is not None:
        adapter.away[away] = Presence.OFFLINE
    engine = SqliteEngine(folder, clock, SEAL)
    hub = Hub(engine, {"scripted": (adapter, {"account": "acme"})}, clock, limits)

    async def declare(hub: Hub) -> None:
        await hub.directory.put(Record(Kind.ACCOUNT, "acme", "acme", {"name": "Acme"}))
        await hub.directory.put(Record(Kind.APPLICATION, "shop", "acme", {"name": "Shop", "account": "acme"}))
        if hub.directory.device("acme", "lamp") is None:
            await Core(hub, adapter, clock).device("lamp")

    async with hub.running(declare):
        yield Core(hub, adapter, clock)
