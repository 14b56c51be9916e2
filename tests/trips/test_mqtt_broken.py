"""A connection that breaks under a call that may be repeated: its answer may come over the next one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.mqtt.listener.double import Asked, DeviceDouble
from hub.core.products import product_record
from hub.core.ticket import Turn
from hub.model.call import Call
from hub.model.ids import CallId
from hub.model.outcome import Ending
from hub.model.product import Service
from tests.trips.mqtt_rig import PATIENCE, PRODUCT, Plant, running

pytestmark = pytest.mark.anyio

READ = {"method": "GET", "target": "/measurepoint/t"}
WRITE = {"method": "PUT", "target": "/measurepoint/t", "payload": b"7", "content_type": "application/json"}
RUN = {"method": "INVOKE", "target": "again", "args": {}}
each = pytest.mark.parametrize(
    ("what", "data", "payload"),
    [(READ, {"t": 50}, b"50"), (WRITE, {}, b"{}"), (RUN, {"ok": 1}, b'{"ok":1}')],
    ids=["get", "put", "service"],
)


async def begun(plant: Plant, what: dict[str, Any]) -> tuple[DeviceDouble, Call, Asked]:
    """A device with a call of 30 seconds that may be repeated, and that it has not answered yet."""
    product = plant.hub.products.get(PRODUCT)
    assert product is not None
    services = {"again": Service("again", idempotent=True)}
    await plant.hub.directory.put(product_record(replace(product, services=services)))
    double = await plant.device("pump")
    double.hold()
    call = await plant.submit("pump", **what, within=timedelta(seconds=30))
    assert call.idempotent
    return double, call, await double.asked()


async def back(plant: Plant, double: DeviceDouble, how: str) -> DeviceDouble:
    """The device is there again: after its connection broke, or by a second one that takes the place of the first."""
    if how == "take-over":
        return await plant.device("pump")
    await double.drop()
    await double.reconnect()
    return double


@each
@pytest.mark.parametrize("how", ["drop", "take-over"])
async def test_the_answer_to_a_call_that_may_be_repeated_comes_over_the_next_connection(
    tmp_path: Path, how: str, what: dict[str, Any], data: Any, payload: bytes
) -> None:
    async with running(tmp_path) as plant:
        first, call, asked = await begun(plant, what)
        second = await back(plant, first, how)
        answer = orjson.dumps({"id": asked.body["id"], "code": 200, "data": data})
        await second.publish(asked.topic + "_reply", answer, 1)
        outcome = (await plant.ended(call)).outcome

    assert outcome is not None and (outcome.ending, outcome.payload) == (Ending.ANSWERED, payload)


@each
async def test_without_it_the_call_was_not_answered_in_its_time_and_is_not_sent_again(
    tmp_path: Path, what: dict[str, Any], data: Any, payload: bytes
) -> None:
    async with running(tmp_path) as plant:
        double, call, _ = await begun(plant, what)
        await back(plant, double, "drop")
        await double.settle()
        plant.clock.advance(29)
        await double.settle()
        assert call.id in plant.hub.dispatch.tickets
        plant.clock.advance(1)
        outcome = (await plant.ended(call)).outcome

    assert outcome is not None and outcome.error == "TIMEOUT"
    assert len(double.commands) == 1


async def test_with_a_retry_it_is_sent_again_to_the_device_that_is_back(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        double, call, asked = await begun(plant, {**READ, "retries": 1})
        await double.drop()
        async with asyncio.timeout(PATIENCE):
            while plant.hub.dispatch.tickets[call.id].turn is not Turn.QUEUED:
                await plant.hub.engine.journal.park([CallId("nobody")])
        await double.reconnect()
        again = await double.asked()
        answer = orjson.dumps({"id": again.body["id"], "code": 200, "data": {"t": 50}})
        await double.publish(again.topic + "_reply", answer, 1)
        state = await plant.ended(call)

    assert state.outcome is not None and (state.outcome.payload, state.retries_used) == (b"50", 1)
    assert again.body["id"] == asked.body["id"]
