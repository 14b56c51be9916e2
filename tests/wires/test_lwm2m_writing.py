"""What a caller writes as SenML, for devices that have never heard of it."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from adapters.lwm2m import codec, content, senml, tlv
from adapters.lwm2m.codec import ACK, Message
from adapters.lwm2m.double import DeviceDouble
from adapters.lwm2m.option import CONTENT_FORMAT, number
from adapters.lwm2m.senml import Pointer, Reading
from adapters.lwm2m.tlv import Entry, Level
from adapters.lwm2m.translate import readings
from adapters.lwm2m.writing import forms
from hub.ports.adapter import CallError, Delivery, DeviceTimeout
from tests.wires.lwm2m_field import Field, field

pytestmark = pytest.mark.anyio

JSON = "application/senml+json"


def body(*records: dict[str, Any]) -> bytes:
    return json.dumps(records).encode()


class Takes:
    """A device that takes the formats it knows, refuses the rest in its own way, and keeps what it took."""

    def __init__(self, *known: int, refusal: int = codec.UNSUPPORTED_FORMAT, create: bool = False) -> None:
        self.known = known
        self.refusal = refusal
        self.asked: list[int | None] = []
        self.taken: list[tuple[int | None, bytes]] = []

    def __call__(self, message: Message, payload: bytes) -> Message:
        form = number(message.first(CONTENT_FORMAT))
        self.asked.append(form)
        if form not in self.known:
            return Message(ACK, self.refusal, 0, b"", [], b"format")
        self.taken.append((form, payload))
        return Message(ACK, codec.CHANGED, 0)


async def device(f: Field, version: str, takes: Takes) -> DeviceDouble:
    double = f.double("dev")
    reply = await double.request(codec.POST, ("rd",), ["ep=dev", f"lwm2m={version}"], b"</3/0>,</3303/0>")
    assert reply.code == codec.CREATED
    double.answers = takes
    return double


async def test_a_device_that_knows_senml_gets_it_as_it_is() -> None:
    async with field() as f:
        takes = Takes(content.SENML_JSON)
        double = await device(f, "1.1", takes)
        payload = body({"n": "/3303/0/5700", "v": 21.5})
        answer = await f.call(double, "PUT", "/3303/0/5700", payload=payload, content_type=JSON)
        assert answer.status == 200
        assert takes.taken == [(content.SENML_JSON, payload)]
        assert "sent_as" not in answer.native


@pytest.mark.parametrize("refusal", [codec.UNSUPPORTED_FORMAT, codec.NOT_ACCEPTABLE, codec.BAD_OPTION])
async def test_an_instance_is_written_as_tlv_to_a_device_that_refuses_senml(refusal: int) -> None:
    async with field() as f:
        takes = Takes(content.TLV, refusal=refusal)
        double = await device(f, "1.1", takes)
        payload = body({"bn": "/3/0/", "n": "14", "vs": "+02:00"}, {"n": "13", "v": 1_700_000_000})
        answer = await f.call(double, "PUT", "/3/0", payload=payload, content_type=JSON)
        assert (answer.status, answer.native["sent_as"]) == (200, "application/vnd.oma.lwm2m+tlv")
        ((_, raw),) = takes.taken
        assert readings(("3", "0"), content.TLV, raw) == [
            Reading("/3/0/14", "+02:00"), Reading("/3/0/13", 1_700_000_000)
        ]


async def test_a_device_of_version_1_0_is_never_sent_senml() -> None:
    async with field() as f:
        takes = Takes(content.TLV)
        double = await device(f, "1.0", takes)
        answer = await f.call(
            double, "POST", "/3303/0", payload=body({"n": "/3303/0/5750", "vs": "hall"}), content_type=JSON
        )
        assert answer.status == 200
        assert takes.asked == [content.TLV]


async def test_a_single_value_goes_as_text_and_as_tlv_only_where_that_is_refused() -> None:
    async with field() as f:
        for known, asked in ((content.TEXT, [0]), (content.TLV, [0, content.TLV])):
            takes = Takes(known)
            double = await device(f, "1.0", takes)
            payload = body({"n": "/3303/0/5700", "v": 21.5})
            answer = await f.call(double, "PUT", "/3303/0/5700", payload=payload, content_type=JSON)
            assert answer.status == 200
            assert takes.asked == asked
            ((form, raw),) = takes.taken
            assert readings(("3303", "0", "5700"), form, raw) == [Reading("/3303/0/5700", 21.5)]


async def test_a_single_opaque_value_goes_as_its_bytes() -> None:
    async with field() as f:
        takes = Takes(content.OPAQUE)
        double = await device(f, "1.0", takes)
        payload = body({"n": "/5/0/0", "vd": "AP8"})
        assert (await f.call(double, "PUT", "/5/0/0", payload=payload, content_type=JSON)).status == 200
        assert takes.taken == [(content.OPAQUE, b"\x00\xff")]


async def test_senml_in_cbor_is_translated_too() -> None:
    async with field() as f:
        takes = Takes(content.TLV)
        double = await device(f, "1.0", takes)
        payload = senml.to_cbor([Reading("/3/0/14", "UTC")])
        kind = "application/senml+cbor"
        assert (await f.call(double, "PUT", "/3/0", payload=payload, content_type=kind)).status == 200
        assert takes.taken == [(content.TLV, tlv.encode([Entry(Level.RESOURCE, 14, b"UTC")]))]


@pytest.mark.parametrize(
    "records",
    [
        [{"n": "/4/0/1", "v": 1}],  # of another object
        [{"n": "/3/0/14"}],  # without a value
        [{"n": "/3/0/9", "vs": "many"}],  # a number is wanted
        [{"n": "/3/0/x", "v": 1}],
    ],
)
async def test_what_cannot_be_put_otherwise_is_refused_as_an_unsupported_format(records: list[dict[str, Any]]) -> None:
    async with field() as f:
        takes = Takes(content.TLV)
        double = await device(f, "1.0", takes)
        with pytest.raises(CallError) as refused:
            await f.call(double, "PUT", "/3/0", payload=body(*records), content_type=JSON)
        assert (refused.value.status, refused.value.delivery) == (415, Delivery.NOT_SENT)
        assert refused.value.detail
        assert takes.asked == []
        assert f.adapter.window(double.address) == 1


async def test_the_refusal_of_a_device_that_can_be_sent_nothing_else_says_why() -> None:
    async with field() as f:
        double = await device(f, "1.1", Takes(content.TLV))
        answer = await f.call(double, "PUT", "/3/0", payload=body({"n": "/3/0/14"}), content_type=JSON)
        assert (answer.status, answer.native["coap"]) == (415, "4.15")
        assert "value" in answer.native["translation"]


async def test_a_device_that_takes_no_format_at_all_answers_for_the_first() -> None:
    async with field() as f:
        takes = Takes()
        double = await device(f, "1.1", takes)
        payload = body({"n": "/3303/0/5700", "v": 1})
        answer = await f.call(double, "PUT", "/3303/0/5700", payload=payload, content_type=JSON)
        assert (answer.status, answer.payload) == (415, b"format")
        assert takes.asked == [content.SENML_JSON, content.TEXT, content.TLV]


async def test_quirk_put_of_an_unknown_format_is_silently_ignored() -> None:
    async with field() as f:
        takes = Takes(content.TLV)
        double = await device(f, "1.0", takes)
        heard = double._asked_for

        def deaf(message: Message) -> None:
            if number(message.first(CONTENT_FORMAT)) == content.TLV:
                heard(message)

        double._asked_for = deaf  # type: ignore[method-assign]
        call = f.adapter.call(
            f.request(double, "PUT", "/3/0/14", payload=body({"n": "/3/0/14", "vs": "UTC"}), content_type=JSON)
        )
        (answer,) = await f.passing([call])
        assert not isinstance(answer, BaseException), answer
        assert (answer.status, takes.asked) == (200, [content.TLV])


async def test_what_may_have_been_carried_out_is_not_sent_again_in_another_format() -> None:
    async with field() as f:
        double = await device(f, "1.1", Takes(content.TLV))
        double.hold()
        payload = body({"n": "/3303/0/5750", "vs": "x"})
        call = f.adapter.call(f.request(double, "POST", "/3303", payload=payload, content_type=JSON))
        (silence,) = await f.passing([call])
        assert isinstance(silence, DeviceTimeout), silence
        assert silence.delivery is Delivery.MAYBE
        assert double.received == 1


async def test_the_arguments_of_an_execute_are_left_as_they_are() -> None:
    async with field() as f:
        takes = Takes(content.SENML_JSON)
        double = await device(f, "1.0", takes)
        payload = body({"n": "/3303/0/5605", "v": 1})
        assert (await f.call(double, "POST", "/3303/0/5605", payload=payload, content_type=JSON)).status == 200
        assert takes.taken == [(content.SENML_JSON, payload)]


async def test_what_nobody_answers_goes_out_once_in_the_likeliest_form() -> None:
    async with field() as f:
        takes = Takes(content.TEXT)
        double = await device(f, "1.0", takes)
        payload = body({"n": "/3303/0/5700", "v": 21.5})
        options = {"no_response": True}
        asked = f.request(double, "PUT", "/3303/0/5700", payload=payload, content_type=JSON, options=options)
        assert (await f.adapter.call(asked)).status == 200
        await f.turns()
        assert takes.taken == [(content.TEXT, b"21.5")]


def tlv_of(path: tuple[str, ...], *values: Reading) -> tuple[Entry, ...]:
    """The one TLV document of some readings."""
    ((form, payload),) = [form for form in forms(path, values) if form[0] == content.TLV]
    assert form == content.TLV
    return tlv.decode(payload)


@pytest.mark.parametrize(
    ("name", "value", "raw"),
    [
        ("/3/0/9", 100, b"\x64"),
        ("/3/0/9", 200, b"\x00\xc8"),
        ("/3/0/9", -1, b"\xff"),
        ("/3/0/9", 5.0, b"\x05"),
        ("/3/0/13", 1 << 40, (1 << 40).to_bytes(8, "big")),
        ("/3303/0/5700", 21, struct.pack(">d", 21)),
        ("/9999/0/1", 21.5, struct.pack(">d", 21.5)),
        ("/9999/0/1", 21, b"\x15"),
        ("/3306/0/5850", True, b"\x01"),
        ("/3306/0/5850", 0, b"\x00"),
        ("/5/0/1", "coap://x", b"coap://x"),
        ("/5/0/0", b"\x00", b"\x00"),
        ("/9999/0/1", Pointer("3:0"), b"\x00\x03\x00\x00"),
    ],
)
def test_a_value_gets_the_bytes_of_its_type(name: str, value: Any, raw: bytes) -> None:
    path = tuple(name.strip("/").split("/"))
    assert tlv_of(path[:2], Reading(name, value)) == (Entry(Level.RESOURCE, int(path[2]), raw),)


def test_values_of_one_resource_are_put_together() -> None:
    made = tlv_of(("3", "0"), Reading("/3/0/7/0", 5), Reading("/3/0/14", "UTC"), Reading("/3/0/7/1", 6))
    assert made == (
        Entry(Level.MULTIPLE, 7, entries=(
            Entry(Level.RESOURCE_INSTANCE, 0, b"\x05"), Entry(Level.RESOURCE_INSTANCE, 1, b"\x06")
        )),
        Entry(Level.RESOURCE, 14, b"UTC"),
    )  # fmt: skip


def test_a_new_instance_is_told_with_its_number() -> None:
    assert tlv_of(("3303",), Reading("/3303/7/5750", "hall")) == (
        Entry(Level.OBJECT_INSTANCE, 7, entries=(Entry(Level.RESOURCE, 5750, b"hall"),)),
    )


def test_a_value_of_a_resource_with_many_is_a_resource_of_one() -> None:
    made = tlv_of(("3", "0", "7"), Reading("/3/0/7/0", 5), Reading("/3/0/7/1", 6))
    assert [entry.level for entry in made] == [Level.MULTIPLE]
    assert [form for form, _ in forms(("3", "0", "7", "1"), [Reading("/3/0/7/1", 6)])] == [content.TEXT, content.TLV]


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (("3", "0"), [Reading("/3/0/9", 1 << 70)]),
        (("3", "0"), [Reading("/3/0/9", 1.5)]),
        (("3", "0"), [Reading("/3/0/14", 5)]),
        (("3", "0"), [Reading("/3/0/14", "a"), Reading("/3/0/14", "b")]),
        (("3", "0"), [Reading("/3/0/70000", 5)]),
        (("3", "0"), [Reading("/3/0/7", 5), Reading("/3/0/7/1", 5)]),
        (("3", "0"), [Reading("/3/0", 5)]),
        (("3", "0"), [Reading("/3/0/1", Pointer("x"))]),
        (("3", "0"), []),
        (("sensors", "t"), [Reading("/sensors/t", 5)]),
    ],
)
def test_what_has_no_other_form_is_refused(path: tuple[str, ...], values: list[Reading]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        forms(path, values)
