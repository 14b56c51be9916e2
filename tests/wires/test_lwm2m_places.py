"""Where a device is, when another one comes to be heard from there, and what it says when it began anew."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.codec import ACK, CON, EMPTY, Message, encode
from adapters.lwm2m.double import Asked, DeviceDouble
from adapters.lwm2m.net import MemoryEndpoint
from adapters.lwm2m.option import LOCATION_PATH, OBSERVE, URI_PATH, URI_QUERY
from hub.model.device import Presence
from hub.ports.adapter import Delivery, DeviceResponse, EventKind, NotConnected, ObserveSpec
from tests.wires.lwm2m_field import Field, Wire, field

pytestmark = pytest.mark.anyio


async def held(f: Field, double: DeviceDouble) -> tuple[asyncio.Future[DeviceResponse], Asked]:
    """A call that reached the device and that it does not answer."""
    double.hold()
    call = asyncio.ensure_future(f.adapter.call(f.request(double)))
    asked = await double.asked()
    double.go()
    return call, asked


async def takes_over(f: Field, double: DeviceDouble, name: str = "newcomer") -> DeviceDouble:
    """Another device registers from where that one is."""
    address = double._endpoint.address  # type: ignore[attr-defined]
    double._endpoint.close()
    end = MemoryEndpoint(f.net, address[1])
    newcomer = DeviceDouble(name, end, ("192.0.2.1", 5683), f.clock, f.call_of)
    newcomer._mid = 1000  # another run of another device: its message ids are its own
    f.devices.append(newcomer)
    await newcomer.register()
    return newcomer


async def test_a_call_is_not_answered_by_another_device_that_took_the_place_of_its_own() -> None:
    async with field() as f:
        double = await f.device("first")
        newcomer = await takes_over(f, double)

        with pytest.raises(NotConnected) as refused:
            await f.call(double, payload=b"x")
        assert refused.value.delivery is Delivery.NOT_SENT
        assert newcomer.received == 0
        assert f.adapter.presence(double.address) is Presence.ASLEEP
        assert f.adapter.window(double.address) == 0
        assert [event.kind.value for event in f.ctx.events if event.device == "first"] == ["registered", "asleep"]
        assert (await f.call(newcomer, payload=b"y")).payload == b"y"


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_an_open_call_ends_with_what_is_known_of_it_when_its_device_lost_its_place(acknowledged: bool) -> None:
    async with field() as f:
        double = await f.device("first")
        call, asked = await held(f, double)
        if acknowledged:
            double.transmit(Message(ACK, EMPTY, asked.message.mid))
            await f.turns()
        await takes_over(f, double)

        with pytest.raises(NotConnected) as failed:
            await call
        assert failed.value.delivery is (Delivery.DELIVERED if acknowledged else Delivery.MAYBE)


@pytest.mark.parametrize("elsewhere", [True, False])
async def test_a_device_that_lost_its_place_is_called_again_after_its_own_update(elsewhere: bool) -> None:
    async with field() as f:
        double = await f.device("first")
        newcomer = await takes_over(f, double)
        port = 0 if elsewhere else newcomer._endpoint.port
        if not elsewhere:
            newcomer._endpoint.close()
        double.move(MemoryEndpoint(f.net, port))
        await double.update()

        assert f.ctx.events[-1].kind is EventKind.AWAKE
        assert (await f.call(double, payload=b"x")).payload == b"x"
        assert f.adapter.presence(newcomer.address) is (Presence.ONLINE if elsewhere else Presence.ASLEEP)


async def test_several_devices_behind_one_address_are_all_called_there_where_the_settings_say_so() -> None:
    async with field(shared_address=True) as f:
        double = await f.device("first")
        await takes_over(f, double, "second")
        both = f.devices[-1]

        for name in ("first", "second", "first"):
            both.address = name
            assert (await f.call(both, payload=name.encode())).payload == name.encode()


async def test_after_a_restart_a_place_is_that_of_the_device_that_was_heard_there_last() -> None:
    async with field() as f:
        double = await f.device("zz-first", lifetime=86_400)
        f.clock.advance(5)
        newcomer = await takes_over(f, double, "aa-last")
        for kept in (f.ctx.kept, dict(reversed(f.ctx.kept.items()))):
            f.ctx.kept = dict(kept)
            f.clock.advance(5)
            await f.restart()
            assert f.adapter.window(double.address) == 0
            assert (await f.call(newcomer, payload=b"y")).payload == b"y"


# -- a new port ----------------------------------------------------------------------------------


async def test_a_device_that_moves_by_a_notification_leaves_no_call_open_where_it_was() -> None:
    async with field(follow_address=True, inflight=2) as f:
        double = await f.device()
        await f.adapter.observe(ObserveSpec(double.address, "/observable"), f.clock.monotonic() + 30)
        call, _ = await held(f, double)
        double.move(MemoryEndpoint(f.net))
        await double.notify([b"elsewhere"])

        with pytest.raises(NotConnected):
            async with asyncio.timeout(5):
                await call
        assert (await f.call(double, payload=b"x")).payload == b"x"


# -- a device that began anew --------------------------------------------------------------------


def register(token: bytes, *query: bytes, mid: int = 7) -> bytes:
    options = [(URI_PATH, b"rd"), *((URI_QUERY, piece) for piece in (b"ep=wire", *query))]
    return encode(Message(CON, codec.POST, mid, token, options))


async def test_a_device_that_began_anew_with_a_message_id_that_it_used_before_registers() -> None:
    async with field() as f:
        wire = Wire(f)
        wire.say(register(b"one", b"lt=300"))
        first = await wire.next()
        wire.say(register(b"two", b"lt=300"))
        second = await wire.next(2)
        wire.say(register(b"two", b"lt=300"))
        third = await wire.next(3)

        assert (first.token, second.token, third.token) == (b"one", b"two", b"two")
        assert second.code == codec.CREATED
        assert second.all(LOCATION_PATH) != first.all(LOCATION_PATH)
        assert third.all(LOCATION_PATH) == second.all(LOCATION_PATH)  # said twice, and meant once
        assert len(f.ctx.of(EventKind.REGISTERED)) == 2


async def test_a_notification_under_a_message_id_that_was_used_before_is_another_one() -> None:
    async with field() as f:
        double = await f.device()
        await f.adapter.observe(ObserveSpec(double.address, "/observable"), f.clock.monotonic() + 30)
        (token,) = double.observing
        told: list[Any] = []
        for order, value in ((20, b"a"), (21, b"b"), (21, b"b")):
            double.transmit(Message(CON, codec.CONTENT, 500, token, [(OBSERVE, bytes([order]))], value))
            await f.turns()
            told = [event.payload for event in f.ctx.of(EventKind.NOTIFICATION)]
        assert told == [b"a", b"b"]
