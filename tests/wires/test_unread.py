"""A client that takes nothing of an answer is cut; one that takes it slowly is not."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

from hub.server.unread import Unread

pytestmark = pytest.mark.anyio

ROOM = 1 << 20


class Timers:
    """The part of a loop that is asked for timers; `ring` runs the one that is set."""

    def __init__(self) -> None:
        self._due: Callable[[], None] | None = None

    def call_later(self, delay: float, callback: Callable[..., None], *args: Any) -> Timers:
        self._due = lambda: callback(*args)
        return self

    def cancel(self) -> None:
        self._due = None

    def ring(self) -> None:
        due, self._due = self._due, None
        assert due is not None
        due()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what has left the kernel's buffer")
async def test_a_client_whose_bytes_come_out_of_the_kernels_buffer_takes_some() -> None:
    loop, made = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.set_result(transport)

    server = await loop.create_server(Server, "127.0.0.1", 0)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        transport = await made
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        transport.write(b"x" * (16 * ROOM))
        for _ in range(50):
            await asyncio.sleep(0)
        left = transport.get_write_buffer_size()
        timers, cuts = Timers(), list[str]()
        unread = Unread(timers, 1.0, lambda: cuts.append("cut"))  # type: ignore[arg-type]
        unread.watch(transport)

        got = 0
        while got < 128 << 10:
            got += len(await loop.sock_recv(client, 16 << 10))
        assert transport.get_write_buffer_size() == left
        timers.ring()
        assert cuts == []

        timers.ring()
        assert cuts == ["cut"]
        transport.abort()
    server.close()
    await server.wait_closed()
