"""The MQTT listener on real sockets: who is let in, who is sent away, and where it listens."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio.lowlevel
import pytest

from adapters.mqtt.listener import codec, handshake
from adapters.mqtt.listener.adapter import MqttAdapter
from adapters.mqtt.listener.codec import Connect, Publish
from adapters.mqtt.listener.double import DeviceDouble
from adapters.mqtt.listener.rig import KEY
from adapters.mqtt.listener.settings import MqttSettings
from hub.model.device import Presence
from hub.model.errors import CannotListen
from hub.ports.adapter import Delivery, EventKind
from hub.tls import self_signed
from tests.contracts.adapter_case import Case, refused, within
from tests.contracts.context import ContextDouble
from tests.wires.mqtt_bench import listening

pytestmark = pytest.mark.anyio


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


async def test_a_call_whose_device_is_not_welcomed_in_time_says_so(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        case.ctx.hold_accept()
        double = rig.double()
        await double.dial()
        await double.send(double.hello())
        await case.ctx.blocked()
        task = case.begin(case.request(double))
        await asyncio.sleep(0)
        case.clock.advance(3600)

        await refused(task, "TIMEOUT", Delivery.NOT_SENT)
        assert str(task.exception()) == "the device was not welcomed in time"
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


async def test_a_packet_of_a_stranger_after_its_refusal_is_not_read(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double: DeviceDouble = rig.double(key="ak_not_the_right_one")
        await double.dial()
        post = Publish(double.topic("thing/model/up_raw"), b"x", 1, 1)
        await double.send_raw(codec.encode(double.hello()) + codec.encode(post))

        await within(double.closed.wait())
        assert (double.connack, double.acked, case.ctx.events) == (codec.BAD_CREDENTIALS, [], [])


async def test_devices_dial_in_over_tls(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path / "tls", "127.0.0.1", datetime.now(UTC))
    files = {"certificate": str(certificate), "key": str(key)}
    async with listening(tmp_path, tls_port=0, port=-1, **files) as (rig, case):
        trusting = ssl.create_default_context(cafile=str(certificate))
        double = DeviceDouble("127.0.0.1", case.adapter.health()["ports"]["mqtts"], "secure", key=KEY, tls=trusting)
        rig.doubles.append(double)

        assert await double.connect() == codec.ACCEPTED
        await case.barrier(double)


async def test_who_has_not_shaken_hands_takes_a_place_until_it_leaves_or_its_time_is_over(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path / "tls", "127.0.0.1", datetime.now(UTC))
    files = {"certificate": str(certificate), "key": str(key)}
    real = timedelta(seconds=0.5)  # a handshake is measured by the loop's own clock
    async with listening(tmp_path, tls_port=0, devices=2, connect_time=real, **files) as (rig, case):
        port = case.adapter.health()["ports"]["mqtts"]
        reader, left = await asyncio.open_connection("127.0.0.1", port)
        await within(held(case, 1))
        silent, stays = await asyncio.open_connection("127.0.0.1", port)
        await within(held(case, 2))
        assert case.adapter.health()["state"] == "degraded"
        late, third = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await within(late.read()) == b""
        with pytest.raises(ConnectionError):
            await rig.double().connect()
        assert case.adapter.health()["refused"] == 2

        left.close()
        await within(held(case, 1))
        await rig.device()
        with contextlib.suppress(ConnectionError):
            await within(silent.read())
        await within(held(case, 1))
        trusting = ssl.create_default_context(cafile=certificate)
        double = DeviceDouble("127.0.0.1", port, "secure", key=KEY, tls=trusting)
        assert await double.connect() == codec.ACCEPTED
        await double.close()
        await within(held(case, 1))
        for writer in (stays, third):
            writer.close()
        del reader


@pytest.mark.parametrize("what", ["the number", "the socket"])
async def test_a_socket_that_cannot_be_taken_for_tls_leaves_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    certificate, key = self_signed(tmp_path / "tls", "127.0.0.1", datetime.now(UTC))
    files = {"certificate": str(certificate), "key": str(key)}

    def none_left(*given: Any, **more: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with listening(tmp_path, tls_port=0, devices=2, **files) as (rig, case):
        port = case.adapter.health()["ports"]["mqtts"]
        before = len(os.listdir("/proc/self/fd"))
        knocking = [socket.socket() for _ in range(3)]
        with monkeypatch.context() as short:
            if what == "the number":
                short.setattr(os, "dup", none_left)
            else:
                short.setattr(handshake, "socket", SimpleNamespace(socket=none_left))
            for one in knocking:
                one.setblocking(False)
                await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", port))
                with contextlib.suppress(ConnectionError):
                    assert await within(asyncio.get_running_loop().sock_recv(one, 1)) == b""
                await within(held(case, 0))
        for one in knocking:
            one.close()
        assert len(os.listdir("/proc/self/fd")) == before
        await within(held(case, 0))
        assert case.adapter.health()["refused"] == 0
        await rig.device()


async def held(case: Case, connections: int) -> None:
    """Return when so many are connected."""
    while case.adapter.health()["connections"] != connections:
        await anyio.lowlevel.checkpoint()


async def test_a_port_that_is_taken_is_an_error_unless_it_may_move(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, _):
        second = MqttAdapter(MqttSettings(port=rig.port))
        with pytest.raises(CannotListen, match=f"port {rig.port} .*in use"):
            await second.start(ContextDouble())
        assert second.health() == {"state": "down"}

        third = MqttAdapter(MqttSettings(port=rig.port, move=True))
        await third.start(ContextDouble())
        assert rig.port < third.health()["ports"]["mqtt"] <= rig.port + 100
        await third.stop(1.0)
