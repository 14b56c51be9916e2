"""A hub with devices behind a real mosquitto, which the test may kill and bring back. Time is the system's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.mqtt.broker.adapter import BrokerAdapter, create
from adapters.mqtt.broker.double import DeviceDouble
from adapters.mqtt.broker.mosquitto import Mosquitto
from adapters.mqtt.broker.settings import read
from hub.core.hub import Hub
from hub.core.intake import Taken
from hub.engines.sqlite import SqliteEngine
from hub.model.call import Call, CallSpec, CallState
from hub.model.device import Device, Presence
from hub.model.event import Event, EventKind, Position
from hub.model.record import Kind, Record
from hub.ports.clock import Clock, SystemClock
from tests.core_rig import PRINCIPAL, SEAL

PATIENCE = 20.0


class Plant:
    """A hub at a broker with declared devices `d0`, `d1`, ..."""

    def __init__(self, hub: Hub, adapter: BrokerAdapter, table: dict[str, Any], clock: Clock) -> None:
        self.hub = hub
        self.adapter = adapter
        self.clock = clock
        self.settings = read(table)
        self.doubles: list[DeviceDouble] = []

    def double(self, address: str, **more: Any) -> DeviceDouble:
        """A device that has not come to the broker yet."""

        async def known(address: str, presence: Presence) -> None:
            await self.adapter.known(address, presence)

        double = DeviceDouble(self.settings, address, known, **more)
        self.doubles.append(double)
        return double

    async def device(self, address: str, **more: Any) -> DeviceDouble:
        """A device that is there."""
        double = self.double(address, **more)
        await double.connect()
        return double

    async def submit(self, device: str, **more: Any) -> Call:
        """A call that the hub has taken."""
        given: dict[str, Any] = {
            "account": "acme", "application": "shop", "ref": "r", "device": device, "method": "POST",
            "target": "/x", "channel": "shop/default", "dialect": "native",
        }  # fmt: skip
        (verdict,) = (await self.hub.intake.submit(PRINCIPAL, [CallSpec(**{**given, **more})])).verdicts
        assert isinstance(verdict, Taken), verdict
        return verdict.call

    async def ended(self, call: Call) -> CallState:
        """How a call ended."""
        async with asyncio.timeout(PATIENCE):
            state = await self.hub.calls.wait_end(call.id, self.clock.monotonic() + PATIENCE)
        assert state is not None and state.outcome is not None
        return state

    async def events(self, kind: EventKind) -> list[Event]:
        """What the application was told of a kind."""
        channel = await self.hub.channels.open("shop/default", "acme")
        page = await self.hub.channels.read(channel, Position(channel.epoch, 0), 10_000)
        return [event for event in page.events if event.kind is kind]


@asynccontextmanager
async def running(
    folder: Path, broker: Mosquitto, *, devices: int = 1, clock: Clock | None = None, **table: Any
) -> AsyncIterator[Plant]:
    """The hub on the folder's data; leave it and enter it again for a restart."""
    clock = clock or SystemClock()
    table = {"url": broker.url, "client_id": "hub-of-the-plant", "presence": {"topic": "devices/{device}/status"},
             "reconnect_most": 1, **table}  # fmt: skip
    adapter = create(table)
    hub = Hub(SqliteEngine(folder / "data", clock, SEAL), {"plant": (adapter, {"account": "acme"})}, clock)

    async def declare(hub: Hub) -> None:
        if hub.directory.account("acme") is not None:
            return
        await hub.directory.put(Record(Kind.ACCOUNT, "acme", "acme", {"name": "Acme"}))
        await hub.directory.put(Record(Kind.APPLICATION, "shop", "acme", {"name": "Shop", "account": "acme"}))
        for number in range(devices):
            await hub.directory.put_device(Device(f"d{number}", "acme", "plant", f"d{number}"))

    async with hub.running(declare):
        plant = Plant(hub, adapter, table, clock)
        try:
            async with asyncio.timeout(PATIENCE):
                await adapter.connected()
            yield plant
        finally:
            for double in plant.doubles:
                await double.close()
