"""Cloud commands as their users give them: a hub with simulated EnOS devices, some of them away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from adapters.simulated.adapter import SimulatedAdapter
from adapters.simulated.device import SimulatedDevice
from hub.model.device import Device, Registration
from hub.model.event import Event
from hub.model.ids import CallId
from tests.clock import ManualClock
from tests.trips.enos_rig import NAMES, ORG, WORLD, Served, serving
from tests.trips.front_rig import PATIENCE

PATH = "/connect-service/v2.1/commands"
# `absent` never came. `bulb` has no words for services.
MORE = """
[enos.orgs.second]
account = "acme"
application = "shop"
[devices.absent]
account = "acme"
adapter = "simulated"
address = "absent"
aliases = { product-device = "pkPump/absent", asset = "asset-absent" }
[[adapters.simulated.devices]]
address = "bulb"
model = "lwm2m"
[devices.bulb]
account = "acme"
adapter = "simulated"
address = "bulb"
"""


class Commanded:
    """The hub, asked for commands."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.hub = served.hub
        self.clock = served.clock
        self.executed: list[Any] = []
        adapter = self.hub.adapters["simulated"]
        assert isinstance(adapter, SimulatedAdapter)
        self.adapter = adapter

    async def __call__(
        self, action: str | None, body: Any = None, *, device: str | None = "quick", method: str = "POST",
        headers: dict[str, str] | None = None, key: str | None = None, org: str | None = ORG, **query: Any,
    ) -> Any:
        """One request; its answer."""
        named = {} if device is None else {"productKey": "pkPump", "deviceKey": device}
        given = {"action": action, **named, **query}
        path = f"{PATH}?{urlencode({name: value for name, value in given.items() if value is not None})}"
        more: dict[str, Any] = {} if key is None else {"key": key}
        return await self.served.ask(method, path, body, headers=headers, org=org, **more)

    async def invoke(self, service: str = "add", given: Any = None, **more: Any) -> Any:
        """An invokeService; its answer."""
        body = {"inputData": {"a": 1, "b": 2} if given is None else given}
        return await self("invokeService", body, serviceId=service, **more)

    async def kept(self, service: str = "add", **more: Any) -> str:
        """A command that is taken on and waits; its id."""
        answer = await self.invoke(service, **{"pendingTtl": 600, **more})
        assert answer["code"] == 0 and set(answer["data"]) == {"commandId"}, answer
        id: str = answer["data"]["commandId"]
        return id

    async def get(self, id: str, **more: Any) -> Any:
        """A command as `get` shows it."""
        answer = await self("get", device=None, method="GET", commandId=id, **more)
        assert answer["code"] == 0, answer
        return answer["data"]

    async def state(self, id: str) -> int:
        """Where a command stands."""
        state: int = (await self.get(id))["state"]
        return state

    async def ended(self, id: str) -> Any:
        """A command once it has ended."""
        async with asyncio.timeout(PATIENCE):
            await self.hub.calls.wait_end(CallId(id), self.clock.monotonic() + 1e9)
        return await self.get(id)

    async def issued(self, id: str) -> None:
        """Return once a command is at its device."""
        async with asyncio.timeout(PATIENCE):
            while await self.state(id) != 4:
                pass

    async def accepted(self, count: int) -> None:
        """Return once the hub has taken on so many calls."""
        async with asyncio.timeout(PATIENCE):
            while self.hub.stats.accepted < count:
                await self.hub.engine.journal.park([CallId("nobody")])

    async def registered(self) -> None:
        """Return once the devices that are there have said so."""
        async with asyncio.timeout(PATIENCE):
            for name in (*NAMES, "bulb"):
                while self.known(name).registration is not Registration.REGISTERED:
                    await self.hub.engine.journal.park([CallId("nobody")])

    def known(self, name: str) -> Device:
        """What the hub knows of a device."""
        found = self.hub.directory.device("acme", name)
        assert found is not None
        return found

    async def search(self, expression: str | None = None, *, device: str = "quick", **body: Any) -> Any:
        """A search; its answer."""
        sent = {**({} if expression is None else {"expression": expression}), **body}
        answer = await self("search", sent, device=device)
        assert answer["code"] == 0, answer
        return answer

    def device(self, name: str) -> SimulatedDevice:
        """A device itself; what it executes is listed from now on."""
        found = self.adapter.device(name)
        found.tap = lambda request: self.executed.append(getattr(request, "call_id", None))
        return found

    def away(self, name: str) -> SimulatedDevice:
        """Let a device leave."""
        found = self.device(name)
        self.adapter.link.disconnect(found, None)
        return found

    def back(self, device: SimulatedDevice) -> None:
        """Let a device come back."""
        self.adapter.link.reconnect(device)

    async def told(self, id: str) -> Event:
        """The one completion of a command on the default channel."""
        events = [event for event in await self.served.events("shop/default") if event.body.get("call_id") == id]
        assert len(events) == 1, events
        return events[0]


@asynccontextmanager
async def commanding(
    folder: Path, clock: ManualClock | None = None, *, more: str = "", settled: bool = True, **limits: Any
) -> AsyncIterator[Commanded]:
    """A hub on the folder's data; leave it and enter it again for a restart. `settled`: devices seen before had their
    time to come back."""
    # More than one call at a time, so that it is not the adapter who lets commands wait for each other.
    world = WORLD.replace('kind = "simulated"\n', 'kind = "simulated"\ninflight = 16\n')
    async with serving(folder, clock, world=world + MORE + more, **limits) as served:
        commands = Commanded(served)
        await commands.registered()
        if settled:
            served.clock.advance(91)
        yield commands
