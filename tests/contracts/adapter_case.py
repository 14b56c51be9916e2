"""What every case of the adapter contract starts from: a request, a call under way, and a look at the error."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from hub.ports.adapter import (
    Adapter,
    AdapterContext,
    CallError,
    Delivery,
    DeviceRequest,
    DeviceResponse,
    Observation,
    ObserveSpec,
)
from tests.contracts.context import ContextDouble

_numbers = itertools.count()
PATIENCE = 5.0
OBSERVABLE = "/observable"
PLAIN = "/plain"


class Asked(Protocol):
    """A call that a device double holds."""

    @property
    def call_id(self) -> str: ...

    async def answer(self, payload: bytes = b"", status: int = 200, sender: Any = None) -> None: ...


class Double(Protocol):
    """A device of a rig."""

    address: str
    identity: str
    executed: list[str]
    received: int

    @property
    def observed(self) -> int: ...

    def hold(self) -> None: ...
    def go(self) -> None: ...
    async def asked(self) -> Asked: ...
    async def forge(self) -> None: ...
    async def drop(self) -> None: ...
    async def reconnect(self) -> None: ...
    async def restart(self) -> None: ...
    async def update(self) -> None: ...
    async def leave(self) -> None: ...
    async def sleep(self) -> None: ...
    async def wake(self) -> None: ...
    async def notify(self, values: list[bytes]) -> None: ...
    async def until(self, condition: Callable[[], bool]) -> None: ...


class Rig(Protocol):
    """What `adapters/<name>/rig.py` offers by `create_rig(folder, *, devices, inflight, variant)`.

    `cannot` declares the cases that make no sense for the adapter, by number or by the name of one test, with the
    reason; nothing else is skipped. `target`, if there is one, is what a POST goes to.
    """

    adapter: Adapter
    cannot: Mapping[int | str, str]
    deduplicates: bool
    key: str | None
    secrets: tuple[str, ...]

    async def open(self, ctx: AdapterContext) -> None: ...
    async def close(self) -> None: ...
    async def serve(self, clock: Any) -> None: ...
    async def unserve(self) -> None: ...
    async def restart_hub(self, ctx: AdapterContext) -> None: ...
    async def device(self) -> Any: ...
    async def degrade(self, ctx: AdapterContext, call: Any) -> None: ...
    async def interrupt(self) -> None: ...
    async def restore(self) -> None: ...


class Case:
    """One case: the rig, the context that its adapter got, and the clock that only the case moves."""

    def __init__(self, rig: Any, ctx: ContextDouble, folder: Path) -> None:
        self.rig = rig
        self.ctx = ctx
        self.folder = folder
        self.clock = ctx.clock

    @property
    def adapter(self) -> Any:
        return self.rig.adapter

    def request(
        self, device: Double | str, method: str = "POST", target: str | None = None, **more: Any
    ) -> DeviceRequest:
        """A request of a call of its own, with half a minute to go."""
        if target is None:
            target = getattr(self.rig, "target", "/x")
        more.setdefault("call_id", f"0197f000-0000-7000-8000-{next(_numbers):012x}")
        more.setdefault("deadline", self.clock.monotonic() + 30)
        address = device if isinstance(device, str) else device.address
        return DeviceRequest(device=address, method=method, target=target, **more)

    async def call(self, device: Double | str, *args: Any, **more: Any) -> DeviceResponse:
        """One call, answered within five real seconds or the case fails."""
        return await within(self.adapter.call(self.request(device, *args, **more)))

    def begin(self, request: DeviceRequest) -> asyncio.Task[DeviceResponse]:
        """A call that goes on while the case does something else."""
        return asyncio.get_running_loop().create_task(self.adapter.call(request))

    async def holding(self, double: Double, **more: Any) -> tuple[DeviceRequest, asyncio.Task[DeviceResponse], Asked]:
        """A call that the device got and does not answer."""
        double.hold()
        request = self.request(double, **more)
        task = self.begin(request)
        asked = await double.asked()
        assert asked.call_id == request.call_id
        return request, task, asked

    async def observe(self, double: Double, target: str = OBSERVABLE) -> tuple[DeviceResponse, Observation]:
        """An observation of a target."""
        spec = ObserveSpec(double.address, target)
        return await within(self.adapter.observe(spec, self.clock.monotonic() + 30))

    async def barrier(self, double: Double) -> None:
        """A whole round trip with the device: what it sent or was sent before has been dealt with."""
        double.go()
        assert (await self.call(double, payload=b"barrier")).payload == b"barrier"


def unless_it_cannot(request: pytest.FixtureRequest, rig: Any) -> None:
    """Skip a test that the rig declares by its name."""
    name = getattr(request.function, "__name__", "")
    if name in rig.cannot:
        pytest.skip(f"{name[5:7]}: {rig.cannot[name]}")


async def within(awaitable: Awaitable[Any], seconds: float = PATIENCE) -> Any:
    """The result, or a failure after real seconds: no case hangs."""
    async with asyncio.timeout(seconds):
        return await awaitable


async def refused(awaitable: Awaitable[Any], code: str, delivery: Delivery) -> CallError:
    """The error of a call that must fail in this way."""
    with pytest.raises(CallError) as caught:
        await within(awaitable)
    assert (caught.value.code, caught.value.delivery) == (code, delivery)
    return caught.value
