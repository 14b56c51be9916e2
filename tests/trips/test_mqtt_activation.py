"""Devices that are told their secret: their connections are few, short, and in nobody's way."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.mqtt.listener import codec
from adapters.mqtt.listener.double import DeviceDouble
from hub.core.products import product_record
from hub.model.product import Product
from tests.trips.mqtt_rig import PATIENCE, Plant, running

pytestmark = pytest.mark.anyio


async def asks(plant: Plant, id: str, **more: str) -> DeviceDouble:
    """A device that signs in with the secret of its product."""
    double = plant.double(id, "s-product", mode=3, **more)
    if await double.connect() == codec.ACCEPTED:
        await double.until(lambda: bool(double.messages))
    return double


async def closed(double: DeviceDouble) -> None:
    async with asyncio.timeout(PATIENCE):
        await double.closed.wait()


async def test_a_device_that_was_told_its_secret_is_sent_away_after_a_while(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        double = await asks(plant, "fresh")
        plant.clock.advance(59)
        await double.settle()
        assert not double.closed.is_set()
        plant.clock.advance(1)

        await closed(double)


async def test_signs_of_life_do_not_keep_such_a_connection(tmp_path: Path) -> None:
    async with running(tmp_path, activation_time=timedelta(seconds=10)) as plant:
        double = await asks(plant, "fresh")
        for _ in range(10):
            await double.settle()
            plant.clock.advance(1)

        await closed(double)


async def test_a_product_has_so_many_at_a_time_and_other_products_and_devices_do_not_mind(tmp_path: Path) -> None:
    async with running(tmp_path, activations=2) as plant:
        await plant.hub.directory.put(product_record(Product("pkFan", "acme", activation=True, secret=b"s-product")))
        first, second, third = [await asks(plant, id) for id in ("a", "b", "c")]
        assert [double.connack for double in (first, second, third)] == [0, 0, codec.UNAVAILABLE]
        await closed(third)
        assert (await asks(plant, "d", product="pkFan")).connack == 0
        await plant.device("pump")

        await first.drop()
        async with asyncio.timeout(PATIENCE):
            while (await asks(plant, "c")).connack != 0:
                pass
        assert not second.closed.is_set()


async def test_of_one_device_only_the_newest_is_there(tmp_path: Path) -> None:
    async with running(tmp_path, activations=1) as plant:
        older = await asks(plant, "a")
        newer = await asks(plant, "a")
        await closed(older)

        assert (newer.connack, (await asks(plant, "b")).connack) == (0, codec.UNAVAILABLE)
        await newer.settle()
        assert not newer.closed.is_set()


async def test_nothing_goes_out_before_the_welcome_whatever_followed_the_connect_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        double = plant.double("fresh", "s-product", mode=3)
        came: list[type[codec.Packet]] = []
        take = double._take

        async def keep(packet: codec.Packet) -> None:
            came.append(type(packet))
            await take(packet)

        double._take = keep  # type: ignore[method-assign]
        await double.dial()
        await double.send_raw(codec.encode(double.hello()) + codec.encode(codec.PingReq()))
        await double.until(lambda: len(came) == 3)

        assert came == [codec.ConnAck, codec.Publish, codec.PingResp]
