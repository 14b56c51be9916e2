"""What tests of the Connect dialect's callback share: registrations, events of the channel, and waits for attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio.lowlevel

from hub.core.channels import DEFAULT
from hub.dialects.pelion.record import channel_of
from hub.model.event import EventDraft, EventKind
from hub.model.record import Kind
from tests.trips.front_rig import KEY, PATIENCE, Answer, Front
from tests.trips.receiver import Got, Receiver

CALLBACK = "/v2/notification/callback"
WEBSOCKET = "/v2/notification/websocket"
CHANNEL = "/v2/notification/channel"
HOUR = 3600.0
DAY = 24 * HOUR


async def completed(front: Front, *refs: str, payload: bytes = b"21.5") -> None:
    """Completions on the application's channel, in one commit."""
    body = {"call_id": "c", "device": "lamp", "status": 200, "payload": payload, "content_type": None}
    drafts = [EventDraft(f"shop/{DEFAULT}", EventKind.COMPLETION, {**body, "ref": ref}) for ref in refs]
    await front.core.hub.engine.log.append(drafts, {f"shop/{DEFAULT}": "acme"})


async def put(front: Front, url: str, *, key: str = KEY, expect: int = 204, **more: Any) -> Answer:
    answer = await front.ask("PUT", CALLBACK, {"url": url, **more}, key=key)
    assert answer.status == expect, answer
    return answer


async def registered(front: Front, receiver: Receiver, **more: Any) -> None:
    """A callback whose trial is over."""
    await put(front, receiver.url, **more)
    assert (await receiver.next()).body == b"{}"


def header(got: Got, name: str) -> str | None:
    return {key.lower(): value for key, value in got.headers.items()}.get(name)


def refs(got: Got) -> list[str]:
    return [item["id"] for item in got.json["async-responses"]]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def failed(front: Front, times: int) -> None:
    """Return when this many attempts in a row have failed and the schedule of the next is on disk."""
    async with asyncio.timeout(PATIENCE):
        while (found := record(front)) is None or found.failing is None or found.failing.times < times:
            front.record_written.clear()
            await front.record_written.wait()


async def taken(front: Front, times: int) -> None:
    """Return when this many batches were taken and the position is on disk."""
    await until(lambda: front.core.hub.stats.callbacks_taken >= times)


def record(front: Front) -> Any:
    return channel_of(front.core.hub.directory.record(Kind.CHANNEL, "shop"))
