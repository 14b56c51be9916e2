"""Devices in queue mode: when they count as asleep, and what wakes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.block import Block
from adapters.lwm2m.codec import ACK, EMPTY, NON, Message, Options, decode
from adapters.lwm2m.double import DeviceDouble
from adapters.lwm2m.option import BLOCK1, BLOCK2, OBSERVE, uint
from hub.model.device import Presence
from hub.ports.adapter import NotConnected, ObserveSpec
from tests.wires.lwm2m_field import Field, field

pytestmark = pytest.mark.anyio


def kinds(f: Field) -> list[str]:
    return [event.kind.value for event in f.ctx.events]


async def test_a_device_in_queue_mode_sleeps_after_93_seconds_of_silence() -> None:
    async with field() as f:
        double = await f.device(binding="UQ")
        f.clock.advance(60)
        double.ping()
        await f.turns()
        f.clock.advance(60)
        assert "asleep" not in kinds(f)
        f.clock.advance(40)

        assert kinds(f) == ["registered", "asleep"]
        assert (f.adapter.presence(double.address), f.adapter.window(double.address)) == (Presence.ASLEEP, 0)


async def test_any_message_of_a_sleeping_device_wakes_it() -> None:
    async with field() as f:
        double = await f.device(binding="UQ")
        for say in (double.ping, lambda: asyncio.ensure_future(double.update())):
            f.clock.advance(100)
            await f.turns()
            assert f.adapter.window(double.address) == 0
            say()
            await f.turns()
            assert f.adapter.window(double.address) == 1
        assert kinds(f) == ["registered", "asleep", "awake", "asleep", "updated", "awake"]


async def test_the_first_call_that_a_sleepy_device_does_not_answer_says_that_it_sleeps() -> None:
    async with field() as f:
        double = await f.device(binding="UQ")
        double.hold()
        call = asyncio.ensure_future(f.adapter.call(f.request(double)))
        await double.asked()
        f.clock.advance(30)
        await asyncio.gather(call, return_exceptions=True)

        assert kinds(f)[-1] == "asleep"
        with pytest.raises(NotConnected):
            await f.call(double)


async def begin(f: Field, double: DeviceDouble) -> Any:
    spec = ObserveSpec(double.address, "/observable")
    return await f.adapter.observe(spec, f.clock.monotonic() + 30)


async def cancel(f: Field, double: DeviceDouble) -> Any:
    _, observation = await begin(f, double)
    deaf(double)
    await observation.cancel()


async def read_the_rest(f: Field, double: DeviceDouble) -> Any:
    await begin(f, double)
    deaf(double)
    (token,) = double.observing
    options = [(OBSERVE, uint(50)), (BLOCK2, Block(0, True, 6).encode())]
    double.transmit(Message(NON, codec.CONTENT, 9000, token, options, bytes(1024)))


def deaf(double: DeviceDouble) -> None:
    double._endpoint.hear = lambda data, peer: None  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", [begin, cancel, read_the_rest])
async def test_whatever_else_a_sleepy_device_leaves_unanswered_says_so_too(
    what: Callable[[Field, DeviceDouble], Awaitable[Any]]
) -> None:
    async with field(asleep_after=timedelta(hours=1)) as f:
        double = await f.device(binding="UQ")
        if what is begin:
            deaf(double)
        await f.passing([what(f, double)])
        await f.turns()
        for _ in range(60):
            f.clock.advance(1)
            await f.turns(3)

        assert kinds(f)[-1] == "asleep"
        assert f.adapter.presence(double.address) is Presence.ASLEEP


async def call(f: Field, double: DeviceDouble) -> Any:
    deaf(double)
    return await f.call(double)


@pytest.mark.parametrize("what", [begin, cancel, read_the_rest, call])
async def test_a_device_that_spoke_after_it_was_asked_is_awake_whatever_it_left_unanswered(
    what: Callable[[Field, DeviceDouble], Awaitable[Any]]
) -> None:
    async with field(asleep_after=timedelta(hours=1)) as f:
        double = await f.device(binding="UQ")
        if what is begin:
            deaf(double)
        asked = asyncio.gather(what(f, double), return_exceptions=True)
        await f.turns()
        f.clock.advance(1)
        double.ping()
        await f.turns()
        for _ in range(60):
            f.clock.advance(1)
            await f.turns(3)

        assert asked.done()
        assert "asleep" not in kinds(f)
        assert f.adapter.presence(double.address) is Presence.ONLINE


def once(f: Field, double: DeviceDouble, code: int, options: Options, payload: bytes) -> list[Message]:
    """The device answers the next request, a moment later, and nothing that comes after it; what it was asked."""
    asked: list[Message] = []

    def hear(data: bytes, peer: Any) -> None:
        message = decode(data)
        if message.code == EMPTY:
            return
        asked.append(message)
        if len(asked) == 1:
            f.clock.advance(0.05)
            double.transmit(Message(ACK, code, message.mid, message.token, options, payload))

    double._endpoint.hear = hear  # type: ignore[attr-defined]
    return asked


FIRST_OF_MANY = (codec.CONTENT, [(BLOCK2, Block(0, True, 6).encode())], bytes(1024))
GO_ON = (codec.CONTINUE, [(BLOCK1, Block(0, True, 6).encode())], b"")


async def read_blocks(f: Field, double: DeviceDouble) -> list[Message]:
    asked = once(f, double, *FIRST_OF_MANY)
    await f.passing([f.adapter.call(f.request(double, "GET", "/3/0"))])
    return asked


async def read_in_another_format(f: Field, double: DeviceDouble) -> list[Message]:
    asked = once(f, double, codec.NOT_ACCEPTABLE, [], b"")
    await f.passing([f.adapter.call(f.request(double, "GET", "/3/0", accept="application/senml+json"))])
    return asked


async def write_blocks(f: Field, double: DeviceDouble) -> list[Message]:
    asked = once(f, double, *GO_ON)
    more = {"payload": bytes(3000), "content_type": "application/octet-stream"}
    await f.passing([f.adapter.call(f.request(double, "PUT", "/5/0/0", **more))])
    return asked


async def begin_with_blocks(f: Field, double: DeviceDouble) -> list[Message]:
    code, options, payload = FIRST_OF_MANY
    asked = once(f, double, code, [(OBSERVE, uint(1)), *options], payload)
    await f.passing([begin(f, double)])
    return asked


async def read_one_more_block(f: Field, double: DeviceDouble) -> list[Message]:
    await begin(f, double)
    asked = once(f, double, codec.CONTENT, [(BLOCK2, Block(1, True, 6).encode())], bytes(1024))
    (token,) = double.observing
    options = [(OBSERVE, uint(50)), (BLOCK2, Block(0, True, 6).encode())]
    double.transmit(Message(NON, codec.CONTENT, 9000, token, options, bytes(1024)))
    for _ in range(60):
        f.clock.advance(1)
        await f.turns(3)
    return asked


@pytest.mark.parametrize(
    "what", [read_blocks, read_in_another_format, write_blocks, begin_with_blocks, read_one_more_block]
)
async def test_a_sleepy_device_that_goes_silent_in_the_middle_of_an_exchange_sleeps(
    what: Callable[[Field, DeviceDouble], Awaitable[list[Message]]]
) -> None:
    async with field(asleep_after=timedelta(hours=1)) as f:
        double = await f.device("dev", "lwm2m=1.1", binding="UQ")
        f.clock.advance(1)
        asked = await what(f, double)
        await f.turns()

        assert len({message.mid for message in asked}) == 2, "it answered one and was asked another"
        assert kinds(f)[-1] == "asleep"
        assert f.adapter.presence(double.address) is Presence.ASLEEP
