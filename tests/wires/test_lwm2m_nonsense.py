"""What no proper device says: it is refused as what it is, and nothing has changed afterwards."""

from __future__ import annotations

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.double import Refused
from hub.model.device import Presence
from hub.model.errors import HubError, NotTaken, UnknownDevice
from hub.ports.adapter import DeviceEvent, EventKind, ObserveSpec
from tests.wires.lwm2m_field import field

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("lifetime", ["00000000001" + "9" * 20, "2147483648", "0", "-1", "1e3", "\u0661"])
async def test_an_update_with_a_lifetime_that_makes_no_sense_changes_nothing(lifetime: str) -> None:
    async with field() as f:
        double = await f.device(lifetime=300)
        assert (await double.request(codec.POST, double.location, [f"lt={lifetime}"])).code == codec.BAD_REQUEST
        await double.update()

        assert [event.attrs["lifetime"] for event in f.ctx.events] == [330, 330]
        assert f.adapter.window(double.address) == 1


@pytest.mark.parametrize(
    ("query", "told"),
    [([], b"ep is needed"), (["ep=" + "x" * 256], b"ep is too long"), (["ep=a\x07b"], b"ep is not printable")],
)
async def test_a_device_is_told_what_is_wrong_with_its_name(query: list[str], told: bytes) -> None:
    async with field() as f:
        reply = await f.double().request(codec.POST, ("rd",), query, b"</1/0>")
        assert (reply.code, reply.payload) == (codec.BAD_REQUEST, told)


async def test_whatever_goes_wrong_with_an_update_leaves_the_registration_as_it_was() -> None:
    async with field() as f:
        double = await f.device(lifetime=300)
        accept = f.ctx.accept

        async def broken(event: DeviceEvent) -> None:
            raise RuntimeError("a bug of the hub")

        f.ctx.accept = broken  # type: ignore[method-assign]
        with pytest.raises(Refused, match=r"5\.00"):
            await double.update("lt=60", "b=UQ")
        f.ctx.accept = accept  # type: ignore[method-assign]

        assert (await f.call(double, payload=b"x")).payload == b"x"
        await double.update()
        assert (f.ctx.events[-1].attrs["lifetime"], f.ctx.events[-1].attrs["queue_mode"]) == (330, False)


async def test_whatever_goes_wrong_with_a_register_leaves_no_registration() -> None:
    async with field() as f:
        double = f.double()
        accept = f.ctx.accept

        async def broken(event: DeviceEvent) -> None:
            raise RuntimeError("a bug of the hub")

        f.ctx.accept = broken  # type: ignore[method-assign]
        with pytest.raises(Refused, match=r"5\.00"):
            await double.register()
        f.ctx.accept = accept  # type: ignore[method-assign]
        assert f.adapter.presence(double.address) is Presence.OFFLINE
        assert f.adapter.health()["devices"] == 0


@pytest.mark.parametrize("refusal", [NotTaken, UnknownDevice])
async def test_what_the_hub_will_never_take_is_not_asked_for_again(refusal: type[HubError]) -> None:
    async with field() as f:

        async def refused(event: DeviceEvent) -> None:
            raise refusal("never")

        f.ctx.accept = refused  # type: ignore[method-assign]
        with pytest.raises(Refused, match=r"4\.03"):
            await f.double().register()


async def test_registrations_and_values_say_that_nobody_proved_them() -> None:
    async with field() as f:
        double = await f.device()
        await f.adapter.observe(ObserveSpec(double.address, "/observable"), f.clock.monotonic() + 30)
        await double.notify([b"a"])
        await double.event(b"b")
        values = await f.ctx.seen(EventKind.NOTIFICATION, n=2)
        assert [event.attrs["proved"] for event in (f.ctx.events[0], *values)] == [False] * 3
        assert f.ctx.asked_to_admit == [("open", "dev-0")]


DEEP = b"\xc2\x59\x13\x88" + b"\x01" * 5000  # tag 2: a big number of 5000 bytes


@pytest.mark.parametrize(
    ("form", "pack"),
    [
        (110, b'[{"n":"/1/0/1","vs":"\\ud800"}]'),
        (110, b'[{"bt":1.5,"n":"/1/0/1","v":1,"t":1' + b"0" * 400 + b"}]"),
        (110, b'[{"bt":1e308,"n":"/1/0/1","v":1,"t":1e308}]'),
        (110, b'[{"n":"/1/0/1","v":NaN}]'),
        (110, b'[{"n":"/1/0/1","v":1e999}]'),
        (110, b'[{"n":"/1/0/1","v":1,"t":Infinity}]'),
        (110, b'[{"n":"/1/0/1","v":18446744073709551616}]'),
        (110, b'[{"n":"/1/0/1","v":-9223372036854775809}]'),
        (110, b'[{"n":"/1/0/1","v":1' + b"0" * 5000 + b"}]"),
        (112, b"\x81\xa2\x00\x66/1/0/1\x02" + DEEP),
        (110, b'[{"n":"no path","v":1}]'),
        (110, b'[{"n":"/1//1","v":1}]'),
        (110, b'[{"n":"/1/0/1/","v":1}]'),
        (110, b'[{"n":"/1/\\u0000","v":1}]'),
        (110, b'[{"n":"/' + b"1" * 255 + b'","v":1}]'),
    ],
)
async def test_a_send_with_one_value_that_makes_no_sense_tells_none_of_them(form: int, pack: bytes) -> None:
    good = {110: b'[{"n":"/1/0/0","v":1},', 112: b"\x82\xa2\x00\x66/1/0/0\x02\x01"}[form]
    async with field() as f:
        double = await f.device()
        reply = await double.request(codec.POST, ("dp",), (), good + pack[1:], form)
        assert reply.code == codec.BAD_REQUEST
        assert f.ctx.of(EventKind.NOTIFICATION) == []


@pytest.mark.parametrize("number", ["18446744073709551615", "-9223372036854775808", "1e308", "-0.5"])
async def test_a_send_takes_every_number_that_a_device_can_have(number: str) -> None:
    async with field() as f:
        double = await f.device()
        pack = b'[{"n":"/1/0/1","v":%s}]' % number.encode()
        assert (await double.request(codec.POST, ("dp",), (), pack, 110)).code == codec.CHANGED
        (event,) = f.ctx.of(EventKind.NOTIFICATION)
        assert float(event.payload) == float(number)


async def test_the_root_of_a_device_is_cut_off_of_what_it_sends_at_a_slash_only() -> None:
    async with field() as f:
        double = await f.device(links='</ab>;rt="oma.lwm2m",</ab/1/0>')
        pack = b'[{"n":"/ab/1/0/1","v":1},{"n":"/abc/1/0/1","v":2}]'
        await double.request(codec.POST, ("dp",), (), pack, 110)
        assert [event.target for event in f.ctx.of(EventKind.NOTIFICATION)] == ["/1/0/1", "/abc/1/0/1"]
