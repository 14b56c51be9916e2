"""Calls to devices: methods, formats, blocks both ways, answers of every kind, observations, restarts of the hub."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from adapters.lwm2m import codec, content
from adapters.lwm2m.codec import ACK, CON, Message
from adapters.lwm2m.operation import operation
from adapters.lwm2m.option import (
    ACCEPT,
    CONTENT_FORMAT,
    LOCATION_PATH,
    MAX_AGE,
    URI_PATH,
    URI_QUERY,
    number,
    uint,
)
from adapters.lwm2m.rig import create_rig
from adapters.lwm2m.settings import read
from hub.ports.adapter import (
    BadRequest,
    CallError,
    Delivery,
    DeviceRequest,
    EventKind,
    NotConnected,
    TooLarge,
    Unsupported,
)
from tests.wires.lwm2m_field import answering, field

pytestmark = pytest.mark.anyio


def asked(method: str, target: str, **more: Any) -> DeviceRequest:
    return DeviceRequest("c", "d", method, target, 0.0, **more)


# -- a call in CoAP's words -----------------------------------------------------------------------


def test_a_path_is_split_before_its_pieces_are_decoded() -> None:
    options = operation(asked("GET", "/a%2Fb/c d/%C3%A4")).options
    assert options == ((URI_PATH, b"a/b"), (URI_PATH, b"c d"), (URI_PATH, "ä".encode()))


def test_a_query_is_one_option_per_parameter() -> None:
    options = operation(asked("PUT", "/3303/0", query=(("pmin", "1"), ("lt", ""), ("x", "a&b")))).options
    assert options[2:] == ((URI_QUERY, b"pmin=1"), (URI_QUERY, b"lt"), (URI_QUERY, b"x=a&b"))


def test_no_accept_is_sent_unless_one_was_asked_for() -> None:
    wanted = operation(asked("GET", "/3/0", accept="application/vnd.oma.lwm2m+tlv"))
    assert number(dict(wanted.options)[ACCEPT]) == 11542
    for accept in (None, "*/*"):
        assert ACCEPT not in dict(operation(asked("GET", "/3/0", accept=accept)).options)


def test_a_bare_value_is_text_unless_the_caller_says_otherwise() -> None:
    assert dict(operation(asked("PUT", "/5/0/1", payload=b"x")).options)[CONTENT_FORMAT] == b""
    assert CONTENT_FORMAT not in dict(operation(asked("PUT", "/5/0", payload=b"x")).options)
    tlv = operation(asked("POST", "/1", payload=b"x", content_type="application/vnd.oma.lwm2m+tlv"))
    assert dict(tlv.options)[CONTENT_FORMAT] == uint(11542)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (asked("BREW", "/1"), Unsupported),
        (asked("INVOKE", "/3/0"), Unsupported),
        (asked("INVOKE", "/3/0/4", args={"name": 1}), BadRequest),
        (asked("GET", "3/0"), BadRequest),
        (asked("GET", "/" + "x" * 256), BadRequest),
        (asked("GET", "/.."), BadRequest),
        (asked("GET", "/1", accept="image/png"), BadRequest),
        (asked("PUT", "/1", payload=bytes(65_537)), TooLarge),
    ],
)
def test_what_coap_cannot_say_is_refused_before_it_is_sent(request_: DeviceRequest, error: type[CallError]) -> None:
    with pytest.raises(error) as caught:
        operation(request_)
    assert caught.value.delivery is Delivery.NOT_SENT


def test_arguments_of_a_service_are_those_of_an_execute() -> None:
    wanted = operation(asked("INVOKE", "/3/0/4", args={"0": "on", "1": None}))
    assert (wanted.code, wanted.payload) == (codec.POST, b"0='on',1")


# -- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [("GET", "/3/0", 1), ("PUT", "/3/0/0", 3), ("POST", "/3", 2), ("POST", "/3/0", 2), ("POST", "/3/0/4", 2),
     ("DELETE", "/3/0", 4), ("FETCH", "/", 5), ("IPATCH", "/", 7), ("INVOKE", "/3/0/4", 2)],
)  # fmt: skip
async def test_every_method_reaches_the_device_as_its_own(method: str, target: str, code: int) -> None:
    async with field() as f:
        double = await f.device()
        seen: list[Message] = []
        double.answers = lambda message, body: seen.append(message) or Message(ACK, codec.CHANGED, 0)  # type: ignore[func-returns-value]
        assert method in f.adapter.capabilities.methods
        assert (await f.call(double, method, target)).status == 200
        assert [message.code for message in seen] == [code]


@pytest.mark.parametrize(
    ("code", "status", "native"),
    [(codec.CREATED, 200, "2.01"), (codec.DELETED, 200, "2.02"), (codec.NOT_FOUND, 404, "4.04"), (0x8F, 415, "4.15"),
     (0xA0, 500, "5.00"), (0xA1, 501, "5.01")],
)  # fmt: skip
async def test_what_the_device_says_keeps_its_digits(code: int, status: int, native: str) -> None:
    async with field() as f:
        double = await f.device()
        double.answers = answering(code, [], b"why")
        answer = await f.call(double, "GET", "/3/0/0")
        assert (answer.status, answer.native["coap"], answer.payload) == (status, native, b"why")


async def test_max_age_location_and_patience_are_told() -> None:
    async with field() as f:
        double = await f.device()
        double.answers = answering(codec.CONTENT, [(MAX_AGE, b"\x05")])
        assert (await f.call(double, "GET", "/3/0/0")).max_age == 5
        double.answers = answering(codec.CONTENT)
        assert (await f.call(double, "GET", "/3/0/0")).max_age == 60
        double.answers = answering(codec.CREATED, [(LOCATION_PATH, b"3303"), (LOCATION_PATH, b"7")])
        created = await f.call(double, "POST", "/3303")
        assert (created.native["location"], created.max_age) == ("/3303/7", None)
        double.answers = answering(codec.SERVICE_UNAVAILABLE, [(MAX_AGE, b"\x1e")])
        assert (await f.call(double, "POST", "/3303")).native["retry_after"] == 30


async def test_senml_is_asked_for_and_translated_where_the_device_has_none() -> None:
    async with field() as f:
        double = await f.device()
        seen: list[int | None] = []

        def tlv_only(message: Message, body: bytes) -> Message:
            wanted = number(message.first(ACCEPT))
            seen.append(wanted)
            if wanted not in (None, content.TLV):
                return Message(ACK, codec.NOT_ACCEPTABLE, 0)
            return Message(ACK, codec.CONTENT, 0, b"", [(CONTENT_FORMAT, uint(content.TLV))], bytes.fromhex("c10964"))

        double.answers = tlv_only
        answer = await f.call(double, "GET", "/3/0/9", accept="application/senml+json")
        assert json.loads(answer.payload) == [{"n": "/3/0/9", "v": 100}]
        assert answer.content_type == "application/senml+json"
        assert answer.native["format"] == "application/vnd.oma.lwm2m+tlv"
        assert seen == [content.SENML_JSON, None]

        raw = await f.call(double, "GET", "/3/0/9")
        assert (raw.payload, raw.content_type) == (bytes.fromhex("c10964"), "application/vnd.oma.lwm2m+tlv")


async def test_a_device_of_version_1_0_is_never_asked_for_senml() -> None:
    async with field() as f:
        double = f.double()
        await double.request(codec.POST, ("rd",), ["ep=dev-0", "lwm2m=1.0"], b"</3/0>")
        seen: list[Message] = []
        double.answers = lambda message, body: seen.append(message) or Message(  # type: ignore[func-returns-value]
            ACK, codec.CONTENT, 0, b"", [(CONTENT_FORMAT, b"")], b"100"
        )
        answer = await f.call(double, "GET", "/3/0/9", accept="application/senml+json")
        assert json.loads(answer.payload) == [{"n": "/3/0/9", "v": 100}]
        assert [message.first(ACCEPT) for message in seen] == [None]


async def test_a_separate_answer_is_waited_for_and_acknowledged() -> None:
    async with field() as f:
        double = await f.device()
        double.separate = True
        assert (await f.call(double, payload=b"later")).payload == b"later"


async def test_a_late_answer_is_told_with_its_call() -> None:
    async with field() as f:
        double = await f.device()
        double.hold()
        request = f.request(double)
        call = asyncio.ensure_future(f.adapter.call(request))
        late = await double.asked()
        f.clock.advance(30)
        await asyncio.gather(call, return_exceptions=True)
        double.transmit(Message(CON, codec.CHANGED, 555, late.message.token, [], b"at last"))
        (event,) = await f.ctx.seen(EventKind.LATE_RESPONSE)
        assert (event.attrs["call_id"], event.attrs["response"].payload) == (request.call_id, b"at last")


@pytest.mark.parametrize(
    ("table", "word"),
    [({"prot": 1}, "prot"), ({"port": 70_000}, "port"), ({"open": 1}, "open"), ({"host": "example"}, "host"),
     ({"asleep_after": "x"}, "asleep_after"), ({"inflight": True}, "inflight")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_named(table: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        read(table)


def test_the_settings_of_the_documentation_are_the_defaults() -> None:
    import tomllib

    from adapters.lwm2m import settings

    assert settings.__doc__ is not None
    told = "\n".join(line for line in settings.__doc__.splitlines() if line.startswith("    "))
    assert read(tomllib.loads(told)) == settings.LwM2MSettings()


async def test_10000_fuzzed_datagrams_leave_the_adapter_serving() -> None:
    async with field() as f:
        double, seed = await f.device(), random.Random(11)
        rig = create_rig(None)  # type: ignore[arg-type]
        before = f.adapter.health()["devices"]
        for n in range(10_000):
            await double.send_raw(rig.garbage(seed)[0])
            if n % 50 == 0:
                await f.turns()
        await f.turns(20)
        assert f.adapter.health()["state"] == "up"
        assert f.adapter.health()["devices"] == before
        assert (await f.call(double, payload=b"x")).payload == b"x"


async def test_there_is_a_most_of_requests_under_way() -> None:
    async with field(total=2) as f:
        doubles = [await f.device() for _ in range(3)]
        for double in doubles:
            double.hold()
        calls = [asyncio.ensure_future(f.adapter.call(f.request(double))) for double in doubles[:2]]
        await f.turns()
        assert f.adapter.window(doubles[2].address) == 0
        with pytest.raises(CallError) as caught:
            await f.call(doubles[2])
        assert (caught.value.code, caught.value.delivery) == ("QUEUE_IS_FULL", Delivery.NOT_SENT)
        await f.adapter.stop(1)
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(error, NotConnected) for error in told)
