"""A client of the native stream that is not ours: frames said and told by name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.doubles_listening import Served

JSON = "hub.v1.json"


@asynccontextmanager
async def client(
    hub: Served, query: str = "", key: str = "ak_both", subprotocol: str = JSON, **options: Any
) -> AsyncIterator[ClientConnection]:
    """A connected client; the welcome has been read."""
    async with connect(
        hub.stream + query,
        additional_headers={"Authorization": f"Bearer {key}"},
        subprotocols=[subprotocol],
        compression=None,
        proxy=None,
        ping_interval=None,
        **options,
    ) as socket:
        assert (await told(socket))["type"] == "welcome"
        yield socket


async def told(socket: ClientConnection) -> dict[str, Any]:
    with anyio.fail_after(20):
        message = await socket.recv()
    return msgpack.unpackb(message) if isinstance(message, bytes) else json.loads(message)


async def say(socket: ClientConnection, **members: Any) -> None:
    await socket.send(json.dumps(members))


async def ask(socket: ClientConnection, **members: Any) -> dict[str, Any]:
    await say(socket, **members)
    return await told(socket)


async def close_code(socket: ClientConnection) -> int:
    """The code that the server closes with; messages before it are dropped."""
    with anyio.fail_after(20):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code
