"""A client of LwM2M 1.0 that others wrote: it registers, is read, written, executed and observed, and leaves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hub.ports.adapter import EventKind, ObserveSpec
from tests.interop.lwm2m_libcoap.station import Station, station
from tests.interop.lwm2m_node.device import NAME, NodeDevice, node_device

pytestmark = pytest.mark.anyio

TEMPERATURE = "/3303/0/5700"
RESET = "/3303/0/5605"


@asynccontextmanager
async def registered() -> AsyncIterator[tuple[Station, NodeDevice]]:
    """An adapter and a device that is registered with it."""
    async with station() as here, node_device(here.port) as device:
        yield here, device


async def test_it_registers_updates_and_leaves() -> None:
    async with registered() as (here, device):
        (event,) = here.ctx.of(EventKind.REGISTERED, NAME)
        assert "/3303/0" in [link.path for link in event.attrs["links"]]

        await device.do("update")
        (updated,) = await here.ctx.seen(EventKind.UPDATED, NAME)
        assert updated.attrs["location"] == event.attrs["location"]
        await device.do("unregister")
        await here.ctx.seen(EventKind.DEREGISTERED, NAME)


async def test_it_is_read_also_as_senml_that_it_does_not_know() -> None:
    async with registered() as (here, _):
        plain = await here.call(NAME, "GET", TEMPERATURE)
        assert (plain.status, plain.payload) == (200, b"21.5")

        shown = await here.call(NAME, "GET", TEMPERATURE, accept="application/senml+json")
        assert json.loads(shown.payload) == [{"n": TEMPERATURE, "v": 21.5}]
        assert (await here.call(NAME, "GET", "/3303/0/9999")).status == 404


async def test_it_is_written_and_executed() -> None:
    async with registered() as (here, device):
        assert (await here.call(NAME, "PUT", TEMPERATURE, payload=b"19")).status == 200
        assert await device.said() == {"wrote": TEMPERATURE, "value": "19"}
        assert (await here.call(NAME, "GET", TEMPERATURE)).payload == b"19"

        document = json.dumps([{"n": TEMPERATURE, "v": 20.5}]).encode()
        kind = "application/senml+json"  # which it does not know either
        assert (await here.call(NAME, "PUT", TEMPERATURE, payload=document, content_type=kind)).status == 200
        assert await device.said() == {"wrote": TEMPERATURE, "value": "20.5"}

        assert (await here.call(NAME, "POST", RESET, payload=b"now")).status == 200
        assert await device.said() == {"executed": RESET, "value": "now"}


async def test_its_attributes_are_written() -> None:
    async with registered() as (here, _):
        answer = await here.call(NAME, "PUT", TEMPERATURE, query=(("pmin", "1"), ("pmax", "60")))
        assert answer.native["coap"] == "2.04"


async def test_it_is_observed_from_the_first_change_on() -> None:
    async with registered() as (here, device):
        first, observation = await here.adapter.observe(
            ObserveSpec(NAME, TEMPERATURE), here.ctx.clock.monotonic() + 10
        )
        assert first.payload == b"21.5"
        await device.do("set", "22")
        await here.ctx.seen(EventKind.NOTIFICATION, NAME, 1)
        await device.do("set", "23")
        told = await here.ctx.seen(EventKind.NOTIFICATION, NAME, 2)

        assert [event.payload for event in told] == [b"22", b"23"]
        await observation.cancel()
