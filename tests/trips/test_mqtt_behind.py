"""Answers of devices behind a gateway that come before it has logged them in again, and who may bring them."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from adapters.mqtt.listener.double import Asked, DeviceDouble
from hub.model.call import Call
from hub.model.device import Presence
from hub.model.outcome import Ending
from hub.model.principal import Scope
from tests.trips.mqtt_rig import PRODUCT, Plant, logged_in, running, sub_of

pytestmark = pytest.mark.anyio


async def asked_behind(plant: Plant) -> tuple[DeviceDouble, Call, Asked]:
    """A gateway whose sub-device works on a call."""
    gateway = await plant.device("gateway")
    await logged_in(plant, gateway, "sub")
    gateway.hold()
    call = await plant.submit("sub")
    return gateway, call, await gateway.asked()


async def answer(sender: DeviceDouble, asked: Asked) -> None:
    """Tell the answer with QoS 1; returns once it is acknowledged."""
    body = {"id": asked.body["id"], "code": 200, "data": {"rpm": 3}}
    number = await sender.publish(asked.topic + "_reply", orjson.dumps(body), 1)
    await sender.until(lambda: number in sender.acked)


async def test_an_answer_that_comes_before_its_device_is_logged_in_again_ends_the_call(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        gateway, call, asked = await asked_behind(plant)
        await gateway.drop()
        await plant.until(Presence.OFFLINE, "sub")
        await gateway.reconnect()
        await answer(gateway, asked)
        await answer(gateway, asked)  # a copy is acknowledged, too

        state = await plant.ended(call)
        assert state.outcome is not None and orjson.loads(state.outcome.payload) == {"rpm": 3}
        assert (await gateway.request("combine/login", sub_of("sub"), session=True))["code"] == 200


async def test_so_does_one_that_comes_over_a_connection_that_took_the_place_of_the_first(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        _, call, asked = await asked_behind(plant)
        again = await plant.device("gateway")
        await answer(again, asked)

        state = await plant.ended(call)
        assert state.outcome is not None and state.outcome.ending is Ending.ANSWERED


async def test_so_does_one_that_comes_after_a_restart_of_the_hub(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        _, call, asked = await asked_behind(plant)
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await answer(gateway, asked)

        state = await plant.ended(call)
        assert state.outcome is not None and state.outcome.ending is Ending.ANSWERED
        assert gateway.executed == []
        # It has not been heard of, nor has it been logged in.
        body = {"measurepoints": {"a": 1}, "productKey": PRODUCT, "deviceKey": "sub"}
        assert (await gateway.request("thing/measurepoint/post", body))["code"] == 740


async def still_open(plant: Plant, call: Call) -> None:
    state = await plant.hub.engine.journal.get(call.id)
    assert state is not None and state.outcome is None


@pytest.mark.parametrize("who", ["other", "pump"])
async def test_nobody_else_brings_the_answer_of_a_sub_device(tmp_path: Path, who: str) -> None:
    async with running(tmp_path) as plant:
        gateway, call, asked = await asked_behind(plant)
        await gateway.drop()
        await plant.until(Presence.OFFLINE, "sub")
        await answer(await plant.device(who), asked)

        await still_open(plant, call)


async def test_nor_does_a_gateway_bring_the_answer_of_a_device_that_is_at_another_place(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await logged_in(plant, gateway, "sub")
        sub = await plant.device("sub")
        sub.hold()
        call = await plant.submit("sub")
        await answer(gateway, await sub.asked())

        await still_open(plant, call)


async def test_a_device_that_comes_by_a_key_under_another_product_leaves_its_gateway(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        _, key = await plant.hub.access.create_key("shop", frozenset({Scope.DEVICE}))
        gateway = await plant.device("gateway")
        await logged_in(plant, gateway, "sub")
        sub = await plant.device("sub", product="another", key=key)
        sub.hold()
        call = await plant.submit("sub")
        asked = await sub.asked()
        body = orjson.dumps({"id": asked.body["id"], "code": 200, "data": {"forged": 1}})
        topic = asked.topic.replace("/another/", f"/{PRODUCT}/")
        number = await gateway.publish(topic + "_reply", body, 1)
        await gateway.until(lambda: number in gateway.acked)

        await still_open(plant, call)
        post = {"measurepoints": {"a": 1}, "productKey": PRODUCT, "deviceKey": "sub"}
        assert (await gateway.request("thing/measurepoint/post", post))["code"] == 740
        await asked.answer(b"own")
        state = await plant.ended(call)
        assert state.outcome is not None and state.outcome.payload == b"own"
