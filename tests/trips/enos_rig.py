"""The EnOS front as a user has it: a hub made of a configuration, with simulated devices, on a real server."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

from hub.app import App, build
from hub.core.hub import Hub
from hub.core.ticket import Turn
from hub.model.event import Event, Position
from hub.model.ids import CallId
from hub.settings import load
from tests.clock import ManualClock
from tests.trips.front_rig import PATIENCE, Answer, served

KEY = "ak_enos_of_the_shop"
STALL_KEY = "ak_enos_of_the_stall"
OTHER_KEY = "ak_enos_of_another"
READER_KEY = "ak_enos_listens_only"
CHANNEL = "DATASVC.CONTROL.pumps"
ORG = "o1"
SECRET = b"sec-1"

# Devices p/<name> of the product pkPump; `lamp` is no EnOS device, `foreign` is another account's.
NAMES = ("quick", "slow", "never", "refuses", "gone", "queued")
WORLD = f"""
[accounts.acme]
[accounts.other]
[applications.shop]
account = "acme"
[applications.stall]
account = "acme"
[applications.elsewhere]
account = "other"
[keys.shop]
application = "shop"
scopes = ["admin"]
key = "{KEY}"
[keys.stall]
application = "stall"
scopes = ["call", "listen"]
key = "{STALL_KEY}"
[keys.reader]
application = "shop"
scopes = ["listen"]
key = "{READER_KEY}"
[keys.other]
application = "elsewhere"
scopes = ["admin"]
key = "{OTHER_KEY}"
[callbacks]
allow = ["127.0.0.0/8"]
[enos.orgs.{ORG}]
account = "acme"
application = "shop"
channels = ["{CHANNEL}"]
[enos.orgs.open]
account = "acme"
application = "shop"
opaque_from = ["127.0.0.0/8"]
[enos.orgs.far]
account = "acme"
application = "shop"
opaque_from = ["10.0.0.0/8"]
[enos.orgs.foreign]
account = "other"
application = "elsewhere"
[enos.apps.ak-1]
application = "shop"
secret = "sec-1"
[products.pkPump]
account = "acme"
[products.pkPump.services.setSpeed]
name = "Set the speed"
input = {{ rpm = "number" }}
[products.pkPump.services.getSpeed]
idempotent = true
[products.pkPump.services.add]
[adapters.simulated]
kind = "simulated"
account = "acme"
[[adapters.simulated.devices]]
address = "quick"
model = "enos"
[[adapters.simulated.devices]]
address = "slow"
model = "enos"
delay = 2
[[adapters.simulated.devices]]
address = "never"
model = "enos"
behaviour = "never"
[[adapters.simulated.devices]]
address = "queued"
model = "enos"
behaviour = "never"
[[adapters.simulated.devices]]
address = "refuses"
model = "enos"
status = 500
[[adapters.simulated.devices]]
address = "gone"
model = "enos"
behaviour = "disconnect"
away = 100000
[[adapters.simulated.devices]]
address = "array"
model = "array"
[[adapters.simulated.devices]]
address = "lamp"
model = "echo"
[devices.lamp]
account = "acme"
adapter = "simulated"
address = "lamp"
[devices.array]
account = "acme"
adapter = "simulated"
address = "array"
type = "array"
[devices.foreign]
account = "other"
adapter = "simulated"
aliases = {{ product-device = "pkOther/foreign", asset = "foreign-asset" }}
""" + "".join(
    f"""
[devices.{name}]
account = "acme"
adapter = "simulated"
address = "{name}"
aliases = {{ product-device = "pkPump/{name}", asset = "asset-{name}" }}
"""
    for name in NAMES
)


def call(device: str = "quick", service: str = "setSpeed", **members: Any) -> dict[str, Any]:
    """A call as a client writes it."""
    return {
        "requestId": "r-1",
        "orgId": None,
        "callType": "ASYNC",
        "controlChannelId": CHANNEL,
        "productKey": "pkPump",
        "deviceKey": device,
        "serviceId": service,
        "callbackUrl": None,
        "inputData": {"rpm": 900},
        "timeout": 5000,
        **members,
    }


class Served:
    """A served hub."""

    def __init__(self, app: App, clock: ManualClock, port: int, http: aiohttp.ClientSession) -> None:
        self.app = app
        self.hub: Hub = app.hub
        self.clock = clock
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.http = http

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = KEY,
        headers: Mapping[str, str] | None = None,
        org: str | None = ORG,
    ) -> Any:
        """One request; the decoded answer, which is always a 200 with JSON."""
        answer = await self.sent(method, path, body, key=key, headers=headers, org=org)
        assert answer.status == 200, answer
        return answer.json

    async def sent(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = KEY,
        headers: Mapping[str, str] | None = None,
        org: str | None = ORG,
    ) -> Answer:
        """One request as it is answered."""
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key}")
        if org is not None:
            path += ("&" if "?" in path else "?") + f"orgId={org}"
        if path.startswith("/v1"):
            sent.setdefault("Content-Type", "application/json")
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        async with asyncio.timeout(PATIENCE), self.http.request(method, self.url + path, headers=sent, data=data) as it:
            return Answer(it.status, it.headers, await it.read())

    async def invoke(self, *calls: Any, **options: Any) -> Any:
        """A multiInvoke; its replies."""
        answer = await self.ask("PUT", "/dataService/devices/multiInvoke", {"data": list(calls)}, **options)
        assert (answer["status"], answer["msg"], answer["submsg"]) == (0, "Success", None), answer
        return answer["data"]

    @asynccontextmanager
    async def stream(
        self,
        channel: str = CHANNEL,
        *,
        query: str = "",
        key: str | None = KEY,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[ClientConnection]:
        """A control channel's own socket."""
        sent = dict(headers or {})
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        url = f"ws://127.0.0.1:{self.port}/dataService/controlChannels/{channel}/stream?orgId={ORG}{query}"
        async with connect(url, additional_headers=sent, proxy=None, compression=None, open_timeout=PATIENCE) as opened:
            yield opened

    async def events(self, name: str) -> list[Event]:
        """All that a channel holds."""
        channel = await self.hub.channels.open(name, "acme")
        page = await self.hub.channels.read(channel, Position(channel.epoch, 0), 10_000)
        return list(page.events)

    async def told(self, count: int, name: str = f"shop/enos.{CHANNEL}") -> list[Event]:
        """The channel's events once there are so many."""
        channel = await self.hub.channels.open(name, "acme")
        async with asyncio.timeout(PATIENCE):
            while channel.head < count:
                await self.hub.channels.wait(channel, channel.head, self.clock.monotonic() + 1e9)
        return await self.events(name)

    async def lost(self) -> None:
        """Call the device `gone`, which goes away instead of answering; return when the hub knows."""
        await self.invoke(call("gone"))
        await self.until("sent")
        self.clock.advance(0)
        async with asyncio.timeout(PATIENCE):
            while not any(ticket.turn is Turn.LINGERING for ticket in self.hub.dispatch.tickets.values()):
                await self.hub.engine.journal.park([CallId("nobody")])

    async def until(self, stage: str, count: int = 1) -> None:
        """Return once so many open calls are at a stage of the journal."""
        async with asyncio.timeout(PATIENCE):
            while True:
                pages = [page async for page in self.hub.engine.journal.open_calls()]
                if sum(state.stage.value == stage for page in pages for state in page) >= count:
                    return


async def read(socket: ClientConnection) -> Any:
    """The next message of a socket, decoded."""
    async with asyncio.timeout(PATIENCE):
        return json.loads(await socket.recv())


@asynccontextmanager
async def serving(
    folder: Path, clock: ManualClock | None = None, *, world: str = WORLD, **limits: Any
) -> AsyncIterator[Served]:
    """A hub on the folder's data; leave it and enter it again for a restart."""
    clock = clock or ManualClock()
    flags = {"storage": {"data_dir": str(folder / "data")}, "limits": limits}
    app = build(load(None, {}, flags, text=world), {}, clock)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    async with app.running(), served(app.asgi, listener, app.limits), aiohttp.ClientSession() as http:
        yield Served(app, clock, listener.getsockname()[1], http)
        app.listening.openings.drain()
        app.hub.calls.wake_waiters()
