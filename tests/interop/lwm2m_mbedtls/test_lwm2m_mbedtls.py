"""Devices with pre-shared keys: calls go to them, and nobody else can take their place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("mbedtls")

from adapters.lwm2m.double import DeviceDouble, Refused
from adapters.lwm2m.endpoint import UdpEndpoint
from hub.model.device import Presence
from hub.ports.adapter import Delivery, EventKind, NotConnected, ObserveSpec
from hub.ports.clock import SystemClock
from tests.interop.lwm2m_libcoap.station import Station, station
from tests.interop.lwm2m_mbedtls.client import DtlsClientEndpoint
from tests.wires.lwm2m_context import LwM2MContext

pytestmark = pytest.mark.anyio

KEY = b"0123456789abcdef"


def context(*identities: str) -> LwM2MContext:
    ctx = LwM2MContext(SystemClock())  # type: ignore[arg-type]
    ctx.psks = {identity: KEY for identity in identities}
    return ctx


@asynccontextmanager
async def device(here: Station, identity: str, name: str | None = None) -> AsyncIterator[DeviceDouble]:
    """A double behind DTLS, not registered yet."""
    hub = ("127.0.0.1", here.secure)
    end = DtlsClientEndpoint(identity, KEY, hub)
    double = DeviceDouble(name or identity, end, hub, here.ctx.clock)
    double.address = f"acme/device-{identity}"
    try:
        yield double
    finally:
        double.close()


def end_of(double: DeviceDouble) -> Any:
    return double._endpoint


async def test_a_call_goes_to_the_device_that_proved_who_it_is() -> None:
    async with station(context("seven"), dtls=True) as here, device(here, "seven") as double:
        await double.register()
        answer = await here.call(double.address, "POST", "/1/0/8", payload=b"hello")

        assert (answer.status, answer.payload) == (200, b"hello")
        body = bytes(range(256)) * 32
        assert (await here.call(double.address, "POST", "/1/0/8", payload=body)).payload == body


async def test_an_endpoint_name_is_bound_to_the_identity() -> None:
    ctx = context("seven", "eight")
    async with station(ctx, dtls=True) as here, device(here, "seven", "eight") as liar:
        with pytest.raises(Refused, match=r"4\.03"):
            await liar.register()
        liar.identity = "name-seven"  # the name that the device was declared with
        await liar.register()
        (event,) = ctx.of(EventKind.REGISTERED)
        assert event.device == "acme/device-seven"


async def test_nobody_takes_the_place_of_a_proven_device_by_the_plain_port() -> None:
    ctx = context("seven")
    ctx.names["name-seven"] = "acme/device-seven"
    async with station(ctx, dtls=True) as here, device(here, "seven") as double:
        await double.register()
        plain = DeviceDouble("name-seven", UdpEndpoint("127.0.0.1", 0), ("127.0.0.1", here.port), ctx.clock)
        try:
            with pytest.raises(Refused, match=r"4\.03"):
                await plain.register()
            plain.location = double.location
            with pytest.raises(Refused, match=r"4\.04"):
                await plain.update()
        finally:
            plain.close()
        assert (await here.call(double.address, "POST", "/1/0/8", payload=b"still")).payload == b"still"


async def test_a_new_session_from_the_same_port_takes_over_when_it_is_proven() -> None:
    async with station(context("seven"), dtls=True) as here, device(here, "seven") as double:
        await double.register()
        end_of(double).again()
        await double.update()

        assert (await here.call(double.address, "POST", "/1/0/8", payload=b"x")).payload == b"x"
        assert here.adapter.health()["sessions"] == 1


async def test_a_forged_hello_ends_no_session() -> None:
    async with station(context("seven"), dtls=True) as here, device(here, "seven") as double:
        await double.register()
        end_of(double)._under.send(b"\x16\xfe\xfd" + bytes(60), ("127.0.0.1", here.secure))

        assert (await here.call(double.address, "POST", "/1/0/8", payload=b"x")).payload == b"x"


async def test_without_a_session_the_device_counts_as_asleep() -> None:
    ctx = context("seven")
    async with station(ctx, dtls=True) as here, device(here, "seven") as double:
        await double.register()
        end_of(double).goodbye()
        await ctx.seen(EventKind.ASLEEP)

        assert here.adapter.presence(double.address) is Presence.ASLEEP
        with pytest.raises(NotConnected):
            await here.call(double.address, "GET", "/3/0/0")

        end_of(double).again()
        await double.update()
        await ctx.seen(EventKind.AWAKE)
        assert (await here.call(double.address, "POST", "/1/0/8", payload=b"x")).payload == b"x"


async def test_the_session_that_rests_longest_goes_when_there_are_too_many() -> None:
    ctx = context("one", "two", "three")
    async with (
        station(ctx, dtls=True, dtls_sessions=2) as here,
        device(here, "one") as one,
        device(here, "two") as two,
    ):
        await one.register()
        await two.register()
        await one.update()
        async with device(here, "three") as three:
            await three.register()
            await ctx.seen(EventKind.ASLEEP, two.address)
            async with asyncio.timeout(5):
                await end_of(two).ended.wait()

            assert here.adapter.health()["sessions"] == 2
            assert here.adapter.window(one.address) == 1


async def test_a_notification_from_a_new_session_moves_the_device() -> None:
    ctx = context("seven")
    async with station(ctx, dtls=True) as here, device(here, "seven") as double:
        await double.register()
        await here.adapter.observe(ObserveSpec(double.address, "/observable"), ctx.clock.monotonic() + 10)
        observing = dict(double.observing)
        double.move(DtlsClientEndpoint("seven", KEY, ("127.0.0.1", here.secure)))
        double.observing = observing
        await double.notify([b"elsewhere"])
        (told,) = await ctx.seen(EventKind.NOTIFICATION)

        assert told.payload == b"elsewhere"
        assert (await here.call(double.address, "POST", "/1/0/8", payload=b"there")).payload == b"there"


async def test_a_notification_under_another_identity_is_not_believed() -> None:
    ctx = context("seven", "eight")
    async with station(ctx, dtls=True) as here, device(here, "seven") as double, device(here, "eight") as other:
        await double.register()
        await other.register()
        await here.adapter.observe(ObserveSpec(double.address, "/observable"), ctx.clock.monotonic() + 10)
        other.observing = dict(double.observing)
        await other.notify([b"forged"])
        await other.update()
        await double.notify([b"true", b"true"])
        (told, *_) = await ctx.seen(EventKind.NOTIFICATION)

        assert told.payload == b"true"


@pytest.mark.parametrize("said", ["update", "notification"])
async def test_a_call_that_is_open_when_its_device_begins_a_new_session_elsewhere_ends_at_once(said: str) -> None:
    ctx = context("seven")
    async with station(ctx, dtls=True) as here, device(here, "seven") as double:
        await double.register()
        await here.adapter.observe(ObserveSpec(double.address, "/observable"), ctx.clock.monotonic() + 10)
        observing = dict(double.observing)
        double.hold()
        call = asyncio.ensure_future(here.call(double.address, "POST", "/1/0/8", payload=b"lost"))
        await double.asked()
        double.go()
        double.move(DtlsClientEndpoint("seven", KEY, ("127.0.0.1", here.secure)))
        double.observing = observing
        if said == "update":
            await double.update()
        else:
            await double.notify([b"elsewhere"])

        with pytest.raises(NotConnected) as failed:
            async with asyncio.timeout(5):
                await call
        assert failed.value.delivery is Delivery.MAYBE
        assert (await here.call(double.address, "POST", "/1/0/8", payload=b"x")).payload == b"x"
