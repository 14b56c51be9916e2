"""What the callback of the Connect dialect is sent: batches, one at a time, each application for itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from hub.core.channels import DEFAULT
from hub.core.limits import Limits
from hub.model.event import EventDraft, EventKind
from tests.trips.front_rig import FOREIGN, PATIENCE, Front, running_front
from tests.trips.pelion_callback_rig import (
    CHANNEL,
    completed,
    failed,
    header,
    put,
    refs,
    registered,
    taken,
)
from tests.trips.receiver import Receiver, receiving

pytestmark = pytest.mark.anyio


# Delivery.


async def test_an_outcome_is_put_with_the_own_headers(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver, headers={"authorization": "f00d"})
    answer = await front.ask("POST", "/v2/device-requests/lamp?async-id=a1", {"method": "GET", "uri": "/5/0/1"})
    (await front.core.adapter.next()).reply(200, b"value1\n")
    await front.ended(answer.headers["hub-call-id"])

    got = await receiver.next()

    assert (got.method, header(got, "authorization")) == ("PUT", "f00d")
    assert got.headers["Content-Type"] == "application/json"
    assert got.json["async-responses"] == [{"id": "a1", "status": 200, "payload": "dmFsdWUxCg==", "max-age": 0}]


async def test_an_early_request_keeps_its_answer_for_the_callback(front: Front, receiver: Receiver) -> None:
    await completed(front, "early")
    await registered(front, receiver)

    assert refs(await receiver.next()) == ["early"]


async def test_one_batch_at_a_time_goes_out_and_the_next_holds_all_that_came_meanwhile(
    front: Front, receiver: Receiver
) -> None:
    await registered(front, receiver)
    receiver.let_go.clear()
    await completed(front, "a")
    first = await receiver.next()
    for ref in "bcd":
        await completed(front, ref)
    receiver.let_go.set()
    second = await receiver.next()

    assert (refs(first), refs(second)) == (["a"], ["b", "c", "d"])
    assert receiver.most_under_way == 1


async def test_a_message_has_at_most_as_many_items_as_the_options_say(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver, serialization={"type": "v2", "max_chunk_size": 100})

    await completed(front, *(str(number) for number in range(250)))

    assert [len(refs(await receiver.next())) for _ in range(3)] == [100, 100, 50]


async def test_the_options_shape_the_items(front: Front, receiver: Receiver) -> None:
    cfg = {"include_uid": "true", "include_timestamp": True, "deregistrations_as_object": "true"}
    await registered(front, receiver, serialization={"type": "v2", "cfg": cfg})
    draft = EventDraft(f"shop/{DEFAULT}", EventKind.EXPIRED, {"device": "d", "name": None})
    [event] = await front.core.hub.engine.log.append([draft], {})

    got = await receiver.next()

    uid, stamp = f"{event.epoch}-{event.offset}", int(event.at.timestamp() * 1000)
    assert got.json["registrations-expired"] == [{"ep": "d", "uid": uid, "timestamp": stamp}]


async def test_a_hanging_receiver_delays_no_other_application(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    async with receiving() as other:
        await put(front, other.url, key=FOREIGN)
        await other.next()
        receiver.let_go.clear()
        await completed(front, "a")
        await receiver.next()
        body = {"ref": "b", "call_id": "c", "device": "d", "status": 200, "payload": b""}
        draft = EventDraft(f"stall/{DEFAULT}", EventKind.COMPLETION, body)
        await front.core.hub.engine.log.append([draft], {draft.channel: "other"})

        assert refs(await other.next()) == ["b"]


async def test_events_beyond_the_queue_are_given_up_and_the_next_message_says_so(tmp_path: Path) -> None:
    async with running_front(tmp_path, limits=Limits(pelion_queue=20_000)) as front, receiving() as receiver:
        await registered(front, receiver)
        receiver.status = 500
        await completed(front, "a")
        await receiver.next()
        await failed(front, 1)
        for number in range(100):
            await completed(front, str(number), payload=b"x" * 1000)
        receiver.status = 204
        front.core.clock.advance(1)
        got = await receiver.next()

    gap, told = got.json["gap"], refs(got)
    assert (gap["from"], gap["to"], gap["next"], gap["reason"]) == (1, 101 - len(told), 101 - len(told), "overflow")
    assert told == [str(number) for number in range(100 - len(told), 100)]
    assert 10 <= len(told) <= 15


async def test_a_drain_lets_a_batch_under_way_end_and_sends_no_other(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.let_go.clear()
    await completed(front, "a")
    await receiver.next()
    await completed(front, "b")
    draining = asyncio.ensure_future(front.pelion.drain(front.core.clock.monotonic() + 2))
    await front.ask("GET", CHANNEL)
    assert not draining.done()
    receiver.let_go.set()
    await draining
    await taken(front, 1)

    await front.ask("GET", CHANNEL)
    assert receiver.got.empty()


async def test_a_drain_does_not_wait_longer_than_it_may(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.let_go.clear()
    await completed(front, "a")
    await receiver.next()
    draining = asyncio.ensure_future(front.pelion.drain(front.core.clock.monotonic() + 2))
    await front.ask("GET", CHANNEL)

    front.core.clock.advance(2)

    await asyncio.wait_for(draining, PATIENCE)


async def test_the_body_of_an_answer_is_not_waited_for(front: Front, tmp_path: Path) -> None:
    """A receiver whose answer has a head and then no end of body has taken the batch."""
    asked = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        await request.read()
        answer = web.StreamResponse(status=200)
        await answer.prepare(request)
        asked.set()
        for _ in range(100):
            await answer.write(b"x" * 16_384)
        return answer

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", endless)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        await put(front, f"http://127.0.0.1:{runner.addresses[0][1]}")
        await completed(front, "a")
        await taken(front, 1)
    finally:
        await runner.cleanup()
    assert asked.is_set()
