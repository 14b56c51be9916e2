"""A WebSocket client that counts: it subscribes to one channel and tells which numbered answers came.

Written on the bare protocol classes of asyncio, so that a thousand of them in one process keep up with the
server. Every frame is parsed; an answer is known by the number that the load put into its reference.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import cast

from bench.frames import CLOSE, PING, PONG, TEXT, BadFrame, Frames, masked

SUBPROTOCOL = "hub.v1.json"
# Twelve digits, always: the length of a request then depends on nothing that changes.
# With its quote, so that no other word of a message is taken for it.
MARK = b'"bench-'
DIGITS = 12
_SUCCESS = b'"status":200'
_HANDSHAKES = 64


def reference(number: int) -> str:
    """The caller's reference (async-id) of the call `number`."""
    return f"bench-{number:0{DIGITS}d}"


class Refused(Exception):
    """The server did not let the listener in, or closed it before it was subscribed."""


class Listener(asyncio.Protocol):
    """One subscribed socket: `seen(listener, number, success)` for every answer, `lost(listener, why)` if it ends.

    `got` counts the answers and `reads` the reads that they came in, which shows how many the server joined.
    """

    __slots__ = (
        "_closing",
        "_frames",
        "_request",
        "_transport",
        "_upgraded",
        "got",
        "lost",
        "reads",
        "seen",
        "subscribed",
    )

    def __init__(
        self, request: bytes, seen: Callable[[Listener, int, bool], None], lost: Callable[[Listener, str], None]
    ) -> None:
        self.seen = seen
        self.lost = lost
        self.got = 0
        self.reads = 0
        self.subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._frames = Frames()
        self._upgraded: bytes | None = b""
        self._closing = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do what asyncio.Transport says but do not descend from it.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._upgraded is not None:
            answer = self._upgraded + data
            end = answer.find(b"\r\n\r\n")
            if end < 0:
                self._upgraded = answer
                return
            if not answer.startswith(b"HTTP/1.1 101 "):
                self._refused(answer[:80].decode("latin-1"))
                return
            self._upgraded = None
            data = answer[end + 4 :]
        self.reads += 1
        try:
            for opcode, buffer, start, end in self._frames.feed(data):
                if opcode == TEXT:
                    self._text(buffer, start, end)
                elif opcode == PING:
                    assert self._transport is not None
                    self._transport.write(masked(PONG, buffer[start:end]))
                elif opcode == CLOSE:
                    code = int.from_bytes(buffer[start : start + 2], "big") if end - start >= 2 else 1005
                    self._refused(f"closed {code}")
        except BadFrame as error:
            self._refused(str(error))

    def _text(self, buffer: bytes, start: int, end: int) -> None:
        at = buffer.find(MARK, start, end)
        if at >= 0:
            self.got += 1
            number = int(buffer[at + len(MARK) : at + len(MARK) + DIGITS])
            self.seen(self, number, buffer.find(_SUCCESS, start, end) >= 0)
        elif not self.subscribed.done() and buffer.find(b'"subscribed"', start, end) >= 0:
            self.subscribed.set_result(None)
        elif buffer.find(b'"type":"gap"', start, end) >= 0:
            self._refused("a gap: the server dropped what was due")

    def connection_lost(self, exc: Exception | None) -> None:
        self._refused("the connection broke")
        self._transport = None

    def close(self) -> None:
        """Let go of the socket; `lost` is not told."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def _refused(self, why: str) -> None:
        if self._closing:
            return
        self._closing = True
        if not self.subscribed.done():
            self.subscribed.set_exception(Refused(why))
        else:
            self.lost(self, why)
        if self._transport is not None:
            self._transport.abort()


def upgrade(host: str, key: str, channel: str, position: str | None = None) -> bytes:
    """The request that opens `/v1/stream` on one channel, from `position` ("epoch:offset") or from now."""
    query = f"channel={channel}"
    if position is not None:
        epoch, _, offset = position.rpartition(":")
        query += f"&epoch={epoch}&offset={offset}"
    nonce = base64.b64encode(os.urandom(16)).decode("ascii")
    return (
        f"GET /v1/stream?{query} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"
        f"Authorization: Bearer {key}\r\n\r\n"
    ).encode("ascii")


async def listen(
    host: str,
    port: int,
    requests: Iterable[bytes],
    seen: Callable[[Listener, int, bool], None],
    lost: Callable[[Listener, str], None],
) -> list[Listener]:
    """One subscribed listener per request, at most 64 handshakes at a time.

    Raises Refused, OSError or TimeoutError (15 s each) if one of them is not let in; then all are closed.
    """
    loop = asyncio.get_running_loop()
    waiting = iter(list(requests))
    listeners: list[Listener] = []

    async def connect() -> None:
        for request in waiting:
            async with asyncio.timeout(15):
                _, listener = await loop.create_connection(partial(Listener, request, seen, lost), host, port)
                listeners.append(listener)
                await listener.subscribed

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_HANDSHAKES):
                group.create_task(connect())
    except BaseExceptionGroup as errors:
        for listener in listeners:
            listener.close()
        raise errors.exceptions[0] from errors
    return listeners
