"""The LwM2M adapter beside aiocoap: CPU per exchange, and memory per registered device.

No HTTP front and no core here: both servers keep registrations and read from the same devices, which are the
generator's, on a socket each, one read under way per device and `window` in all. What the devices cost is not in
the figures.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from bench.coap.farm import Farm
from bench.listener import Refused
from bench.row import Figure, Lap, Row, Size, Target

_FIRST = 100
_WARM = 5
CONTENDERS = ("adapter", "aiocoap")


class _Devices:
    """What both loads share: the devices, and a server that is told to read from them."""

    def __init__(self, target: Target, size: Size) -> None:
        self._target = target
        self._size = size
        self._farm: Farm | None = None

    async def _open(self) -> Farm:
        self._farm = Farm(self._size.listeners, (await self._ask("GET", "/coap"))["port"])
        return self._farm

    async def _read(self, farm: Farm, count: int, devices: int) -> int:
        """Have the server read `count` times from the first `devices`; how many answers were lost or wrong."""
        body = {"count": count, "window": self._size.window, "ports": farm.ports[:devices]}
        lost: int = (await self._ask("POST", "/exchanges", body))["lost"]
        return lost

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        host, content = self._target.host, json.dumps(body).encode()
        reader, writer = await asyncio.open_connection(host, self._target.port)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", f"Content-Length: {len(content)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        answer = await reader.read()
        writer.close()
        top, _, told = answer.partition(b"\r\n\r\n")
        if not top.startswith(b"HTTP/1.1 200 "):
            raise Refused(f"{method} {path} was answered {top[:40]!r}")
        return json.loads(told)

    async def close(self) -> None:
        if self._farm is not None:
            self._farm.close()


class ReadLoad(_Devices):
    """`calls` reads from `listeners` registered devices."""

    async def prepare(self) -> None:
        farm, devices = await self._open(), self._size.listeners
        await farm.register(0, devices)
        if lost := await self._read(farm, devices, devices):
            raise Refused(f"the warm-up went wrong: {lost} lost")

    async def lap(self) -> Lap:
        assert self._farm is not None
        lap = Lap(units=self._size.calls)
        lap.lost = await self._read(self._farm, lap.units, self._size.listeners)
        return lap

    async def verify(self, lap: Lap) -> Lap:
        return lap


class RegisteredLoad(_Devices):
    """Devices that come, and must all be there afterwards. The first hundred are charged to nobody."""

    async def prepare(self) -> None:
        farm = await self._open()
        await farm.register(0, _FIRST)
        for _ in range(_WARM):
            # Each once: aiocoap can lose its way for good when two reads wait for one device.
            if lost := await self._read(farm, _FIRST, _FIRST):
                raise Refused(f"the warm-up went wrong: {lost} lost")

    async def lap(self) -> Lap:
        assert self._farm is not None
        await self._farm.register(_FIRST, self._size.listeners)
        return Lap(units=self._size.listeners - _FIRST)

    async def verify(self, lap: Lap) -> Lap:
        assert self._farm is not None
        lap.lost = await self._read(self._farm, self._size.listeners, self._size.listeners)
        return lap


ROWS = [
    Row(
        name="lwm2m",
        workload="LwM2M read, beside aiocoap",
        unit="exchange",
        counted="one GET to a registered device and its answer, on the adapter and on aiocoap alone, without a hub",
        load=ReadLoad,
        full=Size(calls=20_000, window=64, listeners=10_000),
        quick=Size(calls=5_000, window=64, listeners=1_000),
        contenders=CONTENDERS,
    ),
    Row(
        name="lwm2m-device",
        workload="registered LwM2M device, resident memory, beside aiocoap",
        unit="device",
        counted="growth of the resident set by devices that register; 100 stood before, and all are read afterwards",
        load=RegisteredLoad,
        full=Size(window=64, listeners=10_000),
        quick=Size(window=64, listeners=2_000),
        figure=Figure.MEMORY,
        fresh=True,
        most_rounds=3,
        contenders=CONTENDERS,
    ),
]
