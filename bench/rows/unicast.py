"""A call and its completion pushed to one listener: POST, 202, the answer on a WebSocket.

On the hub both the call and its completion are on disk before they are told (synchronous=FULL); the reference
keeps nothing. Latency runs from the writing of the POST to the completion being read by the generator.
"""

from __future__ import annotations

import base64

from bench.closed_loop import ClosedLoop, call_request
from bench.listener import Listener, listen, upgrade
from bench.row import Lap, Row, Size, Target


class UnicastLoad:
    """Calls spread over `channels` channels with one listener each."""

    def __init__(self, target: Target, size: Size) -> None:
        self._target = target
        self._size = size
        self._payload = base64.b64encode(b"x" * size.payload).decode("ascii")
        self._loop = ClosedLoop(target, size.window, 1, self._request)
        self._listeners: list[Listener] = []

    def _channel(self, number: int) -> str:
        return f"one-{number % self._size.channels}"

    def _request(self, number: int) -> bytes:
        return call_request(self._target, number, self._target.device(number), self._channel(number), self._payload)

    async def prepare(self) -> None:
        host, port = self._target.host, self._target.port
        requests = [
            upgrade(f"{host}:{port}", self._target.key, self._channel(number)) for number in range(self._size.channels)
        ]
        self._listeners = await listen(host, port, requests, self._loop.seen, self._loop.broke)
        await self._loop.connect()

    async def lap(self) -> Lap:
        reads = sum(listener.reads for listener in self._listeners)
        lap = await self._loop.run(self._size.calls)
        lap.reads = sum(listener.reads for listener in self._listeners) - reads
        return lap

    async def verify(self, lap: Lap) -> Lap:
        return lap

    async def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._loop.close()


_COUNTED = (
    "all CPU of a call: POST, 202, device's answer, completion pushed on a WebSocket; the hub's calls and completions "
    "are on disk before they are told, the reference keeps nothing"
)

ROWS = [
    Row(
        name="unicast",
        workload="unicast durable, 32 in flight, 100 channels",
        unit="call",
        counted=_COUNTED,
        load=UnicastLoad,
        full=Size(calls=4000, window=32, channels=100),
        quick=Size(calls=1000, window=32, channels=100),
    ),
    Row(
        name="unicast-1",
        workload="unicast durable, one at a time",
        unit="call",
        counted=_COUNTED,
        load=UnicastLoad,
        full=Size(calls=1000, window=1, channels=100),
        quick=Size(calls=300, window=1, channels=100),
    ),
]
