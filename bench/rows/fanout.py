"""One completion to a thousand listeners of a channel, one call at a time and sixteen in flight.

The whole server is counted, the POSTs and commits too; at a thousand deliveries per call they weigh little.
"""

from __future__ import annotations

import base64

from bench.closed_loop import ClosedLoop, call_request
from bench.listener import Listener, listen, upgrade
from bench.row import Lap, Row, Size, Target


class FanoutLoad:
    """All listeners on one channel; a call is over when each of them has its completion."""

    channel = "many"

    def __init__(self, target: Target, size: Size) -> None:
        self._target = target
        self._size = size
        self._payload = base64.b64encode(b"x" * size.payload).decode("ascii")
        self._loop = ClosedLoop(target, size.window, size.listeners, self._request)
        self._listeners: list[Listener] = []

    def _request(self, number: int) -> bytes:
        return call_request(self._target, number, self._target.device(number), self.channel, self._payload)

    async def prepare(self) -> None:
        host, port = self._target.host, self._target.port
        requests = [upgrade(f"{host}:{port}", self._target.key, self.channel) for _ in range(self._size.listeners)]
        self._listeners = await listen(host, port, requests, self._loop.seen, self._loop.broke)
        await self._loop.connect()

    async def lap(self) -> Lap:
        reads = sum(listener.reads for listener in self._listeners)
        for listener in self._listeners:
            listener.got = 0
        lap = await self._loop.run(self._size.calls)
        lap.reads = sum(listener.reads for listener in self._listeners) - reads
        return lap

    async def verify(self, lap: Lap) -> Lap:
        # The loop counts per call. One listener's double could hide another's loss there, so count per listener too.
        due = len(self._loop.accepted)
        lap.lost = max(lap.lost, sum(max(0, due - listener.got) for listener in self._listeners))
        lap.doubled = max(lap.doubled, sum(max(0, listener.got - due) for listener in self._listeners))
        return lap

    async def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._loop.close()


_COUNTED = "all CPU of the calls (POST, commits, device, pushes), divided by the deliveries"

ROWS = [
    Row(
        name="fanout-1",
        workload="fan-out to 1,000, one at a time",
        unit="delivery",
        counted=_COUNTED,
        load=FanoutLoad,
        full=Size(calls=60, window=1, listeners=1000),
        quick=Size(calls=15, window=1, listeners=1000),
    ),
    Row(
        name="fanout-16",
        workload="fan-out to 1,000, 16 in flight",
        unit="delivery",
        counted=_COUNTED,
        load=FanoutLoad,
        full=Size(calls=160, window=16, listeners=1000),
        quick=Size(calls=48, window=16, listeners=1000),
    ),
]
