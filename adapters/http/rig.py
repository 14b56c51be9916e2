"""The rig of the HTTP adapter: servers as doubles that the contract suite can hold up and look into.

`plain` are devices; `jobs` are upstreams that take a change as a job with a status address. What is particular to
either kind is shown by tests of its own (`tests/wires/test_http_*.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from yarl import URL

from adapters.http.adapter import HttpAdapter
from adapters.http.double import CALL_ID, Heard, Server
from adapters.http.settings import HttpSettings, UpstreamSettings
from adapters.http.shape import read_shape
from hub.model.device import Presence
from hub.ports.adapter import AdapterContext, DeviceRequest
from hub.ports.clock import Clock

VARIANTS = ("plain", "jobs")
PASSWORD = "correct-horse-battery-staple"


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that reached the device and that it was told not to answer by itself."""

    heard: Heard

    @property
    def call_id(self) -> str:
        """Which call it is."""
        return self.heard.call_id

    async def answer(self, payload: bytes = b"", status: int = 200, sender: DeviceDouble | None = None) -> None:
        """Answer it."""
        assert sender is None
        await self.heard.answer(status, payload)


class DeviceDouble:
    """One device of the rig: a server of its own."""

    observed = 0

    def __init__(self, rig: Rig, server: Server) -> None:
        self.rig = rig
        self.address = server.name
        self.identity = server.name
        self._server = server
        self._asked: asyncio.Queue[Asked] = asyncio.Queue()
        self._answers = True
        server.script = self._script

    @property
    def executed(self) -> list[str]:
        """The calls that it carried out, in order."""
        return self._server.executed

    @property
    def received(self) -> int:
        """How many requests came."""
        return len(self._server.heard)

    def hold(self) -> None:
        """Answer nothing by itself from now on."""
        self._answers = False

    def go(self) -> None:
        """Answer with what it is given, at once."""
        self._answers = True

    def take_jobs(self, length: timedelta) -> None:
        """Take every change as a job of that length."""
        self._server.length = length

    async def asked(self) -> Asked:
        """The next call that reached the device while it holds."""
        async with asyncio.timeout(5):
            return await self._asked.get()

    async def drop(self) -> None:
        """Be gone without a word."""
        await self._server.close()

    async def reconnect(self) -> None:
        """Be back."""
        await self._server.open()
        await self.rig.adapter.look(self.address)
        assert self.rig.adapter.presence(self.address) is not Presence.OFFLINE

    async def leave(self) -> None:
        """There is no word for leaving: be gone."""
        await self.drop()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once a condition on what the device got holds."""
        await self._server.until(condition)

    async def _script(self, heard: Heard) -> bool:
        if self._answers:
            return False
        self._server.executed.append(heard.call_id)
        self._asked.put_nowait(Asked(heard))
        return True


_CANNOT: dict[int | str, str] = {
    10: "a late answer cannot come: the connection that it would come by is closed at the deadline",
    12: "an answer belongs to the request on whose connection it comes",
    13: "an answer belongs to the request on whose connection it comes",
    15: "requests that are under way at once go over connections of their own, which nobody keeps in order",
    19: "its devices do not register and cannot be observed",
    20: "its devices do not register",
    21: "nobody is told that a device sleeps",
    22: "it cannot observe",
    24: "nothing comes unasked",
    25: "nothing comes unasked",
    26: "nothing comes unasked; garbage as an answer: tests/wires/test_http_answers.py, trips/test_http_texts.py",
    27: "nothing comes unasked; oversized answers: tests/wires/test_http_answers.py",
    28: "it cannot observe; coming back is shown by 18",
    31: "its devices do not register",
    35: "an answer belongs to the request on whose connection it comes, which ends with the hub",
}
# The same with the core above, which waits for a registration first; see tests/trips/test_http_adapter.py instead.
_REGISTERS = (
    "test_19_a_restarted_device_registers_anew_and_its_observations_are_resumed",
    "test_20_a_device_that_stays_away_expires_once",
    "test_20_calls_go_from_the_door_to_the_device_in_order",
    "test_20_a_call_waits_for_a_sleeping_device",
    "test_20_a_lost_connection_leaves_a_call_unknown_and_a_late_answer_ends_it",
)
_NO_JOBS: dict[int | str, str] = dict.fromkeys((33, 34), "plain devices hold no jobs")
_JOBS: dict[int | str, str] = dict.fromkeys((17, 18), "a lost submit is unknown at once: tests/wires/test_http_lost.py")


class Rig:
    """An adapter with servers for one case of the suite."""

    deduplicates = False
    key: str | None = None
    secrets: tuple[str, ...] = (PASSWORD,)

    def __init__(self, devices: int, inflight: int, variant: str) -> None:
        declined = {**_CANNOT, **(_JOBS if variant == "jobs" else _NO_JOBS)}
        declined |= {name: "its devices do not register" for name in _REGISTERS}
        self.cannot: Mapping[int | str, str] = MappingProxyType(declined)
        self._servers = [Server(f"rig-{number}") for number in range(devices)]
        self._inflight = inflight
        self._variant = variant
        self._used = 0
        self.adapter = self._make()

    async def open(self, ctx: AdapterContext) -> None:
        """Start the servers and the adapter."""
        for server in self._servers:
            server.clock = ctx.clock
        await self.adapter.start(ctx)

    async def close(self) -> None:
        """Stop the adapter, then the servers."""
        await self.adapter.stop(1.0)
        for server in self._servers:
            await server.close()

    async def serve(self, clock: Clock) -> None:
        """Serve an adapter that something else started: there is nothing to serve."""

    async def unserve(self) -> None:
        """The opposite of `serve`."""

    async def restart_hub(self, ctx: AdapterContext) -> None:
        """Another process of the hub: a new adapter that remembers nothing."""
        await self.adapter.stop(1.0)
        self.adapter = self._make()
        await self.adapter.start(ctx)

    async def device(self) -> DeviceDouble:
        """A device that nobody used yet."""
        server = self._servers[self._used]
        self._used += 1
        await server.open()
        return DeviceDouble(self, server)

    async def degrade(self, ctx: AdapterContext, call: Callable[[], DeviceRequest]) -> None:
        """Bring the adapter into a state in which it works only in part: one of its upstreams is away."""
        await self._servers[0].close()
        try:
            await self.adapter.call(call())
        except Exception as error:
            assert getattr(error, "code", "") in ("UNREACHABLE", "NOT_CONNECTED"), error

    async def interrupt(self) -> None:
        """Cut all devices off at once."""
        for server in self._servers:
            await server.close()

    async def restore(self) -> None:
        """Let devices come back."""
        for server in self._servers[: self._used]:
            await server.open()

    def _make(self) -> HttpAdapter:
        upstreams = tuple(
            UpstreamSettings(server.name, URL(server.url), user="hub", password=PASSWORD) for server in self._servers
        )
        jobs = self._variant == "jobs"
        shape = read_shape("location", {"state": ""}) if jobs else None
        return HttpAdapter(
            HttpSettings(upstreams, shape, inflight=self._inflight, failures=1, call_id=CALL_ID)
        )


def create_rig(folder: Path, *, devices: int = 64, inflight: int = 1, variant: str = "plain") -> Rig:
    """A rig; it keeps no files."""
    return Rig(devices, inflight, variant)
