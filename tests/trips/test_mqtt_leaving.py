"""Devices that the hub does not have any more, and keys that let nobody in any more: their MQTT connections end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.mqtt.listener.double import DeviceDouble
from hub.model.device import Presence
from hub.model.outcome import Ending
from hub.model.principal import Scope
from tests.trips.mqtt_rig import (
    PRODUCT,
    closed,
    declare,
    has_everything,
    logged_in,
    running,
    store_something,
    sub_of,
    successor_is_free,
)

pytestmark = pytest.mark.anyio


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
        assert (await gateway.request("combine/login", sub_of("sub"), session=True))["code"] == 740
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


def orders(gateway: DeviceDouble) -> list[tuple[str, str, object]]:
    """What a gateway was told of its sub-devices: topic, method, parameters."""
    told = [(message.topic, json.loads(message.payload)) for message in gateway.messages]
    return [
        (topic, body["method"], body["params"]) for topic, body in told if "/combine/" in topic and "method" in body
    ]


async def test_a_gateway_is_told_what_becomes_of_its_sub_devices(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        gateway, other = await plant.device("gateway"), await plant.device("other")
        await logged_in(plant, gateway, "sub")
        await plant.hub.directory.put_device(replace(plant.known("sub"), disabled=True))
        held = plant.hub.directory.held_device("acme", "sub")
        assert held is not None
        await plant.hub.directory.put_device(replace(held, disabled=False))
        assert (await gateway.request("combine/login", sub_of("sub"), session=True))["code"] == 200
        await plant.hub.presence.remove(plant.known("sub"))
        await gateway.until(lambda: len(orders(gateway)) == 3)

        named = [{"productKey": PRODUCT, "deviceKey": "sub"}]
        assert orders(gateway) == [
            (f"/ext/session/{PRODUCT}/gateway/combine/{verb}", f"combine.{verb}", named)
            for verb in ("disable", "enable", "delete")
        ]
        await other.settle()
        assert other.messages == []


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_deleted_sub_device_leaves_no_place_to_its_successor(tmp_path: Path, restarted: bool) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await logged_in(plant, gateway, "sub", "pump")
        if not restarted:
            await plant.hub.presence.remove(plant.known("sub"))
            await declare(plant, "sub")
            await successor_is_free(plant, gateway)
    if restarted:
        async with running(tmp_path) as plant:
            await plant.hub.presence.remove(plant.known("sub"))
            await declare(plant, "sub")
            await successor_is_free(plant, await plant.device("gateway"))


async def test_a_disabled_sub_device_keeps_its_place(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await logged_in(plant, gateway, "sub")
        await plant.hub.directory.put_device(replace(plant.known("sub"), disabled=True))

        assert len((await gateway.request("thing/topo/get", {}))["data"]) == 1


async def test_another_secret_ends_the_connection_that_was_made_by_the_old_one(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        pump, other = await plant.device("pump"), await plant.device("other")
        await store_something(plant, pump)
        await plant.hub.directory.put_device(plant.known("pump"), secret=b"s-pump")
        await pump.settle()
        assert not pump.closed.is_set()  # it is the same one

        await plant.hub.directory.put_device(plant.known("pump"), secret=b"s-new")
        await closed(pump)
        assert plant.known("pump").presence is Presence.OFFLINE
        assert await plant.double("pump").connect() == 4
        again = await plant.device("pump", secret="s-new")
        assert plant.known("pump").presence is Presence.ONLINE
        await has_everything(again)
        await other.settle()
        assert not other.closed.is_set()


async def test_a_sub_device_with_another_secret_has_to_be_logged_in_again(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await logged_in(plant, gateway, "sub")
        await plant.hub.directory.put_device(plant.known("sub"), secret=b"s-new")

        assert (await gateway.request("combine/login", sub_of("sub"), session=True))["code"] == 742
        assert (await gateway.request("combine/login", sub_of("sub", "s-new"), session=True))["code"] == 200
        assert orders(gateway) == []


async def test_a_call_that_waits_to_be_sent_again_is_not_sent_to_the_successor_of_its_device(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        pump = await plant.device("pump")
        pump.hold()
        call = await plant.submit("pump", method="PUT", target="/measurepoint/x", payload=b"1", retries=1)
        await pump.asked()
        await plant.hub.presence.remove(plant.known("pump"))
        await declare(plant, "pump")
        successor = await plant.device("pump")
        plant.clock.advance(5)

        outcome = (await plant.ended(call)).outcome
        assert outcome is not None and outcome.ending is Ending.TIMED_OUT
        assert (await plant.ended(await plant.submit("pump"))).outcome
        assert [message.topic for message in successor.messages if "measurepoint/set" in message.topic] == []
