"""New serialization options reach the socket that is open: nothing is told twice, nothing is lost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from hub.core.channels import DEFAULT
from hub.delivery.envelope import LISTS
from hub.model.event import EventDraft, EventKind
from hub.ports.adapter import DeviceResponse
from hub.ports.adapter import EventKind as Heard
from tests.trips.front_rig import PATIENCE, Front
from tests.trips.pelion_rig import running_observed

pytestmark = pytest.mark.anyio

CHANNEL = "/v2/notification/websocket"
CONNECT = "/v2/notification/websocket-connect"
WITH_NAME = {"serialization": {"type": "v2", "cfg": {"include_original_ep": True, "deregistrations_as_object": True}}}
WITH_UID = {"serialization": {"type": "v2", "cfg": {"include_uid": True}}}


async def happen(front: Front, *refs: str, payload: bytes = b"x") -> None:
    body = {"call_id": "c", "device": "lamp", "status": 200, "payload": payload, "content_type": None}
    drafts = [EventDraft(f"shop/{DEFAULT}", EventKind.COMPLETION, {**body, "ref": ref}) for ref in refs]
    await front.core.hub.engine.log.append(drafts, {f"shop/{DEFAULT}": "acme"})


async def items(socket: ClientConnection, count: int) -> list[Any]:
    told: list[Any] = []
    async with asyncio.timeout(PATIENCE):
        while len(told) < count:
            told += json.loads(await socket.recv()).get("async-responses", [])
    return told


async def test_what_comes_after_the_new_options_is_told_in_them_on_the_same_socket(front: Front) -> None:
    await front.ask("PUT", CHANNEL)
    async with front.socket(CONNECT) as socket:
        await happen(front, "a")
        before = await items(socket, 1)
        answer = await front.ask("PUT", CHANNEL, WITH_UID)
        await happen(front, "b")
        after = await items(socket, 1)
        await front.ask("PUT", CHANNEL)
        await happen(front, "c")
        plain = await items(socket, 1)

    assert answer.status == 200
    assert [item["id"] for item in (*before, *after, *plain)] == ["a", "b", "c"]
    assert ["uid" in item for item in (*before, *after, *plain)] == [False, True, False]


async def test_in_the_midst_of_a_stream_nothing_is_lost_or_told_twice(front: Front) -> None:
    await front.ask("PUT", CHANNEL)
    async with front.socket(CONNECT) as socket:
        reading = asyncio.ensure_future(items(socket, 600))
        for number in range(20):
            await happen(front, *(f"{number}-{more}" for more in range(30)))
            await front.ask("PUT", CHANNEL, WITH_UID if number % 2 else None)
        told = await reading

    assert [item["id"] for item in told] == [f"{number}-{more}" for number in range(20) for more in range(30)]
    assert {"uid" in item for item in told} == {True, False}


async def test_a_socket_that_takes_nothing_now_is_told_all_of_it_later(front: Front) -> None:
    await front.ask("PUT", CHANNEL)
    async with front.socket(CONNECT, max_queue=1, max_size=None) as socket:
        for number in range(100):
            await happen(front, str(number), payload=bytes(50_000))
        async with asyncio.timeout(PATIENCE):
            while not front.core.hub.stats.lagging:
                await front.core.settle()
        await front.ask("PUT", CHANNEL, WITH_UID)
        told = await items(socket, 100)

    assert [item["id"] for item in told] == [str(number) for number in range(100)]
    assert "uid" in told[-1]


async def test_options_that_come_while_nobody_is_connected_hold_for_the_next_socket(front: Front) -> None:
    await front.ask("PUT", CHANNEL)
    async with front.socket(CONNECT):
        pass
    await front.ask("PUT", CHANNEL, WITH_UID)
    await happen(front, "a")
    async with front.socket(CONNECT) as socket:
        assert "uid" in (await items(socket, 1))[0]


async def test_every_kind_of_item_carries_the_devices_own_name(tmp_path: Path) -> None:
    async with running_observed(tmp_path) as (front, observed):
        front.core.adapter.on_call = lambda request: DeviceResponse(200, b"21.5")
        await front.ask("PUT", CHANNEL, WITH_NAME)
        await observed.register(name="greenhouse-4")
        await observed.heard(Heard.UPDATED)
        await front.ask("PUT", "/v2/subscriptions/lamp/3303/0/5700")
        await observed.values()
        observed.answer = lambda spec: DeviceResponse(404)
        await front.ask("PUT", "/v2/subscriptions/lamp/3303/0/5701")
        await observed.told(EventKind.COMPLETION)
        await front.ask("POST", "/v2/device-requests/lamp?async-id=a", {"method": "GET", "uri": "/3303/0/5700"})
        await observed.told(EventKind.COMPLETION, 2)
        await observed.heard(Heard.DEREGISTERED)
        await observed.register(lifetime=60)
        await observed.heard(Heard.EXPIRED)
        await observed.told(EventKind.EXPIRED)

        told: dict[str, list[Any]] = {}
        async with front.socket(CONNECT) as socket, asyncio.timeout(PATIENCE):
            while "registrations-expired" not in told:
                for kind, found in json.loads(await socket.recv()).items():
                    told[kind] = told.get(kind, []) + (found if isinstance(found, list) else [])

    lists = {kind: [item["original-ep"] for item in found] for kind, found in told.items() if found}
    assert lists.keys() == {*LISTS.values()} - {"progress"}
    assert {name for names in lists.values() for name in names} == {"greenhouse-4"}
    assert {item["id"] for item in told["async-responses"]} == {"a", "lamp/3303/0/5701"}
