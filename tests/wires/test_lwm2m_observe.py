"""Observations: which notifications count, when they are acknowledged, how they end and whose turn it is."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.block import Block
from adapters.lwm2m.codec import ACK, CON, NON, Message
from adapters.lwm2m.double import DeviceDouble
from adapters.lwm2m.option import (
    BLOCK2,
    CONTENT_FORMAT,
    ETAG,
    OBSERVE,
    URI_QUERY,
    uint,
)
from hub.ports.adapter import (
    EventKind,
    ObserveSpec,
    Unsupported,
)
from tests.wires.lwm2m_field import Blocks, Field, field

pytestmark = pytest.mark.anyio


async def observe(f: Field, double: DeviceDouble, target: str = "/observable", **params: str) -> Any:
    spec = ObserveSpec(double.address, target, params)
    return await f.adapter.observe(spec, f.clock.monotonic() + 30)


def notification(double: DeviceDouble, order: int | None, value: bytes, kind: int = NON, **more: Any) -> Message:
    (token,) = double.observing
    options = [(OBSERVE, uint(order)), (CONTENT_FORMAT, b"")] if order is not None else [(CONTENT_FORMAT, b"")]
    return Message(kind, more.get("code", codec.CONTENT), double._next_mid(), token, options, value)


async def test_older_and_doubled_notifications_are_dropped() -> None:
    async with field() as f:
        double = await f.device()
        await observe(f, double)
        for order, value in ((10, b"a"), (12, b"c"), (11, b"b"), (13, b"d")):
            message = notification(double, order, value)
            double.transmit(message)
            double.transmit(message)
        await f.turns()
        assert [event.payload for event in f.ctx.of(EventKind.NOTIFICATION)] == [b"a", b"c", b"d"]


async def test_a_confirmable_notification_is_acknowledged_when_the_hub_holds_it() -> None:
    async with field() as f:
        double = await f.device()
        await observe(f, double)
        heard: list[Message] = []
        before = double._heard
        double._endpoint.hear = lambda d, p: (heard.append(codec.decode(d)), before(d, p))  # type: ignore[attr-defined]
        f.ctx.fail_accept = True
        message = notification(double, 20, b"v", CON)
        double.transmit(message)
        await f.turns()
        assert heard == []
        f.ctx.fail_accept = False
        double.transmit(message)  # as the device does when nothing came back
        await f.turns()
        assert [(m.kind, m.mid) for m in heard] == [(ACK, message.mid)]
        assert [event.payload for event in f.ctx.of(EventKind.NOTIFICATION)] == [b"v"]
        double.transmit(message)
        await f.turns()
        assert len(heard) == 2
        assert len(f.ctx.of(EventKind.NOTIFICATION)) == 1


@pytest.mark.parametrize("more", [{"order": 30, "code": codec.NOT_FOUND}, {"order": None}])
async def test_an_error_or_an_answer_without_number_ends_an_observation(more: dict[str, Any]) -> None:
    async with field() as f:
        double = await f.device()
        _, observation = await observe(f, double)
        order = more.pop("order")
        double.transmit(notification(double, order, b"x", **more))
        await f.turns()
        (ended,) = f.ctx.of(EventKind.OBSERVE_ENDED)
        assert ended.target == "/observable"
        assert not observation.active


async def test_a_notification_from_another_port_is_believed_and_the_device_not_moved() -> None:
    async with field() as f:
        double = await f.device()
        await observe(f, double)
        other = f.double("other")
        other.transmit(notification(double, 40, b"from elsewhere"))
        (told,) = await f.ctx.seen(EventKind.NOTIFICATION)
        assert told.payload == b"from elsewhere"
        assert (await f.call(double, payload=b"still here")).payload == b"still here"
        assert (len(double.executed), len(other.executed)) == (1, 0)


async def test_a_device_is_followed_where_the_configuration_says_so() -> None:
    from adapters.lwm2m.net import MemoryEndpoint

    async with field(follow_address=True) as f:
        double = await f.device()
        await observe(f, double)
        message = notification(double, 40, b"x")
        double.move(MemoryEndpoint(f.net))
        double.transmit(message)
        await f.ctx.seen(EventKind.NOTIFICATION)
        assert (await f.call(double, payload=b"there")).payload == b"there"


async def test_a_long_notification_is_read_whole() -> None:
    async with field() as f:
        double, device = await f.device(), Blocks(random.Random(3).randbytes(2500))
        await observe(f, double)
        double.answers = device
        message = notification(double, 50, device.body[:1024], CON)
        message.options = [*message.options, (ETAG, b"1"), (BLOCK2, Block(0, True, 6).encode())]
        message.options.sort()
        double.transmit(message)
        (told,) = await f.ctx.seen(EventKind.NOTIFICATION)
        assert told.payload == device.body


async def test_no_older_value_is_told_after_a_newer_one_when_it_was_long_in_coming() -> None:
    async with field() as f:
        double, asked = await f.device(), list[Message]()
        await observe(f, double)
        double._asked_for = asked.append  # type: ignore[method-assign]
        (token,) = double.observing

        def first_block(order: int) -> Message:
            options = [(ETAG, b"1"), (OBSERVE, uint(order)), (BLOCK2, Block(0, True, 6).encode())]
            return Message(NON, codec.CONTENT, double._next_mid(), token, options, bytes(1024))

        async def goes_on() -> None:
            await f.turns()
            rest = asked.pop()
            options = [(ETAG, b"1"), (BLOCK2, Block(1, False, 6).encode())]
            double.transmit(Message(ACK, codec.CONTENT, rest.mid, rest.token, options, b"rest"))
            await f.turns(30)

        for order, kind in ((20, NON), (23, CON)):
            double.transmit(first_block(order))
            double.transmit(first_block(order + 1))  # was to be read next
            double.transmit(notification(double, order + 2, b"newer", kind))
            await goes_on()
            assert asked == []
        double.transmit(first_block(26))
        await goes_on()

        assert [event.seq for event in f.ctx.of(EventKind.NOTIFICATION)] == [22, 25, 26]
        assert f.adapter.health()["shed"] == 4


async def test_attributes_are_written_before_the_observation_begins() -> None:
    async with field() as f:
        double = await f.device()
        seen: list[Message] = []
        heard = double._asked_for
        double._asked_for = lambda message: (seen.append(message), heard(message))[1]  # type: ignore[method-assign,func-returns-value]
        await observe(f, double, pmin="5", pmax="60")
        assert [(m.code, m.first(OBSERVE), m.all(URI_QUERY)) for m in seen] == [
            (codec.PUT, None, [b"pmax=60", b"pmin=5"]), (codec.GET, b"", []),
        ]


async def test_a_device_that_answers_and_does_not_observe_is_said_to() -> None:
    async with field() as f:
        double = await f.device()
        double._observe = lambda message, path, observe: double._reply(message, Message(ACK, codec.CONTENT, 0))  # type: ignore[method-assign]
        with pytest.raises(Unsupported):
            await observe(f, double)


async def test_an_observation_waits_for_its_turn_and_the_hub_is_told_when_there_is_room_again() -> None:
    async with field() as f:
        double = await f.device()
        double.hold()
        call = asyncio.ensure_future(f.adapter.call(f.request(double)))
        held = await double.asked()
        double.go()
        observing = asyncio.ensure_future(observe(f, double))
        await f.turns()
        assert f.adapter.window(double.address) == 0
        assert double.observed == 0
        await held.answer(b"x")
        await call
        assert (await observing)[1].active
        assert [event.kind for event in f.ctx.events][-1] is EventKind.AWAKE
