"""What tests of callbacks share: calls that name one, and waits for what became of it."""

from __future__ import annotations

import asyncio
from typing import Any

from hub.ports.adapter import DeviceRequest, DeviceResponse
from tests.core_rig import Core
from tests.trips.front_rig import KEY, Front

HOUR = 3600.0


def at_once(request: DeviceRequest) -> DeviceResponse:
    return DeviceResponse(200, b"21.5", content_type="text/plain")


async def call(front: Front, url: str, ref: str = "r", *, key: str = KEY, expect: int = 202, **more: Any) -> Any:
    body = {"method": "GET", "uri": "/3303/0/5700", "ref": ref, "callback": url, **more}
    answer = await front.ask("POST", "/v1/devices/lamp/calls", body, key=key)
    assert answer.status == expect, answer
    return answer.json


async def settled(core: Core, failed: int) -> None:
    """Return when this many attempts have failed and that is on disk."""
    async with asyncio.timeout(5):
        while core.hub.stats.callbacks_failed < failed:
            await core.settle()
    await core.settle()


async def taken(core: Core, count: int) -> None:
    async with asyncio.timeout(5):
        while core.hub.stats.callbacks_taken < count:
            await core.settle()


async def dead(front: Front, count: int, **query: Any) -> list[Any]:
    async with asyncio.timeout(5):
        while front.core.hub.stats.callbacks_dead < count:
            await front.core.settle()
    search = "&".join(f"{name}={value}" for name, value in query.items())
    answer = await front.ask("GET", f"/v1/dead-letters?{search}")
    assert answer.status == 200, answer
    return list(answer.json["dead-letters"])
