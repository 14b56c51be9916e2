"""What tests of the Connect dialect's long poll share: events of the channel, polls, and waits for how these stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio.lowlevel

from hub.core.channels import DEFAULT
from hub.model.event import EventDraft, EventKind
from tests.trips.front_rig import KEY, PATIENCE, Answer, Front

PULL = "/v2/notification/pull"
WEBSOCKET = "/v2/notification/websocket"
CALLBACK = "/v2/notification/callback"
CHANNEL = "/v2/notification/channel"


async def completed(front: Front, *refs: str, status: int = 200, payload: bytes = b"21.5") -> None:
    """Completions on the application's channel."""
    drafts = [
        EventDraft(
            f"shop/{DEFAULT}",
            EventKind.COMPLETION,
            {"ref": ref, "call_id": ref, "device": "lamp", "status": status, "payload": payload, "content_type": None},
        )
        for ref in refs
    ]
    await front.core.hub.engine.log.append(drafts, {f"shop/{DEFAULT}": "acme"})


async def departed(front: Front, device: str) -> None:
    """An event that is no completion."""
    draft = EventDraft(f"shop/{DEFAULT}", EventKind.DEREGISTERED, {"device": device, "name": None})
    await front.core.hub.engine.log.append([draft], {draft.channel: "acme"})


def polling(front: Front, key: str = KEY) -> asyncio.Task[Answer]:
    # Bounded, since the hold itself is by a clock that stands still.
    return asyncio.ensure_future(asyncio.wait_for(front.ask("GET", PULL, key=key), PATIENCE))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def held(front: Front) -> None:
    """Until a poll is waiting for its channel."""
    channel = await front.core.hub.channels.open(f"shop/{DEFAULT}", "acme")
    await until(lambda: bool(channel._waiters))


async def over(front: Front) -> None:
    """Until the hub, too, has done with the poll."""
    await until(lambda: front.pelion.channels.life("shop").turn is None)


async def open_poll(front: Front) -> asyncio.Task[Answer]:
    task = polling(front)
    await held(front)
    return task


def refs(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [item["id"] for item in answer.json["async-responses"]]


async def mechanism(front: Front) -> str | None:
    answer = await front.ask("GET", CHANNEL)
    return answer.json["delivery_mechanism"] if answer.status == 200 else None
