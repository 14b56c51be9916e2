"""What devices tell the MQTT listener: what is told on, what is answered and with which code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.mqtt.listener import codec
from adapters.mqtt.listener.codec import SubAck, Subscribe
from adapters.mqtt.listener.double import PRODUCT
from hub.ports.adapter import EventKind
from tests.wires.mqtt_bench import listening

pytestmark = pytest.mark.anyio


async def test_only_its_own_topics_are_granted(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, _):
        double = await rig.device()
        grants: list[SubAck] = []
        take = double._take

        async def keep(packet: codec.Packet) -> None:
            if isinstance(packet, SubAck):
                grants.append(packet)
            await take(packet)

        double._take = keep  # type: ignore[method-assign]
        await double.send(Subscribe(9, ((double.topic("x/+"), 1), ("#", 1), (f"/sys/{PRODUCT}/another/x", 0))))
        await double.settle()

        assert grants == [SubAck(9, (1, codec.REFUSED_FILTER, codec.REFUSED_FILTER))]


@pytest.mark.parametrize(
    ("purpose", "payload", "code"),
    [
        ("thing/measurepoint/post", b"{", 1220),
        ("thing/measurepoint/post", b"", 1251),
        ("thing/measurepoint/post", b"[]", 1220),
        ("thing/measurepoint/post", b'{"id":"1","params":5}', 460),
        ("thing/measurepoint/post", b'{"id":"1","params":{"measurepoints":[]}}', 460),
        ("thing/measurepoint/post", b'{"id":"1","params":{"measurepoints":{"a/b":1}}}', 460),
        ("thing/event/e/post", b'{"id":"1","params":{}}', 460),
        ("thing/tag/update", b'{"id":"1","params":{}}', 460),
        ("thing/attribute/query", b'{"id":"1","params":{"attributes":[1]}}', 460),
        ("thing/tsltemplate/get", b'{"id":"1","params":{}}', 1009),
        ("ota/device/inform", b'{"id":"1","params":{}}', 1009),
        ("thing/attribute/other", b'{"id":"1","params":{}}', 1009),
    ],
)
async def test_a_request_that_cannot_be_granted_is_answered_at_once(
    tmp_path: Path, purpose: str, payload: bytes, code: int
) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        number = await double.publish(double.topic(purpose), payload, 1)
        await double.until(lambda: bool(double.messages) and double.acked == [number])

        assert double.messages[0].topic == double.topic(purpose) + "_reply"
        assert json.loads(double.messages[0].payload)["code"] == code
        assert case.ctx.of(EventKind.NOTIFICATION) == []


async def test_the_id_of_a_request_comes_back_as_it_went(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, _):
        double = await rig.device()
        for id in ("7", 7, None):
            body = {"id": id, "params": {"measurepoints": {"a": 1}}}
            await double.publish(double.topic("thing/measurepoint/post"), json.dumps(body).encode())
        await double.until(lambda: len(double.messages) == 3)

        assert [json.loads(message.payload)["id"] for message in double.messages] == ["7", 7, None]


async def test_nobody_speaks_for_another_device(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double, other = await rig.device(), await rig.device()
        body = b'{"id":"1","params":{"measurepoints":{"a":1}}}'
        number = await double.publish(other.topic("thing/measurepoint/post"), body, 1)
        await double.until(lambda: double.acked == [number])

        assert json.loads(double.messages[0].payload)["code"] == 1009
        assert case.ctx.of(EventKind.NOTIFICATION) == []
        assert other.messages == []


async def test_the_points_of_a_post_are_told_together(tmp_path: Path) -> None:
    async with listening(tmp_path, max_age=30) as (rig, case):
        double = await rig.device()
        answer = await double.request("thing/measurepoint/post", {"measurepoints": {"a": 1.5, "b": {"value": 2}}})

        (event,) = case.ctx.of(EventKind.NOTIFICATION)
        assert answer["code"] == 200
        assert event.attrs["values"] == (
            ("/measurepoint/a", b"1.5", "application/json"), ("/measurepoint/b", b'{"value":2}', "application/json"),
        )  # fmt: skip
        assert event.attrs["max_age"] == 30


async def test_an_event_is_told_whatever_its_method_says(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        body = b'{"id":"1","method":"thing.event.%s.posthot","params":{"events":{"temp":99}}}'
        await double.publish(double.topic("thing/event/hot/post"), body)

        (event,) = await case.ctx.seen(EventKind.NOTIFICATION)
        assert (event.target, event.payload) == ("/event/hot", b'{"temp":99}')


async def test_a_gateway_needs_its_sub_devices_signatures(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        gateway = await rig.device()
        sub = {"productKey": PRODUCT, "deviceKey": "sub", "clientId": "c", "timestamp": "1", "signMethod": "sha256",
               "sign": "00"}  # fmt: skip

        assert (await gateway.request("thing/topo/add", [sub]))["code"] == 742
        assert (await gateway.request("thing/topo/add", [{"productKey": PRODUCT}]))["code"] == 460
        assert (await gateway.request("thing/topo/get", {}))["data"] == []
        assert (await gateway.request("combine/login", sub, session=True))["code"] == 740
        assert (await gateway.request("combine/login", {**sub, "deviceKey": gateway.identity}, session=True))[
            "code"
        ] == 771
        assert (await gateway.request("combine/logout", sub, session=True))["code"] == 705
        assert case.ctx.of(EventKind.REGISTERED) == case.ctx.of(EventKind.REGISTERED, gateway.address)
