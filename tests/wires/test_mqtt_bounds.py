"""The bounds of the MQTT listener: packets, rates, connections, what waits for the disk, what is not read."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path

import pytest

from adapters.mqtt.listener import codec
from adapters.mqtt.listener.codec import Publish
from hub.ports.adapter import Delivery, EventKind
from tests.contracts.adapter_case import refused, within
from tests.wires.mqtt_bench import listening

pytestmark = pytest.mark.anyio


async def test_an_oversized_packet_ends_the_connection_and_no_other(tmp_path: Path) -> None:
    async with listening(tmp_path, max_packet=10_000) as (rig, case):
        other, double = await rig.device(), await rig.device()
        await double.publish(double.topic("thing/model/up_raw"), b"x" * 9_000, 1)
        await case.ctx.seen(EventKind.NOTIFICATION)
        await double.publish(double.topic("thing/model/up_raw"), b"x" * (10_000 + 2 + 65_535 + 2 + 1), 1)

        await within(double.closed.wait())
        await case.barrier(other)
        assert len(case.ctx.of(EventKind.NOTIFICATION)) == 1


async def test_a_message_of_512_kib_is_taken_and_one_of_a_byte_more_is_refused(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        raw, post = double.topic("thing/model/up_raw"), double.topic("thing/event/" + "e" * 128 + "/post")
        body = b'{"id":"%s","params":{"events":"%b"}}'
        most = body % (b"fits", b"x" * (512 * 1024 - len(body % (b"fits", b""))))
        await double.publish(raw, b"x" * 512 * 1024, 1)
        await double.publish(post, most, 1)
        await double.publish(raw, b"x" * (512 * 1024 + 1), 1)
        await double.publish(post, most.replace(b"fits", b"large"), 1)
        await double.until(lambda: double.acked == [1, 2, 3, 4])

        assert [len(event.payload) for event in case.ctx.of(EventKind.NOTIFICATION)] == [512 * 1024, len(most) - 34]
        told = [json.loads(message.payload or b"null") for message in double.messages]
        assert [said and (said["id"], said["code"]) for said in told] == [
            None, ("fits", 200), ("", 1008), ("large", 1008),
        ]  # fmt: skip


async def test_an_answer_that_is_too_large_ends_its_call(tmp_path: Path) -> None:
    async with listening(tmp_path, max_packet=10_000) as (rig, case):
        double = await rig.device()
        _, task, asked = await case.holding(double)
        body = b'{"id":"%b","code":200,"data":"%b"}' % (asked.body["id"].encode(), b"x" * 10_000)
        await asked.say(body)

        assert (await within(task)).native["error"] == "BAD_ANSWER"


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
