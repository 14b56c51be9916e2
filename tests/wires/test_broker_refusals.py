"""What is refused before it goes out: what nobody could carry out in time, and what a broker would end the connection
of all calls for."""

from __future__ import annotations

import pytest

from adapters.mqtt.broker.adapter import create
from adapters.mqtt.broker.mosquitto import Mosquitto
from hub.ports.adapter import BadRequest, Delivery
from tests.contracts.adapter_case import refused
from tests.require import require
from tests.wires.broker_bench import bench

pytestmark = pytest.mark.anyio


async def test_what_the_broker_would_not_take_ends_no_connection() -> None:
    require("mosquitto")
    broker = Mosquitto("max_packet_size 20000")
    broker.start()
    try:
        async with bench(broker=broker) as b:
            double = await b.rig.device()
            for more in (
                {"payload": bytes(30_000)}, {"payload": bytes(19_000), "target": "/" + "\u00e9" * 2000},
                {"payload": bytes(17_000), "query": (("q", "\u20ac" * 2000),)},
            ):
                request = b.request(double.address, **more)
                await refused(b.adapter.call(request), "TOO_LARGE", Delivery.NOT_SENT)
            assert b.adapter.health()["losses"] == 0
            assert (await b.call(double.address, payload=b"small")).payload == b"small"
    finally:
        broker.close()


@pytest.mark.parametrize("address", ["acme/pump", "a+b", "#", "", "a\x00b"])
async def test_an_address_that_is_more_than_a_level_is_refused_at_once(address: str) -> None:
    adapter = create({})
    async with bench() as b:
        with pytest.raises(BadRequest, match="one level"):
            adapter.check(b.request(address))
        await refused(b.adapter.call(b.request(address)), "NOT_CONNECTED", Delivery.NOT_SENT)


async def test_one_caller_cannot_throw_the_hub_off_the_broker() -> None:
    template = {"request": "far/{device}/{id}/{target...}", "reply": "far-said/{device}/{id}"}
    async with bench() as b, bench("template", template=template, version=5, presence={}) as other:
        double = await b.rig.device()
        double.hold()
        _, task = await b.begin(double.address)
        asked = await double.asked()
        for wrong in ("\uffff", "\ud800", "\x00", "\ufdd0", "x" * 3000):
            for query in (((wrong, "v"),), (("n", wrong),)):
                await refused(b.adapter.call(b.request(double.address, query=query)), "BAD_REQUEST", Delivery.NOT_SENT)
            await refused(b.adapter.call(b.request(wrong)), "NOT_CONNECTED", Delivery.NOT_SENT)
        await refused(other.adapter.call(other.request("d", target="a/" * 250)), "BAD_REQUEST", Delivery.NOT_SENT)

        await asked.answer(b"undisturbed")
        assert (await task).payload == b"undisturbed"
        assert (b.adapter.health()["losses"], other.adapter.health()["losses"]) == (0, 0)


async def test_a_target_that_is_one_level_stays_in_it() -> None:
    template = {"request": "door/{target}/{device}/{id}", "reply": "door/{device}/{id}"}
    async with bench("template", template=template, presence={}) as b:
        for target in ("/door/d2", "a/b", "x" * 300):
            with pytest.raises(BadRequest, match="one level"):
                b.adapter.check(b.request("d", target=target))
        b.adapter.check(b.request("d", target="/front"))


async def test_what_must_not_run_late_goes_out_while_it_can_expire_in_time_or_not_at_all() -> None:
    async with bench() as b:
        double = await b.rig.device()
        soon = b.clock.monotonic() + 1.99
        for method in ("POST", "PUT", "DELETE"):
            request = b.request(double.address, method, deadline=soon, idempotent=method != "POST")
            await refused(b.adapter.call(request), "TIMEOUT", Delivery.NOT_SENT)
        assert double.received == 0

        assert (await b.call(double.address, "GET", deadline=soon, idempotent=True)).status == 200
        assert double.requests[-1].one("message_expiry_interval") == 1


async def test_where_the_broker_keeps_nothing_for_those_who_are_away_everything_goes_out() -> None:
    async with bench("enos", keeps_qos0=False) as b:
        double = await b.rig.device()
        soon = b.clock.monotonic() + 0.5
        assert (await b.call(double.address, deadline=soon)).status == 200
        assert double.requests[0].properties["message_expiry_interval"] == [1]
