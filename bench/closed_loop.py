"""Calls in a closed loop: a fixed number in flight, the next one posted when the one before has had all its effects.

The rows about calls differ in one thing only, how many deliveries a call is due: none (POST alone), one
(unicast) or one per listener (fan-out). So they share this. A closed loop cannot run a server over, which
keeps the CPU per unit comparable between servers of very different speed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from bench.listener import Listener, reference
from bench.poster import Poster, connect_posters, post
from bench.row import Lap, Target

PATIENCE = 10.0


class Flight:
    """A call on its way: what is still due before its poster may go on."""

    __slots__ = ("due", "poster", "started")

    def __init__(self, poster: Poster, due: int, started: int) -> None:
        self.poster = poster
        self.due = due
        self.started = started


class ClosedLoop:
    """`window` connections, each with one call in flight. `request(number)` is the whole request of a call.

    A lap ends when all its calls have had their 202 and all deliveries due, or when nothing at all has
    happened for 10 s; what is then missing is told as lost. Feed deliveries in by `seen`, broken listeners by `broke`.
    """

    def __init__(self, target: Target, window: int, due: int, request: Callable[[int], bytes]) -> None:
        self._target = target
        self._window = window
        self._due = due
        self._request = request
        self._posters: list[Poster] = []
        self._flights: dict[int, Flight] = {}
        self._next = 0
        self._last = 0
        self._happened = 0
        self._over: asyncio.Future[None] | None = None
        self._lap = Lap(units=0)
        self._times: list[int] = []
        self.accepted: list[int] = []
        self.position: str | None = None

    async def connect(self) -> None:
        """Open the connections that are not there; raises OSError when the server does not take them."""
        self._posters = [poster for poster in self._posters if not poster.gone]
        missing = self._window - len(self._posters)
        self._posters += await connect_posters(self._target.host, self._target.port, missing, self._answered)

    def close(self) -> None:
        """Let go of the connections."""
        for poster in self._posters:
            poster.close()

    async def run(self, calls: int) -> Lap:
        """One lap of `calls` calls. `units` is the number of deliveries that came, or of 202s where none is due.

        `accepted` then holds the numbers that were answered 202 and `position` the earliest position told with them.
        """
        loop = asyncio.get_running_loop()
        self._lap = lap = Lap(units=0)
        self._times = []
        self.accepted = []
        self.position = None
        self._last = self._next + calls
        self._over = loop.create_future()
        # A server may close what was idle while the other one had its turn.
        await self.connect()
        begun = time.perf_counter()
        for poster in self._posters:
            if poster.usable:
                self._post(poster)
        if not self._flights:
            self._fail("no connection")
            self._over.set_result(None)
        await self._until_over()
        self._over = None
        lap.seconds = time.perf_counter() - begun
        # A call whose 202 never came is one unit lost where no delivery is due.
        lap.lost += sum(max(flight.due, 1) for flight in self._flights.values())
        lap.lost += (self._last - self._next) * max(self._due, 1)
        self._next = self._last
        self._flights.clear()
        lap.p50, lap.p99 = percentiles(self._times)
        return lap

    def seen(self, listener: Listener, number: int, success: bool) -> None:
        """A delivery came."""
        flight = self._flights.get(number)
        if flight is None or flight.due <= 0:
            self._lap.doubled += 1
            return
        self._happened += 1
        self._times.append(time.perf_counter_ns() - flight.started)
        self._lap.units += 1
        if not success:
            self._fail("answer not 200")
        flight.due -= 1
        if not flight.due and flight.poster.ref != number:
            self._end(number, flight)

    def broke(self, listener: Listener, why: str) -> None:
        """A listener was closed or broke, so what it was due is not coming."""
        self._fail(f"listener: {why}")

    def _post(self, poster: Poster) -> None:
        number = self._next
        self._next += 1
        poster.ref = number
        request = self._request(number)
        self._flights[number] = Flight(poster, self._due, time.perf_counter_ns())
        poster.post(request)

    def _answered(self, poster: Poster, status: int, position: str | None) -> None:
        number, poster.ref = poster.ref, -1
        flight = self._flights.get(number)
        if flight is None:
            return
        self._happened += 1
        if status != 202:
            self._fail(f"POST answered {status}" if status else "POST: the connection broke")
            self._end(number, flight)
            return
        self.accepted.append(number)
        if position is not None and (self.position is None or _offset(position) < _offset(self.position)):
            self.position = position
        if not self._due:
            self._times.append(time.perf_counter_ns() - flight.started)
            self._lap.units += 1
        if not flight.due:
            self._end(number, flight)

    def _end(self, number: int, flight: Flight) -> None:
        del self._flights[number]
        if self._next < self._last and flight.poster.usable:
            self._post(flight.poster)
        elif not self._flights and self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _fail(self, word: str) -> None:
        self._lap.failed[word] = self._lap.failed.get(word, 0) + 1

    async def _until_over(self) -> None:
        assert self._over is not None
        while not self._over.done():
            before = self._happened
            await asyncio.wait([self._over], timeout=PATIENCE)
            if self._happened == before:
                return


def call_request(target: Target, number: int, device: str, channel: str, payload_b64: str) -> bytes:
    """A whole native POST of one call to `device`, answered on `channel`."""
    body = (
        f'{{"method":"POST","uri":"/x","content-type":"text/plain","payload-b64":"{payload_b64}",'
        f'"ref":"{reference(number)}","channel":"{channel}"}}'
    ).encode("ascii")
    return post(f"/v1/devices/{device}/calls", target.key, len(body), f"{target.host}:{target.port}") + body


def percentiles(nanoseconds: list[int]) -> tuple[float | None, float | None]:
    """Median and 99th percentile in milliseconds, None of nothing."""
    if not nanoseconds:
        return None, None
    nanoseconds.sort()
    size = len(nanoseconds)
    return nanoseconds[size // 2] / 1e6, nanoseconds[min(size - 1, size * 99 // 100)] / 1e6


def _offset(position: str) -> int:
    return int(position.rpartition(":")[2])
