"""POST answered 202, nobody listening: what accepting a call costs a server, with all that follows from it.

The hub also carries the call to a simulated device, takes its answer and writes the completion; that is counted,
because it is the same work that the POST began. Afterwards, outside the measurement, the channel is read from
the position that the first 202 told: every accepted call must have its completion there, once.
"""

from __future__ import annotations

import asyncio
import base64

from bench.closed_loop import PATIENCE, ClosedLoop, call_request
from bench.listener import Listener, Refused, listen, reference, upgrade
from bench.poster import post
from bench.row import Lap, Row, Size, Target


class PostLoad:
    """Native POSTs over 32 connections to 1,000 devices, answered on one channel."""

    channel = "posts"

    def __init__(self, target: Target, size: Size) -> None:
        self._target = target
        self._size = size
        self._payload = base64.b64encode(b"x" * size.payload).decode("ascii")
        self._loop = ClosedLoop(target, size.window, 0, self._request)

    def _request(self, number: int) -> bytes:
        return call_request(self._target, number, self._target.device(number), self.channel, self._payload)

    async def prepare(self) -> None:
        await self._loop.connect()

    async def lap(self) -> Lap:
        return await self._loop.run(self._size.calls)

    async def verify(self, lap: Lap) -> Lap:
        if not self._target.replays or not self._loop.accepted:
            return lap
        if self._loop.position is None:
            lap.failed["202 without a position"] = 1
            return lap
        check = Completions(self._loop.accepted)
        host, port = self._target.host, self._target.port
        request = upgrade(f"{host}:{port}", self._target.key, self.channel, self._loop.position)
        try:
            listeners = await listen(host, port, [request], check.seen, check.broke)
        except (Refused, OSError) as error:
            lap.failed[f"reading the channel again: {error}"] = 1
            return lap
        await check.all()
        listeners[0].close()
        lap.lost += len(check.missing)
        lap.doubled += check.doubled
        for word, count in check.failed.items():
            lap.failed[word] = lap.failed.get(word, 0) + count
        return lap

    async def close(self) -> None:
        self._loop.close()


class Completions:
    """Ticks off the completions of the calls in `accepted` as the channel tells them again."""

    def __init__(self, accepted: list[int]) -> None:
        self.missing = set(accepted)
        self.doubled = 0
        self.failed: dict[str, int] = {}
        self._due = frozenset(accepted)
        self._happened = 0
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def seen(self, listener: Listener, number: int, success: bool) -> None:
        """A completion came."""
        self._happened += 1
        if number in self.missing:
            self.missing.remove(number)
        elif number in self._due:
            self.doubled += 1
        if not success:
            self.failed["answer not 200"] = self.failed.get("answer not 200", 0) + 1
        if not self.missing and not self._over.done():
            self._over.set_result(None)

    def broke(self, listener: Listener, why: str) -> None:
        """The channel cannot be read any further."""
        self.failed[f"listener: {why}"] = 1
        if not self._over.done():
            self._over.set_result(None)

    async def all(self) -> None:
        """Return when nothing is missing, the socket is gone, or nothing came for 10 s."""
        while not self._over.done():
            before = self._happened
            await asyncio.wait([self._over], timeout=PATIENCE)
            if before == self._happened:
                return


class PelionPostLoad(PostLoad):
    """The same through `/v2/device-requests`, whose answers go to the application's default channel."""

    channel = "default"

    def _request(self, number: int) -> bytes:
        body = (f'{{"method":"POST","uri":"/x","content-type":"text/plain","payload-b64":"{self._payload}"}}').encode(
            "ascii"
        )
        path = f"/v2/device-requests/{self._target.device(number)}?async-id={reference(number)}"
        return post(path, self._target.key, len(body), f"{self._target.host}:{self._target.port}") + body


_COUNTED = (
    "all CPU from the first POST until the server is quiet again, nobody listening; on the hub that includes the two "
    "commits of each call, the device's answer and the stored completion, on the reference nothing but the 202"
)

ROWS = [
    Row(
        name="post",
        workload="POST 202, native, 32 connections",
        unit="call",
        counted=_COUNTED,
        load=PostLoad,
        full=Size(calls=4000, window=32),
        quick=Size(calls=1000, window=32),
    ),
    Row(
        name="post-pelion",
        workload="POST 202, Pelion, 32 connections",
        unit="call",
        counted=_COUNTED,
        load=PelionPostLoad,
        full=Size(calls=4000, window=32),
        quick=Size(calls=1000, window=32),
    ),
]
