"""What a lasting session at a broker listens to: what is wanted now, in portions, bounded, and nothing of old."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from adapters.mqtt.broker.filter import Filter
from adapters.mqtt.broker.mosquitto import PROGRAM, Mosquitto
from adapters.mqtt.broker.settings import read
from adapters.mqtt.broker.subscriptions import MOST_JOINED
from hub.ports.adapter import CallError, Delivery, EventKind
from tests.contracts.adapter_case import refused
from tests.contracts.context import ContextDouble
from tests.require import require
from tests.wires.broker_bench import PATIENCE, Bench, bench, until

pytestmark = pytest.mark.anyio

REPLY = "/sys/+/+/thing/service/{}_reply"


@pytest.fixture
def small() -> Iterator[Mosquitto]:
    """A broker that takes packets of at most 20,000 bytes."""
    require(PROGRAM)
    broker = Mosquitto("max_packet_size 20000")
    broker.start()
    yield broker
    broker.close()


async def changed(b: Bench, **settings: Any) -> None:
    """The hub starts again under its name with other settings."""
    b.rig.settings = read({**b.rig.table, **settings})
    await b.rig.restart_hub(b.ctx)


@pytest.mark.parametrize("version", [5, 4])
async def test_a_rule_that_is_gone_is_listened_to_no_more(version: int) -> None:
    more: dict[str, Any] = {"version": version, "session": 600, "presence": {}}
    old, new = f"old{version}/{{device}}/{{path}}", f"old{version}/{{device}}/{{path...}}"
    async with bench("template", telemetry=[{"topic": old}], **more) as b:
        await changed(b, **more, telemetry=[{"topic": new}])
        double = b.rig.double("d-old")
        await double.connect()
        double.publish(f"old{version}/d-old/t", b"once", 1)
        double.publish(f"old{version}/d-old/end", b"end", 1)
        await until(lambda: any(event.payload == b"end" for event in b.ctx.of(EventKind.NOTIFICATION)))
        assert [event.payload for event in b.ctx.of(EventKind.NOTIFICATION)] == [b"once", b"end"]

        await changed(b, **more, telemetry=[{"topic": f"new{version}/{{device}}/{{path}}"}])
        double.publish(f"old{version}/d-old/t", b"nobody's", 1)
        double.publish(f"new{version}/d-old/t", b"new", 1)
        await b.ctx.seen(EventKind.NOTIFICATION, n=3)
        assert b.ctx.of(EventKind.NOTIFICATION)[-1].payload == b"new"
        assert b.adapter.health()["ignored"] == 0


async def test_what_is_still_wanted_loses_nothing_by_a_change() -> None:
    kept = {"topic": "kept/{device}/{path}"}
    async with bench(telemetry=[kept, {"topic": "gone/{device}/{path}"}], session=600) as b:
        double = await b.rig.device()
        await b.ctx.seen(EventKind.REGISTERED)
        await b.adapter.stop(1.0)
        double.publish(f"kept/{double.address}/t", b"while the hub was away", 1)
        await double.flushed()
        await changed(b, telemetry=[kept], session=600)

        (event,) = await b.ctx.seen(EventKind.NOTIFICATION)
        assert event.payload == b"while the hub was away"


async def test_whoever_writes_into_the_hubs_own_book_does_not_throw_it_off() -> None:
    async with bench(session=600) as b:
        double = await b.rig.device()
        await b.adapter.stop(1.0)
        for name in ("echo", "intake-echo"):
            topic = f"hubs/{b.adapter.client_id}/replies/{name}-filters"
            wrong = ["a/#/b", "\uffff", "", 5, "x" * 70_000, "a" + "/b" * 300, "+a", "not/listened/to"]
            double.publish(topic, orjson.dumps(wrong), 0, retain=True)
        await double.flushed()
        await b.rig.restart_hub(b.ctx)

        await b.call_barrier(double)
        assert b.adapter.health()["losses"] == 0


async def test_made_up_services_add_no_filters_for_ever_and_a_break_is_survived(small: Mosquitto) -> None:
    async with bench("enos", version=4, broker=small, session=600, window=1000) as b:
        double = await b.rig.device()
        link = b.adapter.links[0]
        fixed = link.filters
        for begin in range(0, 600, 100):
            calls = [
                (await b.begin(double.address, method="INVOKE", target=f"made-up-{number}-{'x' * 80}"))[1]
                for number in range(begin, begin + 100)
            ]
            await until(lambda begin=begin: b.adapter.links[0].hears(REPLY.format(f"made-up-{begin + 99}-{'x' * 80}")))
            b.clock.advance(31)
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, CallError)
        assert link.filters == fixed + MOST_JOINED

        link.cut()
        await b.adapter.troubled()
        await b.up()
        assert link.filters == fixed + MOST_JOINED
        assert (await b.call(double.address)).status == 200


async def test_what_calls_wait_for_is_not_given_up_for_another() -> None:
    async with bench("enos", version=4, window=1000) as b:
        double = await b.rig.device()
        double.hold()
        _, task = await b.begin(double.address)  # /service/x
        asked = await double.asked()
        link = b.adapter.links[0]
        for number in range(MOST_JOINED + 5):
            await link.join(Filter(REPLY.format(f"s{number}")))

        assert link.hears(REPLY.format("x")) and not link.hears(REPLY.format("s0"))
        await asked.answer(b"1")
        assert (await task).status == 200

        for number in range(MOST_JOINED):
            await link.join(Filter(REPLY.format(f"t{number}")))
            link.need(REPLY.format(f"t{number}"))
        with pytest.raises(CallError) as full:
            await link.join(Filter(REPLY.format("one-too-many")))
        assert (full.value.code, full.value.delivery) == ("QUEUE_IS_FULL", Delivery.NOT_SENT)


async def test_the_answer_of_a_service_ends_its_call_after_a_restart_with_mqtt_3() -> None:
    async with bench("enos", version=4, session=600) as b:
        double = await b.rig.device()
        double.hold()
        request, task = await b.begin(double.address, method="INVOKE", target="add")
        asked = await double.asked()
        await b.rig.restart_hub(b.ctx)
        await refused(task, "NOT_CONNECTED", Delivery.MAYBE)
        assert b.adapter.links[0].hears(REPLY.format("add"))

        await asked.answer(b"3")
        (late,) = await b.ctx.seen(EventKind.LATE_RESPONSE)
        assert late.attrs["call_id"] == request.call_id


async def test_a_service_that_the_product_does_not_declare_is_refused_before_it_goes_out() -> None:
    class Products(ContextDouble):
        def services(self, device: str) -> dict[str, dict[str, Any]] | None:
            return {"add": {}} if device.startswith("pk-rig") else None

    async with bench("enos", version=4, ctx=Products()) as b:
        double = await b.rig.device()
        before = b.adapter.links[0].filters
        for target in ("made-up", "measurepoint"):
            request = b.request(double.address, "INVOKE", target=target)
            with pytest.raises(CallError) as caught:
                b.adapter.check(request)
            assert (caught.value.code, caught.value.delivery) == ("RESOURCE_NOT_FOUND", Delivery.NOT_SENT)
        assert b.adapter.links[0].filters == before
        async with asyncio.timeout(PATIENCE):
            assert (await b.call(double.address, "INVOKE", target="add")).status == 200
            assert (await b.call(double.address, "GET", target="/measurepoint/t")).status in (200, 404)
        b.adapter.check(b.request("elsewhere/d", "INVOKE", target="anything"))
