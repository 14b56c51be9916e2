"""The rig of the LwM2M adapter: the adapter with device doubles on a network in memory or on real sockets."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from adapters.lwm2m.adapter import LwM2MAdapter
from adapters.lwm2m.codec import Message, encode
from adapters.lwm2m.double import Asked, DeviceDouble
from adapters.lwm2m.endpoint import Endpoint, UdpEndpoint
from adapters.lwm2m.exchange import Peer
from adapters.lwm2m.net import MemoryEndpoint, Net
from adapters.lwm2m.option import OBSERVE, URI_PATH, URI_QUERY
from adapters.lwm2m.settings import LwM2MSettings
from hub.ports.adapter import AdapterContext, DeviceRequest
from hub.ports.clock import Clock

VARIANTS = ("memory", "udp")
_PORT = 5683

__all__ = ["Asked", "DeviceDouble", "Rig", "SleepyDouble", "VARIANTS", "create_rig"]


class SleepyDouble(DeviceDouble):
    """A double that can sleep: it says that it will, and is silent from then on."""

    async def sleep(self) -> None:
        """Fall asleep: in queue mode, by silence."""
        await self.update("b=UQ")
        advance: Callable[[float], None] = self._clock.advance  # type: ignore[attr-defined]
        advance(95)

    async def wake(self) -> None:
        """Wake up."""
        self.ping()

    async def gone(self) -> None:
        """Nobody hangs up on datagrams."""


class Rig:
    """An adapter with devices for one case of the suite."""

    cannot: Mapping[int, str] = MappingProxyType(
        {
            17: "datagrams: nobody tells that a device is gone; case 7 is what happens then",
            27: "a datagram has no size that could be too large; uploads in blocks do, in the adapter's own tests",
            28: "there is no connection that could break",
            32: "INVOKE takes a resource at three levels only; the adapter's own tests try each method",
            33: "its devices hold no jobs",
            34: "its devices hold no jobs",
            35: "a token of eight bytes cannot name a call to a process that never gave it out",
        }
    )
    deduplicates = False
    key: str | None = None
    secrets: tuple[str, ...] = ()

    def __init__(self, devices: int = 64, inflight: int = 1, variant: str = "memory") -> None:
        self._variant = variant
        self._devices: list[DeviceDouble] = []
        self._settings = LwM2MSettings(
            port=0, open=True, inflight=inflight, devices=devices, registrations_per_device=1_000_000,
            registration_burst=1_000_000,
        )
        self._clock: Clock | None = None
        self._lifetime = 3600
        self.net = Net()
        self.adapter = self._make()

    async def open(self, ctx: AdapterContext) -> None:
        """Start the adapter."""
        await self.serve(ctx.clock)
        self._lifetime = 90 * 86_400  # no case without the core lasts longer, and nobody updates meanwhile
        await self.adapter.start(ctx)

    async def close(self) -> None:
        """Stop the adapter."""
        await self.adapter.stop(1.0)
        await self.unserve()

    async def serve(self, clock: Clock) -> None:
        """Let devices be made from now on."""
        self._clock = self.net.clock = clock

    async def unserve(self) -> None:
        """Take the devices away."""
        for device in self._devices:
            device.close()
        self._devices.clear()

    async def restart_hub(self, ctx: AdapterContext) -> None:
        """Another process of the hub."""
        await self.adapter.stop(1.0)
        self.adapter = self._make()
        await self.adapter.start(ctx)

    def new_end(self) -> Endpoint:
        """An end for a device: of the network in memory, or a socket."""
        if self._variant == "udp":
            return UdpEndpoint("127.0.0.1", 0, receive_buffer=65_536)
        return MemoryEndpoint(self.net)

    async def device(self, **more: Any) -> SleepyDouble:
        """A registered device that nobody used yet."""
        assert self._clock is not None
        more.setdefault("lifetime", self._lifetime)
        double = SleepyDouble(
            f"rig-{len(self._devices)}", self.new_end(), self.hub, self._clock, self._call_of, **more
        )
        self._devices.append(double)
        await double.register()
        return double

    @property
    def hub(self) -> Peer:
        """Where the adapter is."""
        if self._variant == "udp":
            return ("127.0.0.1", self.adapter.health()["port"])
        return ("192.0.2.1", _PORT)

    def garbage(self, seed: random.Random) -> tuple[bytes, bool]:
        """A datagram that is nothing, or nearly something."""
        if seed.random() < 0.3:
            return seed.randbytes(seed.randrange(64)), False
        code = seed.choice((0, 1, 2, 3, 4, 5, 7, 0x41, 0x44, 0x45, 0x5F, 0x84, 0xA0, 0x20, 0xFF))
        options = [(URI_PATH, seed.choice((b"rd", b"dp", b"x", seed.randbytes(4))))]
        options += [(seed.choice((OBSERVE, URI_QUERY, 23, 27, 12, 60, 2049)), seed.randbytes(seed.randrange(4)))]
        message = Message(
            seed.randrange(4), code, seed.randrange(65_536), seed.randbytes(seed.randrange(9)), options,
            seed.randbytes(seed.randrange(20)),
        )
        data = bytearray(encode(message))
        for _ in range(seed.randrange(3)):
            data[seed.randrange(len(data))] = seed.randrange(256)
        return bytes(data[: seed.randrange(1, len(data) + 1)]), False

    async def degrade(self, ctx: AdapterContext, call: Callable[[], DeviceRequest]) -> None:
        """Bring the adapter into a state in which it works only in part: it has no room for further devices."""
        while self.adapter.health()["state"] == "up":
            await self.device()

    async def interrupt(self) -> None:
        """Silence all devices."""
        for device in self._devices:
            device.close()

    async def restore(self) -> None:
        """Let devices come back."""

    def _make(self) -> LwM2MAdapter:
        return LwM2MAdapter(self._settings, MemoryEndpoint(self.net, _PORT) if self._variant == "memory" else None)

    def _call_of(self, token: bytes) -> str:
        return self.adapter.call_of(token) or token.hex()


def create_rig(folder: Path, *, devices: int = 64, inflight: int = 1, variant: str = "memory") -> Rig:
    """A rig; it keeps no files."""
    return Rig(devices, inflight, variant)

