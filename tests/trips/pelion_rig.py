"""Devices that register, can be observed and say no, on the front rig's scripted adapter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hub.model.device import Device, Resource
from hub.model.event import Event, EventKind, Position
from hub.ports.adapter import DeviceEvent, DeviceResponse, ObserveSpec
from hub.ports.adapter import EventKind as Heard
from tests.core_rig import ScriptedAdapter
from tests.trips.front_rig import PATIENCE, Front, running_front

LINKS = (
    Resource("/3303/0/5700", resource_type="temp", content_type="text/plain", observable=True),
    Resource("/3303/0/5701", content_type="text/plain", observable=True),
    Resource("/3304/0/5700", observable=True),
    Resource("/3303/0/5605"),
)


class Observation:
    """One observation that the hub asked for."""

    def __init__(self, observed: Observed, spec: ObserveSpec) -> None:
        self.spec = spec
        self.active = True
        self._observed = observed

    async def cancel(self) -> None:
        self.active = False
        self._observed.news.set()


class Observed:
    """What the devices of a scripted adapter do when they are to be observed."""

    front: Front

    def __init__(self) -> None:
        self.asked: list[Observation] = []
        self.news = asyncio.Event()
        self.answer: Callable[[ObserveSpec], DeviceResponse] = lambda spec: DeviceResponse(
            200, b"first " + spec.target.encode(), "text/plain"
        )

    async def observe(self, spec: ObserveSpec, deadline: float) -> tuple[DeviceResponse, Observation]:
        """The adapter is asked for an observation."""
        self.news.set()
        response = self.answer(spec)
        observation = Observation(self, spec)
        self.asked.append(observation)
        return response, observation

    @property
    def running(self) -> list[str]:
        """The targets that are observed now, in order."""
        return sorted(observation.spec.target for observation in self.asked if observation.active)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once a condition on what the devices were asked holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.news.clear()
                await self.news.wait()

    async def heard(self, kind: Heard, device: str = "lamp", **event: Any) -> None:
        """A device reports; returns once the hub has that on disk."""
        ctx = self.front.core.adapter.ctx
        assert ctx is not None
        attrs = event.pop("attrs", {})
        await ctx.accept(DeviceEvent(kind, device, ctx.clock.monotonic(), attrs=attrs, **event))

    async def register(self, device: str = "lamp", links: Sequence[Resource] = LINKS, **attrs: Any) -> None:
        """A device begins another life."""
        for observation in self.asked:
            if observation.spec.device == device:
                observation.active = False
        await self.heard(Heard.REGISTERED, device, attrs={"links": links, **attrs})

    async def value(self, payload: bytes, target: str = "/3303/0/5700", **attrs: Any) -> None:
        """A device tells a value."""
        await self.heard(
            Heard.NOTIFICATION,
            target=target,
            payload=payload,
            content_type="text/plain",
            attrs={"observed": True, **attrs},
        )

    async def told(
        self, kind: EventKind, count: int = 1, *, device: str = "lamp", application: str = "shop"
    ) -> list[Event]:
        """The events of a kind about a device on an application's channel, once there are so many."""
        hub = self.front.core.hub
        channel = await hub.channels.open(f"{application}/default", "acme" if application != "stall" else "other")
        async with asyncio.timeout(PATIENCE):
            while True:
                head = channel.head
                page = await hub.channels.read(channel, Position(channel.epoch, 0), 10_000)
                found = [event for event in page.events if event.kind is kind and event.body["device"] == device]
                if len(found) >= count:
                    return found
                await hub.channels.wait(channel, head, 1e12)

    async def values(self, count: int = 1, application: str = "shop") -> list[tuple[str, bytes]]:
        """The values told to an application, once there are so many."""
        events = await self.told(EventKind.NOTIFICATION, count, application=application)
        return [(event.body["path"], event.body["payload"]) for event in events]

    def device(self, id: str = "lamp") -> Device:
        """A device as the directory knows it."""
        device = self.front.core.hub.directory.device("acme", id)
        assert device is not None
        return device


@asynccontextmanager
async def running_observed(
    folder: Path, *, again: bool = False, **capabilities: Any
) -> AsyncIterator[tuple[Front, Observed]]:
    """A front whose device `lamp` registered with LINKS and can be observed; `again` for a hub that was restarted,
    which no device notices."""
    observed = Observed()
    with pytest.MonkeyPatch.context() as patch:
        # From the start on: the hub observes before anybody can get hold of its adapter.
        patch.setattr(ScriptedAdapter, "observe", lambda _, spec, deadline: observed.observe(spec, deadline))
        async with running_front(folder, **{"observe": "native", "no_response": True, **capabilities}) as front:
            observed.front = front
            if not again:
                await observed.register()
            yield front, observed
