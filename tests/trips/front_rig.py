"""The fronts on a real server: a core on SQLite with a scripted adapter, its routes on uvicorn on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect

from hub.core.calls import Calls
from hub.core.hub import Hub
from hub.core.limits import Limits
from hub.delivery.listening import Listening
from hub.delivery.outgoing.guard import Guard
from hub.delivery.outgoing.outgoing import Outgoing
from hub.dialects.native.routes import routes as native_routes
from hub.dialects.pelion.channel_service import ChannelService
from hub.dialects.pelion.routes import routes as pelion_routes
from hub.model.call import CallState
from hub.model.ids import CallId
from hub.model.principal import Scope
from hub.model.record import Kind, Record
from hub.server.http import Worded, http_protocol, in_words
from hub.server.websocket import websocket_protocol
from tests.clock import ManualClock
from tests.core_rig import Core, running_core
from tests.prompt_server import serving

KEY = "ak_front_rig_of_the_shop"
FOREIGN = "ak_front_rig_of_another"
PATIENCE = 5.0
LOOPBACK = ("127.0.0.0/8", "::1/128")


class Front:
    """A served core. `ask` is one request; `core.adapter` answers for the devices, `core.clock` is moved by hand."""

    def __init__(self, core: Core, listening: Listening, port: int, session: aiohttp.ClientSession) -> None:
        self.core = core
        self.outgoing: Outgoing
        self.pelion: ChannelService
        self.listener: socket.socket
        self.record_written = asyncio.Event()
        core.hub.directory.follow(Kind.CHANNEL, lambda *_: self.record_written.set())
        self.listening = listening
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._session = session

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = KEY,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; a body that is not bytes is sent as JSON."""
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key}")
        data: dict[str, Any] = {} if body is None else {"json": body}
        if isinstance(body, bytes):
            data = {"data": io.BytesIO(body)}
        async with self._session.request(method, self.url + path, headers=sent, **data) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def ended(self, call: str) -> CallState:
        """The call once it has ended; fails after a few real seconds."""
        async with asyncio.timeout(PATIENCE):
            state = await self.core.hub.calls.wait_end(CallId(call), self.core.clock.monotonic() + 1e9)
        assert state is not None and state.outcome is not None
        return state

    async def lines(self, path: str, headers: Mapping[str, str], *, until: bytes) -> list[str]:
        """The lines of an endless answer, read until some bytes have come; the connection is then dropped."""
        sent = {"Authorization": f"Bearer {KEY}", **headers}
        body = b""
        async with asyncio.timeout(PATIENCE), self._session.get(self.url + path, headers=sent) as answer:
            assert answer.status == 200, await answer.text()
            while until not in body:
                body += await answer.content.readany()
            answer.close()
        return body.decode().split("\n")

    @asynccontextmanager
    async def socket(self, path: str, *, key: str | None = KEY, **options: Any) -> AsyncIterator[ClientConnection]:
        """An open WebSocket."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with connect(
            f"ws://127.0.0.1:{self.port}{path}",
            additional_headers=headers,
            proxy=None,
            compression=None,
            open_timeout=PATIENCE,
            **options,
        ) as opened:
            yield opened

    async def key(self, *scopes: Scope, application: str = "shop") -> str:
        """Another key."""
        return (await self.core.hub.access.create_key(application, frozenset(scopes)))[1]


class NoticedWaits(Calls):
    """Calls that tell when somebody waits for an ending, and when the last such wait is over."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub.engine.journal, hub.dispatch, hub.clock)
        self.begun = asyncio.Event()
        self.over = asyncio.Event()
        hub.calls = self

    async def wait_end(self, call: CallId, until: float) -> CallState | None:
        waiting = asyncio.ensure_future(super().wait_end(call, until))
        await asyncio.sleep(0)  # the wait has its timer now
        self.begun.set()
        try:
            return await waiting
        finally:
            self.over.set()


class Answer:
    """A response that was read to its end."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:300]!r}"


@asynccontextmanager
async def running_front(
    folder: Path,
    clock: ManualClock | None = None,
    limits: Limits | None = None,
    guard: Guard | None = None,
    **capabilities: Any,
) -> AsyncIterator[Front]:
    """The core of `core_rig` behind its fronts. Account `acme` has the application `shop` (KEY), account `other`
    the application `stall` (FOREIGN); leave it and enter it again for a restart."""
    async with running_core(folder, clock, limits, **capabilities) as core:
        hub = core.hub
        await hub.directory.put(Record(Kind.ACCOUNT, "other", "other", {"name": "Other"}))
        await hub.directory.put(Record(Kind.APPLICATION, "stall", "other", {"name": "Stall", "account": "other"}))
        for application, secret in (("shop", KEY), ("stall", FOREIGN)):
            if not hub.access.keys(application):
                await hub.access.create_key(application, frozenset(Scope), secret=secret)
        listening = Listening(hub.channels, hub.engine.log, hub.limits, hub.clock, hub.access.watch, hub.stats)
        outgoing = Outgoing(hub, guard or Guard(core.clock, LOOPBACK), luck=lambda: 0.5)
        native = native_routes(hub, listening, outgoing=outgoing)
        pelion = ChannelService(hub, listening, outgoing.guard)
        app = Starlette(routes=[*native, *pelion_routes(hub, listening, service=pelion)])
        # With its protocol said, asyncio turns Nagle off; without, each answer waits 40 ms for an acknowledgement.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        outgoing.guard.own_ports.add(listener.getsockname()[1])
        async with (
            served(app, listener, hub.limits),
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=4 * PATIENCE)) as session,
            _running(outgoing.run),
            _running(pelion.run),
        ):
            front = Front(core, listening, listener.getsockname()[1], session)
            front.outgoing, front.pelion, front.listener = outgoing, pelion, listener
            yield front
            listening.openings.drain()
            hub.calls.wake_waiters()


@asynccontextmanager
async def _running(service: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(service())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def served(
    app: ASGIApp, listener: socket.socket, limits: Limits, worded: Worded = in_words
) -> AsyncIterator[None]:
    """An application behind the hub's own protocol classes."""
    config = uvicorn.Config(
        app,
        http=http_protocol(limits, worded),
        ws=websocket_protocol(limits, worded),
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    async with serving(config, listener):
        yield
