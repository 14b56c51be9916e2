"""One multiInvoke of many calls to as many devices, every outcome pushed on the control channel's own socket.

On the hub the calls are on disk before the request is answered and each outcome before it is told; the reference
answers and pushes from memory. Latency runs from the writing of the request to an outcome being read by the generator,
so the last percent is that of the last outcomes of a request.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import aiohttp

from bench.closed_loop import percentiles
from bench.contenders import CONTROL_CHANNEL, ORGANISATION
from bench.row import Lap, Row, Size, Target

PATIENCE = 10.0
_QUERY = f"?orgId={ORGANISATION}"


class MultiInvokeLoad:
    """`size.calls` calls, `size.window` of them in each request; the next request is sent when all outcomes came."""

    def __init__(self, target: Target, size: Size) -> None:
        self._target = target
        self._size = size
        self._payload = base64.b64encode(b"x" * size.payload).decode("ascii")
        self._session: aiohttp.ClientSession | None = None
        self._listener: aiohttp.ClientWebSocketResponse | None = None
        self._reading: asyncio.Task[None] | None = None
        self._due: dict[str, int] = {}
        self._told: set[str] = set()
        self._next = 0
        self._lap = Lap(units=0)
        self._times: list[int] = []
        self._news = asyncio.Event()
        self._broken: str | None = None

    async def prepare(self) -> None:
        base = f"http://{self._target.host}:{self._target.port}"
        headers = {"Authorization": f"Bearer {self._target.key}"}
        self._session = aiohttp.ClientSession(base, headers=headers)
        path = f"/dataService/controlChannels/{CONTROL_CHANNEL}/stream{_QUERY}"
        self._listener = await self._session.ws_connect(path, max_msg_size=0)
        self._reading = asyncio.get_running_loop().create_task(self._read(self._listener))

    async def lap(self) -> Lap:
        self._lap = lap = Lap(units=0)
        self._times = []
        begun = time.perf_counter()
        for first in range(0, self._size.calls, self._size.window):
            await self._request(min(self._size.window, self._size.calls - first))
            if not lap.clean:
                break
        lap.seconds = time.perf_counter() - begun
        lap.p50, lap.p99 = percentiles(self._times)
        return lap

    async def verify(self, lap: Lap) -> Lap:
        return lap

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._listener is not None:
            await self._listener.close()
        if self._session is not None:
            await self._session.close()

    async def _request(self, count: int) -> None:
        assert self._session is not None
        numbers = range(self._next, self._next + count)
        self._next += count
        body = json.dumps({"data": [self._call(number) for number in numbers]}).encode()
        started = time.perf_counter_ns()
        self._due = {f"r-{number}": started for number in numbers}
        self._told = set()
        async with self._session.put(f"/dataService/devices/multiInvoke{_QUERY}", data=body) as answer:
            replies = (await answer.json()).get("data") or []
        for reply in replies:
            if reply["status"] != 0:
                self._fail(f"reply {reply['status']}")
                self._due.pop(reply["requestId"], None)
        if not replies:
            self._fail("the request was refused")
            self._due = {}
        while self._due and self._broken is None:
            self._news.clear()
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._news.wait()
            except TimeoutError:
                break
        if self._broken is not None:
            self._fail(self._broken)
        self._lap.lost += len(self._due)

    def _call(self, number: int) -> dict[str, Any]:
        return {
            "requestId": f"r-{number}", "controlChannelId": CONTROL_CHANNEL, "assetId": self._target.device(number),
            "serviceId": "run", "inputData": {"data": self._payload}, "timeout": 30_000,
        }  # fmt: skip

    async def _read(self, listener: aiohttp.ClientWebSocketResponse) -> None:
        async for message in listener:
            self._lap.reads += 1
            now = time.perf_counter_ns()
            for reply in json.loads(message.data)["data"]:
                self._seen(reply["requestId"], reply["status"], now)
            self._news.set()
        self._broken = "listener: the connection broke"
        self._news.set()

    def _seen(self, id: str, status: int, now: int) -> None:
        started = self._due.pop(id, None)
        if started is None:
            self._lap.doubled += 1
            return
        self._times.append(now - started)
        self._lap.units += 1
        if status != 0:
            self._fail(f"outcome {status}")

    def _fail(self, word: str) -> None:
        self._lap.failed[word] = self._lap.failed.get(word, 0) + 1


ROWS = [
    Row(
        name="multi-invoke",
        workload="EnOS multiInvoke, 1,000 calls to 1,000 devices",
        unit="call",
        counted="all CPU of a call: its part of the request, the device's answer, its outcome pushed on a WebSocket; "
        "the hub's calls and outcomes are on disk before they are told, and told on the default channel as well",
        load=MultiInvokeLoad,
        full=Size(calls=10_000, window=1000),
        quick=Size(calls=3_000, window=1000),
    )
]
