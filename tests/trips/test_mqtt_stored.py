"""What devices had stored: attributes, tags, topologies stay while they are away for a time, and go with them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hub.model.device import Device
from hub.model.errors import StorageFailed
from hub.model.record import Record
from tests.trips.mqtt_rig import (
    PATIENCE,
    PRODUCT,
    Plant,
    closed,
    declare,
    enable,
    has_everything,
    logged_in,
    running,
    store_something,
    sub_of,
    successor_is_free,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("why", ["secret", "disabled"])
async def test_a_device_that_was_sent_away_has_all_that_it_stored_also_after_more_and_a_restart(
    tmp_path: Path, why: str
) -> None:
    secret = "s-new" if why == "secret" else "s-gateway"
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await store_something(plant, gateway)
        if why == "secret":
            await plant.hub.directory.put_device(plant.known("gateway"), secret=b"s-new")
        else:
            await enable(plant, "gateway", False)
        await closed(gateway)
        assert (await (await plant.device("other")).request("thing/topo/add", [sub_of("sub")]))["code"] != 200
        if why == "disabled":
            await enable(plant, "gateway")
        again = await plant.device("gateway", secret=secret)
        await has_everything(again)
        assert (await again.request("thing/attribute/update", {"attributes": {"b": 2}}))["code"] == 200
        await has_everything(again, b=2)
    async with running(tmp_path) as plant:
        await has_everything(await plant.device("gateway", secret=secret), b=2)


async def test_a_device_that_is_disabled_over_a_restart_has_all_that_it_stored(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        await store_something(plant, await plant.device("gateway"))
        await enable(plant, "gateway", False)
    async with running(tmp_path) as plant:
        assert (await (await plant.device("other")).request("thing/topo/add", [sub_of("sub")]))["code"] != 200
        await enable(plant, "gateway")
        await has_everything(await plant.device("gateway"))


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_device_that_is_deleted_while_it_is_disabled_leaves_nothing_behind(
    tmp_path: Path, restarted: bool
) -> None:
    async with running(tmp_path) as plant:
        await store_something(plant, await plant.device("gateway"))
        await enable(plant, "gateway", False)
        if not restarted:
            await nothing_is_left(plant)
    if restarted:
        async with running(tmp_path) as plant:
            await nothing_is_left(plant)


async def nothing_is_left(plant: Plant) -> None:
    held = plant.hub.directory.held_device("acme", "gateway")
    assert held is not None
    await plant.hub.presence.remove(held)
    await declare(plant, "gateway")
    again, other = await plant.device("gateway"), await plant.device("other")
    assert (await again.request("thing/attribute/query", {"attributes": []}))["data"] == {}
    assert (await again.request("thing/topo/get", {}))["data"] == []
    assert (await other.request("thing/topo/add", [sub_of("sub")]))["code"] == 200


async def test_a_device_that_takes_the_place_of_a_disabled_one_has_nothing_of_it(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        await store_something(plant, await plant.device("gateway"))
        place = plant.known("gateway").address
        await enable(plant, "gateway", False)
        heir = Device("heir", "acme", "mqtt", place, aliases={"product-device": f"{PRODUCT}/heir"})
        await plant.hub.directory.put_device(heir, secret=b"s-heir")
        there = await plant.device("heir")

        assert (await there.request("thing/attribute/query", {"attributes": []}))["data"] == {}
        held = plant.hub.directory.held_device("acme", "gateway")
        assert held is not None
        await plant.hub.presence.remove(held)
        await there.settle()
        assert not there.closed.is_set()


@pytest.mark.parametrize("disabled", ["sub", "gateway"])
async def test_a_sub_device_that_is_deleted_while_one_of_both_is_disabled_leaves_no_place(
    tmp_path: Path, disabled: str
) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await logged_in(plant, gateway, "sub", "pump")
        await enable(plant, disabled, False)
        held = plant.hub.directory.held_device("acme", "sub")
        assert held is not None
        await plant.hub.presence.remove(held)
        await declare(plant, "sub")
        if disabled == "gateway":
            await enable(plant, "gateway")
            gateway = await plant.device("gateway")
        await successor_is_free(plant, gateway)
    async with running(tmp_path) as plant:
        assert len((await (await plant.device("gateway")).request("thing/topo/get", {}))["data"]) == 1


async def test_a_sub_device_whose_deletion_did_not_reach_the_topology_leaves_it_at_the_next_start(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await logged_in(plant, gateway, "sub", "pump", "other")
        await enable(plant, "other", False)
        # As if the hub had been killed between the two commits.
        plant.hub.directory.on_left = lambda device: None
        await plant.hub.presence.remove(plant.known("sub"))
    async with running(tmp_path) as plant:
        await declare(plant, "sub")
        gateway = await plant.device("gateway")
        kept = [sub["deviceKey"] for sub in (await gateway.request("thing/topo/get", {}))["data"]]
        assert kept == ["other", "pump"]
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        assert len((await gateway.request("thing/topo/get", {}))["data"]) == 2


async def test_a_sub_device_is_gone_from_the_topology_also_while_the_disk_takes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await logged_in(plant, gateway, "sub", "pump")
        put = plant.hub.directory.put
        failed = asyncio.Event()

        async def fails(record: Record) -> Record:
            failed.set()
            raise StorageFailed("full")

        plant.hub.directory.put = fails  # type: ignore[method-assign]
        await plant.hub.presence.remove(plant.known("sub"))
        async with asyncio.timeout(PATIENCE):
            await failed.wait()
        await gateway.settle()
        plant.hub.directory.put = put  # type: ignore[method-assign]
        await declare(plant, "sub")
        await successor_is_free(plant, gateway)
