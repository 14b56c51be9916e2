"""How much there may be at a time: calls, observations that begin at once, long notifications; and who is told when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.block import Block
from adapters.lwm2m.codec import CON, NON, Message
from adapters.lwm2m.crew import MOST_TASKS
from adapters.lwm2m.double import DeviceDouble
from adapters.lwm2m.notifications import MOST_READ
from adapters.lwm2m.option import BLOCK2, CONTENT_FORMAT, ETAG, OBSERVE, uint
from adapters.lwm2m.registration import Registration
from adapters.lwm2m.share import Share
from hub.ports.adapter import Busy, DeviceTimeout, EventKind, NotConnected, ObserveSpec
from tests.clock import ManualClock
from tests.wires.lwm2m_field import Blocks, Field, field

pytestmark = pytest.mark.anyio


async def observe(f: Field, double: DeviceDouble, target: str = "/observable") -> Any:
    return await f.adapter.observe(ObserveSpec(double.address, target, {}), f.clock.monotonic() + 30)


def awake(f: Field) -> list[str]:
    return [event.device for event in f.ctx.of(EventKind.AWAKE)]


# -- calls ---------------------------------------------------------------------------------------


async def test_observations_that_begin_take_no_calls_place_and_begin_in_order_a_few_at_a_time() -> None:
    async with field(total=20) as f:
        doubles = [await f.device() for _ in range(40)]
        begun: list[str] = []
        answer = [double._asked_for for double in doubles]
        for double in doubles:  # what they are asked is lost on the way
            double._asked_for = lambda message, name=double.address: begun.append(name)  # type: ignore[method-assign,misc]
        observing = [asyncio.ensure_future(observe(f, double)) for double in doubles]
        await f.turns()
        called = await f.device("called")

        assert begun == [double.address for double in doubles[:2]]
        assert f.adapter.window(called.address) == 1
        assert (await f.call(called, payload=b"x")).payload == b"x"

        for double, asked_for in zip(doubles, answer, strict=True):
            double._asked_for = asked_for  # type: ignore[method-assign]
        results = await f.passing(observing)
        assert [result[1].active for result in results] == [True] * 40  # type: ignore[index]


async def test_a_device_that_was_refused_for_want_of_room_is_told_when_another_call_ends() -> None:
    async with field(total=1) as f:
        busy, asked, called = [await f.device(name) for name in ("busy", "asked", "called")]
        busy.hold()
        call = asyncio.ensure_future(f.adapter.call(f.request(busy)))
        held = await busy.asked()
        assert f.adapter.window(asked.address) == 0
        with pytest.raises(Busy):
            await f.call(called)
        assert awake(f) == []

        await held.answer()
        await call
        assert awake(f) == ["asked"]
        # It makes no use of its place, which is the next one's then.
        f.clock.advance(1.01)
        assert awake(f) == ["asked", "called"]
        f.clock.advance(60)
        assert awake(f) == ["asked", "called"]


async def test_whom_the_hub_had_no_time_for_is_told_later() -> None:
    async with field(total=1) as f:
        busy, asked = await f.device("busy"), await f.device("asked")
        busy.hold()
        call = asyncio.ensure_future(f.adapter.call(f.request(busy)))
        held = await busy.asked()
        assert f.adapter.window(asked.address) == 0
        f.ctx.room = 0
        await held.answer()
        await call
        assert awake(f) == []
        f.ctx.room = 1_000_000
        f.clock.advance(1.01)
        assert awake(f) == ["asked"]


# -- places and slots ----------------------------------------------------------------------------


async def test_a_share_is_given_in_order_and_refused_at_the_deadline() -> None:
    clock = ManualClock()
    share = Share(clock, 1)
    await share.take(clock.monotonic() + 1)
    order: list[str] = []

    async def one(name: str, seconds: float) -> None:
        await share.take(clock.monotonic() + seconds)
        order.append(name)

    waiting = [asyncio.ensure_future(one(*who)) for who in (("a", 60.0), ("b", 5.0), ("c", 60.0), ("d", 60.0))]
    await asyncio.sleep(0)
    clock.advance(6)
    waiting[2].cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(share) == 2
    share.give()
    waiting[0].cancel()  # it was given the place, and does not live to see it
    for _ in range(3):
        await asyncio.sleep(0)

    assert order == ["d"]
    assert isinstance(waiting[1].exception(), Busy)
    share.give()
    async with asyncio.timeout(1):
        await share.take(clock.monotonic())


async def test_whoever_is_cancelled_when_its_turn_has_come_hands_it_on() -> None:
    clock = ManualClock()
    registration = Registration("a", "a", "l", ("192.0.2.1", 1), None, 1, clock.now())
    await registration.turn(clock, clock.monotonic() + 60)
    first, second = (asyncio.ensure_future(registration.turn(clock, clock.monotonic() + 60)) for _ in range(2))
    await asyncio.sleep(0)
    registration.done()
    first.cancel()

    async with asyncio.timeout(1):
        await second
    assert registration.slots.open == 1


@pytest.mark.parametrize("inflight", [1, 3])
async def test_a_mute_device_of_which_much_is_wanted_keeps_no_other_from_being_observed(inflight: int) -> None:
    async with field(total=100, inflight=inflight) as f:
        mute, good = await f.device("mute"), await f.device("good")
        asked: list[Message] = []
        mute._asked_for = asked.append  # type: ignore[method-assign]
        wanted = [asyncio.ensure_future(observe(f, mute, f"/3303/0/{n}")) for n in range(50)]
        await f.turns()
        async with asyncio.timeout(1):
            assert (await observe(f, good))[1].active

        assert len(asked) == inflight
        results = await f.passing(wanted)
        assert all(isinstance(result, DeviceTimeout | Busy) for result in results)
        parts = f.adapter._parts
        assert parts is not None
        assert len(parts.observing.share) == 0


async def test_whoever_waits_for_a_device_that_falls_asleep_waits_no_longer() -> None:
    async with field(total=20) as f:
        sleepy = await f.device("sleepy", binding="UQ")
        sleepy.hold()
        call = asyncio.ensure_future(f.adapter.call(f.request(sleepy)))
        await sleepy.asked()
        until = f.clock.monotonic() + 300
        spec = ObserveSpec(sleepy.address, "/observable")
        wanted = [asyncio.ensure_future(f.adapter.observe(spec, until)) for _ in range(10)]
        await f.turns()
        f.clock.advance(30)
        await f.turns(50)

        assert isinstance(call.exception(), DeviceTimeout)
        assert [type(task.exception()) for task in wanted if task.done()] == [NotConnected] * 10
        assert sleepy.received == 1


async def test_a_long_notification_has_all_its_time_from_when_its_place_is_had() -> None:
    device = Blocks(bytes(2500))
    async with field(total=10) as f:
        busy, double = await f.device("busy"), await f.device("double")
        await observe(f, double)
        double.answers = device
        busy._asked_for = lambda message: None  # type: ignore[method-assign]
        wanted = asyncio.ensure_future(observe(f, busy))
        await f.turns()
        double.transmit(long_one(double, 50, device.body))
        await f.turns()
        heard = double._asked_for
        double._asked_for = lambda message: None  # type: ignore[method-assign]
        f.clock.advance(29.9)
        wanted.cancel()
        await f.turns(20)
        double._asked_for = heard  # type: ignore[method-assign]
        f.clock.advance(3)  # what was lost is said again

        (told,) = await f.ctx.seen(EventKind.NOTIFICATION)
        assert told.payload == device.body


# -- long notifications --------------------------------------------------------------------------


def long_one(double: DeviceDouble, order: int, body: bytes, kind: int = NON) -> Message:
    """The first block of a notification."""
    (token,) = double.observing
    options = [
        (ETAG, b"1"), (OBSERVE, uint(order)), (CONTENT_FORMAT, uint(42)), (BLOCK2, Block(0, True, 6).encode()),
    ]
    return Message(kind, codec.CONTENT, double._next_mid(), token, options, body[:1024])


async def test_a_device_with_thousands_of_long_notifications_keeps_nobody_from_registering() -> None:
    async with field() as f:
        double = await f.device()
        await observe(f, double)
        double.answers = lambda message, body: None  # type: ignore[assignment,return-value]
        double._reply = lambda to, reply: None  # type: ignore[method-assign]
        for order in range(10, MOST_TASKS + 110):
            double.transmit(long_one(double, order, bytes(1024)))
        await f.turns()

        await f.device("another")
        assert [event.device for event in f.ctx.of(EventKind.REGISTERED)][-1] == "another"
        assert f.adapter.health()["shed"] == MOST_TASKS + 98  # the one that is read, and the newest behind it


async def test_of_long_notifications_that_come_while_one_is_read_the_newest_is_read_next() -> None:
    device = Blocks(bytes(range(250)) * 10)
    async with field() as f:
        double = await f.device()
        await observe(f, double)
        double.answers = device
        for order in (50, 51, 52, 53):
            double.transmit(long_one(double, order, device.body))
        told = await f.ctx.seen(EventKind.NOTIFICATION, n=2)
        await f.turns(50)

        assert [(event.seq, event.payload == device.body) for event in told] == [(50, True), (53, True)]
        assert f.ctx.of(EventKind.NOTIFICATION) == told


async def test_a_confirmable_one_that_there_is_no_room_to_read_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.lwm2m.notifications.MOST_READ", 1)
    assert MOST_READ > 1
    device = Blocks(bytes(range(250)) * 10)
    async with field() as f:
        first, second = await f.device(), await f.device()
        for double in (first, second):
            await observe(f, double)
            double.answers = device
        acknowledged = asyncio.Event()
        heard = second._endpoint.hear  # type: ignore[attr-defined]

        def hear(data: bytes, peer: Any) -> None:
            message = codec.decode(data)
            if message.code == codec.EMPTY and message.kind == codec.ACK:
                acknowledged.set()
            heard(data, peer)

        second._endpoint.hear = hear  # type: ignore[attr-defined]
        message = long_one(second, 50, device.body, CON)
        first.transmit(long_one(first, 50, device.body))
        second.transmit(message)
        await f.ctx.seen(EventKind.NOTIFICATION, first.address)
        await f.turns()
        assert not acknowledged.is_set()
        second.transmit(message)
        (told,) = await f.ctx.seen(EventKind.NOTIFICATION, second.address)
        assert acknowledged.is_set()
        assert told.payload == device.body
