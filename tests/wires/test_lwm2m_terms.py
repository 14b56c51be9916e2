"""What a registration says of itself and what is understood where it says nothing; how it is changed and ended."""

from __future__ import annotations

import pytest

from adapters.lwm2m import codec, content
from adapters.lwm2m.codec import CON, EMPTY, NON, Message, encode
from adapters.lwm2m.double import DeviceDouble, Refused
from adapters.lwm2m.option import ACCEPT, CONTENT_FORMAT, LOCATION_PATH, URI_PATH, URI_QUERY, uint
from hub.ports.adapter import EventKind
from tests.wires.lwm2m_field import Field, Wire, field

pytestmark = pytest.mark.anyio


def register(wire: Wire, *query: str, mid: int = 5) -> bytes:
    """A Register with just this to say, which has been said."""
    options = [(URI_PATH, b"rd"), *((URI_QUERY, item.encode()) for item in query)]
    data = encode(Message(CON, codec.POST, mid, b"t", options, b"</1/0>"))
    wire.say(data)
    return data


@pytest.mark.parametrize(
    ("said", "sleepy"),
    [(["b=U", "Q"], True), (["Q"], True), (["b=UQ"], True), (["b=SQ"], True), (["b=U"], False), ([], False)],
)
async def test_a_device_sleeps_that_says_so_in_either_way(said: list[str], sleepy: bool) -> None:
    async with field() as f:
        register(Wire(f), "ep=dev", *said)
        (event,) = await f.ctx.seen(EventKind.REGISTERED)
        assert event.attrs["queue_mode"] is sleepy


async def test_who_says_neither_lifetime_nor_version_has_a_day_and_speaks_1_0() -> None:
    async with field() as f:
        double = f.double("dev")
        reply = await double.request(codec.POST, ("rd",), ["ep=dev"], b"</3/0>", content.LINK)
        (event,) = f.ctx.of(EventKind.REGISTERED)
        assert (reply.code, event.attrs["lifetime"]) == (codec.CREATED, 86_400 + 30)

        accepted = []

        def answer(message: Message, body: bytes) -> Message:
            accepted.append(message.first(ACCEPT))
            return Message(codec.ACK, codec.CONTENT, 0, b"", [(CONTENT_FORMAT, uint(content.TEXT))], b"21")

        double.answers = answer
        await f.call(double, "GET", "/3/0/9", accept=content.SENML_JSON_TYPE)
        assert uint(content.SENML_JSON) not in accepted


async def test_the_binding_changes_with_an_update() -> None:
    async with field() as f:
        double = await f.device()
        for said, sleepy in (("b=UQ", True), ("lt=600", True), ("b=U", False)):
            await double.update(said)
            assert f.ctx.of(EventKind.UPDATED)[-1].attrs["queue_mode"] is sleepy


async def test_an_update_may_be_a_put() -> None:
    async with field() as f:
        double = await f.device()
        reply = await double.request(codec.PUT, double.location, ["lt=600"])
        assert (reply.code, f.ctx.of(EventKind.UPDATED)[-1].attrs["lifetime"]) == (codec.CHANGED, 630)


async def four_minutes(f: Field) -> None:
    """They pass while others are heard."""
    other = Wire(f)
    for n in range(4):
        f.clock.advance(60)
        other.say(encode(Message(CON, codec.GET, n, b"o", [(URI_PATH, b".well-known"), (URI_PATH, b"core")])))
        await other.next(n + 1)


async def test_a_register_that_comes_again_after_240_seconds_is_answered_as_the_first_time() -> None:
    async with field() as f:
        wire = Wire(f)
        data = register(wire, "ep=dev", "lt=3600")
        first = await wire.next(1)
        await four_minutes(f)
        wire.say(data)
        again = await wire.next(2)
        assert again.all(LOCATION_PATH) == first.all(LOCATION_PATH)
        assert len(f.ctx.of(EventKind.REGISTERED)) == 1


async def test_a_send_that_comes_again_after_240_seconds_is_told_once() -> None:
    async with field() as f:
        wire = Wire(f)
        register(wire, "ep=dev", "lt=3600")
        await wire.next(1)
        options = [(URI_PATH, b"dp"), (CONTENT_FORMAT, uint(content.SENML_JSON))]
        data = encode(Message(CON, codec.POST, 6, b"t", options, b'[{"n":"/3/0/9","v":1}]'))
        for n in (2, 3):
            wire.say(data)
            assert (await wire.next(n)).code == codec.CHANGED
            await four_minutes(f)
        assert len(f.ctx.of(EventKind.NOTIFICATION)) == 1


async def send(double: DeviceDouble) -> Message:
    return await double.request(codec.POST, ("dp",), [], b'[{"n":"/3/0/9","v":1}]', content.SENML_JSON)


async def test_a_send_of_a_device_that_the_hub_forgot_has_it_register_again() -> None:
    async with field() as f:
        double = await f.device()
        f.ctx.forgotten = True
        assert (await send(double)).code == codec.NOT_FOUND
        f.ctx.forgotten = False
        f.adapter.expel(double.address)
        assert (await send(double)).code == codec.NOT_FOUND
        with pytest.raises(Refused):
            await double.update()


async def test_an_end_that_the_hub_could_not_hold_is_told_again_after_ten_seconds() -> None:
    async with field() as f:
        await f.device(lifetime=60)
        f.ctx.fail_accept = True
        await passing(f, 70)
        assert f.ctx.failures >= 1
        f.ctx.fail_accept = False
        await passing(f, 12)
        assert len(f.ctx.of(EventKind.EXPIRED)) == 1
        assert f.adapter.health()["devices"] == 0


async def passing(f: Field, seconds: int) -> None:
    for _ in range(seconds):
        f.clock.advance(1)
        await f.turns(3)


async def test_an_empty_message_that_nobody_asked_for_stops_nothing_and_is_not_answered() -> None:
    async with field() as f:
        double = await f.device()
        double.hold()
        wire, asking = Wire(f), f.adapter.call(f.request(double, "GET", "/3/0/9"))
        wire.say(encode(Message(NON, EMPTY, 7)))

        async def answered() -> None:
            asked = await double.asked()
            double.transmit(Message(NON, EMPTY, asked.message.mid))
            await f.turns()
            assert f.adapter.health()["open"] == 1
            f.clock.advance(4)  # it is still repeated
            await asked.answer(b"21")

        (answer, _) = await f.passing([asking, answered()])
        assert getattr(answer, "payload", answer) == b"21"
        assert f.adapter.health()["retransmissions"] == 1
        assert wire.heard == []
