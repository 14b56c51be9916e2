"""Where a listener's bytes go: a socket that takes finished frames and says when it is full.

`Sink` is the seam. The hub's own WebSocket class (`hub/server/websocket.py`) is one; under any other server
`AsgiSink` does the same through ASGI messages, with a bounded queue and one writer task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from hub.delivery import frames

EXTENSION = "hub.sink"


class Sink(Protocol):
    """A socket to write to, on the event loop, without waiting.

    `paused`: the buffer is over its bound; writers keep a position instead and go on at `on_resume`. Frames that are
    written nevertheless are taken. After `close` and after the connection is lost writes do nothing.
    """

    paused: bool
    on_pause: Callable[[], None] | None
    on_resume: Callable[[], None] | None
    on_lost: Callable[[], None] | None

    def write(self, data: bytes) -> None:
        """Send finished frames, one or several joined."""
        ...

    def ping(self, answered: Callable[[], None]) -> bool:
        """Ping; `answered` is called once the peer has seen everything written before. False: not possible here."""
        ...

    def waiting(self) -> int:
        """Bytes that were written and have not left yet."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye and end the connection, within a bound whatever the peer does."""
        ...


class AsgiSink:
    """A Sink over any ASGI server. `run` is its writer and must run in a task of the socket's group."""

    def __init__(self, websocket: WebSocket, high: int) -> None:
        self.paused = False
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self._websocket = websocket
        self._high = high
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._closing: tuple[int, str] | None = None
        self._ended = False
        self._wake = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Queue frames for the writer task."""
        if self._closing is not None:
            return
        self._queue.append(data)
        self._size += len(data)
        self._wake.set()
        if self._size > self._high and not self.paused:
            self.paused = True
            if self.on_pause is not None:
                self.on_pause()

    def ping(self, answered: Callable[[], None]) -> bool:
        """ASGI has no pings: readers that never acknowledge repeat more after a break."""
        return False

    def waiting(self) -> int:
        """Bytes in the queue, and in the hands of the server."""
        return self._size

    def close(self, code: int, reason: str = "") -> None:
        """Close after what is queued."""
        if self._closing is None:
            self._closing = (code, reason)
            self._wake.set()

    def stop(self) -> None:
        """The socket has ended: `run` returns without closing it again."""
        self._ended = True
        self._wake.set()

    async def run(self) -> None:
        """Hand queued frames to the server until the socket is closed or lost."""
        try:
            await self._run()
        except (WebSocketDisconnect, OSError):
            self._lost()

    def _lost(self) -> None:
        self._closing = self._closing or (1006, "")
        self._queue.clear()
        self._size = 0
        if self.on_lost is not None:
            self.on_lost()

    async def _run(self) -> None:
        while not self._ended:
            while self._queue and not self._ended:
                data = self._queue.popleft()
                for frame in frames.parse(data):
                    await self._websocket.send(_asgi_message(frame))
                self._size -= len(data)
                if self.paused and self._size <= self._high // 4:
                    self.paused = False
                    if self.on_resume is not None:
                        self.on_resume()
            if self._closing is not None:
                if not self._ended:
                    await self._websocket.close(*self._closing)
                return
            self._wake.clear()
            await self._wake.wait()


def _asgi_message(frame: frames.Frame) -> dict[str, Any]:
    if frame.opcode == frames.TEXT:
        return {"type": "websocket.send", "text": frame.payload.decode()}
    return {"type": "websocket.send", "bytes": frame.payload}


def sink_of(websocket: WebSocket, high: int) -> Sink:
    """The server's own sink of this connection, an AsgiSink where it has none."""
    own: Sink | None = websocket.scope.get("extensions", {}).get(EXTENSION)
    return own if own is not None else AsgiSink(websocket, high)
