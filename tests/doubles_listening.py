"""Doubles for tests of listening: a channel log in memory, a sink that records, and a served stream."""

from __future__ import annotations

import socket
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import anyio
import anyio.lowlevel
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from hub.core.channels import Channel, Channels
from hub.core.limits import Limits
from hub.delivery import frames
from hub.delivery.listening import Listening
from hub.delivery.websocket import Stream
from hub.model.errors import HubError, NotAuthenticated, NotFound, Refusal
from hub.model.event import ChannelInfo, Event, EventDraft, EventKind, Gap, Page, Position, ReaderInfo
from hub.model.principal import Principal, Scope
from hub.ports.clock import Clock, SystemClock
from hub.server.http import Worded, http_protocol, in_words
from hub.server.websocket import websocket_protocol
from tests.prompt_server import serving

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class MemoryLog:
    """A ChannelLog that forgets everything with the process. `hold` makes reads wait; commits are by `commit`."""

    def __init__(self) -> None:
        self.events: dict[str, list[Event]] = {}
        self.infos: dict[str, ChannelInfo] = {}
        self.positions: dict[tuple[str, str], Position] = {}
        self.on_commit: Callable[[Sequence[Event]], None] = lambda events: None
        self.reads = 0
        self.before_read: Callable[[], None] | None = None
        self._epochs = count(1)

    async def open(self, channel: str, account: str) -> ChannelInfo:
        await anyio.lowlevel.checkpoint()
        return self._made(channel, account)

    def _made(self, channel: str, account: str) -> ChannelInfo:
        if channel not in self.infos:
            self.infos[channel] = ChannelInfo(channel, account, f"e{next(self._epochs)}", 0, 1, 0, NOON)
            self.events[channel] = []
        return self.infos[channel]

    def commit(self, *drafts: EventDraft, tell: bool = True) -> list[Event]:
        """Append in one commit; `tell=False` leaves the call-back for the test to make."""
        events = []
        for draft in drafts:
            info = self._made(draft.channel, "acme")
            event = Event(draft.channel, info.epoch, info.head + 1, NOON, draft.kind, draft.body)
            self.infos[draft.channel] = ChannelInfo(
                info.name, info.account, info.epoch, event.offset, info.first, info.bytes + 1, NOON
            )
            self.events[draft.channel].append(event)
            events.append(event)
        if tell:
            self.on_commit(events)
        return events

    async def append(self, drafts: Sequence[EventDraft], accounts: Mapping[str, str]) -> Sequence[Event]:
        await anyio.lowlevel.checkpoint()
        return self.commit(*drafts)

    async def read(self, channel: str, after: Position, limit: int, max_bytes: int = 1 << 20) -> Page:
        self.reads += 1
        await anyio.lowlevel.checkpoint()
        if self.before_read is not None:
            self.before_read()
        info = self.infos.get(channel)
        if info is None:
            raise NotFound("no such channel")
        gap = None
        offset = after.offset
        if after.epoch != info.epoch:
            gap, offset = Gap(None, None, info.first - 1, "epoch"), info.first - 1
        elif offset + 1 < info.first:
            gap, offset = Gap(offset + 1, info.first - 1, info.first - 1, "retention"), info.first - 1
        events = self.events[channel]
        begin = bisect_right(events, offset, key=lambda event: event.offset)
        return Page(info.epoch, tuple(events[begin : begin + limit]), gap)

    async def channels(self, account: str | None = None) -> Sequence[ChannelInfo]:
        await anyio.lowlevel.checkpoint()
        return [info for info in self.infos.values() if account in (None, info.account)]

    async def info(self, channel: str) -> ChannelInfo | None:
        await anyio.lowlevel.checkpoint()
        return self.infos.get(channel)

    async def delete(self, channel: str) -> bool:
        await anyio.lowlevel.checkpoint()
        self.events.pop(channel, None)
        for key in [key for key in self.positions if key[0] == channel]:
            del self.positions[key]
        return self.infos.pop(channel, None) is not None

    async def store_position(self, channel: str, reader: str, position: Position, *, forward_only: bool = True) -> None:
        await anyio.lowlevel.checkpoint()
        before = self.positions.get((channel, reader))
        if not forward_only or before is None or before.epoch != position.epoch or before.offset < position.offset:
            self.positions[channel, reader] = position

    async def position(self, channel: str, reader: str) -> Position | None:
        await anyio.lowlevel.checkpoint()
        return self.positions.get((channel, reader))

    async def readers(self, *, application: str | None = None, channel: str | None = None) -> Sequence[ReaderInfo]:
        await anyio.lowlevel.checkpoint()
        return [
            ReaderInfo(name, reader, position, NOON)
            for (name, reader), position in sorted(self.positions.items())
            if channel in (None, name) and (application is None or name.startswith(application + "/"))
        ]

    async def forget_reader(self, channel: str, reader: str) -> None:
        self.positions.pop((channel, reader), None)

    async def trim(self, before: datetime, max_events: int, max_bytes: int, limit: int = 500) -> int:
        raise NotImplementedError("tests use `forget`")

    def forget(self, channel: str, upto: int) -> None:
        """Retention: events up to an offset go."""
        info = self.infos[channel]
        self.events[channel] = [event for event in self.events[channel] if event.offset > upto]
        self.infos[channel] = ChannelInfo(info.name, info.account, info.epoch, info.head, upto + 1, info.bytes, NOON)


def completion(channel: str, ref: str, payload: bytes = b"value1\n", **changed: Any) -> EventDraft:
    """A completion as the core writes it."""
    body: dict[str, Any] = {
        "call_id": f"call-{ref}",
        "ref": ref,
        "device": "lamp",
        "status": 200,
        "payload": payload,
        "content_type": "text/plain",
        "max_age": 600,
        "error": None,
        "ending": "answered",
        "dialect": "native",
        "echo": {},
        "ended_at": "2026-01-01T12:00:00Z",
        "native": {},
    }
    return EventDraft(channel, EventKind.COMPLETION, body | changed)


class RecordingSink:
    """A sink that keeps its frames; the test fills and drains it."""

    def __init__(self) -> None:
        self.paused = False
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self.written: list[bytes] = []
        self.pings: list[Callable[[], None]] = []
        self.closed: tuple[int, str] | None = None
        self.unsent = 0
        self.after_write: Callable[[], None] | None = None

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if self.after_write is not None:
            self.after_write()

    def ping(self, answered: Callable[[], None]) -> bool:
        self.pings.append(answered)
        return True

    def waiting(self) -> int:
        return self.unsent

    def close(self, code: int, reason: str = "") -> None:
        self.closed = (code, reason)

    def pause(self) -> None:
        self.paused = True
        if self.on_pause is not None:
            self.on_pause()

    def resume(self) -> None:
        self.paused = False
        if self.on_resume is not None:
            self.on_resume()

    def messages(self) -> list[bytes]:
        """The payloads of all frames."""
        return [frame.payload for data in self.written for frame in frames.parse(data)]


class Keys:
    """Keys and who watches them. `ak_listener` and `ak_caller` have one scope each, `ak_both` has both."""

    def __init__(self) -> None:
        self.watchers: dict[str, list[Callable[[], None]]] = {}
        self.principals = {
            "ak_listener": Principal("acme", "app", "listener", frozenset({Scope.LISTEN})),
            "ak_caller": Principal("acme", "app", "caller", frozenset({Scope.CALL})),
            "ak_both": Principal("acme", "app", "both", frozenset({Scope.LISTEN, Scope.CALL})),
        }

    def watch(self, key_id: str, revoked: Callable[[], None]) -> Callable[[], None]:
        self.watchers.setdefault(key_id, []).append(revoked)
        return lambda: self.watchers[key_id].remove(revoked)

    def revoke(self, key_id: str) -> None:
        for revoked in tuple(self.watchers.get(key_id, ())):
            revoked()

    def authenticate(self, websocket: WebSocket) -> Principal:
        word = websocket.headers.get("authorization", "").removeprefix("Bearer ")
        for offered in websocket.scope["subprotocols"]:
            if offered.startswith("key."):
                word = offered.removeprefix("key.")
        if word not in self.principals:
            raise NotAuthenticated("no such key")
        return self.principals[word]


def problem(error: HubError) -> dict[str, Any]:
    status = error.status if isinstance(error, Refusal) else 503
    return {"status": status, "type": getattr(error, "code", "storage-failed")}


def denial(error: HubError) -> Response:
    return JSONResponse(problem(error), problem(error)["status"])


async def submit(principal: Principal, members: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"call-id": f"call-{members.get('ref')}", "channel": "app/default", "epoch": "e1", "offset": 0}


@dataclass
class Served:
    """A running server: where it is, and the parts behind it."""

    port: int
    log: MemoryLog
    channels: Channels
    listening: Listening
    keys: Keys
    server: uvicorn.Server

    @property
    def stream(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/stream"

    def commit(self, ref: str, channel: str = "app/default", payload: bytes = b"value1\n") -> Event:
        return self.log.commit(completion(channel, ref, payload))[0]

    async def channel(self, name: str = "app/default") -> Channel:
        return await self.channels.open(name, "acme")

    async def until(self, true: Callable[[], bool]) -> None:
        """Give the loop turns until something holds; the test's time limit bounds it."""
        with anyio.fail_after(20):
            while not true():
                await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def served(
    limits: Limits | None = None,
    *,
    clock: Clock | None = None,
    routes: Callable[[Listening], Sequence[BaseRoute]] | None = None,
    own_classes: bool = True,
    worded: Worded = in_words,
    connections: int = 4096,
) -> AsyncIterator[Served]:
    """The stream on a real uvicorn, on a free port of this machine."""
    limits = limits or Limits()
    clock = clock or SystemClock()
    log, keys = MemoryLog(), Keys()
    channels = Channels(log, limits, clock)
    log.on_commit = channels.on_commit
    listening = Listening(channels, log, limits, clock, keys.watch)
    stream = Stream(listening, keys.authenticate, submit, problem, denial)

    async def echo(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    app = Starlette(
        routes=[
            WebSocketRoute("/v1/stream", stream.endpoint),
            Route("/echo", echo, methods=["GET", "POST"]),
            *(routes(listening) if routes is not None else ()),
        ]
    )
    config = uvicorn.Config(
        app,
        http=http_protocol(limits, worded) if own_classes else "httptools",
        ws=websocket_protocol(limits, worded) if own_classes else "websockets-sansio",
        ws_per_message_deflate=False,
        access_log=False,
        log_config=None,
        lifespan="off",
        timeout_keep_alive=limits.keep_alive.total_seconds(),  # type: ignore[arg-type]
        timeout_graceful_shutdown=5,
    )
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(connections)
    async with serving(config, listener) as server:
        yield Served(listener.getsockname()[1], log, channels, listening, keys, server)
