"""What devices in the field do and no specification says, one test for each; all of it was seen."""

from __future__ import annotations

import asyncio
import json

import pytest

from adapters.lwm2m import codec, content, tlv
from adapters.lwm2m.codec import ACK, NON, Message
from adapters.lwm2m.double import DeviceDouble
from adapters.lwm2m.option import ACCEPT, CONTENT_FORMAT, OBSERVE, number, path_of, uint
from hub.ports.adapter import Delivery, DeviceEvent, DeviceTimeout, EventKind, ObserveSpec
from tests.wires.lwm2m_field import Field, answering, field

pytestmark = pytest.mark.anyio


async def register(
    f: Field, *query: str, links: str = "</1/0>,</3/0>", form: int | None = content.LINK
) -> DeviceDouble:
    """A device that registers with exactly this."""
    double = f.double("dev")
    reply = await double.request(codec.POST, ("rd",), ["ep=dev", *query], links.encode(), form)
    assert reply.code == codec.CREATED, codec.code_text(reply.code)
    double.location = tuple(piece.decode() for piece in reply.all(8))
    return double


def registered(f: Field) -> DeviceEvent:
    return f.ctx.of(EventKind.REGISTERED)[-1]


async def test_quirk_version_with_three_numbers() -> None:
    async with field() as f:
        await register(f, "lwm2m=1.0.0")
        assert registered(f).device == "dev"


async def test_quirk_unknown_query_items() -> None:
    async with field() as f:
        await register(f, "lt=60", "vendor=x", "flag", "=", "lwm2m=1.1", "pid=17")
        assert registered(f).attrs["lifetime"] == 66


async def test_quirk_no_binding() -> None:
    async with field() as f:
        double = await register(f, "lt=60")
        assert registered(f).attrs["queue_mode"] is False
        assert f.adapter.window(double.address) == 1


async def test_quirk_no_content_format_on_register() -> None:
    async with field() as f:
        await register(f, form=None)
        assert [link.path for link in registered(f).attrs["links"]] == ["/1/0", "/3/0"]


async def test_quirk_no_content_format_on_answers() -> None:
    async with field() as f:
        double = await register(f)
        double.answers = answering(codec.CONTENT, [], b"100")
        answer = await f.call(double, "GET", "/3/0/9")
        assert (answer.payload, answer.content_type) == (b"100", None)
        shown = await f.call(double, "GET", "/3/0/9", accept="application/senml+json")
        assert json.loads(shown.payload) == [{"n": "/3/0/9", "v": 100}]


@pytest.mark.parametrize("links", ["</1/0>", "</>,</1/0>", '</>;ct="60 110",</1/0>'])
async def test_quirk_no_root_entry_or_one_without_a_type(links: str) -> None:
    async with field() as f:
        double = await register(f, links=links)
        assert [link.path for link in registered(f).attrs["links"]] == ["/1/0"]
        assert (await f.call(double, "GET", "/1/0/1")).status == 200


async def test_quirk_objects_below_another_root() -> None:
    async with field() as f:
        double = await register(f, links='</lwm2m>;rt="oma.lwm2m",</lwm2m/3/0>')
        paths: list[tuple[str, ...]] = []
        double.answers = lambda m, b: paths.append(path_of(m)) or Message(ACK, codec.CONTENT, 0)  # type: ignore[func-returns-value]
        await f.call(double, "GET", "/3/0/9")
        assert [link.path for link in registered(f).attrs["links"]] == ["/3/0"]
        assert paths == [("lwm2m", "3", "0", "9")]


async def test_quirk_version_of_an_object_in_its_link() -> None:
    async with field() as f:
        await register(f, links="</10>;ver=1.1,</10/0>")
        assert [link.path for link in registered(f).attrs["links"]] == ["/10", "/10/0"]


async def test_quirk_objects_that_are_no_numbers() -> None:
    async with field() as f:
        double = await register(f, links="</sensors/temp>;obs,</a b/c>")
        paths: list[tuple[str, ...]] = []
        double.answers = lambda m, b: paths.append(path_of(m)) or Message(ACK, codec.CONTENT, 0)  # type: ignore[func-returns-value]
        await f.call(double, "GET", "/sensors/temp", accept="application/senml+json")
        assert paths[-1] == ("sensors", "temp")


async def test_quirk_server_object_at_instance_one() -> None:
    async with field() as f:
        double = await register(f, links="</1/1>,</3/0>")
        assert (await f.call(double, "POST", "/1/1/8")).status == 200


async def test_quirk_update_without_query() -> None:
    async with field() as f:
        double = await register(f, "lt=60")
        f.clock.advance(50)
        await double.update()
        f.clock.advance(50)
        await f.turns()
        assert f.ctx.of(EventKind.EXPIRED) == []


@pytest.mark.parametrize(
    ("method", "target", "code", "left"),
    [("POST", "/3303", codec.CREATED, 3), ("DELETE", "/3/0", codec.DELETED, 1)],
    ids=["create", "delete"],
)
async def test_quirk_update_right_with_each_create_and_delete(method: str, target: str, code: int, left: int) -> None:
    async with field() as f:
        double = await register(f)
        updates: list[asyncio.Task[Message]] = []
        links = ["</1/0>", "</3/0>", "</3303/0>"][:left]

        def carried_out(message: Message, body: bytes) -> Message:
            updating = double.request(codec.POST, double.location, (), ",".join(links).encode(), content.LINK)
            updates.append(asyncio.ensure_future(updating))
            return Message(ACK, code, 0)

        double.answers = carried_out
        payload = b"\xc1\x01\x01" if method == "POST" else b""
        assert (await f.call(double, method, target, payload=payload)).status == 200
        assert (await updates[0]).code == codec.CHANGED
        assert len(f.ctx.of(EventKind.UPDATED)[0].attrs["links"]) == left


@pytest.mark.parametrize("method", ["FETCH", "IPATCH", "PUT"])
async def test_quirk_requests_that_are_silently_ignored(method: str) -> None:
    async with field() as f:
        double = await register(f)
        double.hold()
        call = asyncio.ensure_future(f.adapter.call(f.request(double, method, "/3/0/14", payload=b"text")))
        await double.asked()
        f.clock.advance(30)
        with pytest.raises(DeviceTimeout) as caught:
            await call
        assert caught.value.delivery is Delivery.MAYBE
        double.go()
        assert (await f.call(double, payload=b"next")).payload == b"next"


async def test_quirk_unknown_accept_is_ignored_and_the_answer_in_another_format() -> None:
    async with field() as f:
        double = await register(f, "lwm2m=1.1")
        double.answers = answering(codec.CONTENT, [(CONTENT_FORMAT, uint(1542))], bytes.fromhex("c10964"))
        shown = await f.call(double, "GET", "/3/0/9", accept="application/senml+json")
        assert json.loads(shown.payload) == [{"n": "/3/0/9", "v": 100}]


async def test_quirk_a_request_with_an_unknown_accept_is_not_answered_at_all() -> None:
    async with field() as f:
        double = await register(f, "lwm2m=1.1")
        heard = double._asked_for

        def deaf(message: Message) -> None:
            if number(message.first(ACCEPT)) != content.SENML_JSON:
                heard(message)

        double._asked_for = deaf  # type: ignore[method-assign]
        double.answers = answering(codec.CONTENT, [(CONTENT_FORMAT, b"")], b"100")
        call = f.adapter.call(f.request(double, "GET", "/3/0/9", accept="application/senml+json"))
        (shown,) = await f.passing([call])
        assert json.loads(shown.payload) == [{"n": "/3/0/9", "v": 100}]  # type: ignore[union-attr]


@pytest.mark.parametrize(("code", "status"), [(codec.CHANGED, 200), (codec.NOT_ACCEPTABLE, 406)])
async def test_quirk_put_without_format_is_taken_or_not(code: int, status: int) -> None:
    async with field() as f:
        double = await register(f)
        formats: list[bytes | None] = []
        double.answers = lambda m, b: formats.append(m.first(CONTENT_FORMAT)) or Message(ACK, code, 0)  # type: ignore[func-returns-value]
        answer = await f.call(double, "PUT", "/5/0", payload=b"\xc1\x01\x01")
        assert (answer.status, formats) == (status, [None])


async def test_quirk_opaque_values_as_base64_text() -> None:
    async with field() as f:
        double = await register(f)
        double.answers = answering(codec.CONTENT, [(CONTENT_FORMAT, b"")], b"aGVsbG8=")
        shown = await f.call(double, "GET", "/5/0/0", accept="application/senml+json")
        assert json.loads(shown.payload) == [{"n": "/5/0/0", "vd": "aGVsbG8"}]
        assert (await f.call(double, "GET", "/5/0/0")).payload == b"aGVsbG8="


async def test_quirk_an_instance_wrapped_in_an_instance() -> None:
    async with field() as f:
        double = await register(f)
        inner = (tlv.Entry(tlv.Level.RESOURCE, 9, b"\x64"),)
        wrapped = tlv.encode([tlv.Entry(tlv.Level.OBJECT_INSTANCE, 0, entries=inner)])
        double.answers = answering(codec.CONTENT, [(CONTENT_FORMAT, uint(content.TLV))], wrapped)
        shown = await f.call(double, "GET", "/3/0", accept="application/senml+json")
        assert json.loads(shown.payload) == [{"n": "/3/0/9", "v": 100}]


async def test_quirk_register_again_on_reconnect_with_observations_lost() -> None:
    async with field() as f:
        double = await f.device("dev")
        _, observation = await f.adapter.observe(ObserveSpec("dev", "/observable"), f.clock.monotonic() + 10)
        (token,) = double.observing
        await double.register()

        assert not observation.active
        assert len(f.ctx.of(EventKind.REGISTERED)) == 2
        double.observing[token] = ("/observable", 9)
        double.transmit(Message(NON, codec.CONTENT, double._next_mid(), token, [(OBSERVE, b"\x09")], b"old"))
        await double.until(lambda: double.observed == 0)  # the hub answered with RST
        assert f.ctx.of(EventKind.NOTIFICATION) == []
        _, again = await f.adapter.observe(ObserveSpec("dev", "/observable"), f.clock.monotonic() + 10)
        assert again.active


async def test_quirk_no_deregister_on_exit() -> None:
    async with field() as f:
        double = await register(f, "lt=60")
        double.close()
        f.clock.advance(67)
        await f.turns()
        assert len(f.ctx.of(EventKind.EXPIRED)) == 1


async def test_quirk_update_trigger_answered_long_before_the_update() -> None:
    async with field() as f:
        double = await register(f)
        assert (await f.call(double, "POST", "/1/0/8")).status == 200
        assert f.ctx.of(EventKind.UPDATED) == []
        f.clock.advance(20)
        await double.update()
        assert len(f.ctx.of(EventKind.UPDATED)) == 1


async def test_quirk_a_first_change_with_the_number_of_the_first_answer() -> None:
    async with field() as f:
        double = await f.device("dev")
        await f.adapter.observe(ObserveSpec("dev", "/observable"), f.clock.monotonic() + 10)
        ((token, (_, order)),) = double.observing.items()
        message = Message(NON, codec.CONTENT, double._next_mid(), token, [(OBSERVE, uint(order))], b"changed")
        double.transmit(message)
        double.transmit(message)
        await f.turns()
        assert [event.payload for event in f.ctx.of(EventKind.NOTIFICATION)] == [b"changed"]
