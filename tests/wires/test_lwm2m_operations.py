"""Each operation of LwM2M as the message that the device gets, and the device's answer as the caller gets it."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.lwm2m import codec, content
from adapters.lwm2m.codec import ACK, Message
from adapters.lwm2m.option import (
    ACCEPT,
    CONTENT_FORMAT,
    LOCATION_PATH,
    OBSERVE,
    URI_QUERY,
    number,
    path_of,
    query_of,
    uint,
)
from hub.ports.adapter import DeviceResponse, EventKind, ObserveSpec
from tests.wires.lwm2m_field import field

pytestmark = pytest.mark.anyio

LINKS = b'</3303/0>;pmin=1,</3303/0/5700>;dim=1'


async def done(
    code: int, options: list[tuple[int, bytes]], said: bytes, method: str, target: str, **more: Any
) -> tuple[Message, bytes, DeviceResponse]:
    """What the device got, whole, and what became of its answer."""
    got: list[tuple[Message, bytes]] = []

    def answer(message: Message, body: bytes) -> Message:
        got.append((message, body))
        return Message(ACK, code, 0, b"", options, said)

    async with field() as f:
        double = await f.device()
        double.answers = answer
        response = await f.call(double, method, target, **more)
    ((message, body),) = got
    return message, body, response


async def test_read() -> None:
    options = [(CONTENT_FORMAT, uint(content.TEXT))]
    message, body, answer = await done(codec.CONTENT, options, b"21.5", "GET", "/3303/0/5700")
    assert (message.code, path_of(message), message.first(ACCEPT), body) == (1, ("3303", "0", "5700"), None, b"")
    assert (answer.status, answer.payload, answer.content_type) == (200, b"21.5", "text/plain")


async def test_write_replaces_with_put() -> None:
    message, body, answer = await done(
        codec.CHANGED, [], b"", "PUT", "/3/0/14", payload=b"+02:00", content_type="text/plain"
    )
    assert (message.code, path_of(message), body) == (3, ("3", "0", "14"), b"+02:00")
    assert number(message.first(CONTENT_FORMAT)) == content.TEXT
    assert (answer.status, answer.native["coap"]) == (200, "2.04")


async def test_partial_write_updates_an_instance_with_post() -> None:
    tlv = bytes.fromhex("c80e062b30323a3030")
    kind = "application/vnd.oma.lwm2m+tlv"
    message, body, answer = await done(codec.CHANGED, [], b"", "POST", "/3/0", payload=tlv, content_type=kind)
    assert (message.code, path_of(message), body) == (2, ("3", "0"), tlv)
    assert number(message.first(CONTENT_FORMAT)) == content.TLV
    assert answer.native["coap"] == "2.04"


async def test_write_attributes_is_a_put_with_a_query_and_nothing_else() -> None:
    query = (("pmin", "5"), ("pmax", "60"), ("gt", ""))
    message, body, answer = await done(codec.CHANGED, [], b"", "PUT", "/3303/0/5700", query=query)
    assert (message.code, query_of(message), body) == (3, list(query), b"")
    assert message.all(URI_QUERY) == [b"pmin=5", b"pmax=60", b"gt"]
    assert message.first(CONTENT_FORMAT) is None
    assert answer.native["coap"] == "2.04"


async def test_execute_is_a_post_to_a_resource_with_its_arguments() -> None:
    message, body, answer = await done(codec.CHANGED, [], b"", "POST", "/3/0/4", payload=b"0='now'")
    assert (message.code, path_of(message), body) == (2, ("3", "0", "4"), b"0='now'")
    assert answer.status == 200


async def test_create_is_a_post_to_an_object_and_tells_where_the_instance_is() -> None:
    options = [(LOCATION_PATH, b"3303"), (LOCATION_PATH, b"7")]
    kind = "application/vnd.oma.lwm2m+tlv"
    message, _, answer = await done(
        codec.CREATED, options, b"", "POST", "/3303", payload=b"\xe4\x16\x44\x00\x00\x00\x01", content_type=kind
    )
    assert (message.code, path_of(message)) == (2, ("3303",))
    assert (answer.status, answer.native["coap"], answer.native["location"]) == (200, "2.01", "/3303/7")


async def test_delete() -> None:
    message, body, answer = await done(codec.DELETED, [], b"", "DELETE", "/3303/7")
    assert (message.code, path_of(message), body) == (4, ("3303", "7"), b"")
    assert (answer.status, answer.native["coap"]) == (200, "2.02")


async def test_discover_is_a_read_of_links() -> None:
    options = [(CONTENT_FORMAT, uint(content.LINK))]
    message, _, answer = await done(
        codec.CONTENT, options, LINKS, "GET", "/3303", accept="application/link-format"
    )
    assert (message.code, number(message.first(ACCEPT))) == (1, content.LINK)
    assert (answer.payload, answer.content_type) == (LINKS, "application/link-format")


@pytest.mark.parametrize(("method", "code"), [("FETCH", 5), ("IPATCH", 7)])
async def test_composite_operations_carry_their_paths_in_senml(method: str, code: int) -> None:
    pack = b'[{"n":"/3/0/14"},{"n":"/3303/0/5700"}]'
    message, body, answer = await done(
        codec.CHANGED, [], b"", method, "/", payload=pack, content_type="application/senml+json"
    )
    assert (message.code, path_of(message), body) == (code, (), pack)
    assert number(message.first(CONTENT_FORMAT)) == content.SENML_JSON
    assert answer.status == 200


async def test_observe_tells_the_first_value_the_changes_and_ends_when_it_is_cancelled() -> None:
    async with field() as f:
        double = await f.device()
        spec = ObserveSpec(double.address, "/observable")
        first, observation = await f.adapter.observe(spec, f.clock.monotonic() + 9)
        ((token, _),) = double.observing.items()
        await double.notify([b"1", b"2"])
        await f.turns()
        await observation.cancel()
        told = f.ctx.of(EventKind.NOTIFICATION)

        assert (first.status, first.payload) == (200, b"0")
        assert [event.payload for event in told] == [b"1", b"2"]
        assert told[0].seq is not None and told[1].seq is not None and told[0].seq < told[1].seq
        assert (len(token), double.observed, observation.active) == (8, 0, False)


async def test_raw_bytes_of_a_format_that_nobody_knows_stay_what_they_are() -> None:
    options = [(CONTENT_FORMAT, uint(65_000)), (OBSERVE, b"")]
    _, _, answer = await done(codec.CONTENT, options, b"\x00\xff", "GET", "/x/y")
    assert (answer.payload, answer.content_type) == (b"\x00\xff", "application/vnd.coap-format-65000")
