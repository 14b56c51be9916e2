"""Devices that the hub does not have any more, and keys that let nobody in any more: their MQTT connections end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.mqtt.listener.double import DeviceDouble
from hub.model.device import Device, Presence
from hub.model.principal import Scope
from tests.trips.mqtt_rig import PATIENCE, PRODUCT, Plant, logged_in, running, sub_of

pytestmark = pytest.mark.anyio


async def closed(double: DeviceDouble) -> None:
    async with asyncio.timeout(PATIENCE):
        await double.closed.wait()


async def declare(plant: Plant, id: str) -> None:
    """Bring a device back that was deleted."""
    aliases = {"product-device": f"{PRODUCT}/{id}"}
    await plant.hub.directory.put_device(Device(id, "acme", "mqtt", "", aliases=aliases), secret=f"s-{id}".encode())


async def test_a_deleted_device_is_sent_away_and_its_call_under_way_has_an_end(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        pump, other = await plant.device("pump"), await plant.device("other")
        pump.hold()
        call = await plant.submit("pump")
        await pump.asked()
        await plant.hub.presence.remove(plant.known("pump"))

        await closed(pump)
        plant.clock.advance(30)  # nobody can answer any more, but its time was promised
        state = await plant.ended(call)
        assert state.outcome is not None and state.outcome.error == "OUTCOME_UNKNOWN"
        assert await plant.double("pump").connect() == 4
        await other.settle()
        assert not other.closed.is_set()


async def test_a_disabled_device_is_sent_away_and_may_come_again_once_it_is_enabled(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        pump = await plant.device("pump")
        await plant.hub.directory.put_device(replace(plant.known("pump"), disabled=True))
        await closed(pump)

        assert await plant.double("pump").connect() == 4
        held = plant.hub.directory.held_device("acme", "pump")
        assert held is not None
        await plant.hub.directory.put_device(replace(held, disabled=False))
        await plant.device("pump")
        assert plant.known("pump").presence is Presence.ONLINE


async def test_a_device_that_is_made_again_has_nothing_of_the_one_before(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await gateway.request("thing/attribute/update", {"attributes": {"a": 1}})
        await logged_in(plant, gateway, "sub")
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await plant.hub.presence.remove(plant.known("gateway"))
        await closed(gateway)
        await declare(plant, "gateway")

        again, other = await plant.device("gateway"), await plant.device("other")
        assert (await again.request("thing/attribute/query", {"attributes": []}))["data"] == {}
        assert (await again.request("thing/topo/get", {}))["data"] == []
        assert (await other.request("thing/topo/add", [sub_of("sub")]))["code"] == 200


async def test_a_deleted_sub_device_leaves_its_gateway_where_it_is(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await logged_in(plant, gateway, "sub", "pump")
        await plant.hub.presence.remove(plant.known("sub"))

        body = {"measurepoints": {"a": 1}, "productKey": PRODUCT, "deviceKey": "sub"}
        assert (await gateway.request("thing/measurepoint/post", body))["code"] == 740
        assert (await gateway.request("combine/login", sub_of("sub"), session=True))["code"] == 742
        await plant.ended(await plant.submit("pump"))
        assert not gateway.closed.is_set()


async def test_a_revoked_key_ends_the_connections_that_it_let_in_and_no_others(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        made, secret = await plant.hub.access.create_key("shop", frozenset({Scope.DEVICE}))
        by_key = await plant.device("keyed", key=secret)
        by_secret = await plant.device("pump")
        await plant.hub.access.revoke_key(made.id)

        await closed(by_key)
        await plant.until(Presence.OFFLINE, "keyed")
        assert await plant.double("keyed", key=secret).connect() == 4
        await by_secret.settle()
        assert not by_secret.closed.is_set()


async def test_a_key_is_watched_only_as_long_as_its_device_is_there(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        made, secret = await plant.hub.access.create_key("shop", frozenset({Scope.DEVICE}))
        for _ in range(3):
            double = await plant.device("keyed", key=secret)
            await double.leave()
            await plant.until(Presence.OFFLINE, "keyed")

        assert made.id not in plant.hub.access._watchers
