"""Several devices behind one address and port, where the settings say that they share it."""

from __future__ import annotations

import asyncio

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.codec import ACK, CON, Message, encode
from adapters.lwm2m.option import CONTENT_FORMAT, LOCATION_PATH, URI_PATH, URI_QUERY, uint
from hub.ports.adapter import DeviceRequest, EventKind
from tests.wires.lwm2m_field import Field, Wire, field

pytestmark = pytest.mark.anyio


class Gateway:
    """One socket with several devices behind it."""

    def __init__(self, f: Field) -> None:
        self.f = f
        self.wire = Wire(f)
        self.said = 0

    async def say(self, code: int, path: list[bytes], *options: tuple[int, bytes], payload: bytes = b"") -> Message:
        self.said += 1
        heard = len(self.wire.heard)
        whole = sorted([*((URI_PATH, piece) for piece in path), *options], key=lambda option: option[0])
        self.wire.say(encode(Message(CON, code, self.said, b"t%d" % self.said, whole, payload)))
        return await self.wire.next(heard + 1)

    async def register(self, name: bytes) -> bytes:
        """Register one; its location."""
        created = await self.say(codec.POST, [b"rd"], (URI_QUERY, b"ep=" + name), (URI_QUERY, b"lt=300"))
        assert created.code == codec.CREATED
        return created.all(LOCATION_PATH)[1]

    async def send(self) -> int:
        """A value without a word of whose it is; the code of the answer."""
        form = (CONTENT_FORMAT, uint(110))
        return (await self.say(codec.POST, [b"dp"], form, payload=b'[{"n":"/3303/0/5700","v":1}]')).code

    async def called(self, name: str) -> int:
        """The message id of a call to one of them."""
        heard = len(self.wire.heard)
        request = DeviceRequest(f"call-{heard}", name, "GET", "/3/0/1", self.f.clock.monotonic() + 30)
        call = asyncio.ensure_future(self.f.adapter.call(request))
        asked = await self.wire.next(heard + 1)
        self.wire.say(encode(Message(ACK, codec.CONTENT, asked.mid, asked.token, [], b"x")))
        await call
        return asked.mid


async def test_no_message_id_comes_again_at_a_place_whoever_of_it_registers_anew() -> None:
    async with field(shared_address=True) as f:
        there = Gateway(f)
        first = await there.register(b"A")
        await there.register(b"B")
        used = [await there.called("A"), await there.called("B")]
        await there.say(codec.POST, [b"rd", first])
        first = await there.register(b"A")
        used += [await there.called(name) for name in ("A", "B") * 3]
        second = await there.register(b"B")
        for location in (first, second):  # nobody is left, and then it is one that was not there before
            await there.say(codec.DELETE, [b"rd", location])
        await there.register(b"C")
        used.append(await there.called("C"))

        assert len(set(used)) == len(used)


async def test_after_a_restart_devices_at_one_place_share_their_message_ids() -> None:
    async with field(shared_address=True) as f:
        there = Gateway(f)
        for name in (b"A", b"B"):
            await there.register(name)
        await f.restart()

        assert await there.called("A") != await there.called("B")


async def test_a_send_that_may_be_of_any_of_several_is_refused() -> None:
    async with field(shared_address=True) as f:
        there = Gateway(f)
        await there.register(b"A")
        await there.register(b"B")

        assert await there.send() == codec.FORBIDDEN
        assert f.ctx.of(EventKind.NOTIFICATION) == []


@pytest.mark.parametrize("leaves", [0, 1])
async def test_the_one_that_is_left_at_a_place_is_heard_there(leaves: int) -> None:
    async with field(shared_address=True) as f:
        there = Gateway(f)
        locations = [await there.register(b"A"), await there.register(b"B")]
        await there.say(codec.POST, [b"rd", locations[0]])
        await there.say(codec.DELETE, [b"rd", locations[leaves]])

        assert await there.send() == codec.CHANGED
        assert [event.device for event in f.ctx.of(EventKind.NOTIFICATION)] == ["BA"[leaves]]
