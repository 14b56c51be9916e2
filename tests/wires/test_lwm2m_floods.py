"""Too much of everything: what is kept stays bounded, what is shed is counted and may come again."""

from __future__ import annotations

import asyncio
import socket

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.codec import CON, Message, encode
from adapters.lwm2m.crew import MOST_TASKS
from adapters.lwm2m.endpoint import UdpEndpoint
from adapters.lwm2m.option import OBSERVE, URI_PATH, URI_QUERY, uint
from hub.ports.adapter import EventKind, ObserveSpec
from tests.wires.lwm2m_field import Wire, field

pytestmark = pytest.mark.anyio


async def test_what_is_remembered_of_late_is_bounded() -> None:
    async with field() as f:
        parts = f.adapter._parts
        assert parts is not None
        for table in (parts.inbound._receipts, parts.exchanges._ended, parts.registrar._used):
            for number in range(50_000):
                table.put(number, b"", f.clock.monotonic())  # type: ignore[arg-type]
            assert 16_384 <= len(table) <= 2 * 16_384


async def test_requests_that_wait_for_the_hub_are_bounded_and_come_again() -> None:
    async with field() as f:
        wire = Wire(f)
        f.ctx.hold_accept()
        datagrams = [
            encode(Message(CON, codec.POST, n, b"t", [(URI_PATH, b"rd"), (URI_QUERY, b"ep=d%d" % n)], b"</3/0>"))
            for n in range(MOST_TASKS + 20)
        ]
        for data in datagrams:
            wire.say(data)
        await f.turns()
        assert (f.ctx.accepting, f.adapter.health()["shed"]) == (MOST_TASKS, 20)
        f.ctx.release_accept()
        await wire.next(MOST_TASKS)
        for data in datagrams[MOST_TASKS:]:
            wire.say(data)
        await wire.next(MOST_TASKS + 20)
        assert {message.code for message in wire.heard} == {codec.CREATED}


async def test_notifications_that_wait_for_the_hub_are_bounded_and_come_again() -> None:
    async with field() as f:
        double = await f.device()
        await f.adapter.observe(ObserveSpec(double.address, "/observable"), f.clock.monotonic() + 10)
        (token,) = double.observing
        f.ctx.hold_accept()
        said = [
            Message(CON, codec.CONTENT, n, token, [(OBSERVE, uint(n))], b"%d" % n)
            for n in range(100, 100 + MOST_TASKS + 20)
        ]
        for message in said:
            double.transmit(message)
        await f.turns()
        assert (f.ctx.accepting, f.adapter.health()["shed"]) == (MOST_TASKS, 20)
        f.ctx.release_accept()
        await f.turns()
        for message in said[MOST_TASKS:]:
            double.transmit(message)
        await f.turns()
        assert [event.seq for event in f.ctx.of(EventKind.NOTIFICATION)] == list(range(100, 100 + MOST_TASKS + 20))


async def test_at_most_64_datagrams_are_read_before_others_have_a_turn() -> None:
    turns = [0]
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def hear(data: bytes, peer: object) -> None:
        turns[-1] += 1
        if sum(turns) == 200:
            done.set()

    def turn() -> None:
        turns.append(0)
        if not done.is_set():
            loop.call_soon(turn)

    endpoint = UdpEndpoint("127.0.0.1", 0)
    endpoint.open(hear)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
            for _ in range(200):
                device.sendto(b"x", ("127.0.0.1", endpoint.port))
        turn()
        async with asyncio.timeout(5):
            await done.wait()
    finally:
        endpoint.close()
    assert max(turns) == 64
