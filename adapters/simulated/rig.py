"""The rig of the simulated adapter: its devices as doubles that the contract suite can hold up and look into."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from adapters.simulated.adapter import SimulatedAdapter
from adapters.simulated.behaviour import AT_ONCE, Behaviour, Manner
from adapters.simulated.device import Held, SimulatedDevice
from adapters.simulated.exchange import Token
from adapters.simulated.model import Model
from adapters.simulated.point import Point
from adapters.simulated.settings import DeviceSettings, SimulatedSettings
from hub.ports.adapter import AdapterContext, DeviceRequest, DeviceResponse, ObserveSpec
from hub.ports.clock import Clock

OBSERVABLE = "/observable"
PLAIN = "/plain"

_MODEL = Model(
    "rig",
    points=MappingProxyType({OBSERVABLE: Point(OBSERVABLE, value=b"0", observable=True), PLAIN: Point(PLAIN)}),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that reached the device and that it was told not to answer by itself."""

    double: DeviceDouble
    request: DeviceRequest

    @property
    def call_id(self) -> str:
        """Which call it is."""
        return self.request.call_id

    async def answer(self, payload: bytes = b"", status: int = 200, sender: DeviceDouble | None = None) -> None:
        """Answer it, as `sender` if another device is to do so."""
        token = Token(self.request.call_id, self.request.attempt)
        response = DeviceResponse(status, payload, "text/plain", native={"code": status})
        self.double.rig.adapter.link.answer((sender or self.double).address, token, response)


class DeviceDouble:
    """One device of the rig."""

    def __init__(self, rig: Rig, device: SimulatedDevice) -> None:
        self.rig = rig
        self.address = device.address
        self.identity = device.address
        self.executed: list[str] = []
        self.received = 0
        self._device = device
        self._asked: asyncio.Queue[Asked] = asyncio.Queue()
        self._news = asyncio.Event()
        self._answers = True
        device.tap = self._tapped

    def hold(self) -> None:
        """Answer nothing by itself from now on."""
        self._answers = False
        self._behave(Behaviour(Manner.NEVER))

    def go(self) -> None:
        """Answer with what it is given, at once."""
        self._answers = True
        self._behave(AT_ONCE)

    def take_jobs(self, length: timedelta) -> None:
        """Take every call as a job of that length."""
        self._behave(Behaviour(Manner.JOB, hold=length))

    async def asked(self) -> Asked:
        """The next call that reached the device while it holds."""
        async with asyncio.timeout(5):
            return await self._asked.get()

    async def forge(self) -> None:
        """Answer calls that were never asked."""
        for call_id in ("never-asked", ""):
            self.rig.adapter.link.answer(self.address, Token(call_id, 1), DeviceResponse(200, b"forged"))

    async def drop(self) -> None:
        """Be gone without a word."""
        self.rig.adapter.link.disconnect(self._device, None)

    async def reconnect(self) -> None:
        """Be back, in the same life."""
        self.rig.adapter.link.reconnect(self._device)

    async def restart(self) -> None:
        """Begin another life."""
        self.rig.adapter.link.restart(self._device)

    async def update(self) -> None:
        """Renew the registration."""
        self.rig.adapter.link.disconnect(self._device, None)
        self.rig.adapter.link.reconnect(self._device)

    async def leave(self) -> None:
        """Sign off."""
        self.rig.adapter.link.leave(self._device)

    async def sleep(self) -> None:
        """Fall asleep."""
        self.rig.adapter.link.sleep(self._device)

    async def wake(self) -> None:
        """Wake up."""
        self.rig.adapter.link.wake(self._device)

    async def notify(self, values: list[bytes]) -> None:
        """Let the observable point take these values, one after the other."""
        point = _MODEL.points[OBSERVABLE]
        for value in values:
            self._device.held[OBSERVABLE] = Held(value, "text/plain", 0)
            self.rig.adapter.link.changed(self._device, point)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once a condition on what the device got holds."""
        async with asyncio.timeout(5):
            while not condition():
                self._news.clear()
                await self._news.wait()

    @property
    def observed(self) -> int:
        """How many observations it keeps."""
        return len(self._device.observations)

    def _behave(self, behaviour: Behaviour) -> None:
        self._device.model = replace(_MODEL, behaviour=behaviour)

    def _tapped(self, request: DeviceRequest | ObserveSpec) -> None:
        self._news.set()
        if isinstance(request, ObserveSpec):
            return
        self.executed.append(request.call_id)
        self.received += 1
        if not self._answers:
            self._asked.put_nowait(Asked(self, request))


class Rig:
    """An adapter with devices for one case of the suite."""

    cannot: Mapping[int, str] = MappingProxyType(
        {
            25: "its devices wait for no acknowledgement",
            26: "it has no wire that garbage could come in by",
            27: "it has no wire that oversized input could come in by",
            35: "its devices live in the hub's process and forget with it whom they owe an answer",
        }
    )
    deduplicates = False
    key: str | None = None
    secrets: tuple[str, ...] = ()

    def __init__(self, folder: Path, devices: int = 64, inflight: int = 1) -> None:
        self._folder = folder
        self._inflight = inflight
        self._devices = devices
        self._used: Counter[str] = Counter()
        self.adapter = self._make()

    async def open(self, ctx: AdapterContext) -> None:
        """Start the adapter."""
        await self.adapter.start(ctx)

    async def close(self) -> None:
        """Stop the adapter."""
        await self.adapter.stop(1.0)

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
        """A registered device that nobody used yet."""
        number = self._used["devices"]
        self._used["devices"] += 1
        return DeviceDouble(self, self.adapter.device(f"rig-{number}"))

    async def degrade(self, ctx: AdapterContext, call: Callable[[], DeviceRequest]) -> None:
        """Bring the adapter into a state in which it works only in part: its execution log takes nothing more."""
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, self.adapter.log_file)
        os.close(full)
        try:
            await self.adapter.call(call())
        except Exception as error:
            assert getattr(error, "code", "") == "UNREACHABLE", error

    async def interrupt(self) -> None:
        """Cut all devices off at once."""
        for number in range(self._used["devices"]):
            self.adapter.link.disconnect(self.adapter.device(f"rig-{number}"), None)

    async def restore(self) -> None:
        """Let devices come back."""

    def _make(self) -> SimulatedAdapter:
        devices = tuple(DeviceSettings(f"rig-{number}", _MODEL) for number in range(self._devices))
        return SimulatedAdapter(
            SimulatedSettings(devices, self._inflight, execution_log=self._folder / "executions.jsonl")
        )


def create_rig(folder: Path, *, devices: int = 64, inflight: int = 1, variant: str = "") -> Rig:
    """A rig that keeps its files in `folder`."""
    return Rig(folder, devices, inflight)
