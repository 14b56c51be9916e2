"""A WebSocket whose application has ended while its client reads nothing: the connection goes all the same."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
import uvicorn

import hub.server.websocket
from hub.core.limits import Limits
from hub.delivery import frames
from hub.delivery.sink import EXTENSION
from hub.server.websocket import websocket_protocol
from tests.prompt_server import PATIENCE, serving

pytestmark = pytest.mark.anyio

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


GOODBYE = b"\x88\x82\x00\x00\x00\x00\x03\xe8"


@pytest.mark.parametrize("closing", [False, True])
async def test_it_is_cut_a_moment_after_its_application_has_ended(
    monkeypatch: pytest.MonkeyPatch, closing: bool
) -> None:
    monkeypatch.setattr(hub.server.websocket, "LINGER", 0.05)
    lost, ended = asyncio.Event(), asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        sink = scope["extensions"][EXTENSION]
        sink.on_lost = lost.set
        while not sink.paused:
            sink.write(frames.data(b"x" * 65_536, binary=True))
        if closing:
            sink.close(1008, "slow")
        ended.set()

    config = uvicorn.Config(
        application, ws=websocket_protocol(Limits()), lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    async with serving(config, listener):
        _, writer = await asyncio.open_connection(*listener.getsockname(), limit=1024)
        writer.write(UPGRADE)
        await asyncio.wait_for(ended.wait(), PATIENCE)
        if closing:
            writer.write(GOODBYE)

        await asyncio.wait_for(lost.wait(), PATIENCE)
        writer.transport.abort()
