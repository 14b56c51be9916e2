"""Two connections of one device at a time: what the older one still has to do does not undo what the newer one did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.mqtt.listener.double import DeviceDouble
from hub.model.device import Presence, Registration
from hub.model.event import EventKind as Told
from hub.model.outcome import Ending
from hub.ports.adapter import EventKind
from tests.trips.mqtt_rig import PATIENCE, PRODUCT, running, sub_of

pytestmark = pytest.mark.anyio

SUBS = ("sub", "pump", "other")


class Gate:
    """Holds up the first call of something that fits."""

    def __init__(self, inner: Callable[..., Awaitable[Any]], fits: Callable[..., bool]) -> None:
        self.there = asyncio.Event()
        self.open = asyncio.Event()
        self.over = asyncio.Event()
        self._inner = inner
        self._fits = fits

    async def __call__(self, *args: Any, **more: Any) -> Any:
        if self.there.is_set() or not self._fits(*args, **more):
            return await self._inner(*args, **more)
        self.there.set()
        await self.open.wait()
        try:
            return await self._inner(*args, **more)
        finally:
            self.over.set()


@asynccontextmanager
async def held(owner: Any, name: str, fits: Callable[..., bool]) -> AsyncIterator[Gate]:
    """The first fitting call of a method does not go on before its gate is open."""
    inner = getattr(owner, name)
    gate = Gate(inner, fits)
    setattr(owner, name, gate)
    try:
        yield gate
    finally:
        gate.open.set()
        setattr(owner, name, inner)


async def batch(gateway: DeviceDouble, *subs: str) -> None:
    """Ask for logins without waiting for the answer."""
    body = {"id": "batch", "params": {"subDevices": [sub_of(id) for id in subs]}}
    await gateway.publish(gateway.topic("combine/login/batch", session=True), orjson.dumps(body), 1)


def comes(*ids: str) -> Callable[..., bool]:
    """Whether it is heard that one of some devices came."""
    return lambda adapter, event, home: event.kind is EventKind.REGISTERED and event.device[5:] in ids


async def test_logins_of_a_connection_that_was_cut_take_nobody_from_the_next_one(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        before = await plant.device("gateway")
        assert (await before.request("thing/topo/add", [sub_of(id) for id in SUBS]))["code"] == 200
        async with held(plant.hub.presence, "hear", comes("sub")) as gate:
            await batch(before, *SUBS)
            await asyncio.wait_for(gate.there.wait(), PATIENCE)
            await before.drop()
            await plant.until(Presence.OFFLINE, "gateway")
            after = await plant.device("gateway")
            for id in ("pump", "other"):
                assert (await after.request("combine/login", sub_of(id), session=True))["code"] == 200
        # The next login of the same device is heard behind the one that was held up.
        assert (await after.request("combine/login", sub_of("sub"), session=True))["code"] == 200

        calls = [await plant.submit(id, args={"a": 1}) for id in SUBS]
        states = [await plant.ended(call) for call in calls]
        assert {state.outcome.ending for state in states if state.outcome} == {Ending.ANSWERED}
        assert after.executed == [call.id for call in calls]


async def test_a_login_that_was_under_way_when_its_connection_was_cut_is_followed_by_its_leaving(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        assert (await gateway.request("thing/topo/add", [sub_of(id) for id in SUBS]))["code"] == 200
        async with held(plant.hub.presence, "hear", comes("sub")) as gate:
            await batch(gateway, *SUBS)
            await asyncio.wait_for(gate.there.wait(), PATIENCE)
            await gateway.drop()
            await plant.until(Presence.OFFLINE, "gateway")

        await plant.until(Presence.OFFLINE, "sub")
        assert plant.adapter.presence("acme/sub") is Presence.OFFLINE
        # Those behind the break were not judged at all: a dead connection lets nobody in.
        assert [event.body["device"] for event in await plant.events(Told.REGISTERED)] == ["gateway", "sub"]


async def test_what_two_connections_store_at_once_is_all_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        before = await plant.device("gateway")
        body = orjson.dumps({"id": "1", "params": {"attributes": {"a": 1}}})
        async with held(plant.hub.directory, "put", lambda record: record.kind.value == "memory") as gate:
            await before.publish(before.topic("thing/attribute/update"), body, 1)
            await asyncio.wait_for(gate.there.wait(), PATIENCE)
            after = await plant.device("gateway")
            asking = asyncio.ensure_future(after.request("thing/attribute/update", {"attributes": {"b": 2}}))
            adding = orjson.dumps({"id": "2", "params": [sub_of("sub")]})
            await after.publish(after.topic("thing/topo/add"), adding, 1)
            await after.settle()
        assert (await asking)["code"] == 200

        assert (await after.request("thing/attribute/query", {"attributes": []}))["data"] == {"a": 1, "b": 2}
        assert (await after.request("thing/topo/get", {}))["data"] == [{"productKey": PRODUCT, "deviceKey": "sub"}]
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        assert (await gateway.request("thing/attribute/query", {"attributes": []}))["data"] == {"a": 1, "b": 2}
        assert (await gateway.request("thing/topo/get", {}))["data"] == [{"productKey": PRODUCT, "deviceKey": "sub"}]


async def test_a_device_whose_registration_has_ended_is_told_that_nothing_was_stored_and_registers_anew(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as plant:
        double = await plant.device("pump")
        await plant.hub.presence.gone(plant.known("pump"), Registration.DEREGISTERED)
        answer = await double.request("thing/attribute/update", {"attributes": {"a": 1}})
        assert answer["code"] == 705

        await asyncio.wait_for(double.closed.wait(), PATIENCE)
        await double.reconnect()
        assert plant.known("pump").registration is Registration.REGISTERED
        assert (await double.request("thing/attribute/query", {"attributes": []}))["data"] == {}
        assert (await double.request("thing/attribute/update", {"attributes": {"a": 2}}))["code"] == 200
    async with running(tmp_path) as plant:
        double = await plant.device("pump")
        assert (await double.request("thing/attribute/query", {"attributes": []}))["data"] == {"a": 2}
