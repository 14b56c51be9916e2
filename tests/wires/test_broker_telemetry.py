"""What devices tell through a broker: rules, acknowledgement after the disk, backpressure, shared work, EnOS posts."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import orjson
import pytest

from adapters.mqtt.broker.adapter import create
from hub.ports.adapter import CallError, DeviceEvent, EventKind, ObserveSpec
from tests.contracts.context import ContextDouble
from tests.wires.broker_bench import PATIENCE, bench, turns, until

pytestmark = pytest.mark.anyio


def told(event: DeviceEvent) -> tuple[str, str | None, bytes, str | None]:
    return event.device, event.target, event.payload, event.content_type


async def test_topics_become_paths_by_rules_the_first_that_fits() -> None:
    rules = [
        {"topic": "hall/boiler/temp", "device": "boiler", "path": "/3303/0/5700", "type": "text/plain"},
        {"topic": "hall/{device}/{path}"},
        {"topic": "plant/{device}/{path...}", "path": "/plant/{path}"},
        {"topic": "now/{path}-of-{device}/x", "path": "/now/{path}"},
    ]
    async with bench(telemetry=rules, presence={}) as b:
        double = await b.rig.device()
        for qos, topic in enumerate(("hall/boiler/temp", "hall/d/speed", "plant/d/a/b", "now/rpm-of-d/x")):
            double.publish(topic, b"%d" % qos, qos % 2, content_type="application/json")
        events = await b.ctx.seen(EventKind.NOTIFICATION, n=4)

        assert sorted(map(told, events), key=lambda one: one[2]) == [
            ("boiler", "/3303/0/5700", b"0", "text/plain"), ("d", "/speed", b"1", "application/json"),
            ("d", "/plant/a/b", b"2", "application/json"), ("d", "/now/rpm", b"3", "application/json"),
        ]  # fmt: skip
        await b.ctx.seen(EventKind.REGISTERED, "boiler")  # whoever is heard is there


async def test_an_observation_marks_what_is_told_until_it_is_cancelled() -> None:
    async with bench() as b:
        double = await b.rig.device()
        deadline = b.clock.monotonic() + 30
        response, older = await b.adapter.observe(ObserveSpec(double.address, "/told/a"), deadline)
        _, newer = await b.adapter.observe(ObserveSpec(double.address, "/told/a"), deadline)
        assert (response.status, older.active, newer.active) == (204, False, True)

        for number in (1, 2):
            double.publish(f"{b.rig.space}/{double.address}/tells/a", b"1", 1)
            await b.ctx.seen(EventKind.NOTIFICATION, n=number)
            await newer.cancel()
            await older.cancel()

        assert [event.attrs["observed"] for event in b.ctx.of(EventKind.NOTIFICATION)] == [True, False]
        with pytest.raises(CallError):
            await b.adapter.observe(ObserveSpec(double.address, "/elsewhere"), deadline)


async def test_a_message_that_the_hub_does_not_hold_yet_comes_again_after_a_break() -> None:
    async with bench(session=600) as b:
        double = await b.rig.device()
        topic = f"{b.rig.space}/{double.address}/tells/a"
        b.ctx.hold_accept()
        double.publish(topic, b"precious", 1)
        await b.ctx.blocked()
        await b.call_barrier(double)  # answers do not wait behind it

        b.ctx.release_accept()
        await b.ctx.seen(EventKind.NOTIFICATION)
        await b.turns()
        await b.rig.restart_hub(b.ctx)
        await b.call_barrier(double)
        assert len(b.ctx.of(EventKind.NOTIFICATION)) == 1  # it was acknowledged

        b.ctx.hold_accept()
        double.publish(topic, b"more precious", 1)
        await b.ctx.blocked()
        await b.adapter.stop(1.0)
        b.ctx.release_accept()
        assert len(b.ctx.of(EventKind.NOTIFICATION)) == 1
        await b.rig.restart_hub(b.ctx)
        events = await b.ctx.seen(EventKind.NOTIFICATION, n=2)
        assert [event.payload for event in events] == [b"precious", b"more precious"]


async def test_what_could_not_be_stored_is_stored_later_in_its_order() -> None:
    async with bench() as b:
        double = await b.rig.device()
        await b.ctx.seen(EventKind.REGISTERED)
        b.ctx.fail_accept = True
        for number in range(3):
            double.publish(f"{b.rig.space}/{double.address}/tells/a", b"%d" % number, 1)
        await b.ctx.failed(1)
        b.clock.advance(1)
        await b.ctx.failed(2)
        assert b.ctx.of(EventKind.NOTIFICATION) == []

        b.ctx.fail_accept = False
        b.clock.advance(1)
        events = await b.ctx.seen(EventKind.NOTIFICATION, n=3)
        assert [event.payload for event in events] == [b"0", b"1", b"2"]


async def test_too_much_that_waits_stops_the_reading_and_not_the_calls() -> None:
    async with bench("template", pending=10, telemetry=[{"topic": "flood/{device}/{path}"}]) as b:
        double = await b.rig.device()
        await b.ctx.seen(EventKind.REGISTERED)
        b.ctx.hold_accept()
        for number in range(1000):
            double.publish(f"flood/{double.address}/a", b"%d" % number, 1)
        intake = b.adapter.links[1]
        await until(lambda: intake.paused)
        await b.call_barrier(double)
        assert b.adapter.health()["waiting"] < 500

        b.ctx.release_accept()
        events = await b.ctx.seen(EventKind.NOTIFICATION, n=1000)
        assert [int(event.payload) for event in events] == list(range(1000))
        assert not intake.paused


async def test_what_is_told_without_a_wish_for_certainty_is_shed_and_counted() -> None:
    async with bench() as b:
        double = await b.rig.device()
        await b.ctx.seen(EventKind.REGISTERED)  # what the hub has is told without asking
        await b.turns()
        b.ctx.room = 10
        for number in range(100):
            double.publish(f"{b.rig.space}/{double.address}/tells/a", b"%d" % number)
        await double.flushed()
        await until(lambda: b.adapter.health()["shed"] == 90)
        assert len(b.ctx.of(EventKind.NOTIFICATION)) == 10


async def test_retained_and_unwanted_messages_are_no_news() -> None:
    async with bench() as b:
        double = await b.rig.device()
        topic = f"{b.rig.space}/{double.address}/tells/a"
        double.publish(topic, b"old", 1, retain=True)
        await b.ctx.seen(EventKind.NOTIFICATION)
        await b.rig.restart_hub(b.ctx)
        b.ctx.forgotten = True
        double.publish(topic, b"of nobody", 1)
        await double.flushed()
        await until(lambda: b.adapter.health()["ignored"] == 2)

        assert len(b.ctx.of(EventKind.NOTIFICATION)) == 1
        double.publish(topic, b"", retain=True)
        await double.flushed()


@pytest.mark.parametrize("version", [5, 4])
async def test_hubs_of_a_group_share_what_is_told_and_each_hears_every_status(version: int) -> None:
    more = {"telemetry": [{"topic": "shared/{device}/{path}"}], "group": f"g{version}", "version": version}
    async with bench("template", **more) as b:
        ctx = ContextDouble()
        table = {**b.rig.table, **more, "client_id": f"second-{b.rig.space}"}
        second = create(table)
        await second.start(ctx)
        try:
            async with asyncio.timeout(PATIENCE):
                await second.connected()
            double = await b.rig.device()
            for number in range(200):
                double.publish(f"shared/{double.address}/a", b"%d" % number, 1)
            both = (b.ctx, ctx)
            await until(lambda: sum(len(one.of(EventKind.NOTIFICATION)) for one in both) >= 200)
            await b.call_barrier(double)

            counts = [len(one.of(EventKind.NOTIFICATION)) for one in both]
            heard = Counter(int(event.payload) for one in both for event in one.of(EventKind.NOTIFICATION))
            assert min(counts) >= 40
            assert heard == Counter(range(200))
            for one in both:
                await one.seen(EventKind.REGISTERED, double.address)
        finally:
            await second.stop(1.0)


@pytest.mark.parametrize("qos", [0, 1])
async def test_posts_of_enos_devices_are_told_together_and_answered_once_they_are_held(qos: int) -> None:
    async with bench("enos", presence={}) as b:
        double = b.rig.double()
        begin = f"/sys/{double.address}/thing"
        double.heard, double.listens = [], [f"{begin}/+/post_reply", f"{begin}/event/+/post_reply",
                                            f"{begin}/model/up_raw_reply"]  # fmt: skip
        await double.connect()
        b.ctx.hold_accept()
        body = {"id": "1", "params": {"measurepoints": {"a": 1, "b": {"value": 2}}}}
        double.publish(f"{begin}/measurepoint/post", orjson.dumps(body), qos)
        await b.ctx.blocked()
        assert double.heard == []
        b.ctx.release_accept()
        await double.until(lambda: len(double.heard or ()) == 1)
        double.publish(f"{begin}/event/hot/post", b'{"id":"2","params":{"events":{"t":9}}}', qos)
        await double.until(lambda: len(double.heard or ()) == 2)
        double.publish(f"{begin}/model/up_raw", b"\x00raw", qos)
        await double.until(lambda: len(double.heard or ()) == 3)

        json = "application/json"
        values = (("/measurepoint/a", b"1", json), ("/measurepoint/b", b'{"value":2}', json))
        first, event, raw = b.ctx.of(EventKind.NOTIFICATION)
        assert first.attrs["values"] == values
        assert (event.target, raw.target, raw.payload) == ("/event/hot", "/raw", b"\x00raw")
        codes = [orjson.loads(message.payload)["code"] for message in double.heard[:2]]
        assert (codes, double.heard[2].payload) == ([200, 200], b"")
        await b.ctx.seen(EventKind.REGISTERED, double.address)


@pytest.mark.parametrize(
    ("purpose", "body", "code"),
    [
        ("measurepoint/post", b"", 1251), ("measurepoint/post", b"{", 1220), ("measurepoint/post", b'{"id":"1"}', 460),
        ("measurepoint/post", b'{"id":"1","params":{"measurepoints":[]}}', 460),
        ("measurepoint/post/batch", b'{"id":"1","params":[]}', 460),
        ("measurepoint/post/batch", b'{"id":"1","params":[{"deviceKey":"another","measurepoints":{}}]}', 740),
        ("tag/query", b'{"id":"1","params":{}}', 1009), ("topo/add", b'{"id":"1","params":[]}', 1009),
    ],
)  # fmt: skip
async def test_a_request_that_is_not_offered_is_refused_at_once(purpose: str, body: bytes, code: int) -> None:
    async with bench("enos", presence={}) as b:
        double = b.rig.double()
        topic = f"/sys/{double.address}/thing/{purpose}"
        double.heard, double.listens = [], [f"{topic}_reply"]
        await double.connect()
        double.publish(topic, body, 1)
        await double.until(lambda: bool(double.heard))

        assert orjson.loads(double.heard[0].payload)["code"] == code
        assert b.ctx.of(EventKind.NOTIFICATION) == []


async def test_nothing_is_left_when_the_hub_stops_amid_a_flood(tmp_path: Path) -> None:
    async with bench() as b:
        double = await b.rig.device()
        b.ctx.hold_accept()
        for number in range(100):
            double.publish(f"{b.rig.space}/{double.address}/tells/a", b"%d" % number, 1)
        await b.ctx.blocked()
        await b.adapter.stop(1.0)
        await turns()

        assert b.ctx.tasks == 0
