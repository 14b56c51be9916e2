"""Many listeners, and listeners that stop reading: nobody waits for anybody, and memory stays bounded."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from typing import cast

import anyio
import pytest

from hub.core.limits import Limits
from hub.delivery import frames
from tests.doubles_listening import Served, served
from tests.trips.stream_rig import ask, client, close_code, told

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: what a transport does when it is full, or half closed, is theirs to decide."""
    return "asyncio", {"use_uvloop": request.param}


LISTENERS = 2000


class Counting(asyncio.Protocol):
    """A listener that only counts: the upgrade by hand, then server frames."""

    def __init__(self, ready: asyncio.Event, waiting: list[int]) -> None:
        self.ready = ready
        self.waiting = waiting
        self.buffer = b""
        self.upgraded = False
        self.offsets: list[int] = []
        self.kinds: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self.transport = transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            (
                "GET /v1/stream?channel=default HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: hub.v1.json\r\n"
                "Authorization: Bearer ak_both\r\n\r\n"
            ).encode()
        )

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.upgraded:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101")
            self.upgraded, self.buffer = True, rest
        while True:
            whole = self.whole_frame()
            if whole is None:
                return
            (frame,) = frames.parse(whole)
            self.kinds.append(frame.payload[9:19].decode())
            if b'"type":"subscribed"' in frame.payload:
                self.waiting[0] -= 1
                if not self.waiting[0]:
                    self.ready.set()
            elif b'"type":"message"' in frame.payload:
                self.offsets.append(int(frame.payload.partition(b'"offset":')[2].partition(b",")[0]))

    def whole_frame(self) -> bytes | None:
        if len(self.buffer) < 4:
            return None
        size = self.buffer[1] & 0x7F
        length = 2 + size if size < 126 else 4 + int.from_bytes(self.buffer[2:4], "big")
        if len(self.buffer) < length:
            return None
        whole, self.buffer = self.buffer[:length], self.buffer[length:]
        return whole


async def test_two_thousand_listeners_on_one_channel_all_get_every_event() -> None:
    async with served() as hub:
        ready, waiting = asyncio.Event(), [LISTENERS]
        loop = asyncio.get_running_loop()
        listeners: list[Counting] = []
        room = anyio.CapacityLimiter(64)

        async def connect_one() -> None:
            async with room:
                _, protocol = await loop.create_connection(
                    lambda: Counting(ready, waiting), "127.0.0.1", hub.port
                )
                listeners.append(protocol)

        async with anyio.create_task_group() as group:
            for _ in range(LISTENERS):
                group.start_soon(connect_one)
        with anyio.fail_after(60):
            await ready.wait()
        channel = await hub.channel()
        assert channel.listeners == LISTENERS

        for number in range(5):
            for _ in range(4):
                hub.commit(str(number))
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(60):
            await hub.until(lambda: all(len(listener.offsets) >= 20 for listener in listeners))

        assert all(listener.offsets == list(range(1, 21)) for listener in listeners)
        for listener in listeners:
            listener.transport.abort()
        await hub.until(lambda: channel.listeners == 0)


def sink_buffers(hub: Served) -> list[int]:
    """Bytes in the write buffers of all sockets, as the server's transports tell."""
    return [connection.transport.get_write_buffer_size() for connection in hub.server.server_state.connections]


async def test_a_listener_that_stops_reading_delays_nobody_and_its_memory_stays_bounded() -> None:
    limits = Limits()
    async with served(limits) as hub, client(hub, "?channel=default") as quick:
        await told(quick)
        async with client(hub, "?channel=default", max_queue=1) as asleep:
            await told(asleep)
            asleep.transport.pause_reading()

            largest = 0
            for number in range(400):
                # 400 times 40 KiB: far more than all buffers on the way.
                hub.commit(str(number), payload=b"x" * 30_000)
                assert (await told(quick))["offset"] == number + 1
                largest = max(largest, *sink_buffers(hub))

            assert largest > limits.write_buffer
            assert largest <= limits.write_buffer + 128 * 1024

            asleep.transport.resume_reading()
            with anyio.fail_after(30):
                assert [(await told(asleep))["offset"] for _ in range(400)] == list(range(1, 401))


async def test_a_listener_that_takes_nothing_is_closed_4008_and_can_resume() -> None:
    from datetime import timedelta

    async with served(Limits(slow_listener=timedelta(seconds=0.3))) as hub:
        await hub.channel()
        async with client(hub, "?channel=default", max_queue=None) as asleep:
            await told(asleep)
            asleep.transport.pause_reading()
            for number in range(400):
                hub.commit(str(number), payload=b"x" * 30_000)
                await anyio.lowlevel.checkpoint()
            await hub.until(lambda: len(hub.listening.lanes) == 0)
            asleep.transport.resume_reading()
            seen = 0
            try:
                with anyio.fail_after(20):
                    while True:
                        seen = (await told(asleep))["offset"]
            except Exception:
                assert await close_code(asleep) == 4008
        assert 0 < seen < 400

        async with client(hub, f"?channel=default&epoch=e1&offset={seen}") as again:
            await told(again)
            assert [(await told(again))["offset"] for _ in range(400 - seen)] == list(range(seen + 1, 401))


async def test_a_client_that_asks_without_reading_the_answers_is_not_read_any_further() -> None:
    limits = Limits()
    async with served(limits) as hub, client(hub) as socket_, anyio.create_task_group() as group:
        socket_.transport.pause_reading()
        sent = 0

        async def ask_on() -> None:
            nonlocal sent
            while True:
                await socket_.send('{"type":"ping","n":"' + "x" * 60_000 + '"}')
                sent += 1

        group.start_soon(ask_on)
        await hub.until(lambda: max(sink_buffers(hub), default=0) > limits.write_buffer)
        for _ in range(2000):
            await anyio.lowlevel.checkpoint()

        assert max(sink_buffers(hub)) <= limits.write_buffer + 128 * 1024
        group.cancel_scope.cancel()
        socket_.transport.abort()


async def test_a_dead_peer_is_noticed_by_its_silence() -> None:
    from datetime import timedelta

    limits = Limits(ping=timedelta(seconds=0.1), pong=timedelta(seconds=0.1))
    async with served(limits) as hub, client(hub, "?channel=default") as alive:
        await told(alive)
        async with client(hub, "?channel=default") as dead:
            await told(dead)
            # A peer whose network is gone: nothing is read, nothing is answered, nothing is closed.
            dead.transport.pause_reading()
            channel = await hub.channel()
            await hub.until(lambda: channel.listeners == 1)
            dead.transport.abort()
        assert (await ask(alive, type="ping", n=1))["type"] == "pong"


async def test_a_frame_that_is_cut_off_by_the_client_leaves_nothing_behind() -> None:
    async with served() as hub:
        async with client(hub, "?channel=default") as whole:
            await told(whole)
            raw = whole.transport.get_extra_info("socket")
            assert isinstance(raw.family, socket.AddressFamily)
            whole.transport.write(b"\x81\xfe")
            whole.transport.abort()
        await hub.until(lambda: len(hub.listening.openings) == 0)
