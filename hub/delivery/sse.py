"""A channel as Server-Sent Events: `id` is `epoch:offset`, `event` is `message` or `gap`, data is JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.core.channels import Channel
from hub.delivery.envelope import gap_members, message
from hub.delivery.listening import Listening
from hub.delivery.openings import Opening
from hub.delivery.subscription import Start
from hub.model.errors import BadRequest, HubError
from hub.model.event import Page, Position
from hub.model.principal import Principal

COMMENT_EVERY = timedelta(seconds=15)
ABORT = "hub.abort"

log = logging.getLogger("hub.delivery")

_SECOND = timedelta(seconds=1)
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


def start_of_event_id(text: str) -> Start:
    """The start after the event of a `Last-Event-ID`. Raises BadRequest for one that the hub did not give."""
    epoch, _, digits = text.rpartition(":")
    if not epoch or not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise BadRequest("Last-Event-ID is epoch:offset", code="bad-position")
    return Start(exact=Position(epoch, int(digits)), said=True)


def chunk(page: Page, channel: str) -> bytes:
    """A page as events: the gap first, if there is one. Its id is the position to go on from."""
    parts: list[bytes] = []
    if page.gap is not None:
        data = orjson.dumps(gap_members(page.gap, channel, page.epoch))
        parts.append(b"id: %s:%d\nevent: gap\ndata: %s\n\n" % (page.epoch.encode(), page.gap.next, data))
    parts.extend(
        b"id: %s:%d\nevent: message\ndata: %s\n\n" % (event.epoch.encode(), event.offset, orjson.dumps(message(event)))
        for event in page.events
    )
    return b"".join(parts)


class EventStream:
    """The response of `GET /v1/channels/{name}/events`; an ASGI app, to be returned by a route.

    It ends when the client goes, the hub drains, the key is revoked, the channel is deleted, or the client takes
    nothing for as long as a slow listener may. `denial` words a refusal when there is no place left.
    """

    def __init__(
        self,
        listening: Listening,
        principal: Principal,
        channel: Channel,
        start: Position,
        denial: Callable[[HubError], Response],
    ) -> None:
        self._listening = listening
        self._principal = principal
        self._channel = channel
        self._position = start
        self._denial = denial

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            opening = self._listening.openings.open(self._principal.key_id)
        except HubError as error:
            await self._denial(error)(scope, receive, send)
            return
        self._channel.listeners += 1
        try:
            with opening:
                await self._serve(opening, scope, receive, send)
        finally:
            self._channel.listeners -= 1

    async def _serve(self, opening: Opening, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with anyio.create_task_group() as group:
            opening.on_end = lambda code, reason: group.cancel_scope.cancel()
            group.start_soon(_until_gone, receive, group.cancel_scope)
            if not await self._sent(send, b": open\n\n"):
                _abort(scope)
            else:
                await self._stream(scope, send)
            group.cancel_scope.cancel()
        with anyio.move_on_after(self._listening.limits.slow_listener / _SECOND) as patience:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        if patience.cancelled_caught:
            _abort(scope)

    async def _stream(self, scope: Scope, send: Send) -> None:
        try:
            while (data := await self._next()) is not None:
                if not await self._sent(send, data):
                    _abort(scope)
                    return
        except HubError as error:
            # The client comes back with its last event id; it has missed nothing.
            log.warning("an event stream of %s ended: %s", self._channel.name, error)

    async def _next(self) -> bytes | None:
        """What comes next: events, or a comment when nothing came for a while; None after the channel's end."""
        channels, clock = self._listening.channels, self._listening.clock
        until = clock.monotonic() + COMMENT_EVERY / _SECOND
        while not self._channel.deleted:
            page = await channels.read(self._channel, self._position, self._listening.limits.listener_events)
            if page.gap is not None:
                self._listening.stats.gaps += 1
                self._position = Position(page.epoch, page.gap.next)
            if page.events:
                self._listening.stats.deliveries += len(page.events)
                self._position = page.events[-1].position
            if page.gap is not None or page.events:
                return chunk(page, self._channel.name)
            if not await channels.wait(self._channel, self._position.offset, until) and not self._channel.deleted:
                return b":\n\n"
        return None

    async def _sent(self, send: Send, data: bytes) -> bool:
        """Send; False when the client took nothing for too long."""
        with anyio.move_on_after(self._listening.limits.slow_listener / _SECOND) as patience:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        self._listening.stats.slow_closed += patience.cancelled_caught
        return not patience.cancelled_caught


def _abort(scope: Scope) -> None:
    """Cut the connection where the server lets us: a full buffer would keep it open for ever."""
    abort: Any = scope.get("extensions", {}).get(ABORT)
    if abort is not None:
        abort()


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            scope.cancel()
            return
