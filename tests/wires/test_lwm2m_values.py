"""What devices say in TLV and SenML is decoded beside its bytes, for whoever asked for no format."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from adapters.lwm2m import codec, content, senml
from adapters.lwm2m.block import Block
from adapters.lwm2m.codec import ACK, CON, NON, Message
from adapters.lwm2m.decoded import MOST_BYTES, decoded
from adapters.lwm2m.option import BLOCK2, CONTENT_FORMAT, ETAG, OBSERVE, uint
from adapters.lwm2m.senml import Reading
from hub.ports.adapter import EventKind
from tests.wires.lwm2m_field import Blocks, field
from tests.wires.test_lwm2m_observe import observe

pytestmark = pytest.mark.anyio

BATTERY = bytes.fromhex("c10964")
SAID = [{"n": "/3/0/9", "v": 100}]
TLV = (CONTENT_FORMAT, uint(content.TLV))


def tlv(message: Message, body: bytes) -> Message:
    return Message(ACK, codec.CONTENT, 0, b"", [TLV], BATTERY)


@pytest.mark.parametrize(
    ("form", "payload", "said"),
    [
        (content.TLV, BATTERY, SAID),
        (1542, BATTERY, SAID),
        (content.SENML_JSON, b'[{"bn":"/3/0/","n":"9","v":100}]', SAID),
        (content.SENML_CBOR, senml.to_cbor([Reading("/3/0/9", 100)]), SAID),
        (content.TEXT, b"100", None),
        (None, BATTERY, None),
        (content.TLV, b"\xc8", None),
        (content.SENML_CBOR, b"\xff", None),
        (content.SENML_JSON, b'[{"n":"/3/0/0","vs":"\\ud800"}]', None),
        (content.SENML_JSON, b"[" * 4000, None),
        (content.TLV, BATTERY * (MOST_BYTES // 3 + 1), None),
    ],
)
def test_a_payload_is_decoded_where_its_format_says_how(form: int | None, payload: bytes, said: Any) -> None:
    assert decoded(("3", "0"), form, payload).get("values") == said


@pytest.mark.parametrize("letters", [100, 2900])
def test_what_full_names_would_make_many_times_as_long_is_not_decoded(letters: int) -> None:
    pack = senml.cbor_dumps([{-2: "/" + "x" * letters}, *({0: str(n), 2: 1} for n in range(150))])
    assert len(pack) <= MOST_BYTES
    assert decoded(("3", "0"), content.SENML_CBOR, pack) == {}


def test_four_kibibytes_of_short_values_are_decoded() -> None:
    raw = b"".join(bytes((0xC8, n, 10)) + b"%010d" % n for n in range(250))
    assert len(decoded(("3303", "0"), content.TLV, raw)["values"]) == 250


async def test_an_answer_keeps_its_bytes_and_says_what_they_mean() -> None:
    async with field() as f:
        double = await f.device()
        double.answers = tlv
        answer = await f.call(double, "GET", "/3/0")
        asked = await f.call(double, "GET", "/3/0", accept=content.SENML_JSON_TYPE)
        double.answers = None
        plain = await f.call(double, "GET", "/3/0")

    assert (answer.payload, answer.content_type) == (BATTERY, "application/vnd.oma.lwm2m+tlv")
    assert (answer.native["values"], asked.native["values"]) == (SAID, SAID)
    assert "values" not in plain.native


async def test_a_late_answer_says_what_its_bytes_mean() -> None:
    async with field() as f:
        double = await f.device()
        double.hold()
        call = asyncio.ensure_future(f.adapter.call(f.request(double, "GET", "/3/0")))
        late = await double.asked()
        f.clock.advance(30)
        await asyncio.gather(call, return_exceptions=True)
        double.transmit(Message(CON, codec.CONTENT, 555, late.message.token, [TLV], BATTERY))
        (event,) = await f.ctx.seen(EventKind.LATE_RESPONSE)

    assert event.attrs["response"].native["values"] == SAID


async def test_a_notification_keeps_its_bytes_and_says_what_they_mean() -> None:
    async with field() as f:
        double = await f.device()
        await observe(f, double, "/3/0")
        (token,) = double.observing
        double.transmit(Message(NON, codec.CONTENT, 7, token, [(OBSERVE, uint(50)), TLV], BATTERY))
        (told,) = await f.ctx.seen(EventKind.NOTIFICATION)

    assert (told.payload, told.content_type) == (BATTERY, "application/vnd.oma.lwm2m+tlv")
    assert told.attrs["native"]["values"] == SAID


async def test_a_long_notification_is_decoded_when_all_of_it_is_there() -> None:
    text = random.Random(3).randbytes(1000).hex().encode()
    whole = b"\xd0\x00" + len(text).to_bytes(2, "big") + text  # a text of two bytes of length
    async with field() as f:
        double, device = await f.device(), Blocks(whole)
        await observe(f, double, "/3/0")
        double.answers = device
        (token,) = double.observing
        options = [(ETAG, b"1"), (OBSERVE, uint(50)), TLV, (BLOCK2, Block(0, True, 6).encode())]
        double.transmit(Message(CON, codec.CONTENT, 7, token, options, whole[:1024]))
        (told,) = await f.ctx.seen(EventKind.NOTIFICATION)

    assert told.payload == whole
    assert told.attrs["native"]["values"] == [{"n": "/3/0/0", "vs": text.decode()}]
