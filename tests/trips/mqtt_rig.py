"""The MQTT listener below a real core: a hub on SQLite, an account with its devices, and doubles that dial in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters.mqtt.listener.adapter import MqttAdapter
from adapters.mqtt.listener.double import DeviceDouble, signature
from adapters.mqtt.listener.settings import MqttSettings
from hub.core.hub import Hub
from hub.core.intake import Taken
from hub.core.products import product_record
from hub.engines.sqlite import SqliteEngine
from hub.model.call import Call, CallSpec, CallState
from hub.model.device import Device, Presence
from hub.model.event import Event, EventKind, Position
from hub.model.ids import CallId
from hub.model.product import Product
from hub.model.record import Kind, Record
from tests.clock import ManualClock
from tests.core_rig import PRINCIPAL, SEAL

PRODUCT = "pkPump"
PATIENCE = 5.0


class Plant:
    """A hub with a listener, the declared devices `pump`, `gateway`, `other`, `sub` (secret: `s-<id>`)."""

    def __init__(self, hub: Hub, adapter: MqttAdapter, clock: ManualClock) -> None:
        self.hub = hub
        self.adapter = adapter
        self.clock = clock
        self.doubles: list[DeviceDouble] = []

    def double(self, id: str, secret: str | None = None, **more: Any) -> DeviceDouble:
        port = self.adapter.health()["ports"]["mqtts" if more.get("tls") else "mqtt"]
        more = {"product": PRODUCT, "secret": f"s-{id}" if secret is None else secret, **more}
        double = DeviceDouble("127.0.0.1", port, id, **more)
        self.doubles.append(double)
        return double

    async def device(self, id: str, **more: Any) -> DeviceDouble:
        double = self.double(id, **more)
        assert await double.connect() == 0
        return double

    def known(self, id: str) -> Device:
        device = self.hub.directory.device("acme", id)
        assert device is not None
        return device

    async def submit(self, device: str, **more: Any) -> Call:
        given: dict[str, Any] = {
            "account": "acme", "application": "shop", "ref": "r", "device": device, "method": "INVOKE",
            "target": "s", "channel": "shop/default", "dialect": "native",
        }
        (verdict,) = (await self.hub.intake.submit(PRINCIPAL, [CallSpec(**{**given, **more})])).verdicts
        assert isinstance(verdict, Taken), verdict
        return verdict.call

    async def ended(self, call: Call) -> CallState:
        async with asyncio.timeout(PATIENCE):
            state = await self.hub.calls.wait_end(call.id, self.clock.monotonic() + 1e9)
        assert state is not None and state.outcome is not None
        return state

    async def events(self, kind: EventKind) -> list[Event]:
        channel = await self.hub.channels.open("shop/default", "acme")
        page = await self.hub.channels.read(channel, Position(channel.epoch, 0), 10_000)
        return [event for event in page.events if event.kind is kind]

    async def until(self, presence: Presence, *ids: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while any(self.known(id).presence is not presence for id in ids):
                await self.hub.engine.journal.park([CallId("nobody")])


@asynccontextmanager
async def running(folder: Path, clock: ManualClock | None = None, **settings: Any) -> AsyncIterator[Plant]:
    """The hub on the folder's data; leave it and enter it again for a restart."""
    clock = clock or ManualClock()
    adapter = MqttAdapter(MqttSettings(port=0, **settings))
    hub = Hub(SqliteEngine(folder / "data", clock, SEAL), {"mqtt": (adapter, {"account": "acme"})}, clock)

    async def declare(hub: Hub) -> None:
        if hub.directory.account("acme") is not None:
            return
        await hub.directory.put(Record(Kind.ACCOUNT, "acme", "acme", {"name": "Acme"}))
        await hub.directory.put(Record(Kind.APPLICATION, "shop", "acme", {"name": "Shop", "account": "acme"}))
        await hub.directory.put(product_record(Product(PRODUCT, "acme", activation=True, secret=b"s-product")))
        await hub.directory.put(product_record(Product("closed", "acme", activation=False, secret=b"s-product")))
        for id in ("pump", "gateway", "other", "sub"):
            aliases = {"product-device": f"{PRODUCT}/{id}"}
            await hub.directory.put_device(Device(id, "acme", "mqtt", "", aliases=aliases), secret=f"s-{id}".encode())

    async with hub.running(declare):
        plant = Plant(hub, adapter, clock)
        try:
            yield plant
        finally:
            for double in plant.doubles:
                await double.close()


def sub_of(id: str, secret: str | None = None) -> dict[str, str]:
    """A sub-device as its gateway tells of it."""
    signed = signature("c", id, PRODUCT, "1.5", f"s-{id}" if secret is None else secret)
    return {
        "productKey": PRODUCT, "deviceKey": id, "clientId": "c", "timestamp": "1.5", "signMethod": "hmacsha256",
        "sign": signed,
    }  # fmt: skip


async def logged_in(plant: Plant, gateway: DeviceDouble, *subs: str) -> None:
    """Put devices into a gateway's topology and log them in."""
    for id in subs:
        assert (await gateway.request("thing/topo/add", [sub_of(id)]))["code"] == 200
        assert (await gateway.request("combine/login", sub_of(id), session=True))["code"] == 200


def wire_params(payload: bytes) -> dict[str, Any]:
    """The parameters of a command."""
    body: dict[str, Any] = json.loads(payload)["params"]
    return body


async def closed(double: DeviceDouble) -> None:
    """The hub has closed the connection."""
    async with asyncio.timeout(PATIENCE):
        await double.closed.wait()


async def declare(plant: Plant, id: str) -> None:
    """Bring a device back that was deleted."""
    aliases = {"product-device": f"{PRODUCT}/{id}"}
    await plant.hub.directory.put_device(Device(id, "acme", "mqtt", "", aliases=aliases), secret=f"s-{id}".encode())


async def store_something(plant: Plant, gateway: DeviceDouble) -> None:
    """An attribute, a tag, and a sub-device that is logged in."""
    assert (await gateway.request("thing/attribute/update", {"attributes": {"a": 1}}))["code"] == 200
    assert (await gateway.request("thing/tag/update", [{"tagKey": "t", "tagValue": "v"}]))["code"] == 200
    await logged_in(plant, gateway, "sub")


async def has_everything(gateway: DeviceDouble, **more: int) -> None:
    """What `store_something` stored is there, with `more` attributes."""
    assert (await gateway.request("thing/attribute/query", {"attributes": []}))["data"] == {"a": 1, **more}
    assert (await gateway.request("thing/tag/query", {"tags": []}))["data"] == {"t": "v"}
    assert (await gateway.request("thing/topo/get", {}))["data"] == [{"productKey": PRODUCT, "deviceKey": "sub"}]
    assert (await gateway.request("combine/login", sub_of("sub"), session=True))["code"] == 200


async def enable(plant: Plant, id: str, enabled: bool = True) -> None:
    """Enable a device, or disable it."""
    held = plant.hub.directory.held_device("acme", id)
    assert held is not None
    await plant.hub.directory.put_device(replace(held, disabled=not enabled))


async def successor_is_free(plant: Plant, gateway: DeviceDouble) -> None:
    """Another gateway may have it, and the first has what is left."""
    other = await plant.device("other")
    assert (await other.request("thing/topo/add", [sub_of("sub")]))["code"] == 200
    assert (await gateway.request("thing/topo/get", {}))["data"] == [{"productKey": PRODUCT, "deviceKey": "pump"}]
    assert (await gateway.request("combine/login", sub_of("sub"), session=True))["code"] == 740
