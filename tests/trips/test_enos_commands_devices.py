"""Cloud commands on a hub as its user starts it, to devices that dial in; the hub is killed while commands wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from adapters.lwm2m.double import DeviceDouble as LwM2MDouble
from adapters.lwm2m.endpoint import UdpEndpoint
from adapters.mqtt.listener.double import DeviceDouble
from hub.ports.clock import SystemClock
from tests.hub_process import HubProcess, free_port
from tests.trips.front_rig import PATIENCE
from tests.trips.lwm2m_rig import free_udp_port

pytestmark = pytest.mark.anyio

KEY = "ak_commands_0123456789"
PRODUCT = "pkPump"
DEVICES = ("pump", "later", "busy", "cross")
CONFIG = f"""
[accounts.acme]
[applications.shop]
account = "acme"
[keys.main]
application = "shop"
scopes = ["admin"]
key = "{KEY}"
[enos.orgs.o1]
account = "acme"
application = "shop"
[products.{PRODUCT}]
account = "acme"
[adapters.mqtt]
kind = "mqtt"
port = {{mqtt}}
[adapters.lwm2m]
kind = "lwm2m"
account = "acme"
open = true
port = {{coap}}
""" + "".join(
    f"""
[devices.{name}]
account = "acme"
adapter = "mqtt"
secret = "s-{name}"
aliases = {{{{ product-device = "{PRODUCT}/{name}" }}}}
"""
    for name in DEVICES
)


@dataclass
class Plant:
    """The hub, and where devices dial in."""

    hub: HubProcess
    mqtt: int
    coap: int

    def device(self, name: str) -> DeviceDouble:
        return DeviceDouble("127.0.0.1", self.mqtt, name, product=PRODUCT, secret=f"s-{name}")

    async def ask(self, action: str, body: Any = None, *, method: str = "POST", **query: Any) -> Any:
        path = f"connect-service/v2.1/commands?{urlencode({'orgId': 'o1', 'action': action, **query})}"
        return await asyncio.to_thread(self.hub.ask, method, path, body)

    async def invoke(self, device: str, given: Any = None, **query: Any) -> Any:
        named = {"productKey": PRODUCT, "deviceKey": device, "serviceId": "work"}
        return await self.ask("invokeService", {"inputData": given or {}}, **named, **query)

    async def kept(self, device: str, given: Any = None, *, ttl: int = 600, **query: Any) -> str:
        answer = await self.invoke(device, given, pendingTtl=ttl, **query)
        assert answer["code"] == 0, answer
        id: str = answer["data"]["commandId"]
        return id

    async def until(self, id: str, state: int) -> Any:
        """A command once it stands so."""
        async with asyncio.timeout(2 * PATIENCE):
            while True:
                shown = (await self.ask("get", method="GET", commandId=id))["data"]
                if shown["state"] == state:
                    return shown


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder: Path = tmp_path_factory.mktemp("commands")
    mqtt, coap = free_port(), free_udp_port()
    with HubProcess(folder, config=CONFIG.format(mqtt=mqtt, coap=coap), key=KEY) as hub:
        yield Plant(hub, mqtt, coap)


async def test_a_device_that_dialled_in_is_asked_and_its_answer_is_the_answer(plant: Plant) -> None:
    device = plant.device("pump")
    try:
        assert await device.connect() == 0
        answer = await plant.invoke("pump", {"rpm": 9})
        named = {"productKey": PRODUCT, "deviceKey": "pump", "measurepointId": "speed"}
        point = await plant.ask("setMeasurepoint", {"value": 4}, **named)
        device.hold()
        refused = asyncio.create_task(plant.invoke("pump"))
        await (await device.asked()).answer(b"too hot", 2001)
        told = await refused
    finally:
        await device.close()

    assert (answer["code"], answer["data"]["outputData"]) == (0, {"rpm": 9}), answer
    assert (point["code"], device.points) == (0, {"speed": 4})
    assert (told["code"], told["msg"]) == (2001, "too hot")


async def test_a_device_gets_one_command_at_a_time_whatever_its_window(plant: Plant) -> None:
    device = plant.device("busy")
    device.hold()
    try:
        assert await device.connect() == 0
        ids = [await plant.kept("busy") for _ in range(3)]
        for id in ids:
            asked = await device.asked()
            await device.settle()
            assert (asked.call_id, device.executed[-1]) == (id, id)
            await asked.answer(b"done")
        await plant.until(ids[-1], 5)
    finally:
        await device.close()

    assert device.executed == ids


async def test_commands_that_wait_for_a_device_outlive_a_kill_and_keep_their_order(plant: Plant) -> None:
    assert (await plant.invoke("later"))["code"] == 11888  # it never came
    short = await plant.kept("later", ttl=1)
    ids = [await plant.kept("later", {"n": n}) for n in range(3)]
    await asyncio.to_thread(plant.hub.kill)
    await asyncio.to_thread(plant.hub.start)
    ids.append(await plant.kept("later", {"n": 3}))
    await plant.until(short, 3)
    device = plant.device("later")
    try:
        assert await device.connect() == 0
        shown = [await plant.until(id, 5) for id in ids]
    finally:
        await device.close()

    assert device.executed == ids
    assert [one["outputData"] for one in shown] == [{"n": n} for n in range(4)]


async def test_a_command_under_way_at_a_kill_is_not_sent_again_and_a_late_answer_ends_it(plant: Plant) -> None:
    device = plant.device("cross")
    device.hold()
    try:
        assert await device.connect() == 0
        first = await plant.kept("cross", timeout=60)
        asked = await device.asked()
        second = await plant.kept("cross")
        await asyncio.to_thread(plant.hub.kill)
        await device.gone()
        await asyncio.to_thread(plant.hub.start)
        await device.reconnect()
        await device.settle()
        assert device.executed == [first]
        assert (await plant.until(second, 1))["commandId"] == second
        await asked.say(b'{"id":"%s","code":200,"data":{"late":true}}' % asked.body["id"].encode())
        shown = await plant.until(first, 5)
        assert (await device.asked()).call_id == second
    finally:
        await device.close()

    assert shown["outputData"] == {"late": True}
    assert device.executed == [first, second]


async def test_a_service_of_an_lwm2m_device_is_executed_and_what_it_has_no_words_for_is_11810(plant: Plant) -> None:
    endpoint = UdpEndpoint("127.0.0.1", 0)
    device = LwM2MDouble("ep-1", endpoint, ("127.0.0.1", plant.coap), SystemClock())
    try:
        await device.register()
        done = await plant.ask("invokeService", {}, assetId="ep-1", serviceId="3/0/4")
        odd = await plant.ask("invokeService", {}, assetId="ep-1", serviceId="3303/0")
    finally:
        device.close()

    assert (done["code"], len(device.executed)) == (0, 1), done
    assert (odd["code"], odd["data"]) == (11810, None), odd
