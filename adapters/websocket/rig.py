"""The rig of the WebSocket adapter: a real server on a free port and doubles that dial in to it, in either coding."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from adapters.websocket.adapter import WebSocketAdapter
from adapters.websocket.coding import Subprotocol
from adapters.websocket.double import Asked, DeviceDouble
from adapters.websocket.frame import Bye, Event, Frame, Notify, Ping, Result
from adapters.websocket.settings import WebSocketSettings
from adapters.websocket.wire import encode
from hub.ports.adapter import AdapterContext, DeviceRequest
from hub.ports.clock import Clock

VARIANTS = ("msgpack", "json")
KEY = "ak_rig_0123456789abcdef"

__all__ = ["Asked", "DeviceDouble", "Rig", "VARIANTS", "create_rig"]


class Rig:
    """An adapter with a server in front of it, for one case of the suite."""

    cannot: Mapping[int, str] = MappingProxyType(
        {33: "its devices hold no jobs", 34: "its devices hold no jobs"}
    )
    deduplicates = True
    key = KEY
    secrets: tuple[str, ...] = (KEY, "s3cret-of-a-device")

    def __init__(self, coding: Subprotocol, inflight: int, **settings: Any) -> None:
        self.coding = coding
        self._settings = WebSocketSettings(window=inflight, **{"frames_per_second": 1_000_000, **settings})
        self.adapter = WebSocketAdapter(self._settings)
        self.port = 0
        self.server_takes = self._settings.max_frame
        self.doubles: list[DeviceDouble] = []
        self._clock: Clock | None = None
        self._server: asyncio.Server | None = None
        self._state = ServerState()

    @property
    def uri(self) -> str:
        """Where devices dial in."""
        return f"ws://127.0.0.1:{self.port}{self._settings.mount}"

    async def open(self, ctx: AdapterContext) -> None:
        """Start the adapter, and serve it. The context admits the rig's key and secret."""
        admits: Any = ctx
        admits.keys[KEY] = "acme"
        await self.adapter.start(ctx)
        await self.serve(ctx.clock)

    async def serve(self, clock: Clock) -> None:
        """Serve an adapter that something else started."""
        self._clock = clock
        await self._serve()

    async def close(self) -> None:
        """Stop the adapter, then the server; leaves neither task nor socket."""
        await self.adapter.stop(1.0)
        await self.unserve()

    async def unserve(self) -> None:
        """The opposite of `serve`; the doubles go with it."""
        await self._unserve()
        for double in self.doubles:
            await double.close()

    async def restart_hub(self, ctx: AdapterContext) -> None:
        """Another process of the hub: a new adapter that remembers nothing, at the same address."""
        await self.adapter.stop(1.0)
        await self._unserve()
        for double in self.doubles:
            await double.gone()
        self.adapter = WebSocketAdapter(self._settings)
        await self.adapter.start(ctx)
        await self._serve()

    def double(self, identity: str | None = None, **more: Any) -> DeviceDouble:
        """A device that has not dialled in yet."""
        assert self._clock is not None
        more = {"key": KEY, **more}
        double = DeviceDouble(self.uri, identity or f"dev-{len(self.doubles)}", self.coding, self._clock, **more)
        self.doubles.append(double)
        return double

    async def device(self) -> DeviceDouble:
        """A registered device that nobody used yet."""
        double = self.double(links=[{"path": "/observable", "obs": True}, {"path": "/plain", "rt": "t", "if": "i"}])
        await double.connect()
        return double

    async def degrade(self, ctx: AdapterContext, call: Callable[[], DeviceRequest]) -> None:
        """Bring the adapter into a state in which it works only in part: no further connection fits."""
        while self.adapter.asgi.open < self._settings.connections:
            await self.device()

    async def interrupt(self) -> None:
        """The server goes away under all devices."""
        await self._unserve()
        for double in self.doubles:
            await double.gone()

    async def restore(self) -> None:
        """The server is back at its address."""
        await self._serve()

    def garbage(self, seed: random.Random) -> tuple[bytes, bool]:
        """A message that is no good frame, or a good one at a bad time, and whether it goes as text."""
        token = seed.choice(["a", "o.0011223344556677", "x" * 128])
        frames: list[Frame] = [
            Result(token, 200, b"x"), Notify(token, 3, b"y"), Event(seed.randrange(1 << 40), "k"), Ping(1), Bye(1)
        ]
        good = encode(seed.choice(frames), self.coding)
        kind = seed.randrange(5)
        if kind == 0:
            data = seed.randbytes(seed.randrange(40))
        elif kind == 1:
            data = good[: seed.randrange(len(good))]
        elif kind == 2:
            at = seed.randrange(len(good))
            data = good[:at] + seed.randbytes(1) + good[at + 1 :]
        elif kind == 3:
            data = good
        else:
            data = encode(Result(token, 200, seed.randbytes(8)), self.coding) + b"trailing"
        text = not self.coding.binary
        if text:
            data = data.decode("utf-8", "replace").encode()
        return data, text if seed.random() < 0.95 else not text and data.isascii()

    @property
    def too_big(self) -> int:
        """A size of message that the adapter must refuse."""
        return self._settings.max_frame + 1

    async def _serve(self) -> None:
        # The protocol has to be named: without it the loop leaves Nagle on, and small frames wait for acknowledgements.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(
            self.adapter.asgi, ws="websockets-sansio", ws_per_message_deflate=False, ws_ping_interval=None,
            ws_max_size=self.server_takes, lifespan="off", log_config=None,
        )
        config.load()
        self._state = state = ServerState()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: HttpToolsProtocol(config=config, server_state=state, app_state={}), sock=listening
        )

    async def _unserve(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        async with asyncio.timeout(5):
            await asyncio.gather(*self._state.tasks, return_exceptions=True)
            await self._server.wait_closed()
        self._server = None


def create_rig(
    folder: Path, *, devices: int = 64, inflight: int = 1, variant: str = "msgpack", **settings: Any
) -> Rig:
    """A rig whose doubles speak the variant's coding."""
    settings.setdefault("heartbeat", timedelta(days=30))
    settings.setdefault("connections", devices)
    return Rig(Subprotocol(f"hubdev.v1.{variant}"), inflight, **settings)
