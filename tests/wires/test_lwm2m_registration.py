"""Register, Update, Deregister, expiry, sleep, Send; who is let in; what is never acknowledged too early."""

from __future__ import annotations

import asyncio
import gc

import pytest

from adapters.lwm2m import codec, content
from adapters.lwm2m.codec import CON, Message, encode
from adapters.lwm2m.double import Refused
from adapters.lwm2m.option import BLOCK1, CONTENT_FORMAT, URI_PATH, URI_QUERY, uint
from hub.model.device import Presence
from hub.ports.adapter import EventKind, NotConnected, Unreachable
from tests.wires.lwm2m_field import Field, Wire, field

pytestmark = pytest.mark.anyio


def kinds(f: Field) -> list[str]:
    return [event.kind.value for event in f.ctx.events]


async def test_a_registration_is_told_with_all_that_it_says() -> None:
    async with field() as f:
        double = await f.device("lamp", "et=light", lifetime=300, binding="UQ")
        (event,) = f.ctx.events

        assert (event.kind, event.device) == (EventKind.REGISTERED, "lamp")
        assert event.attrs["id"] == event.attrs["name"] == "lamp"
        assert event.attrs["type"] == "light"
        assert event.attrs["lifetime"] == 330
        assert event.attrs["queue_mode"] is True
        assert event.attrs["location"] == "/" + "/".join(double.location)
        assert [link.path for link in event.attrs["links"]] == ["/observable", "/plain", "/1/0", "/3/0"]


async def test_nothing_is_answered_before_the_hub_holds_it() -> None:
    async with field() as f:
        f.ctx.hold_accept()
        double = f.double()
        registering = asyncio.ensure_future(double.register())
        await f.ctx.blocked()
        f.clock.advance(2.5)  # the device asks again meanwhile
        await f.turns()
        assert not registering.done()
        assert f.adapter.window(double.address) == 0

        f.ctx.release_accept()
        await registering
        assert kinds(f)[:1] == ["registered"]
        assert f.adapter.window(double.address) == 1


async def test_what_the_hub_could_not_hold_is_refused_and_comes_again() -> None:
    async with field() as f:
        f.ctx.fail_accept = True
        double = f.double()
        with pytest.raises(Refused, match=r"5\.03"):
            await double.register()
        assert f.adapter.presence(double.address) is Presence.OFFLINE

        f.ctx.fail_accept = False
        await double.register()
        assert (await f.call(double, payload=b"x")).payload == b"x"


async def test_a_call_waits_until_the_device_knows_that_it_is_registered() -> None:
    # Devices drop a request that overtakes the answer to their Register. The hub asked while there was no slot, so it
    # is told when there is one.
    async with field() as f:
        f.ctx.hold_accept()
        double = f.double()
        registering = asyncio.ensure_future(double.register())
        await f.ctx.blocked()
        assert f.adapter.window(double.address) == 0
        f.ctx.release_accept()
        await registering

        assert kinds(f) == ["registered", "awake"]


async def test_the_same_name_again_takes_the_place_of_the_old_registration() -> None:
    async with field() as f:
        double = await f.device()
        old = double.location
        await double.register()
        new, double.location = double.location, old
        with pytest.raises(Refused, match=r"4\.04"):
            await double.update()
        double.location = new
        await double.update()

        assert kinds(f) == ["registered", "registered", "updated"]
        assert len(f.adapter._parts.registry) == 1  # type: ignore[union-attr]


async def test_an_update_says_where_the_device_is_and_what_it_has() -> None:
    async with field() as f:
        double = await f.device()
        from adapters.lwm2m.net import MemoryEndpoint

        double.move(MemoryEndpoint(f.net))
        reply = await double.request(codec.POST, double.location, ["lt=60"], b"</1/0>,</9/9>", content.LINK)
        assert reply.code == codec.CHANGED
        event = f.ctx.events[-1]
        assert [link.path for link in event.attrs["links"]] == ["/1/0", "/9/9"]
        assert event.attrs["lifetime"] == 66
        assert (await f.call(double, payload=b"x")).payload == b"x"


@pytest.mark.parametrize("lifetime", [20, 86_400])
async def test_a_registration_expires_a_little_after_its_lifetime_once(lifetime: int) -> None:
    async with field() as f:
        double = await f.device(lifetime=lifetime)
        grace = min(lifetime * 0.1, 30)
        f.clock.advance(lifetime + grace - 1.5)
        await f.turns()
        assert kinds(f) == ["registered"]
        f.clock.advance(3)
        await f.turns()

        assert kinds(f) == ["registered", "expired"]
        assert f.adapter.presence(double.address) is Presence.OFFLINE
        with pytest.raises(Refused, match=r"4\.04"):
            await double.update()


async def test_updates_keep_a_registration_alive() -> None:
    async with field() as f:
        double = await f.device(lifetime=60)
        for _ in range(10):
            f.clock.advance(55)
            await double.update()
        assert "expired" not in kinds(f)
        f.clock.advance(70)
        await f.turns()
        assert kinds(f)[-1] == "expired"


async def test_a_device_that_leaves_fails_its_open_call_at_once() -> None:
    async with field() as f:
        double = await f.device()
        double.hold()
        call = asyncio.ensure_future(f.adapter.call(f.request(double)))
        await double.asked()
        await double.leave()
        with pytest.raises(NotConnected):
            await call


async def test_what_happens_to_one_device_happens_in_order() -> None:
    async with field() as f:
        double = await f.device()
        f.ctx.hold_accept()
        updates = [asyncio.ensure_future(double.update(f"lt={lifetime}")) for lifetime in (100, 200, 300)]
        leaving = asyncio.ensure_future(double.leave())
        await f.ctx.blocked()
        await f.turns()
        f.ctx.release_accept()
        await asyncio.gather(*updates, leaving)

        assert kinds(f) == ["registered", "updated", "updated", "updated", "deregistered"]
        assert [event.attrs["lifetime"] for event in f.ctx.of(EventKind.UPDATED)] == [110, 220, 330]


# -- who is let in --------------------------------------------------------------------------------


async def test_only_known_names_are_let_in_unless_the_configuration_opens_it() -> None:
    async with field(open=False) as f:
        f.ctx.names["known"] = "acme/known-device"
        with pytest.raises(Refused, match=r"4\.03"):
            await f.double("stranger").register()
        await f.double("known").register()

        assert [event.device for event in f.ctx.events] == ["acme/known-device"]
        assert f.adapter.health()["refused"] == 1


async def test_a_device_that_registers_without_end_is_refused_for_a_minute() -> None:
    async with field() as f:
        double = f.double()
        for _ in range(10):
            await double.register()
        with pytest.raises(Refused, match=r"4\.29"):
            await double.register()
        f.clock.advance(61)
        await double.register()


async def test_a_flood_of_new_names_is_throttled_and_the_known_go_on() -> None:
    async with field(registrations_per_second=10, registration_burst=20) as f:
        known = await f.device("known")
        told = await asyncio.gather(*(f.double(f"flood-{n}").register() for n in range(50)), return_exceptions=True)

        refused = [error for error in told if isinstance(error, Refused)]
        assert len(refused) == 31
        assert {str(error) for error in refused} == {"5.03"}
        assert (await f.call(known, payload=b"x")).payload == b"x"


async def test_there_is_a_most_of_devices_and_it_shows() -> None:
    async with field(devices=2) as f:
        first, _ = await f.device(), await f.device()
        with pytest.raises(Refused, match=r"5\.03"):
            await f.device()
        assert f.adapter.health()["state"] == "degraded"
        await first.leave()
        assert f.adapter.health()["state"] == "up"
        await f.device()


@pytest.mark.parametrize("query", [[], ["ep="], ["ep=x", "lt=abc"], ["ep=x", "lt=0"], ["ep=" + "x" * 252, "lt=-1"]])
async def test_a_register_that_makes_no_sense_is_refused(query: list[str]) -> None:
    async with field() as f:
        reply = await f.double().request(codec.POST, ("rd",), query, b"</1/0>")
        assert reply.code == codec.BAD_REQUEST
        assert f.ctx.events == []


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
async def test_every_version_that_there_is_registers(version: str) -> None:
    async with field() as f:
        reply = await f.double().request(codec.POST, ("rd",), ["ep=x", f"lwm2m={version}", "b=U"], b"</1/0>")
        assert reply.code == codec.CREATED
        assert kinds(f) == ["registered"]


async def test_another_major_version_is_refused() -> None:
    async with field() as f:
        assert (await f.double().request(codec.POST, ("rd",), ["ep=x", "lwm2m=2.0"])).code == codec.PRECONDITION_FAILED


# -- Send and uploads -----------------------------------------------------------------------------


async def test_what_a_device_sends_becomes_a_notification_of_each_resource() -> None:
    async with field() as f:
        double = await f.device()
        pack = b'[{"bn":"/3303/0/","n":"5700","v":21.5},{"n":"5701","vs":"Cel"}]'
        reply = await double.request(codec.POST, ("dp",), (), pack, content.SENML_JSON)

        assert reply.code == codec.CHANGED
        told = [(event.target, event.payload) for event in f.ctx.of(EventKind.NOTIFICATION)]
        assert told == [("/3303/0/5700", b"21.5"), ("/3303/0/5701", b"Cel")]


@pytest.mark.parametrize(
    ("form", "body", "code"),
    [(110, b"nonsense", codec.BAD_REQUEST), (0, b"21.5", codec.UNSUPPORTED_FORMAT), (112, b"\xff", codec.BAD_REQUEST)],
)
async def test_what_cannot_be_read_is_refused(form: int, body: bytes, code: int) -> None:
    async with field() as f:
        double = await f.device()
        assert (await double.request(codec.POST, ("dp",), (), body, form)).code == code


async def test_a_stranger_can_send_nothing() -> None:
    async with field() as f:
        reply = await f.double().request(codec.POST, ("dp",), (), b'[{"n":"/1","v":1}]', content.SENML_JSON)
        assert reply.code == codec.NOT_FOUND


async def upload(wire: Wire, blocks: list[tuple[int, bool, bytes]]) -> list[int]:
    """Upload links to /rd in blocks of 16 bytes; the codes of the answers."""
    codes = []
    for n, (number, more, data) in enumerate(blocks):
        options = [(URI_PATH, b"rd"), (CONTENT_FORMAT, uint(40)), (URI_QUERY, b"ep=up")]
        options.append((BLOCK1, uint(number << 4 | more << 3)))
        wire.say(encode(Message(CON, codec.POST, 100 + n, b"t", options, data)))
        codes.append((await wire.next(n + 1)).code)
    return codes


async def test_a_long_upload_is_put_together_or_refused() -> None:
    links = b"</1/0>,</3/0>,</3303/0>,</3303/1>,</5/0>"
    parts = [(n, 16 * (n + 1) < len(links), links[16 * n : 16 * (n + 1)]) for n in range(3)]
    async with field() as f:
        assert await upload(Wire(f), parts) == [codec.CONTINUE, codec.CONTINUE, codec.CREATED]
        assert len(f.ctx.events[0].attrs["links"]) == 5
        assert await upload(Wire(f), [parts[0], parts[2]]) == [codec.CONTINUE, codec.REQUEST_ENTITY_INCOMPLETE]


async def test_an_upload_without_end_is_cut_off() -> None:
    async with field(max_payload=1024) as f:
        codes = await upload(Wire(f), [(n, True, b"x" * 16) for n in range(65)])
        assert codes == [codec.CONTINUE] * 64 + [codec.REQUEST_ENTITY_TOO_LARGE]


# -- many -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cycles", [pytest.param(300, id="short"), pytest.param(10_000, marks=pytest.mark.soak, id="full")]
)
async def test_coming_updating_and_leaving_leaves_memory_flat(cycles: int) -> None:
    async with field(registrations_per_device=1_000_000, registration_burst=1_000_000) as f:
        double = f.double()

        async def rounds(n: int) -> None:
            for _ in range(n):
                await double.register()
                await double.update()
                await double.leave()
                f.clock.advance(2)
                f.ctx.events.clear()

        await rounds(300)  # as many as the tables of the last minutes hold at this pace
        gc.collect()
        before = len(gc.get_objects())
        await rounds(cycles)
        gc.collect()
        assert len(gc.get_objects()) - before < 300
        parts = f.adapter._parts
        assert parts is not None
        assert (len(parts.registry), len(parts.registrar.expiries), len(parts.reach.naps)) == (0, 0, 0)
        assert len(parts.inbound._receipts) <= 3 * 2 * 247


async def test_a_reset_of_a_request_is_told_as_such() -> None:
    async with field() as f:
        double = await f.device()
        double.hold()
        call = asyncio.ensure_future(f.adapter.call(f.request(double)))
        asked = await double.asked()
        double.transmit(Message(codec.RST, codec.EMPTY, asked.message.mid))
        with pytest.raises(Unreachable) as caught:
            await call
        assert caught.value.code == "RESET"
