"""What holds for every kind of notification channel: one at a time, the same events, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from hub.core.channels import DEFAULT
from hub.core.limits import Limits
from hub.dialects.pelion.channel_queue import READER
from hub.dialects.pelion.record import channel_of
from hub.model.event import EventDraft, EventKind, Position
from hub.model.record import Kind
from tests.clock import ManualClock
from tests.trips.front_rig import PATIENCE, Front, running_front
from tests.trips.receiver import receiving

pytestmark = pytest.mark.anyio

PULL = "/v2/notification/pull"
WEBSOCKET = "/v2/notification/websocket"
CONNECT = "/v2/notification/websocket-connect"
CALLBACK = "/v2/notification/callback"
NAME = f"shop/{DEFAULT}"
HOUR = 3600.0


def completion(ref: str, status: int = 200, payload: bytes = b"x") -> EventDraft:
    body = {"ref": ref, "call_id": ref, "device": "lamp", "status": status, "payload": payload, "content_type": None}
    return EventDraft(NAME, EventKind.COMPLETION, body)


def departure(device: str) -> EventDraft:
    return EventDraft(NAME, EventKind.DEREGISTERED, {"device": device, "name": None})


async def happened(front: Front, *drafts: EventDraft) -> None:
    await front.core.hub.engine.log.append(drafts, {NAME: "acme"})


async def received(socket: ClientConnection) -> Any:
    async with asyncio.timeout(PATIENCE):
        return json.loads(await socket.recv())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await anyio.lowlevel.checkpoint()


def record(front: Front) -> Any:
    return channel_of(front.core.hub.directory.record(Kind.CHANNEL, "shop"))


async def rewound(front: Front) -> None:
    """Let the application's next channel begin where the first one began."""
    channel = await front.core.hub.channels.open(NAME, "acme")
    await front.core.hub.engine.log.store_position(NAME, READER, Position(channel.epoch, 0), forward_only=False)


def items(message: Any) -> list[str]:
    """The items of a message by name; with uids in their order, else list by list."""
    found = [(place(item), f"outcome {item['id']}") for item in message.get("async-responses", ())]
    gone = [item if isinstance(item, dict) else {"ep": item} for item in message.get("de-registrations", ())]
    found += [(place(item), f"gone {item['ep']}") for item in gone]
    return [name for _, name in sorted(found, key=lambda entry: entry[0])]


def uids(message: Any) -> list[str]:
    """The uids of a message's items in their order."""
    found = [*message.get("async-responses", ()), *message.get("de-registrations", ())]
    return [item["uid"] for item in sorted(found, key=place)]


def place(item: Any) -> int:
    return int(item["uid"].rpartition("-")[2]) if "uid" in item else 0


# One log, three kinds.

STORY = (
    completion("a"),
    departure("d1"),
    completion("b", 504),
    completion("c"),
    departure("d2"),
    *(completion(str(number)) for number in range(120)),
)


async def test_a_channel_made_later_tells_the_same_outcomes_in_the_same_order_with_the_same_ids(tmp_path: Path) -> None:
    cfg = {"include_uid": True, "deregistrations_as_object": True}
    options = {"serialization": {"type": "v2", "max_chunk_size": 100, "cfg": cfg}}
    clock, told = ManualClock(), dict[str, list[Any]]()
    async with running_front(tmp_path, clock) as front:
        await front.ask("PUT", WEBSOCKET, options)
        async with front.socket("/v1/stream?channel=default", subprotocols=["hub.v1.json"]) as native:
            async with front.socket(CONNECT) as socket:
                await happened(front, *STORY)
                told["websocket"] = await collected(lambda: received(socket))
            messages = [await received(native) for _ in range(2 + len(STORY))]
            told["native"] = [message for message in messages if message["type"] == "message"]
        await front.ask("DELETE", WEBSOCKET)
        await rewound(front)
    clock.advance(3)
    async with running_front(tmp_path, clock) as front, receiving() as receiver:
        await front.ask("PUT", CALLBACK, {"url": receiver.url, **options})
        assert (await receiver.next()).body == b"{}"

        async def put() -> Any:
            return (await receiver.next()).json

        # Of what is older than its channel only outcomes are shown.
        told["callback"] = await collected(put, without=2)
        await front.ask("DELETE", CALLBACK)
        await rewound(front)
    async with running_front(tmp_path, clock) as front:
        told["pull"] = await collected(lambda: asked(front), without=2)

    outcomes = {kind: [item for message in told[kind] for item in items(message)] for kind in told}
    assert outcomes["websocket"] == outcomes["native"]
    shown = [item for item in outcomes["native"] if item.startswith("outcome")]
    assert outcomes["callback"] == outcomes["pull"] == shown
    found = {kind: [uid for message in told[kind] for uid in uids(message)] for kind in ("websocket", "callback")}
    places = [f"{message['epoch']}-{message['offset']}" for message in told["native"]]
    assert found["websocket"] == places
    assert found["callback"] == [place for place, item in zip(places, outcomes["native"], strict=True) if item in shown]
    for kind in ("websocket", "callback", "pull"):
        assert all(f"{message['epoch']}-{message['offset']}" in places for message in told[kind])


async def asked(front: Front) -> Any:
    answer = await front.ask("GET", PULL)
    assert answer.status == 200
    return answer.json


async def collected(ask: Callable[[], Any], without: int = 0) -> list[Any]:
    """Messages until the whole story is told, but for so many events that are not shown."""
    messages: list[Any] = []
    while sum(len(items(message)) for message in messages) < len(STORY) - without:
        messages.append(await ask())
    return messages


# What the queue holds.


async def test_a_socket_is_told_first_what_the_queue_has_given_up(tmp_path: Path) -> None:
    async with running_front(tmp_path, limits=Limits(pelion_queue=20_000)) as front:
        await front.ask("PUT", WEBSOCKET)
        await until(lambda: front.pelion.channels.life("shop").followed is not None)
        for number in range(100):
            await happened(front, completion(str(number), payload=b"x" * 1000))
        waiting = (await front.ask("GET", WEBSOCKET)).json["queue_size"]
        async with front.socket(CONNECT) as socket:
            gap, message = await received(socket), await received(socket)

    assert gap["gap"] == {"from": 1, "to": 100 - waiting, "next": 100 - waiting, "reason": "overflow"}
    assert [item["id"] for item in message["async-responses"]] == [str(n) for n in range(100 - waiting, 100)]
    assert 10 <= waiting <= 15


async def test_what_the_queue_has_given_up_stays_so_after_a_restart(tmp_path: Path) -> None:
    limits, clock = Limits(pelion_queue=20_000), ManualClock()
    async with running_front(tmp_path, clock, limits) as front:
        await front.ask("PUT", WEBSOCKET)
        for number in range(100):
            await happened(front, completion(str(number), payload=b"x" * 1000))
    async with running_front(tmp_path, clock, limits) as front:
        await until(lambda: front.pelion.channels.life("shop").followed is not None)
        async with front.socket(CONNECT) as socket:
            assert (await received(socket))["gap"]["reason"] == "overflow"


async def test_a_reader_that_keeps_up_is_never_over_the_limit(tmp_path: Path) -> None:
    async with running_front(tmp_path, limits=Limits(pelion_queue=20_000)) as front:
        await happened(front, completion("first"))
        assert (await front.ask("GET", PULL)).status == 200
        for number in range(50):
            await happened(front, completion(str(number), payload=b"x" * 1000))
            answer = await front.ask("GET", PULL)
            assert "gap" not in answer.json and items(answer.json) == [f"outcome {number}"]


async def test_events_live_for_a_day_however_long_the_log_keeps_them(tmp_path: Path) -> None:
    async with running_front(tmp_path, limits=Limits(retention=timedelta(days=7))) as front:
        await front.ask("PUT", WEBSOCKET)
        async with front.socket(CONNECT):
            pass
        await happened(front, completion("a"), completion("b"))
        front.core.clock.advance(12 * HOUR)
        await happened(front, completion("c"))
        async with front.socket(CONNECT) as socket:
            await received(socket)  # not acknowledged: nothing has moved
        front.core.clock.advance(12 * HOUR + 1)
        async with front.socket(CONNECT) as socket:
            gap, message = await received(socket), await received(socket)

    assert gap["gap"] == {"from": 1, "to": 2, "next": 2, "reason": "retention"}
    assert items(message) == ["outcome c"]


# When it ends.


async def test_a_channel_without_a_socket_is_removed_after_a_day(front: Front) -> None:
    await front.ask("PUT", WEBSOCKET)
    front.core.clock.advance(24 * HOUR)
    await until(lambda: record(front) is None)

    async with front.socket(CONNECT) as socket:
        await socket.wait_closed()

    assert socket.close_code == 1011
    assert (await front.ask("GET", WEBSOCKET)).status == 404


async def test_an_attempt_to_connect_does_not_bring_a_channel_back(front: Front) -> None:
    await front.ask("PUT", WEBSOCKET)
    front.core.clock.advance(24 * HOUR)
    for _ in range(2):
        async with front.socket(CONNECT) as socket:
            await socket.wait_closed()
        assert socket.close_code == 1011


async def test_an_open_socket_keeps_its_channel_however_quiet_it_is(front: Front) -> None:
    await front.ask("PUT", WEBSOCKET)
    async with front.socket(CONNECT) as socket:
        await until(lambda: front.pelion.channels.connected("shop"))
        for _ in range(3):
            front.core.clock.advance(24 * HOUR)
            assert (await front.ask("GET", WEBSOCKET)).json["status"] == "connected"
        await happened(front, completion("a"))

        assert items(await received(socket)) == ["outcome a"]


async def test_a_socket_that_was_open_for_days_has_its_day_after_a_crash(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running_front(tmp_path, clock) as front:
        await front.ask("PUT", WEBSOCKET)
        async with front.socket(CONNECT):
            await until(lambda: front.pelion.channels.connected("shop"))
            for _ in range(2):
                clock.advance(24 * HOUR)
                await until(lambda: record(front).seen == clock.now())
            # What a socket leaves at its end is not there after a crash.
            crashed = front.core.hub.directory.record(Kind.CHANNEL, "shop")
        await until(lambda: not front.pelion.channels.connected("shop"))
        assert crashed is not None
        await front.core.hub.directory.put(crashed)
    async with running_front(tmp_path, clock) as front:
        clock.advance(24 * HOUR - 1)
        before = (await front.ask("GET", WEBSOCKET)).status
        clock.advance(1)
        after = (await front.ask("GET", WEBSOCKET)).status

    assert (before, after) == (200, 404)


async def test_a_step_of_the_wall_clock_ends_no_channel(front: Front) -> None:
    await front.ask("PUT", WEBSOCKET)
    await until(lambda: front.pelion.channels.life("shop").followed is not None)

    front.core.clock.step_wall(30 * 24 * HOUR)
    front.core.clock.advance(60)
    await front.core.settle()

    assert (await front.ask("GET", WEBSOCKET)).status == 200


async def test_a_second_handshake_of_a_key_is_refused_while_the_first_goes_on(front: Front) -> None:
    await front.ask("PUT", WEBSOCKET)
    place, entered, let_go = front.pelion.channels.queue.place, asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> Any:
        entered.set()
        await let_go.wait()
        return await place(*args)

    front.pelion.channels.queue.place = slow  # type: ignore[method-assign, assignment]
    first = asyncio.ensure_future(_connected(front))
    await entered.wait()

    with pytest.raises(InvalidStatus) as refused:
        await _connected(front)
    let_go.set()
    await first

    assert refused.value.response.status_code == 429
    assert refused.value.response.body == b"ANOTHER_HANDSHAKE"


async def _connected(front: Front) -> None:
    async with front.socket(CONNECT):
        pass


async def test_registering_again_keeps_what_waits(front: Front) -> None:
    await front.ask("PUT", WEBSOCKET)
    await happened(front, departure("d1"))
    again = await front.ask("PUT", WEBSOCKET, {"serialization": {"type": "v2"}})

    async with front.socket(CONNECT) as socket:
        message = await received(socket)

    assert again.status == 200
    assert items(message) == ["gone d1"]
