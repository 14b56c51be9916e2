"""Calls that an LwM2M device need not answer: one message that asks for nothing back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.codec import CON, EMPTY, NON, Message, encode
from adapters.lwm2m.option import NO_RESPONSE, URI_PATH
from hub.ports.adapter import Delivery, DeviceRequest, EventKind, NotConnected, TooLarge
from tests.wires.lwm2m_field import Field, Wire, field

pytestmark = pytest.mark.anyio

UNANSWERED = {"no_response": True}


async def registered(rig: Field) -> tuple[Wire, str]:
    """A device that says only what the test says."""
    wire = Wire(rig)
    query = [(15, b"ep=wire"), (15, b"lt=300"), (15, b"lwm2m=1.0")]
    message = Message(CON, codec.POST, 1, b"reg", [(URI_PATH, b"rd"), (12, bytes([40])), *query], b"</3/0>,</1/0>")
    wire.say(encode(message))
    await wire.next()
    address = rig.ctx.of(EventKind.REGISTERED)[0].device
    wire.heard.clear()
    return wire, address


async def test_it_is_one_message_that_is_not_confirmed_and_wants_no_answer() -> None:
    async with field() as rig:
        wire, address = await registered(rig)
        request = rig.request(rig.double(), "PUT", "/1/0/1", payload=b"60", options=UNANSWERED)
        response = await rig.adapter.call(_to(request, address))
        sent = await wire.next()
        rig.clock.advance(100)
        await rig.turns()

    assert (response.status, response.payload) == (200, b"")
    assert (sent.kind, sent.code, sent.payload) == (NON, codec.PUT, b"60")
    assert sent.first(NO_RESPONSE) == bytes([26])
    assert wire.heard == [sent], "never said again"


async def test_whatever_the_device_answers_is_nobodys() -> None:
    async with field() as rig:
        wire, address = await registered(rig)
        for kind in (NON, CON):
            wire.heard.clear()
            await rig.adapter.call(_to(rig.request(rig.double(), options=UNANSWERED), address))
            sent = await wire.next()
            wire.say(encode(Message(kind, codec.CHANGED, 77 + kind, sent.token)))
            await rig.turns()

    assert rig.ctx.of(EventKind.LATE_RESPONSE) == []
    assert [message.code for message in wire.heard] == [codec.POST, EMPTY], "a reset for the confirmable one"


async def test_it_leaves_the_device_free_for_the_next_call() -> None:
    async with field() as rig:
        device = await rig.device()
        await rig.call(device, options=UNANSWERED)
        assert rig.adapter.window(device.address) == 1
        assert (await rig.call(device, "GET", "/3/0/0")).status in (200, 404)


async def test_a_device_that_is_not_there_and_a_payload_of_many_blocks_are_refused_unsent() -> None:
    async with field() as rig:
        wire, address = await registered(rig)
        with pytest.raises(NotConnected) as nobody:
            await rig.adapter.call(_to(rig.request(rig.double(), options=UNANSWERED), "nobody"))
        with pytest.raises(TooLarge) as large:
            request = rig.request(rig.double(), "PUT", "/5/0/0", payload=bytes(1025), options=UNANSWERED)
            await rig.adapter.call(_to(request, address))

    assert (nobody.value.delivery, large.value.delivery) == (Delivery.NOT_SENT, Delivery.NOT_SENT)
    assert wire.heard == []


def _to(request: DeviceRequest, address: str) -> DeviceRequest:
    return replace(request, device=address)
