"""The PowerStore front as a user has it: a hub made of a configuration, with simulated arrays, on a real server."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from hub.app import App, build
from hub.core.hub import Hub
from hub.model.event import Event, Position
from hub.model.ids import CallId
from hub.model.job import JobState
from hub.settings import load
from tests.clock import ManualClock
from tests.trips.front_rig import PATIENCE, Answer, served

PASSWORD = "correct horse battery"
KEY = "ak_powerstore_of_the_shop"
STALL_KEY = "ak_powerstore_of_the_stall"
OTHER_KEY = "ak_powerstore_of_another"
READER_KEY = "ak_powerstore_reads_only"
GROUP = "volume_group/e436abe3-d78e-4d1d-a349-349368803c59"

# array-1 does things at once, array-2 takes them as jobs of 20 s, array-3 answers after 25 s.
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
[users.admin]
application = "shop"
password = "{PASSWORD}"
array = "array-1"
[users.nobodys]
application = "shop"
password = "{PASSWORD}"
[adapters.simulated]
kind = "simulated"
account = "acme"
[[adapters.simulated.devices]]
address = "array-1"
model = "array"
[[adapters.simulated.devices]]
address = "array-2"
model = "array"
behaviour = "job"
hold = 20
[[adapters.simulated.devices]]
address = "array-3"
model = "array"
delay = 25
[[adapters.simulated.devices]]
address = "lamp"
model = "echo"
[devices.array-1]
account = "acme"
adapter = "simulated"
address = "array-1"
type = "array"
[devices.array-2]
account = "acme"
adapter = "simulated"
address = "array-2"
aliases = {{ array = "basement" }}
[devices.array-3]
account = "acme"
adapter = "simulated"
address = "array-3"
type = "array"
[devices.lamp]
account = "acme"
adapter = "simulated"
address = "lamp"
[devices.theirs]
id = "array-2"
account = "other"
adapter = "simulated"
address = "theirs"
type = "array"
[powerstore.hosts]
"two.example.org" = "array-2"
"""


def basic(name: str = "admin", password: str = PASSWORD) -> dict[str, str]:
    """The header of a sign-in by name and password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


class Served:
    """A served hub; `ask` is one request of its PowerStore front."""

    def __init__(self, app: App, clock: ManualClock, port: int, http: aiohttp.ClientSession) -> None:
        self.app = app
        self.hub: Hub = app.hub
        self.clock = clock
        self.url = f"http://127.0.0.1:{port}"
        self.http = http

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        signed: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request below `/api/rest/` (or at a full path), signed in as admin unless `signed` says otherwise."""
        url = self.url + (path if path.startswith("/") else f"/api/rest/{path}")
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        sent = {**(basic() if signed is None else signed), **(headers or {})}
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        async with (
            asyncio.timeout(PATIENCE),
            self.http.request(method, _exactly(url), data=data, headers=sent, allow_redirects=False) as answer,
        ):
            return Answer(answer.status, answer.headers, await answer.read())

    async def job(self, id: str, select: str = "*") -> Any:
        """A job as the front shows it."""
        device = (await self.hub.engine.journal.get(CallId(id))).call.spec.device  # type: ignore[union-attr]
        answer = await self.ask("GET", f"/arrays/{device}/api/rest/job/{id}?select={select}")
        assert answer.status == 200, answer
        return answer.json

    async def ended(self, id: str) -> Any:
        """A job once it has ended; fails after a few real seconds."""
        async with asyncio.timeout(PATIENCE):
            await self.hub.calls.wait_end(CallId(id), self.clock.monotonic() + 1e9)
        job = await self.job(id)
        assert JobState(job["state"]).final, job
        return job

    async def until(self, id: str, stage: str) -> None:
        """Return once a job is at a stage of the journal; of one that the array holds, once it counts its time."""
        async with asyncio.timeout(PATIENCE):
            while True:
                state = await self.hub.engine.journal.get(CallId(id))
                assert state is not None
                held = stage != "waiting" or self.hub.adapters["simulated"].health()["open"]
                if state.stage.value == stage and held:
                    return

    async def found(self, query: str) -> Any:
        """What a query finds, once it finds something."""
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = await self.ask("GET", query)
                assert answer.status in (200, 206), answer
                if answer.json:
                    return answer.json

    async def submitted(self, path: str, body: Any, method: str = "PATCH") -> str:
        """The id of the job of a change that is taken."""
        answer = await self.ask(method, f"{path}?is_async=true", body)
        assert answer.status == 202, answer
        id: str = answer.json["id"]
        return id

    async def events(self, name: str = "shop/default") -> list[Event]:
        channel = await self.hub.channels.open(name, "acme")
        page = await self.hub.channels.read(channel, Position(channel.epoch, 0), 10_000)
        return list(page.events)


def _exactly(url: str) -> Any:
    # aiohttp would decode and quote the URL anew; what is tested is what is sent.
    from yarl import URL

    return URL(url, encoded=True)


@asynccontextmanager
async def serving(
    folder: Path, clock: ManualClock | None = None, *, world: str = WORLD, **limits: Any
) -> AsyncIterator[Served]:
    """A hub on the folder's data; leave it and enter it again for a restart."""
    clock = clock or ManualClock()
    flags = {"storage": {"data_dir": str(folder / "data")}, "limits": limits}
    app = build(load(None, {}, flags, text=world), {}, clock)
    # Named as TCP, so that asyncio switches Nagle's algorithm off; it costs 40 ms per answer otherwise.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    jar = aiohttp.DummyCookieJar()
    serving = served(app.asgi, listener, app.limits, app.worded)
    async with app.running(), serving, aiohttp.ClientSession(cookie_jar=jar) as http:
        yield Served(app, clock, listener.getsockname()[1], http)
        app.hub.calls.wake_waiters()
