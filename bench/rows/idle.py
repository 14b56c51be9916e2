"""Memory of a listener that waits: resident set of a fresh server before and after many have subscribed.

A hundred listeners stand already when the first reading is taken, so that nothing which is loaded once is charged to a
listener. Afterwards one call must reach every one of them: an idle socket that no longer hears is not idle but lost.
"""

from __future__ import annotations

from bench.closed_loop import ClosedLoop, call_request
from bench.listener import Listener, Refused, listen, upgrade
from bench.row import Figure, Lap, Row, Size, Target

_FIRST = 100


class IdleLoad:
    """`listeners` sockets on one channel that receive nothing while they are measured."""

    channel = "idle"

    def __init__(self, target: Target, size: Size) -> None:
        self._target = target
        self._size = size
        self._loop = ClosedLoop(target, 1, _FIRST + size.listeners, self._request)
        self._warm = ClosedLoop(target, 1, _FIRST, self._request)
        self._hears = self._warm
        self._listeners: list[Listener] = []

    def _request(self, number: int) -> bytes:
        return call_request(self._target, number, self._target.device(number), self.channel, "eA==")

    def _seen(self, listener: Listener, number: int, success: bool) -> None:
        self._hears.seen(listener, number, success)

    def _broke(self, listener: Listener, why: str) -> None:
        self._hears.broke(listener, why)

    async def _listen(self, count: int) -> None:
        host, port = self._target.host, self._target.port
        requests = [upgrade(f"{host}:{port}", self._target.key, self.channel) for _ in range(count)]
        self._listeners += await listen(host, port, requests, self._seen, self._broke)

    async def prepare(self) -> None:
        await self._listen(_FIRST)
        await self._warm.connect()
        warm = await self._warm.run(20)
        if not warm.clean:
            raise Refused(f"the warm-up went wrong: {warm}")
        self._hears = self._loop
        await self._loop.connect()

    async def lap(self) -> Lap:
        await self._listen(self._size.listeners)
        return Lap(units=self._size.listeners)

    async def verify(self, lap: Lap) -> Lap:
        told = await self._loop.run(1)
        lap.lost, lap.doubled, lap.failed = told.lost, told.doubled, told.failed
        return lap

    async def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._warm.close()
        self._loop.close()


ROWS = [
    Row(
        name="idle",
        workload="idle listener, resident memory",
        unit="listener",
        counted="growth of the resident set of a fresh server, divided by the listeners that came; 100 stood before",
        load=IdleLoad,
        full=Size(listeners=5000),
        quick=Size(listeners=1000),
        figure=Figure.MEMORY,
        fresh=True,
        most_rounds=3,
    ),
]
