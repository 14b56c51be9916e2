"""The MQTT listener on real sockets: who is let in, what is pushed, what is acknowledged and when, and its bounds."""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.mqtt.listener import codec
from adapters.mqtt.listener.adapter import MqttAdapter
from adapters.mqtt.listener.codec import Connect, Publish, SubAck, Subscribe
from adapters.mqtt.listener.double import PRODUCT, DeviceDouble
from adapters.mqtt.listener.rig import KEY, Rig, create_rig
from adapters.mqtt.listener.settings import MqttSettings
from hub.model.device import Presence
from hub.ports.adapter import Delivery, EventKind, NoSuchResource, ObserveSpec, TooLarge, Unsupported
from hub.tls import self_signed
from tests.contracts.adapter_case import Case, refused, within
from tests.contracts.context import ContextDouble

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def listening(folder: Path, **settings: Any) -> AsyncIterator[tuple[Rig, Case]]:
    """A rig that listens."""
    rig, ctx = create_rig(folder, **settings), ContextDouble()
    await rig.open(ctx)
    try:
        yield rig, Case(rig, ctx, folder)
    finally:
        ctx.release_accept()
        await rig.close()


# -- coming ---------------------------------------------------------------------------------------


async def test_a_socket_that_says_nothing_is_closed_in_time(tmp_path: Path) -> None:
    async with listening(tmp_path, connect_time=timedelta(seconds=10)) as (rig, case):
        double = rig.double()
        await double.dial()
        await double.send_raw(codec.encode(Connect("half"))[:5])
        await case.rig.device()  # a whole round trip: the half packet is there
        case.clock.advance(9.9)
        await asyncio.sleep(0)
        assert not double.closed.is_set()
        case.clock.advance(0.2)

        await within(double.closed.wait())


async def test_who_does_not_begin_with_connect_is_sent_away(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, _):
        double = rig.double()
        await double.dial()
        await double.send(codec.PingReq())

        await within(double.closed.wait())
        assert double.received == 0


@pytest.mark.parametrize("level", [3, 5])
async def test_another_version_is_told_so(tmp_path: Path, level: int) -> None:
    async with listening(tmp_path) as (rig, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        name = b"\0\6MQIsdp" if level == 3 else b"\0\4MQTT"
        body = name + bytes((level, 2, 0, 60)) + b"\0\1c"
        writer.write(b"\x10" + bytes((len(body),)) + body)

        assert await within(reader.read()) == (b"\x20\x02\x00\x01" if level == 3 else b"\x20\x03\x00\x84\x00")
        writer.close()


@pytest.mark.parametrize(
    "more", [{"key": "ak_not_the_right_one"}, {"key": None, "secret": "unknown"}, {"product": "a/b"}]
)
async def test_a_stranger_is_refused_with_code_4(tmp_path: Path, more: dict[str, Any]) -> None:
    async with listening(tmp_path) as (rig, case):
        double = rig.double(**more)

        assert await double.connect() == codec.BAD_CREDENTIALS
        await within(double.closed.wait())
        assert case.ctx.events == []
        assert rig.adapter.health()["refused"] == 1


async def test_a_second_connection_takes_the_place_of_the_first(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        first = await rig.device()
        _, task, _ = await case.holding(first)
        second = rig.double(first.identity)
        await second.connect()

        await within(first.closed.wait())
        await refused(task, "NOT_CONNECTED", Delivery.MAYBE)
        await case.barrier(second)
        assert case.ctx.of(EventKind.OFFLINE) == []


async def test_the_same_life_is_awake_again_and_a_new_one_registers(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        await double.drop()
        await case.ctx.seen(EventKind.OFFLINE)
        await refused(case.adapter.call(case.request(double)), "NOT_CONNECTED", Delivery.NOT_SENT)
        await double.reconnect()
        await double.restart()

        told = [event.kind for event in case.ctx.events if event.kind is not EventKind.OFFLINE]
        assert told == [EventKind.REGISTERED, EventKind.AWAKE, EventKind.REGISTERED]
        await double.leave()
        await case.ctx.seen(EventKind.OFFLINE, n=3)
        assert case.adapter.presence(double.address) is Presence.OFFLINE


async def test_who_could_not_be_stored_is_told_to_come_later(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        case.ctx.fail_accept = True
        double = rig.double()

        assert await double.connect() == codec.UNAVAILABLE
        case.ctx.fail_accept = False
        await double.reconnect()
        await case.ctx.seen(EventKind.REGISTERED)


async def test_nothing_is_pushed_before_the_welcome(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        case.ctx.hold_accept()
        double = rig.double()
        await double.dial()
        await double.send(double.hello())
        await case.ctx.blocked()
        task = case.begin(case.request(double, payload=b"early"))
        await rig.double("another").dial()
        await asyncio.sleep(0)
        assert double.received == 0

        case.ctx.release_accept()

        assert (await within(task)).payload == b"early"
        assert double.connack == codec.ACCEPTED


async def test_a_call_that_waited_for_the_welcome_of_one_who_left_was_not_sent(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        case.ctx.hold_accept()
        double = rig.double()
        await double.dial()
        await double.send(double.hello())
        await case.ctx.blocked()
        task = case.begin(case.request(double))
        await asyncio.sleep(0)
        await double.drop()

        await refused(task, "NOT_CONNECTED", Delivery.NOT_SENT)
        case.ctx.release_accept()


async def test_a_device_without_signs_of_life_is_cut_off(tmp_path: Path) -> None:
    async with listening(tmp_path, keep_alive=timedelta(seconds=60)) as (rig, case):
        double = await rig.device(keep_alive=20)
        case.clock.advance(29)
        await double.settle()
        case.clock.advance(29)
        await double.settle()
        assert not double.closed.is_set()
        case.clock.advance(30)

        await within(double.closed.wait())
        await case.ctx.seen(EventKind.OFFLINE)


async def test_who_asks_for_no_keep_alive_gets_the_longest(tmp_path: Path) -> None:
    async with listening(tmp_path, keep_alive=timedelta(seconds=60)) as (rig, case):
        double = await rig.device(keep_alive=0)
        case.clock.advance(89)
        await asyncio.sleep(0)
        assert not double.closed.is_set()
        case.clock.advance(1)

        await within(double.closed.wait())


# -- bounds ---------------------------------------------------------------------------------------


async def test_an_oversized_packet_ends_the_connection_and_no_other(tmp_path: Path) -> None:
    async with listening(tmp_path, max_packet=10_000) as (rig, case):
        other, double = await rig.device(), await rig.device()
        await double.publish(double.topic("thing/model/up_raw"), b"x" * 9_000, 1)
        await case.ctx.seen(EventKind.NOTIFICATION)
        await double.publish(double.topic("thing/model/up_raw"), b"x" * 10_000, 1)

        await within(double.closed.wait())
        await case.barrier(other)
        assert len(case.ctx.of(EventKind.NOTIFICATION)) == 1


async def test_before_it_is_let_in_a_client_gets_room_for_a_connect_only(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, _):
        double = rig.double()
        await double.dial()
        await double.send_raw(b"\x10\x81\x20")  # 4,097 bytes are announced

        await within(double.closed.wait())


async def test_a_flood_is_read_at_its_rate(tmp_path: Path) -> None:
    async with listening(tmp_path, packets_per_second=10) as (rig, case):
        double = await rig.device()
        for number in range(25):
            await double.publish(double.topic("thing/model/up_raw"), b"%d" % number)
        await case.ctx.seen(EventKind.NOTIFICATION, n=9)  # the CONNECT was one
        await rig.device()
        assert len(case.ctx.of(EventKind.NOTIFICATION)) == 9
        case.clock.advance(1)
        await case.ctx.seen(EventKind.NOTIFICATION, n=19)
        case.clock.advance(1)

        told = await case.ctx.seen(EventKind.NOTIFICATION, n=25)
        assert [event.payload for event in told] == [b"%d" % number for number in range(25)]


async def test_a_flood_that_comes_in_pieces_sets_one_timer(tmp_path: Path) -> None:
    async with listening(tmp_path, packets_per_second=10) as (rig, case):
        double = await rig.device()
        before = case.clock.pending
        connection = next(iter(rig.adapter._door.connections))
        for number in range(10):
            await double.publish(double.topic("thing/model/up_raw"), b"%d" % number)
        await case.ctx.seen(EventKind.NOTIFICATION, n=9)
        packet = codec.encode(Publish(double.topic("thing/model/up_raw"), b"more"))
        for _ in range(20):  # what was read before reading was paused
            connection.data_received(packet)
        assert case.clock.pending == before + 1

        connection.abort()
        assert case.clock.pending < before


async def test_while_the_disk_is_slow_posts_wait_in_order_and_calls_go_on(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        case.ctx.hold_accept()
        for number in range(50):
            await double.publish(double.topic("thing/model/up_raw"), b"%d" % number, 1)
        await case.ctx.blocked()
        await case.barrier(double)
        assert double.acked == []
        for number in range(50, 300):  # more than is taken in meanwhile: the rest waits in the sockets
            await double.publish(double.topic("thing/model/up_raw"), b"%d" % number, 1)

        case.ctx.release_accept()

        told = await case.ctx.seen(EventKind.NOTIFICATION, n=300)
        assert [event.payload for event in told] == [b"%d" % number for number in range(300)]
        await double.until(lambda: double.acked == list(range(1, 301)))


async def test_no_more_connections_than_there_is_room_for(tmp_path: Path) -> None:
    async with listening(tmp_path, devices=2) as (rig, case):
        await rig.device()
        second = await rig.device()
        third = rig.double()
        with pytest.raises(ConnectionError):
            await third.connect()
        await second.drop()
        await case.ctx.seen(EventKind.OFFLINE)

        await third.reconnect()
        assert third.connack == codec.ACCEPTED


async def test_coming_and_going_leaves_no_trace(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()

        async def rounds(count: int) -> int:
            for _ in range(count):
                await double.leave()
                await case.ctx.seen(EventKind.OFFLINE)
                double.life += 1
                await double.connect()
                case.ctx.events.clear()
            double.messages.clear()
            case.clock.advance(31 * 86_400)
            await double.gone()
            await double.connect()
            case.ctx.events.clear()
            gc.collect()
            return len(gc.get_objects())

        await rounds(20)
        before = await rounds(1)
        assert await rounds(100) - before < 100


# -- messages -------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("id", [7, None, ["a"]])
async def test_an_answer_without_its_id_as_text_answers_nothing(tmp_path: Path, id: Any) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        _, task, asked = await case.holding(double)
        await asked.say(json.dumps({"id": id, "code": 200}).encode())
        await double.settle()
        assert not task.done()

        await asked.answer(b"true")
        assert (await within(task)).payload == b"true"


async def test_an_answer_that_is_no_json_ends_the_one_call_it_can_be_for(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        _, task, asked = await case.holding(double)
        await asked.say(b"{oops")
        assert (await within(task)).status == 502

        _, first, asked_first = await case.holding(double)
        _, second, asked_second = await case.holding(double)
        await asked_first.say(b"{oops")  # which of the two was it?
        await double.settle()
        assert not first.done() and not second.done()
        await asked_first.answer(b"1")
        await asked_second.answer(b"2")
        assert [(await within(task)).payload for task in (first, second)] == [b"1", b"2"]


async def test_an_answer_is_acknowledged_once_the_hub_holds_it(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        double.qos = 1
        _, task, asked = await case.holding(double)
        await asked.answer(b"precious")
        response = await within(task)
        await double.settle()
        assert double.acked == []

        response.held()
        await double.until(lambda: double.acked == [1])
        await asked.answer(b"precious")  # its acknowledgement was lost
        await double.until(lambda: double.acked == [1, 2])
        assert case.ctx.of(EventKind.LATE_RESPONSE) == []


async def test_a_late_answer_is_acknowledged_once_the_hub_holds_it(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        double.qos = 1
        _, task, asked = await case.holding(double)
        case.clock.advance(30)
        await refused(task, "TIMEOUT", Delivery.MAYBE)
        case.ctx.hold_accept()
        await asked.answer(b"late")
        await case.ctx.blocked()
        assert double.acked == []

        case.ctx.release_accept()
        await double.until(lambda: double.acked == [1])
        await case.ctx.seen(EventKind.LATE_RESPONSE)


async def test_each_method_where_it_belongs(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()

        assert (await case.call(double, "PUT", "/measurepoint/t", payload=b"21.5")).status == 200
        assert (await case.call(double, "GET", "/measurepoint/t")).payload == b"21.5"
        assert (await case.call(double, "POST", "/service/s", payload=b'{"a":1}')).payload == b'{"a":1}'
        assert (await case.call(double, "INVOKE", "s", args={"a": 2})).payload == b'{"a":2}'
        assert [topic.partition("/thing/")[2] for topic, _ in double.commands] == [
            "service/measurepoint/set", "service/measurepoint/get", "service/s", "service/s",
        ]
        assert {body["method"] for _, body in double.commands} == {
            "thing.service.measurepoint.set", "thing.service.measurepoint.get", "thing.service.s",
        }
        for method, target, error in (("GET", "/3/0", NoSuchResource), ("DELETE", "/service/s", Unsupported)):
            with pytest.raises(error):
                case.adapter.check(case.request(double, method, target))
        with pytest.raises(TooLarge):
            case.adapter.check(case.request(double, payload=bytes(65537)))


# -- observing ------------------------------------------------------------------------------------


async def test_a_point_is_observed_from_its_present_value_on(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        double.points["t"] = 1
        spec = ObserveSpec(double.address, "/measurepoint/t")
        first, older = await within(case.adapter.observe(spec, case.clock.monotonic() + 30))
        _, newer = await within(case.adapter.observe(spec, case.clock.monotonic() + 30))
        await double.request("thing/measurepoint/post", {"measurepoints": {"t": 2}})
        await newer.cancel()
        await newer.cancel()
        await double.request("thing/measurepoint/post", {"measurepoints": {"t": 3}})

        assert (first.status, first.payload, older.active, newer.active) == (200, b"1", False, False)
        told = case.ctx.of(EventKind.NOTIFICATION)
        assert [(event.payload, event.attrs["observed"]) for event in told] == [(b"2", True), (b"3", False)]


async def test_what_cannot_be_observed_is_refused(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        until = case.clock.monotonic() + 30

        missing, observation = await within(case.adapter.observe(ObserveSpec(double.address, "/measurepoint/x"), until))
        assert (missing.status, observation.active) == (404, False)
        begun, observation = await within(case.adapter.observe(ObserveSpec(double.address, "/event/e"), until))
        assert (begun.status, observation.active) == (204, True)
        with pytest.raises(Unsupported):
            await case.adapter.observe(ObserveSpec(double.address, "/service/s"), until)


# -- gateways -------------------------------------------------------------------------------------


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


async def test_a_packet_of_a_stranger_after_its_refusal_is_not_read(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double: DeviceDouble = rig.double(key="ak_not_the_right_one")
        await double.dial()
        post = Publish(double.topic("thing/model/up_raw"), b"x", 1, 1)
        await double.send_raw(codec.encode(double.hello()) + codec.encode(post))

        await within(double.closed.wait())
        assert (double.connack, double.acked, case.ctx.events) == (codec.BAD_CREDENTIALS, [], [])


# -- sockets --------------------------------------------------------------------------------------


async def test_devices_dial_in_over_tls(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path / "tls", "127.0.0.1", datetime.now(UTC))
    files = {"certificate": str(certificate), "key": str(key)}
    async with listening(tmp_path, tls_port=0, port=-1, **files) as (rig, case):
        trusting = ssl.create_default_context(cafile=str(certificate))
        double = DeviceDouble("127.0.0.1", case.adapter.health()["ports"]["mqtts"], "secure", key=KEY, tls=trusting)
        rig.doubles.append(double)

        assert await double.connect() == codec.ACCEPTED
        await case.barrier(double)


async def test_a_port_that_is_taken_is_an_error_unless_it_may_move(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, _):
        second = MqttAdapter(MqttSettings(port=rig.port))
        with pytest.raises(OSError, match="in use"):
            await second.start(ContextDouble())
        assert second.health() == {"state": "down"}

        third = MqttAdapter(MqttSettings(port=rig.port, move=True))
        await third.start(ContextDouble())
        assert rig.port < third.health()["ports"]["mqtt"] <= rig.port + 100
        await third.stop(1.0)


async def test_an_unread_connection_takes_no_calls_and_is_closed_in_the_end(tmp_path: Path) -> None:
    async with listening(tmp_path, devices=8, inflight=4000) as (rig, case):
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=1024)
        deaf = rig.double("deaf")
        writer.write(codec.encode(deaf.hello()))
        assert await within(reader.readexactly(4)) == b"\x20\x02\x00\x00"
        writer.transport.pause_reading()
        tasks = []
        while case.adapter.window(deaf.address) > 0 and len(tasks) < 3000:
            tasks.append(case.begin(case.request(deaf, payload=bytes(40_000), content_type="a/b")))
            await asyncio.sleep(0)
        assert len(tasks) < 3000
        await refused(case.adapter.call(case.request(deaf)), "QUEUE_IS_FULL", Delivery.NOT_SENT)

        case.clock.advance(30)
        outcomes = await within(asyncio.gather(*tasks, return_exceptions=True))
        assert {outcome.code for outcome in outcomes} <= {"NOT_CONNECTED", "TIMEOUT"}
        assert case.adapter.window(deaf.address) == 0
        writer.transport.abort()
