"""Where a device is, when another one comes to be heard from there, and what it says when it began anew."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.block import Block
from adapters.lwm2m.codec import ACK, CON, EMPTY, Message, decode, encode
from adapters.lwm2m.double import Asked, DeviceDouble, Refused
from adapters.lwm2m.net import MemoryEndpoint
from adapters.lwm2m.option import BLOCK2, ETAG, LOCATION_PATH, OBSERVE, URI_PATH, URI_QUERY
from adapters.lwm2m.registration import Registration
from hub.model.device import Presence
from hub.ports.adapter import Delivery, DeviceRequest, DeviceResponse, EventKind, NotConnected, ObserveSpec
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


@pytest.mark.parametrize("by", ["register", "update", "update of a sleeper"])
async def test_a_place_that_another_one_took_while_the_hub_took_in_a_device_is_not_its_own(by: str) -> None:
    async with field() as f:
        first = await f.device("first", binding="UQ" if "sleeper" in by else "U")
        if "sleeper" in by:
            f.clock.advance(100)
        f.ctx.events.clear()
        f.ctx.hold_accept()
        coming = asyncio.ensure_future(first.register() if by == "register" else first.update())
        await f.ctx.blocked()
        first.transmit(decode(register(b"other", b"lt=300", mid=900)))
        await f.ctx.blocked(2)
        f.ctx.release_accept()
        await coming
        await f.turns()

        assert [event.kind for event in f.ctx.events if event.device == "first" and event.kind in _SEEN] == [
            EventKind.ASLEEP
        ]
        assert (f.adapter.presence("first"), f.adapter.window("first")) == (Presence.ASLEEP, 0)
        assert f.adapter.window("wire") == 1
        del f.ctx.kept["wire"]  # and it has left since
        await f.restart()
        assert f.adapter.window("first") == 0


_SEEN = (EventKind.ASLEEP, EventKind.AWAKE)


async def test_a_lost_place_is_lost_after_a_restart_too_until_the_device_updates() -> None:
    async with field() as f:
        double = await f.device("first", lifetime=86_400)
        newcomer = await takes_over(f, double)
        await newcomer.leave()
        await f.restart()
        await f.turns()

        assert f.ctx.of(EventKind.ASLEEP, "first") != []
        with pytest.raises(NotConnected):
            await f.call(double, payload=b"x")
        assert newcomer.received == 0
        double.move(MemoryEndpoint(f.net))
        await double.update()
        assert (await f.call(double, payload=b"x")).payload == b"x"
        await f.restart()
        assert f.adapter.window("first") == 1


@pytest.mark.parametrize("params", [{}, {"pmin": "5"}])
async def test_an_observation_that_waited_for_its_turn_does_not_go_to_the_newcomer(params: dict[str, str]) -> None:
    async with field() as f:
        double = await f.device("first")
        call, _ = await held(f, double)
        spec = ObserveSpec("first", "/observable", params)
        observing = asyncio.ensure_future(f.adapter.observe(spec, f.clock.monotonic() + 30))
        await f.turns()
        newcomer = await takes_over(f, double)

        for waiting in (call, observing):
            async with asyncio.timeout(5):
                with pytest.raises(NotConnected):
                    await waiting
        assert (newcomer.received, f.ctx.of(EventKind.AWAKE)) == (0, [])


async def test_what_is_left_of_a_long_call_does_not_go_to_the_newcomer() -> None:
    async with field() as f:
        wire = Wire(f)
        wire.say(register(b"one", b"lt=300"))
        await wire.next()
        request = DeviceRequest("c", "wire", "POST", "/3/0/4", f.clock.monotonic() + 30)
        call = asyncio.ensure_future(f.adapter.call(request))
        asked = await wire.next(2)
        parts = f.adapter._parts
        assert parts is not None
        more = [(ETAG, b"1"), (BLOCK2, Block(0, True, 6).encode())]
        answer = Message(ACK, codec.CHANGED, asked.mid, asked.token, more, bytes(1024))
        # The answer and the newcomer come in one burst: nothing runs between them.
        parts.inbound.heard(encode(answer), wire.end.address)
        parts.reach.taken_over(_lost(parts.registry.at("wire")))

        async with asyncio.timeout(5):
            with pytest.raises(NotConnected) as failed:
                await call
        assert failed.value.delivery is Delivery.DELIVERED  # it was carried out: never again
        assert len(wire.heard) == 2


def _lost(registration: Registration | None) -> Registration:
    assert registration is not None
    registration.displaced = True
    return registration


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


async def test_a_register_in_the_words_of_an_earlier_life_registers_when_that_has_ended() -> None:
    async with field() as f:
        wire = Wire(f)
        wire.say(register(b"one", b"lt=300"))
        (_, location) = (await wire.next()).all(LOCATION_PATH)
        path = [(URI_PATH, b"rd"), (URI_PATH, location)]
        wire.say(encode(Message(CON, codec.DELETE, 8, b"gone", path)))
        assert (await wire.next(2)).code == codec.DELETED
        wire.say(register(b"one", b"lt=300"))
        again = await wire.next(3)

        assert (again.code, f.adapter.window("wire")) == (codec.CREATED, 1)
        wire.say(encode(Message(CON, codec.POST, 9, b"here", [(URI_PATH, p) for p in again.all(LOCATION_PATH)])))
        assert (await wire.next(4)).code == codec.CHANGED


async def test_a_device_that_registers_anew_from_where_it_was_is_still_asked_what_it_was_asked() -> None:
    async with field() as f:
        double = await f.device()
        call, asked = await held(f, double)
        await double.register()

        assert f.adapter.window(double.address) == 0
        observing = asyncio.ensure_future(
            f.adapter.observe(ObserveSpec(double.address, "/observable"), f.clock.monotonic() + 30)
        )
        await f.turns()
        assert double.observed == 0
        await asked.answer(b"x")
        assert (await call).payload == b"x"
        assert (await observing)[1].active
        assert f.adapter.window(double.address) == 1


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_registration_goes_on_when_the_hub_could_not_take_in_the_one_after_it(elsewhere: bool) -> None:
    async with field() as f:
        double = await f.device()
        await f.adapter.observe(ObserveSpec(double.address, "/observable"), f.clock.monotonic() + 30)
        observing = dict(double.observing)
        if elsewhere:
            double.move(MemoryEndpoint(f.net))
        f.ctx.fail_accept = True
        with pytest.raises(Refused) as refused:
            await double.register()
        f.ctx.fail_accept = False

        assert refused.value.reply.code == codec.SERVICE_UNAVAILABLE
        await double.update()
        assert (await f.call(double, payload=b"x")).payload == b"x"
        double.observing = observing
        await double.notify([b"goes on"])
        assert [event.payload for event in await f.ctx.seen(EventKind.NOTIFICATION)] == [b"goes on"]
        f.clock.advance(10_000)
        await f.turns()
        assert len(f.ctx.of(EventKind.EXPIRED)) == 1


async def test_the_hub_is_told_of_the_slot_that_an_observation_of_the_registration_before_gives_back() -> None:
    async with field() as f:
        double = await f.device()
        heard, double._asked_for = double._asked_for, lambda message: None  # type: ignore[method-assign]
        spec = ObserveSpec(double.address, "/observable")
        observing = asyncio.ensure_future(f.adapter.observe(spec, f.clock.monotonic() + 30))
        await f.turns()
        await double.register()
        double._asked_for = heard  # type: ignore[method-assign]
        assert f.adapter.window(double.address) == 0
        assert f.ctx.of(EventKind.AWAKE) == []
        observing.cancel()
        await f.turns()

        assert len(f.ctx.of(EventKind.AWAKE)) == 1
        assert f.adapter.window(double.address) == 1
