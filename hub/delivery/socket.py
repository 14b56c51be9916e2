"""A WebSocket as listening sees it: an outlet with its tasks, the client's messages, and the push-only socket."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup
from starlette.websockets import WebSocket

from hub.core.channels import Channel
from hub.delivery.listener import Listener
from hub.delivery.listening import Listening
from hub.delivery.openings import Opening
from hub.delivery.outlet import Outlet
from hub.delivery.reader import Reader
from hub.delivery.shown import Shown
from hub.delivery.sink import AsgiSink, sink_of
from hub.delivery.view import View
from hub.model.errors import HubError, NotAllowed, NotFound
from hub.model.event import Position

GOING = 1000
DISPLACED = 1001
INTERNAL = 1011

log = logging.getLogger("hub.delivery")


def check_origin(websocket: WebSocket, allowed: frozenset[str] = frozenset()) -> None:
    """Refuse a browser page of another origin (delivery-guarantees G4); clients that are no browsers send none.

    The hub's own origin is the host that the request was made to. `allowed` holds further origins, as
    `https://host[:port]`, or `*`. Raises NotAllowed.
    """
    origin = websocket.headers.get("origin")
    if origin is None or "*" in allowed or origin.lower() in allowed:
        return
    # An origin is a scheme and a host, nothing else (RFC 6454): compared as text, whatever it holds.
    scheme = "https" if websocket.scope["scheme"] == "wss" else "http"
    if origin.lower() != f"{scheme}://{websocket.headers.get('host', '')}".lower():
        raise NotAllowed("the page's origin may not open this socket", code="origin")


@asynccontextmanager
async def outlet_of(
    websocket: WebSocket, listening: Listening, opening: Opening
) -> AsyncIterator[tuple[Outlet, TaskGroup]]:
    """The way out of an accepted socket, and the group of its tasks; both end with the block.

    What breaks inside is logged and closes the socket with 1011. The opening's end closes it, too.
    """
    sink = sink_of(websocket, listening.limits.write_buffer)
    outlet: Outlet | None = None
    try:
        async with anyio.create_task_group() as group:
            outlet = Outlet(
                sink, listening.clock, listening.limits.slow_listener, group.cancel_scope.cancel, listening.stats
            )
            if isinstance(sink, AsgiSink):
                group.start_soon(sink.run)
            opening.on_end = outlet.close
            try:
                yield outlet, group
            finally:
                outlet.release()
                if isinstance(sink, AsgiSink):
                    sink.stop()
    except Exception:
        log.exception("a listener's socket broke")
        sink.close(INTERNAL, "internal error")


async def messages(websocket: WebSocket) -> AsyncIterator[str | bytes]:
    """What the client sends, until the connection ends, whoever ended it."""
    while True:
        event = await websocket.receive()
        if event["type"] == "websocket.disconnect":
            return
        text = event.get("text")
        yield text if text is not None else event["bytes"]


async def serve_view(
    websocket: WebSocket,
    listening: Listening,
    opening: Opening,
    channel: Channel,
    view: View | Shown,
    start: Position,
    *,
    reader: str | None = None,
    delivered: Callable[[int], None] | None = None,
    acknowledged: Callable[[int], None] | None = None,
) -> None:
    """Push a channel in a view to an accepted socket until it ends; what the client sends is read and ignored.

    With `reader` the stored position of that name moves by pongs, and a newer socket of the name displaces this one
    (1001; `listening.seats.unseat` gives another code). A deleted channel closes with 1000, drain with
    1012, a revoked key with 1008, a stuck client with 4008. `delivered` and `acknowledged` are told offsets. A view
    that is `Shown` may be exchanged meanwhile: the next event is told in the new one.
    """
    shown = view if isinstance(view, Shown) else Shown(view)
    async with outlet_of(websocket, listening, opening) as (outlet, group):
        place: Reader | None = None
        leave_seat: Callable[[], None] | None = None
        if reader is not None:
            begun = start.offset if start.epoch == channel.epoch else 0
            place = Reader(
                listening.log,
                listening.clock,
                outlet.sink,
                group.start_soon,
                channel,
                reader,
                begun,
                acknowledged=acknowledged,
            )
            leave_seat = listening.seats.take(
                channel.name, reader, lambda code: outlet.close(code or DISPLACED, "another socket was opened")
            )

        def told(offset: int) -> None:
            if place is not None:
                place.delivered(offset)
            if delivered is not None:
                delivered(offset)

        def failed(error: HubError | None) -> None:
            if isinstance(error, NotFound):
                outlet.close(GOING, "the channel was deleted")
            else:
                outlet.close(INTERNAL, "the channel cannot be read now")

        def listener(view: View, start: Position) -> Listener:
            made = Listener(
                listening.channels,
                listening.lanes,
                listening.lanes.lane(channel, view),
                outlet.sink,
                start,
                group.start_soon,
                failed=failed,
                delivered=told if place is not None or delivered is not None else None,
                page=listening.limits.listener_events,
            )
            outlet.add(made)
            return made

        unmourn = channel.when_deleted(lambda: outlet.close(GOING, "the channel was deleted"))
        try:
            present = listener(shown.view, start)

            def exchange(view: View) -> None:
                nonlocal present
                if outlet.closed is None:
                    outlet.remove(present)
                    present = listener(view, Position(present.epoch, present.offset))

            shown.on_change = exchange
            async for _ in messages(websocket):
                pass
        finally:
            shown.on_change = None
            unmourn()
            if leave_seat is not None:
                leave_seat()
            outlet.release()
            if place is not None:
                await place.stop()
